//! `[email]`, `[sms]`, `[notify]`: how messages leave.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::Secret;

/// `[email]`: the mail server that takes what scripts send.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmailConfig {
    /// Host name or address.
    pub host: String,
    /// Absent: 587, with `tls = "implicit"` 465, with `tls = "none"` 25.
    pub port: Option<u16>,
    #[serde(default)]
    pub tls: EmailTls,
    pub username: Option<String>,
    pub password: Option<Secret>,
    /// The sender where a script names none, such as `Lockstep <noreply@example.net>`.
    pub from: String,
    /// Folder of templates, relative to the scripts.
    #[serde(default = "templates")]
    pub templates: PathBuf,
    #[serde(default = "ten_seconds")]
    pub timeout_ms: u32,
}

/// How the connection to a mail server is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EmailTls {
    /// By the STARTTLS command (RFC 3207), or not at all.
    #[default]
    Starttls,
    /// From the first octet (RFC 8314).
    Implicit,
    /// Not: for a server on this machine.
    None,
}

/// `[sms]`: an HTTP request that takes a text message.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmsConfig {
    /// `{to}`, `{text}` and `{from}` are filled in in the URL, header values and body.
    pub url: String,
    #[serde(default = "post")]
    pub method: String,
    /// Values may be secrets.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    pub body: Option<String>,
    #[serde(default = "ten_seconds")]
    pub timeout_ms: u32,
    /// Sender where a script names none.
    pub from: Option<String>,
}

/// `[notify]`: an HTTP request that takes a notice for people, such as a chat's webhook.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotifyConfig {
    /// `{to}`, `{title}` and `{text}` are filled in in the URL, header values and body.
    pub url: String,
    #[serde(default = "post")]
    pub method: String,
    /// Values may be secrets.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    pub body: Option<String>,
    #[serde(default = "ten_seconds")]
    pub timeout_ms: u32,
}

fn templates() -> PathBuf {
    PathBuf::from("templates")
}

fn post() -> String {
    "POST".to_owned()
}

fn ten_seconds() -> u32 {
    10_000
}
