//! A speech service behind an HTTP request that answers with audio.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lockstep_media::prompt::http::extension_of;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, Response};
use tokio::sync::Semaphore;

use super::{Provider, Speaking, Spoken, SpokenAudio, TtsError, Utterance};
use crate::config::TtsProvider;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Requests to one provider at once; further ones wait.
const MAX_CONCURRENT: usize = 32;
const MAX_AUDIO: usize = 32 << 20;

/// One service of the configuration. Its address is the operator's choice, so no egress policy applies.
#[derive(Clone)]
pub struct HttpProvider {
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    settings: TtsProvider,
    method: Method,
    body_escape: Escape,
    client: Client,
    permits: Semaphore,
}

impl HttpProvider {
    /// A provider called `name`.
    ///
    /// # Errors
    /// The settings make no request, or the TLS library cannot be set up.
    pub fn new(name: &str, settings: &TtsProvider) -> Result<Self, TtsError> {
        let failed = |why: String| TtsError::Failed { provider: name.to_owned(), why };
        // Somebody else in the process may have chosen a provider already; either will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = crate::fetch::client_builder()
            // A redirect would carry the operator's key to another host.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(concat!("Lockstep/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| failed(error.to_string()))?;
        let method = Method::from_bytes(settings.method.as_bytes())
            .map_err(|_| failed(format!("[tts.provider.{name}] method {:?} is none", settings.method)))?;
        let content_type = settings.headers.iter().find(|(header, _)| header.eq_ignore_ascii_case("content-type"));
        let shared = Shared {
            name: name.to_owned(),
            settings: settings.clone(),
            method,
            body_escape: Escape::for_content_type(content_type.map_or("", |(_, value)| value.expose())),
            client,
            permits: Semaphore::new(MAX_CONCURRENT),
        };
        Ok(Self { shared: Arc::new(shared) })
    }
}

impl Provider for HttpProvider {
    fn speak(&self, utterance: Utterance) -> Speaking {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let limit = Duration::from_millis(shared.settings.timeout_ms.into());
            match tokio::time::timeout(limit, shared.exchange(&utterance)).await {
                Ok(spoken) => spoken,
                Err(_) => Err(TtsError::TimedOut { provider: shared.name.clone(), limit }),
            }
        })
    }
}

impl Shared {
    async fn exchange(&self, utterance: &Utterance) -> Spoken {
        // The semaphore is never closed.
        let _permit = self.permits.acquire().await.map_err(|error| self.failed(error.to_string()))?;
        let voice = utterance.voice.as_deref().or(self.settings.voice.as_deref()).unwrap_or_default();
        let fill = |template: &str, escape: Escape| fill(template, utterance, voice, escape);
        let mut headers = HeaderMap::new();
        for (name, value) in &self.settings.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| self.failed(error.to_string()))?;
            // A line break in the text must not become another header.
            let mut value = HeaderValue::from_str(&fill(value.expose(), Escape::None))
                .map_err(|_| self.failed(format!("the value of header {name} has characters no header may have")))?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let url = fill(&self.settings.url, Escape::Url);
        let mut request = self.client.request(self.method.clone(), url).headers(headers);
        if let Some(body) = &self.settings.body {
            request = request.body(fill(body, self.body_escape));
        }
        // The URL may hold a key.
        let response = request.send().await.map_err(|error| self.failed(error.without_url().to_string()))?;
        let status = response.status();
        if !status.is_success() {
            return Err(TtsError::Status { provider: self.name.clone(), status: status.as_u16() });
        }
        let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let extension = content_type.and_then(extension_of).unwrap_or_default().to_owned();
        Ok(SpokenAudio { bytes: self.read(response).await?, extension })
    }

    async fn read(&self, mut response: Response) -> Result<Bytes, TtsError> {
        let mut audio = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failed(error.without_url().to_string()))? {
            if audio.len() + chunk.len() > MAX_AUDIO {
                return Err(TtsError::TooLarge { provider: self.name.clone(), max: MAX_AUDIO });
            }
            audio.extend_from_slice(&chunk);
        }
        Ok(audio.into())
    }

    fn failed(&self, why: String) -> TtsError {
        TtsError::Failed { provider: self.name.clone(), why }
    }
}

/// How a value is written where the template has its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escape {
    None,
    /// Percent-encoding (RFC 3986); good for URLs and urlencoded bodies.
    Url,
    /// The inside of a JSON string.
    Json,
    /// Text or attribute of XML; SSML is left as it is.
    Xml,
}

impl Escape {
    fn for_content_type(content_type: &str) -> Self {
        let content_type = content_type.to_ascii_lowercase();
        if content_type.contains("json") {
            Self::Json
        } else if content_type.contains("xml") {
            Self::Xml
        } else if content_type.contains("x-www-form-urlencoded") {
            Self::Url
        } else {
            Self::None
        }
    }

    fn push(self, value: &str, out: &mut String) {
        match self {
            Self::None => out.push_str(value),
            Self::Url => {
                for octet in value.bytes() {
                    if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
                        out.push(char::from(octet));
                    } else {
                        out.push_str(&format!("%{octet:02X}"));
                    }
                }
            }
            Self::Json => {
                let quoted = serde_json::Value::from(value).to_string();
                out.push_str(quoted.get(1..quoted.len() - 1).unwrap_or_default());
            }
            Self::Xml => {
                for character in value.chars() {
                    match character {
                        '<' => out.push_str("&lt;"),
                        '>' => out.push_str("&gt;"),
                        '&' => out.push_str("&amp;"),
                        '"' => out.push_str("&quot;"),
                        '\'' => out.push_str("&apos;"),
                        other => out.push(other),
                    }
                }
            }
        }
    }
}

/// Puts the utterance into a template, in one pass: a text that says `{voice}` is a text.
fn fill(template: &str, utterance: &Utterance, voice: &str, escape: Escape) -> String {
    let mut out = String::with_capacity(template.len() + utterance.text.len());
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let place = [("{text}", utterance.text.as_str()), ("{voice}", voice), ("{language}", utterance.language.as_str())]
            .into_iter()
            .find(|(place, _)| from.starts_with(place));
        match place {
            Some((place, value)) => {
                let as_it_is = escape == Escape::Xml && utterance.ssml && place == "{text}";
                if as_it_is {
                    out.push_str(value)
                } else {
                    escape.push(value, &mut out)
                }
                rest = from.get(place.len()..).unwrap_or_default();
            }
            None => {
                out.push('{');
                rest = from.get(1..).unwrap_or_default();
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;

    use super::*;
    use crate::config::Secret;

    fn utterance(text: &str) -> Utterance {
        Utterance { text: text.into(), ssml: false, voice: None, language: "en-GB".into() }
    }

    fn settings(url: String) -> TtsProvider {
        TtsProvider {
            url,
            method: "POST".into(),
            headers: BTreeMap::new(),
            body: None,
            voice: Some("anna".into()),
            timeout_ms: 5000,
        }
    }

    /// Answers one request and returns it.
    async fn server(answer: &'static [u8]) -> (String, JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let request = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            loop {
                let length = stream.read(&mut buffer).await.unwrap();
                request.extend_from_slice(&buffer[..length]);
                let text = String::from_utf8_lossy(&request).into_owned();
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let wanted = head
                    .lines()
                    .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok());
                if body.len() >= wanted.unwrap_or(0) {
                    break;
                }
            }
            stream.write_all(answer).await.unwrap();
            String::from_utf8(request).unwrap()
        });
        (url, request)
    }

    #[tokio::test]
    async fn a_request_is_made_from_the_template_and_its_audio_returned() {
        let (url, request) = server(b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nContent-Length: 3\r\n\r\nabc").await;
        let mut settings = settings(format!("{url}/v1?lang={{language}}"));
        settings.headers.insert("Content-Type".into(), Secret::literal("application/json"));
        settings.headers.insert("X-Key".into(), Secret::literal("hush"));
        settings.body = Some(r#"{"text": "{text}", "voice": "{voice}", "x": {}}"#.into());
        let provider = HttpProvider::new("acme", &settings).unwrap();
        let spoken = provider.speak(utterance("say \"hi\"\n{voice}")).await;
        assert_eq!(spoken, Ok(SpokenAudio { bytes: b"abc".as_slice().into(), extension: "mp3".into() }));
        let request = request.await.unwrap();
        assert!(request.starts_with("POST /v1?lang=en-GB HTTP/1.1\r\n"), "{request}");
        assert!(request.to_ascii_lowercase().contains("x-key: hush\r\n"));
        assert!(request.ends_with(r#"{"text": "say \"hi\"\n{voice}", "voice": "anna", "x": {}}"#), "{request}");
    }

    #[tokio::test]
    async fn a_status_and_a_redirect_are_errors_that_name_the_provider() {
        for (answer, expected) in [
            (&b"HTTP/1.1 401 No\r\nContent-Length: 4\r\n\r\nhush"[..], 401),
            (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n", 302),
        ] {
            let (url, _request) = server(answer).await;
            let spoken = HttpProvider::new("acme", &settings(url)).unwrap().speak(utterance("x")).await;
            assert_eq!(spoken, Err(TtsError::Status { provider: "acme".into(), status: expected }));
        }
    }

    #[tokio::test]
    async fn a_text_cannot_add_a_header_and_an_error_hides_the_url() {
        let mut with_header = settings("http://127.0.0.1:1/?key=hush".into());
        with_header.headers.insert("X-Text".into(), Secret::literal("{text}"));
        let provider = HttpProvider::new("acme", &with_header).unwrap();
        let injected = provider.speak(utterance("x\r\nX-Admin: 1")).await.unwrap_err().to_string();
        assert!(injected.contains("x-text"), "{injected}");
        let refused = provider.speak(utterance("x")).await.unwrap_err().to_string();
        assert!(refused.starts_with("provider `acme` failed") && !refused.contains("hush"), "{refused}");
    }

    #[test]
    fn values_are_escaped_for_the_place_they_go_to() {
        let text = utterance("a&b <\"c\"> 100%ä");
        let filled = |escape| fill("[{text}|{other}|{", &text, "", escape);
        assert_eq!(filled(Escape::Url), "[a%26b%20%3C%22c%22%3E%20100%25%C3%A4|{other}|{");
        assert_eq!(filled(Escape::Json), "[a&b <\\\"c\\\"> 100%ä|{other}|{");
        assert_eq!(filled(Escape::Xml), "[a&amp;b &lt;&quot;c&quot;&gt; 100%ä|{other}|{");
        let ssml = Utterance { ssml: true, ..utterance("<speak>x</speak>") };
        assert_eq!(fill("{text}", &ssml, "", Escape::Xml), "<speak>x</speak>");
    }
}
