//! E-mail: `cxSend.email`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lettre::Message;
use lettre::message::{Mailbox, Mailboxes, MultiPart, SinglePart};
use lockstep_ctx_api::{ErrorCode, OpError};
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::smtp::MailServer;
use crate::config::EmailConfig;

/// Recipients of one message.
const MAX_RECIPIENTS: usize = 100;
/// Octets of a template, and of what it renders to.
const MAX_TEXT: usize = 1 << 20;
/// Messages that are put together at once.
const MAX_COMPOSED: usize = 2;
/// Steps a template may take.
const TEMPLATE_FUEL: u64 = 1_000_000;

/// A message as scripts describe it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Email {
    to: Recipients,
    cc: Recipients,
    bcc: Recipients,
    from: Option<String>,
    reply_to: Option<String>,
    subject: Option<String>,
    text: Option<String>,
    html: Option<String>,
    template: Option<String>,
    vars: BTreeMap<String, Value>,
}

/// One address, several behind commas, or a list of them.
#[derive(Debug, Default, Deserialize)]
#[serde(untagged)]
enum Recipients {
    #[default]
    None,
    One(String),
    Many(Vec<String>),
}

impl Recipients {
    fn texts(&self) -> &[String] {
        match self {
            Self::None => &[],
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(texts) => texts,
        }
    }
}

/// What a message says, whether written by the script or rendered from a template.
#[derive(Debug, Default, PartialEq)]
struct Content {
    subject: String,
    text: Option<String>,
    html: Option<String>,
}

/// The mail server of the configuration.
pub(super) struct Mailer {
    server: MailServer,
    from: Mailbox,
    templates: PathBuf,
    composing: Arc<Semaphore>,
}

impl Mailer {
    /// A mailer whose templates lie under `scripts`.
    ///
    /// # Errors
    /// The TLS settings cannot be made, or the sender is no address.
    pub(super) fn new(config: &EmailConfig, scripts: &Path) -> Result<Self, String> {
        let from = config.from.parse().map_err(|error| format!("[email] from: {error}"))?;
        Ok(Self {
            server: MailServer::new(config)?,
            from,
            templates: scripts.join(&config.templates),
            composing: Arc::new(Semaphore::new(MAX_COMPOSED)),
        })
    }

    /// Hands the message to the mail server; `{message_id, recipients}`.
    pub(super) async fn send(self: Arc<Self>, email: Email) -> Result<Value, OpError> {
        let message = Arc::clone(&self).compose(email).await?;
        let recipients = message.envelope().to().len();
        let id = message.headers().get_raw("Message-ID").unwrap_or_default().to_owned();
        self.server.send(&message).await?;
        Ok(json!({ "message_id": id, "recipients": recipients }))
    }

    /// Templates are files, and may take long to fill in.
    async fn compose(self: Arc<Self>, email: Email) -> Result<Message, OpError> {
        let ended = |error: String| OpError::new(ErrorCode::NetworkError, format!("cxSend.email: {error}"));
        let place = Arc::clone(&self.composing).acquire_owned().await.map_err(|error| ended(error.to_string()))?;
        let composed = tokio::task::spawn_blocking(move || {
            // Held until the work is done, though nobody may wait for it any more.
            let _place = place;
            self.message(&email)
        })
        .await;
        composed.map_err(|error| ended(error.to_string()))?
    }

    fn message(&self, email: &Email) -> Result<Message, OpError> {
        let mut builder = Message::builder().message_id(None);
        let mut count = 0;
        for (field, recipients) in [("to", &email.to), ("cc", &email.cc), ("bcc", &email.bcc)] {
            for text in recipients.texts() {
                let boxes: Mailboxes =
                    text.parse().map_err(|error| wrong(format!("`{field}`: {text:?} is no address: {error}")))?;
                for mailbox in boxes {
                    count += 1;
                    builder = match field {
                        "to" => builder.to(mailbox),
                        "cc" => builder.cc(mailbox),
                        _ => builder.bcc(mailbox),
                    };
                }
            }
        }
        if count == 0 {
            return Err(wrong("`to` names nobody".to_owned()));
        }
        if count > MAX_RECIPIENTS {
            return Err(OpError::new(
                ErrorCode::LimitError,
                format!("cxSend.email: {count} recipients, at most {MAX_RECIPIENTS} expected"),
            ));
        }
        let address = |field: &str, text: &str| {
            text.parse::<Mailbox>().map_err(|error| wrong(format!("`{field}`: {text:?} is no address: {error}")))
        };
        let from = email.from.as_deref().map_or_else(|| Ok(self.from.clone()), |text| address("from", text))?;
        builder = builder.from(from);
        if let Some(reply_to) = &email.reply_to {
            builder = builder.reply_to(address("reply_to", reply_to)?);
        }
        let content = self.content(email)?;
        if content.subject.contains(['\r', '\n']) {
            return Err(wrong("`subject` must be one line".to_owned()));
        }
        let builder = builder.subject(content.subject);
        let message = match (content.text, content.html) {
            (Some(text), Some(html)) => builder.multipart(MultiPart::alternative_plain_html(text, html)),
            (None, Some(html)) => builder.singlepart(SinglePart::html(html)),
            (text, None) => builder.singlepart(SinglePart::plain(text.unwrap_or_default())),
        };
        message.map_err(|error| wrong(error.to_string()))
    }

    fn content(&self, email: &Email) -> Result<Content, OpError> {
        let Some(template) = &email.template else {
            let subject = email.subject.clone().unwrap_or_default();
            return Ok(Content { subject, text: email.text.clone(), html: email.html.clone() });
        };
        let mut content = self.render(template, &email.vars)?;
        if let Some(subject) = &email.subject {
            content.subject.clone_from(subject);
        }
        Ok(content)
    }

    /// `NAME.txt` and `NAME.html`, whichever there are; a first line `Subject: …` of the text is the subject.
    fn render(&self, name: &str, vars: &BTreeMap<String, Value>) -> Result<Content, OpError> {
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') {
            return Err(wrong(format!("template {name:?}: expected letters, digits, `-` and `_`")));
        }
        let read = |extension: &str| -> Result<Option<String>, OpError> {
            let file = self.templates.join(format!("{name}.{extension}"));
            match fs::read_to_string(&file) {
                Ok(text) if text.len() > MAX_TEXT => {
                    Err(wrong(format!("template {name}.{extension} is larger than {MAX_TEXT} bytes")))
                }
                Ok(text) => render(&format!("{name}.{extension}"), &text, vars).map(Some),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(wrong(format!("template {name}.{extension} cannot be read: {error}"))),
            }
        };
        let (text, html) = (read("txt")?, read("html")?);
        if text.is_none() && html.is_none() {
            let message = format!("cxSend.email: there is no template {name}.txt or {name}.html");
            return Err(OpError::new(ErrorCode::NotFound, message));
        }
        let (subject, text) = match text {
            Some(text) => {
                let (subject, text) = split_subject(&text);
                (subject, Some(text))
            }
            None => (String::new(), None),
        };
        Ok(Content { subject, text, html })
    }
}

fn split_subject(text: &str) -> (String, String) {
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    match first.strip_prefix("Subject:") {
        Some(subject) => (subject.trim().to_owned(), rest.trim_start_matches(['\r', '\n']).to_owned()),
        None => (String::new(), text.to_owned()),
    }
}

/// Fills in a template. A name that is not among the variables is an error: a message with holes is worse than none.
fn render(file: &str, template: &str, vars: &BTreeMap<String, Value>) -> Result<String, OpError> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(TEMPLATE_FUEL));
    environment.set_auto_escape_callback(|name| if name.ends_with(".html") { AutoEscape::Html } else { AutoEscape::None });
    let text = environment
        .render_named_str(file, template, minijinja::Value::from(minijinja::value::Serde(vars)))
        .map_err(|error| wrong(format!("template {file}: {error}")))?;
    if text.len() > MAX_TEXT {
        return Err(wrong(format!("template {file} makes more than {MAX_TEXT} bytes")));
    }
    Ok(text)
}

fn wrong(why: String) -> OpError {
    OpError::new(ErrorCode::TypeError, format!("cxSend.email: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars(pairs: &[(&str, &str)]) -> BTreeMap<String, Value> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), Value::from(*value))).collect()
    }

    #[test]
    fn values_are_escaped_in_html_and_nowhere_else() {
        let vars = vars(&[("name", "<b>Ann</b>")]);
        assert_eq!(render("a.html", "<p>{{ name }}</p>", &vars).unwrap(), "<p>&lt;b&gt;Ann&lt;&#x2f;b&gt;</p>");
        assert_eq!(render("a.txt", "Dear {{ name }}", &vars).unwrap(), "Dear <b>Ann</b>");
    }

    #[test]
    fn a_missing_value_and_an_endless_template_are_errors() {
        let missing = render("a.txt", "Dear {{ nobody }}", &BTreeMap::new()).unwrap_err().to_string();
        assert!(missing.contains("a.txt") && missing.contains("undefined"), "{missing}");
        let endless = "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}";
        assert!(render("a.txt", endless, &BTreeMap::new()).is_err());
    }

    #[test]
    fn every_message_says_that_it_is_mime() {
        let config = toml::from_str("host = \"mail.example.net\"\ntls = \"none\"\nfrom = \"desk@example.net\"").unwrap();
        let mailer = Mailer::new(&config, Path::new("scripts")).unwrap();
        for parts in [json!({ "text": "Grüße" }), json!({ "html": "<p>Grüße" }), json!({ "text": "a", "html": "b" }), json!({})]
        {
            let mut email: Email = serde_json::from_value(parts).unwrap();
            email.to = Recipients::One("ann@example.net".to_owned());
            let message = mailer.message(&email).unwrap();
            assert_eq!(message.headers().get_raw("MIME-Version"), Some("1.0"), "{email:?}");
        }
    }

    #[test]
    fn a_message_that_nobody_waits_for_keeps_its_place_until_it_is_put_together() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            let config = toml::from_str("host = \"mail.example.net\"\ntls = \"none\"\nfrom = \"desk@example.net\"").unwrap();
            let mailer = Arc::new(Mailer::new(&config, Path::new("scripts")).unwrap());
            let (go, wait) = std::sync::mpsc::channel::<()>();
            let occupied = tokio::task::spawn_blocking(move || wait.recv());
            tokio::select! {
                biased;
                _ = Arc::clone(&mailer).compose(Email::default()) => panic!("the only thread is occupied"),
                () = std::future::ready(()) => {}
            }
            assert_eq!(mailer.composing.available_permits(), MAX_COMPOSED - 1);
            drop(go);
            assert!(occupied.await.unwrap().is_err());
            drop(mailer.composing.acquire_many(u32::try_from(MAX_COMPOSED).unwrap()).await.unwrap());
        });
    }

    #[test]
    fn the_first_line_of_a_text_may_be_its_subject() {
        assert_eq!(split_subject("Subject: Hi\n\nBody\n"), ("Hi".to_owned(), "Body\n".to_owned()));
        assert_eq!(split_subject("Body"), (String::new(), "Body".to_owned()));
    }
}
