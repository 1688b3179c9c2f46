//! How messages find the transaction they belong to (RFC 3261 17.1.3, 17.2.3, 8.2.2.2).

use crate::message::{Method, Request, Via};

/// A client transaction: the branch we made, and the method, as CANCEL shares the branch of its INVITE.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ClientKey {
    pub(super) branch: String,
    pub(super) method: Method,
}

/// A server transaction. ACK has the key of its INVITE.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum ServerKey {
    Branch {
        branch: String,
        sent_by: String,
        method: Method,
    },
    /// A client of RFC 2543, without a unique branch. The To tag takes no part, as only the ACK has one.
    Rfc2543 {
        uri: String,
        from_tag: String,
        call_id: Vec<u8>,
        cseq: u32,
        via: String,
        method: Method,
    },
}

impl ServerKey {
    /// The key of `request` as if it had `method`: for CANCEL, that of the request it cancels.
    pub(super) fn of(request: &Request, via: &Via, method: Method) -> ServerKey {
        match via.rfc3261_branch() {
            Some(branch) => ServerKey::Branch {
                branch: branch.to_owned(),
                sent_by: match via.port {
                    Some(port) => format!("{}:{port}", via.host),
                    None => via.host.to_string(),
                },
                method,
            },
            None => ServerKey::Rfc2543 {
                uri: request.uri.to_string(),
                from_tag: from_tag(request).unwrap_or_default(),
                call_id: call_id(request),
                cseq: cseq_number(request),
                via: via.to_string(),
                method,
            },
        }
    }
}

/// What two copies of one request that came by different paths have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct MergeKey {
    from_tag: String,
    call_id: Vec<u8>,
    cseq: u32,
    method: Method,
}

impl MergeKey {
    /// `None` for a request without a From tag: nothing tells a copy from another call then.
    pub(super) fn of(request: &Request) -> Option<MergeKey> {
        Some(MergeKey {
            from_tag: from_tag(request)?,
            call_id: call_id(request),
            cseq: cseq_number(request),
            method: request.method.clone(),
        })
    }
}

pub(super) fn from_tag(request: &Request) -> Option<String> {
    let from = request.headers.from()?.ok()?;
    from.tag().map(str::to_owned)
}

pub(super) fn to_tag(request: &Request) -> Option<String> {
    let to = request.headers.to()?.ok()?;
    to.tag().map(str::to_owned)
}

/// Zero when unreadable, which the parser does not let pass.
pub(super) fn cseq_number(request: &Request) -> u32 {
    match request.headers.cseq() {
        Some(Ok(cseq)) => cseq.number,
        Some(Err(_)) | None => 0,
    }
}

fn call_id(request: &Request) -> Vec<u8> {
    request.headers.call_id().map(|id| id.as_bytes().to_vec()).unwrap_or_default()
}
