//! The mail server of the configuration, told each command of a message (RFC 5321, section 3.3): so it is known whom it refuses.

use std::time::Duration;

use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use lettre::transport::smtp::{Error, SMTP_PORT, SUBMISSION_PORT, SUBMISSIONS_PORT};
use lettre::{Address, Message};
use lockstep_ctx_api::{ErrorCode, OpError};

use crate::config::{EmailConfig, EmailTls};

/// See the module.
pub(super) struct MailServer {
    host: String,
    port: u16,
    /// None for a connection that is not encrypted.
    tls: Option<TlsParameters>,
    kind: EmailTls,
    credentials: Option<Credentials>,
    timeout: Duration,
}

/// Why a message was not taken.
#[derive(Debug, thiserror::Error)]
enum Unsent {
    #[error("{}{error}", refusal(.recipient.as_ref(), .error))]
    Server {
        /// Of whom the server said so.
        recipient: Option<Address>,
        error: Error,
    },
    #[error("the mail server knows no {0}, which the message needs")]
    Unknown(Extension),
    #[error("the mail server has not answered within {} ms", .0.as_millis())]
    Silent(Duration),
}

impl From<Error> for Unsent {
    fn from(error: Error) -> Self {
        Self::Server { recipient: None, error }
    }
}

fn refusal(recipient: Option<&Address>, error: &Error) -> String {
    let whom = recipient.map(|recipient| format!(" {recipient}")).unwrap_or_default();
    match error.status() {
        Some(code) => format!("the mail server refused{whom} with {code}: "),
        None => String::new(),
    }
}

impl MailServer {
    /// # Errors
    /// The TLS settings cannot be made.
    pub(super) fn new(config: &EmailConfig) -> Result<Self, String> {
        // Somebody else in the process may have chosen a provider already; either will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (usual_port, is_encrypted) = match config.tls {
            EmailTls::Starttls => (SUBMISSION_PORT, true),
            EmailTls::Implicit => (SUBMISSIONS_PORT, true),
            EmailTls::None => (SMTP_PORT, false),
        };
        let tls = is_encrypted.then(|| TlsParameters::new(config.host.clone())).transpose().map_err(|error| error.to_string())?;
        let credentials = match (&config.username, &config.password) {
            (Some(user), Some(password)) => Some(Credentials::new(user.clone(), password.expose().to_owned())),
            _ => None,
        };
        Ok(Self {
            host: config.host.clone(),
            port: config.port.unwrap_or(usual_port),
            tls,
            kind: config.tls,
            credentials,
            timeout: Duration::from_millis(config.timeout_ms.into()),
        })
    }

    /// Hands a message over: to all of its recipients, or to none.
    pub(super) async fn send(&self, message: &Message) -> Result<(), OpError> {
        self.hand_over(message).await.map_err(|unsent| {
            let is_late = match &unsent {
                Unsent::Server { error, .. } => error.is_timeout(),
                Unsent::Silent(_) => true,
                Unsent::Unknown(_) => false,
            };
            let code = if is_late { ErrorCode::TimeoutError } else { ErrorCode::NetworkError };
            OpError::new(code, format!("cxSend.email: {unsent}"))
        })
    }

    async fn hand_over(&self, message: &Message) -> Result<(), Unsent> {
        let hello = ClientId::default();
        let wrapped = self.tls.clone().filter(|_| self.kind == EmailTls::Implicit);
        let server = (self.host.as_str(), self.port);
        let connecting = AsyncSmtpConnection::connect_tokio1(server, Some(self.timeout), &hello, wrapped, None);
        let mut connection = self.answered(connecting).await?;
        let told = self.tell(&mut connection, &hello, message).await;
        if !matches!(told, Err(Unsent::Silent(_))) {
            // What has become of the message is known: nobody waits for a farewell.
            let limit = self.timeout;
            tokio::spawn(async move { tokio::time::timeout(limit, connection.abort()).await });
        }
        told
    }

    /// What the server says to one command: of reading, the connection itself bounds nothing.
    async fn answered<T>(&self, command: impl Future<Output = Result<T, Error>>) -> Result<T, Unsent> {
        let answer = tokio::time::timeout(self.timeout, command).await.map_err(|_| Unsent::Silent(self.timeout))?;
        Ok(answer?)
    }

    async fn tell(&self, connection: &mut AsyncSmtpConnection, hello: &ClientId, message: &Message) -> Result<(), Unsent> {
        if let Some(tls) = self.tls.clone().filter(|_| self.kind == EmailTls::Starttls) {
            self.answered(connection.starttls(tls, hello)).await?;
        }
        if let Some(credentials) = &self.credentials {
            self.answered(connection.auth(DEFAULT_MECHANISMS, credentials)).await?;
        }
        let (envelope, octets) = (message.envelope(), message.formatted());
        let mut addresses = envelope.from().into_iter().chain(envelope.to());
        let is_foreign = addresses.any(|address| !address.to_string().is_ascii());
        let mut parameters = Vec::new();
        for (is_needed, extension, parameter) in [
            (is_foreign, Extension::SmtpUtfEight, MailParameter::SmtpUtfEight),
            (!octets.is_ascii(), Extension::EightBitMime, MailParameter::Body(MailBodyParameter::EightBitMime)),
        ] {
            if is_needed && !connection.server_info().supports_feature(extension) {
                return Err(Unsent::Unknown(extension));
            }
            parameters.extend(is_needed.then_some(parameter));
        }
        self.answered(connection.command(Mail::new(envelope.from().cloned(), parameters))).await?;
        for recipient in envelope.to() {
            let named = |unsent| match unsent {
                Unsent::Server { error, .. } => Unsent::Server { recipient: Some(recipient.clone()), error },
                other => other,
            };
            self.answered(connection.command(Rcpt::new(recipient.clone(), Vec::new()))).await.map_err(named)?;
        }
        self.answered(connection.command(Data)).await?;
        self.answered(connection.message(&octets)).await?;
        Ok(())
    }
}
