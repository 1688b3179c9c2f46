//! Our side of a connection to a FreeSWITCH's event socket, sans-IO: password, commands, jobs, events.

use std::collections::{BTreeMap, VecDeque};

use crate::esl::{Command, Event, Kind, Message, Unsendable};

/// Names a command and its answer.
pub(super) type RequestId = u64;

/// What the connection brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// The password was right: commands may be sent.
    Ready,
    /// The answer to a command, or the result of a job.
    Answer(RequestId, String),
    /// Calls on the media server at the moment.
    Sessions(u64),
    /// The connection is of no use any more.
    Failed(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Greeting,
    Authenticating,
    Ready,
    Over,
}

#[derive(Clone, Copy, Debug)]
enum Awaited {
    Nothing,
    Answer(RequestId),
    /// That the job was taken; its result comes as an event.
    Job(RequestId),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Client {
    password: String,
    stage: Stage,
    out: Vec<u8>,
    awaited: VecDeque<Awaited>,
    jobs: BTreeMap<String, RequestId>,
    outputs: VecDeque<Output>,
}

impl Client {
    pub(super) fn new(password: &str) -> Self {
        Self {
            password: password.to_owned(),
            stage: Stage::Greeting,
            out: Vec::new(),
            awaited: VecDeque::new(),
            jobs: BTreeMap::new(),
            outputs: VecDeque::new(),
        }
    }

    /// Bytes to be sent.
    pub(super) fn take_out(&mut self) -> Option<Vec<u8>> {
        (!self.out.is_empty()).then(|| std::mem::take(&mut self.out))
    }

    pub(super) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn send(&mut self, command: &Command, awaited: Awaited) {
        command.write(&mut self.out);
        self.awaited.push_back(awaited);
    }

    /// Runs a command of the server at once: nothing else is answered meanwhile.
    pub(super) fn api(&mut self, id: RequestId, line: &str) -> Result<(), Unsendable> {
        self.send(&Command::new(format!("api {line}"))?, Awaited::Answer(id));
        Ok(())
    }

    /// Runs a command of the server beside others. `job` is a name that is never used twice.
    pub(super) fn job(&mut self, id: RequestId, line: &str, job: &str) -> Result<(), Unsendable> {
        let command = Command::new(format!("bgapi {line}"))?.header("Job-UUID", job)?;
        self.jobs.insert(job.to_owned(), id);
        self.send(&command, Awaited::Job(id));
        Ok(())
    }

    /// Nobody waits for an answer any more.
    pub(super) fn forget(&mut self, id: RequestId) {
        self.jobs.retain(|_, own| *own != id);
    }

    /// A message came.
    pub(super) fn handle_message(&mut self, message: &Message) {
        match message.kind() {
            Kind::AuthRequest if self.stage == Stage::Greeting => {
                self.stage = Stage::Authenticating;
                match Command::new(format!("auth {}", self.password)) {
                    Ok(command) => self.send(&command, Awaited::Nothing),
                    Err(error) => self.fail(format!("password: {error}")),
                }
            }
            Kind::CommandReply if self.stage == Stage::Authenticating => self.authenticated(&message.reply_text()),
            Kind::CommandReply | Kind::ApiResponse if self.stage == Stage::Ready => self.answered(&message.reply_text()),
            Kind::EventPlain | Kind::EventJson if self.stage == Stage::Ready => {
                if let Some(Ok(event)) = message.to_event() {
                    self.event(&event);
                }
            }
            Kind::RudeRejection => self.fail("our address is not on its list (event_socket.conf.xml: apply-inbound-acl)".into()),
            Kind::DisconnectNotice => self.fail("it has ended the connection".into()),
            Kind::AuthRequest
            | Kind::CommandReply
            | Kind::ApiResponse
            | Kind::EventPlain
            | Kind::EventJson
            | Kind::EventXml
            | Kind::Log
            | Kind::Other => {}
        }
    }

    fn authenticated(&mut self, text: &str) {
        self.awaited.clear();
        if !text.starts_with("+OK") {
            return self.fail(format!("the password is wrong ({})", text.chars().take(60).collect::<String>()));
        }
        self.stage = Stage::Ready;
        // It has no line end.
        if let Ok(command) = Command::new("event plain BACKGROUND_JOB HEARTBEAT") {
            self.send(&command, Awaited::Nothing);
        }
        self.outputs.push_back(Output::Ready);
    }

    fn answered(&mut self, text: &str) {
        match self.awaited.pop_front() {
            Some(Awaited::Answer(id)) => self.outputs.push_back(Output::Answer(id, text.to_owned())),
            Some(Awaited::Job(id)) if text.starts_with("-ERR") => {
                self.forget(id);
                self.outputs.push_back(Output::Answer(id, text.to_owned()));
            }
            Some(Awaited::Job(_) | Awaited::Nothing) | None => {}
        }
    }

    fn event(&mut self, event: &Event) {
        match event.name() {
            "BACKGROUND_JOB" => {
                let id = event.get("Job-UUID").and_then(|job| self.jobs.remove(job));
                if let Some(id) = id {
                    let text = event.body.as_deref().unwrap_or_default().trim_end().to_owned();
                    self.outputs.push_back(Output::Answer(id, text));
                }
            }
            "HEARTBEAT" => {
                let sessions = event.get("Session-Count").and_then(|count| count.parse().ok());
                self.outputs.extend(sessions.map(Output::Sessions));
            }
            _ => {}
        }
    }

    fn fail(&mut self, why: String) {
        self.stage = Stage::Over;
        self.outputs.push_back(Output::Failed(why));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authenticated() -> Client {
        let mut client = Client::new("ClueCon");
        client.handle_message(&Message::bare([("Content-Type", "auth/request")]));
        assert_eq!(client.take_out().unwrap(), b"auth ClueCon\n\n");
        client.handle_message(&Message::reply("+OK accepted"));
        assert_eq!(client.poll_output(), Some(Output::Ready));
        client.take_out();
        client.handle_message(&Message::reply("+OK event listener enabled plain"));
        client
    }

    #[test]
    fn a_wrong_password_says_so() {
        let mut client = Client::new("x");
        client.handle_message(&Message::bare([("Content-Type", "auth/request")]));
        client.handle_message(&Message::reply("-ERR invalid"));
        assert!(matches!(client.poll_output(), Some(Output::Failed(why)) if why.contains("password")));
    }

    #[test]
    fn answers_belong_to_commands_in_their_order_and_jobs_to_their_names() {
        let mut client = authenticated();
        client.job(1, "originate x", "job-1").unwrap();
        client.api(2, "status").unwrap();
        client.api(3, "version").unwrap();
        let mut event = Event::new("BACKGROUND_JOB");
        event.push("Job-UUID", "job-1");
        event.body = Some("-ERR USER_BUSY\n".into());
        // The result may even come before the word that the job was taken.
        client.handle_message(&Message::event_plain(&event));
        client.handle_message(&Message::reply("+OK Job-UUID: job-1"));
        client.handle_message(&Message::api_response("UP 1 year\n"));
        client.handle_message(&Message::api_response("1.11"));
        let answers: Vec<_> = std::iter::from_fn(|| client.poll_output()).collect();
        assert_eq!(
            answers,
            [Output::Answer(1, "-ERR USER_BUSY".into()), Output::Answer(2, "UP 1 year".into()), Output::Answer(3, "1.11".into())]
        );
    }

    #[test]
    fn a_command_cannot_hold_another() {
        let mut client = authenticated();
        assert!(client.api(1, "status\n\napi fsctl shutdown").is_err());
        assert_eq!(client.take_out(), None);
    }

    #[test]
    fn heartbeats_tell_how_busy_it_is() {
        let mut client = authenticated();
        let mut event = Event::new("HEARTBEAT");
        event.push("Session-Count", "17");
        client.handle_message(&Message::event_plain(&event));
        assert_eq!(client.poll_output(), Some(Output::Sessions(17)));
    }
}
