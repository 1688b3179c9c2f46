//! What a caller has dialled.

use lockstep_sip::message::Request;
use lockstep_sip::net::Source;

use super::call_facts::{dialled, user_of};
use super::exchange::Exchange;

impl Exchange {
    /// What a caller has dialled: the user part of the Request-URI. A registrar puts our Contact there (RFC 3261 16.6), which is the same
    /// for every number: what was dialled is in P-Called-Party-ID (RFC 7315 4.2) or To then. Of these a DID comes first.
    pub(super) fn dialled(&self, request: &Request, source: &Source) -> String {
        let named = dialled(request);
        if !self.directory.is_our_name(&named, source.remote.ip()) {
            return named;
        }
        let fields = ["P-Called-Party-ID", "To"].into_iter();
        let called = fields.filter_map(|name| Some(user_of(&request.headers.name_addr(name)?.ok()?.uri)));
        let mut names: Vec<String> = called.filter(|user| !user.is_empty()).collect();
        names.push(named);
        let is_did = |name: &&String| self.directory.did(name).is_some();
        let leads = |name: &&String| self.directory.incoming(name, None, &self.programs, || false).is_some();
        let chosen = names.iter().find(is_did).or_else(|| names.iter().find(leads)).or_else(|| names.first());
        chosen.cloned().unwrap_or_default()
    }
}
