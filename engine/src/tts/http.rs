//! A speech service behind an HTTP request that answers with audio.

use std::sync::Arc;
use std::time::Duration;

use lockstep_media::prompt::http::extension_of;

use super::{Provider, Speaking, Spoken, SpokenAudio, TtsError, Utterance};
use crate::config::TtsProvider;
use crate::http_template::{HttpTemplate, Place, TemplateError, TemplateSettings};

const MAX_AUDIO: usize = 32 << 20;

/// One service of the configuration.
#[derive(Clone)]
pub struct HttpProvider {
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    settings: TtsProvider,
    request: HttpTemplate,
}

impl HttpProvider {
    /// A provider called `name`.
    ///
    /// # Errors
    /// The settings make no request, or the TLS library cannot be set up.
    pub fn new(name: &str, settings: &TtsProvider) -> Result<Self, TtsError> {
        let request = HttpTemplate::new(&TemplateSettings {
            url: &settings.url,
            method: &settings.method,
            headers: &settings.headers,
            body: settings.body.as_deref(),
            timeout: Duration::from_millis(settings.timeout_ms.into()),
        })
        .map_err(|why| TtsError::Failed { provider: name.to_owned(), why: format!("[tts.provider.{name}] {why}") })?;
        Ok(Self { shared: Arc::new(Shared { name: name.to_owned(), settings: settings.clone(), request }) })
    }
}

impl Provider for HttpProvider {
    fn speak(&self, utterance: Utterance) -> Speaking {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move { shared.exchange(&utterance).await })
    }

    /// Not the header fields: they carry keys, which change without a change to what is spoken.
    fn settings(&self) -> Vec<&str> {
        let TtsProvider { url, method, body, voice, .. } = &self.shared.settings;
        vec![url.as_str(), method.as_str(), body.as_deref().unwrap_or_default(), voice.as_deref().unwrap_or_default()]
    }
}

impl Shared {
    async fn exchange(&self, utterance: &Utterance) -> Spoken {
        let voice = utterance.voice.as_deref().or(self.settings.voice.as_deref()).unwrap_or_default();
        let places = [
            Place { is_xml: utterance.ssml, ..Place::text("text", &utterance.text) },
            Place::text("voice", voice),
            Place::text("language", &utterance.language),
        ];
        let provider = || self.name.clone();
        let answer = self.request.send(&places, MAX_AUDIO).await.map_err(|error| match error {
            TemplateError::TimedOut(limit) => TtsError::TimedOut { provider: provider(), limit },
            TemplateError::Status(status) => TtsError::Status { provider: provider(), status },
            TemplateError::TooLarge(max) => TtsError::TooLarge { provider: provider(), max },
            TemplateError::Failed(why) => TtsError::Failed { provider: provider(), why },
        })?;
        let extension = answer.content_type.as_deref().and_then(extension_of).unwrap_or_default().to_owned();
        Ok(SpokenAudio { bytes: answer.body.into(), extension })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;

    use super::super::key_of;
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

    #[test]
    fn what_other_settings_spoke_is_not_played_for_these() {
        let key = |settings: &TtsProvider| {
            let provider = HttpProvider::new("acme", settings).unwrap();
            key_of("acme", &provider.settings(), &utterance("hello"))
        };
        let before = settings("http://127.0.0.1:1/".into());
        for other in [
            TtsProvider { url: "http://127.0.0.1:1/v2".into(), ..before.clone() },
            TtsProvider { method: "PUT".into(), ..before.clone() },
            TtsProvider { body: Some("{text}".into()), ..before.clone() },
            TtsProvider { voice: Some("ben".into()), ..before.clone() },
        ] {
            assert_ne!(key(&other), key(&before), "{other:?}");
        }
        let mut same = TtsProvider { timeout_ms: 1, ..before.clone() };
        same.headers.insert("X-Key".into(), Secret::literal("hush"));
        assert_eq!(key(&same), key(&before));
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
}
