//! Requests to others: of speech providers, number look-ups, text messages and notices.

use std::collections::BTreeMap;

use reqwest::header::HeaderName;
use reqwest::{Method, Url};

use super::{Report, Step};
use crate::config::Secret;

/// Checks a request whose settings stand in `table`.
pub(super) fn request(report: &mut Report, table: &[Step], (url, method): (&str, &str), headers: &BTreeMap<String, Secret>) {
    let path = |key: &str| [table, &[Step::Key(key.to_owned())]].concat();
    http_url(report, path("url"), url);
    if Method::from_bytes(method.as_bytes()).is_err() {
        report.error(path("method"), format!("expected an HTTP method such as `POST`, found `{method}`"));
    }
    for name in headers.keys().filter(|name| HeaderName::from_bytes(name.as_bytes()).is_err()) {
        let key = [path("headers"), vec![Step::Key(name.clone())]].concat();
        report.error(key, format!("expected the name of a header field, found `{name}`"));
    }
}

/// Checks how long an answer may take: nothing is answered at once.
pub(super) fn timeout(report: &mut Report, table: &[Step], ms: u32) {
    if ms == 0 {
        report.error([table, &[Step::Key("timeout_ms".to_owned())]].concat(), "expected at least 1 millisecond");
    }
}

/// Checks a URL; what is to be filled in in it may be anything.
pub(super) fn http_url(report: &mut Report, path: Vec<Step>, url: &str) {
    if !url.starts_with("https://") && !url.starts_with("http://") {
        report.error(path, format!("expected an http or https URL, found `{url}`"));
    } else if let Err(error) = Url::parse(&filled_in(url)) {
        report.error(path, format!("expected an http or https URL, found `{url}`: {error}"));
    }
}

/// A digit for each `{place}`: it may stand wherever something is filled in.
fn filled_in(template: &str) -> String {
    let mut filled = String::new();
    let mut rest = template;
    while let Some((before, place)) = rest.split_once('{') {
        filled.push_str(before);
        filled.push('1');
        rest = place.split_once('}').map_or("", |(_, after)| after);
    }
    filled + rest
}

#[cfg(test)]
mod tests {
    use crate::config::validate::tests::keys;

    #[test]
    fn a_request_that_cannot_be_made_is_refused() {
        let sms = |settings: &str| keys(&format!("[sms]\n{settings}"));
        assert_eq!(sms("url = \"https://{to}.example:8080/{text}?from={from}\""), [""; 0]);
        assert_eq!(sms("url = \"http://[zz/\""), ["sms.url"]);
        assert_eq!(sms("url = \"http://h/\"\nmethod = \"B AD\""), ["sms.method"]);
        assert_eq!(sms("url = \"http://h/\"\nheaders = { \"bad name\" = \"x\" }").len(), 1);
        assert_eq!(sms("url = \"http://h/\"\ntimeout_ms = 0"), ["sms.timeout_ms"]);
        assert_eq!(keys("[lookup.hlr]\nurl = \"http://h/\"\ntimeout_ms = 0"), ["lookup.hlr.timeout_ms"]);
        assert_eq!(keys("[tts.provider.x]\nurl = \"http://h/\"\ntimeout_ms = 0"), ["tts.provider.x.timeout_ms"]);
        assert_eq!(keys("[notify]\nurl = \"http://h:port/\""), ["notify.url"]);
        assert_eq!(keys("[lookup.hlr]\nurl = \"http://h/{number}\"\nmethod = \"\""), ["lookup.hlr.method"]);
        assert_eq!(keys("[tts.provider.x]\nurl = \"http://h/\"\nmethod = \"B AD\""), ["tts.provider.x.method"]);
    }
}
