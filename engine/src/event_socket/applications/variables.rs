//! `set`, `export`, `multiset`, `unset`.

use lockstep_ctx_api::op::{Op, SetArgs};

use super::{Call, Plan};

impl Call<'_> {
    pub(super) fn variables(&self) -> Plan {
        let data = self.data.trim_start();
        match self.application {
            "unset" => set(data.trim(), None),
            "multiunset" => Plan::Variables(data.split_whitespace().map(|name| (name.to_owned(), None)).collect()),
            "multiset" => {
                let (separator, list) = match data.strip_prefix("^^").and_then(|rest| rest.chars().next().zip(Some(rest))) {
                    Some((separator, rest)) => (separator, rest.get(separator.len_utf8()..).unwrap_or_default()),
                    None => (' ', data),
                };
                let pairs = list.split(separator).filter_map(|pair| pair.split_once('='));
                Plan::Variables(pairs.map(|(name, value)| (name.trim().to_owned(), some(value))).collect())
            }
            _ => match data.split_once('=') {
                Some((name, value)) => {
                    // Exported to legs only; here every leg sees the call's variables that concern it.
                    let name = name.trim().trim_start_matches("nolocal:");
                    set(name, some(value))
                }
                None => set(data.trim(), None),
            },
        }
    }
}

/// An empty value takes the variable away.
fn some(value: &str) -> Option<String> {
    (!value.is_empty()).then(|| value.to_owned())
}

fn set(name: &str, value: Option<String>) -> Plan {
    if name.is_empty() {
        return Plan::nothing();
    }
    Plan::operation(Op::Set(SetArgs { key: name.to_owned(), value, skip_write: false }))
}
