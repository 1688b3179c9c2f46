//! One channel of the stand-in and the connection that controls it: commands, queue, ticks, events, the end.
//!
//! Sans-IO: time is a number of milliseconds that whoever drives it lets pass.

use std::collections::{BTreeMap, VecDeque};

use lockstep_engine::esl::{Command, Event, FrameReader, Limits, Message};

use super::apps::{App, State};
use super::arguments::expand;
use super::setup::Setup;

/// Applications start and stop at multiples of this, as the server's channels do.
pub const TICK_MS: u64 = 20;

/// See the module.
#[derive(Debug)]
pub struct Channel {
    pub(super) setup: Setup,
    pub(super) now: u64,
    reader: FrameReader,
    out: Vec<u8>,
    /// What is sent behind the answer to a command without `async`.
    behind: Vec<Message>,
    backlog: VecDeque<Command>,
    owes_answer: bool,
    events: Vec<String>,
    my_events: bool,
    linger: Option<u64>,
    is_connected: bool,
    pub(super) variables: BTreeMap<String, String>,
    pub(super) answer_state: &'static str,
    pub(super) stack: Vec<App>,
    /// Applications asked for, and when they may start.
    queue: VecDeque<(u64, Command)>,
    pub(super) digits: VecDeque<char>,
    pub(super) blocks_digits: bool,
    /// Files that are being recorded.
    pub recordings: Vec<String>,
    pub(super) is_over: bool,
    close_at: Option<u64>,
    is_closed: bool,
    /// Nobody is connected, and the channel lives on.
    is_lost: bool,
    /// It is steered over a connection to the server, which does not end with it.
    is_inbound: bool,
    sequence: u64,
    /// Every application that was started: `name(argument)`.
    pub executed: Vec<String>,
    /// The variables as each bridge found them when it began: what its legs could be given.
    pub(super) bridged: Vec<BTreeMap<String, String>>,
    /// What must never happen: expansions, unknown applications, commands nobody would send.
    pub incidents: Vec<String>,
    /// How the call ended.
    pub hangup_cause: Option<String>,
    /// The final response a caller got who was not answered.
    pub response: Option<String>,
}

impl Channel {
    /// A channel whose dialplan has just come to `socket`.
    pub fn new(setup: Setup) -> Self {
        let mut variables: BTreeMap<String, String> = [
            ("direction", "inbound"),
            ("uuid", &setup.uuid),
            ("sip_from_user", &setup.caller),
            ("sip_to_user", &setup.destination),
            ("sip_h_X-Customer-ID", "77"),
            ("sofia_profile_name", "internal"),
            ("read_rate", "8000"),
            ("write_rate", "8000"),
            ("dtmf_type", "rfc2833"),
            ("endpoint_disposition", "RECEIVED"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        variables.extend(setup.variables.clone());
        let answer_state = if setup.is_answered { "answered" } else { "ringing" };
        Self {
            setup,
            now: 0,
            reader: FrameReader::of_commands(Limits::FROM_CLIENT),
            out: Vec::new(),
            behind: Vec::new(),
            backlog: VecDeque::new(),
            owes_answer: false,
            events: Vec::new(),
            my_events: false,
            linger: None,
            is_connected: false,
            variables,
            answer_state,
            stack: Vec::new(),
            queue: VecDeque::new(),
            digits: VecDeque::new(),
            blocks_digits: false,
            recordings: Vec::new(),
            is_over: false,
            close_at: None,
            is_closed: false,
            is_lost: false,
            is_inbound: false,
            sequence: 900,
            executed: Vec::new(),
            bridged: Vec::new(),
            incidents: Vec::new(),
            hangup_cause: None,
            response: None,
        }
    }

    /// What goes to the controller.
    pub fn take_out(&mut self) -> Vec<u8> {
        let out = std::mem::take(&mut self.out);
        if self.is_lost { Vec::new() } else { out }
    }

    /// The connection breaks without a word. The channel stays parked with `async`; without, its dialplan comes to its end.
    pub fn lose_connection(&mut self) {
        self.is_lost = true;
        self.reader = FrameReader::of_commands(Limits::FROM_CLIENT);
        self.out.clear();
        self.behind.clear();
        self.backlog.clear();
        self.events.clear();
        self.my_events = false;
        if !self.setup.is_async {
            self.hang_up("NORMAL_CLEARING");
        }
    }

    /// A connection to the server takes the place of the one that broke.
    pub fn connect_inbound(&mut self) {
        (self.is_lost, self.is_inbound, self.setup.is_full) = (false, true, true);
    }

    /// Whether nobody is connected while the channel lives on.
    pub fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// Whether the server has ended the connection.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Whether the call is over.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Its id.
    pub fn uuid(&self) -> &str {
        &self.setup.uuid
    }

    /// Whether anything runs or waits.
    pub fn is_idle(&self) -> bool {
        self.stack.is_empty() && self.queue.is_empty() && self.backlog.is_empty()
    }

    /// A channel variable.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// A variable as the bridge of that place in the call found it.
    pub fn at_bridge(&self, bridge: usize, name: &str) -> Option<&str> {
        self.bridged.get(bridge)?.get(name).map(String::as_str)
    }

    /// Bytes of the controller.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.reader.push(bytes);
        loop {
            match self.reader.poll_frame() {
                Ok(Some(frame)) => self.backlog.push_back(Command::parse(frame)),
                Ok(None) => break,
                Err(error) => {
                    self.incidents.push(format!("frame: {error}"));
                    self.is_closed = true;
                    return;
                }
            }
        }
        self.work();
    }

    /// Lets time pass.
    pub fn advance(&mut self, to_ms: u64) {
        while let Some(due) = self.next_due().filter(|due| *due <= to_ms) {
            self.now = self.now.max(due);
            self.work();
            if self.next_due() == Some(due) && due <= self.now {
                break;
            }
        }
        self.now = self.now.max(to_ms);
        self.work();
    }

    /// When something happens by itself.
    pub fn next_due(&self) -> Option<u64> {
        if self.is_closed {
            return None;
        }
        let queued = self.queue.front().map(|(at, _)| *at).filter(|_| !self.is_locked());
        [self.stack.last().and_then(App::due), queued, self.close_at].into_iter().flatten().min()
    }

    fn is_locked(&self) -> bool {
        self.stack.iter().any(|app| app.is_locked)
    }

    /// The next tick after now.
    pub(super) fn tick(&self) -> u64 {
        (self.now / TICK_MS + 1) * TICK_MS
    }

    fn work(&mut self) {
        loop {
            if self.is_closed {
                return;
            }
            if self.close_at.is_some_and(|at| at <= self.now) {
                return self.disconnect();
            }
            if self.stack.last().and_then(App::due).is_some_and(|due| due <= self.now) {
                self.step_top();
                continue;
            }
            let is_ready = self.queue.front().is_some_and(|(at, _)| *at <= self.now);
            if is_ready && !self.is_locked() && !self.is_over {
                if let Some((_, command)) = self.queue.pop_front() {
                    self.parse_event(&command);
                }
                continue;
            }
            // Without `async`, the connection is not read while an application runs.
            let is_reading = self.setup.is_async || self.stack.is_empty();
            if is_reading && let Some(command) = self.backlog.pop_front() {
                self.command(&command);
                continue;
            }
            return;
        }
    }

    fn command(&mut self, command: &Command) {
        if !self.is_connected {
            return match command.verb() {
                "connect" => self.connect(),
                _ => self.incidents.push(format!("before connect: {}", command.line())),
            };
        }
        let is_full = self.setup.is_full;
        match command.verb() {
            "exit" => {
                self.reply("+OK bye");
                self.disconnect();
            }
            "sendmsg" => self.sendmsg(command),
            "getvar" => {
                let value = self.variable(command.args()).unwrap_or_default().to_owned();
                self.reply(&value);
            }
            "myevents" => {
                self.my_events = true;
                self.setup.is_json |= command.args().contains("json");
                self.reply("+OK Events Enabled");
            }
            "filter" => self.reply("+OK filter added."),
            "resume" => self.reply("+OK"),
            "divert_events" => self.reply("+OK events diverted"),
            "linger" if is_full => {
                let seconds = command.args().parse().unwrap_or(1_000);
                self.linger = Some(seconds * 1_000);
                self.reply(&format!("+OK will linger {seconds} seconds"));
            }
            "event" if is_full => {
                self.events.extend(command.args().split(' ').map(str::to_owned));
                self.reply("+OK event listener enabled plain");
            }
            "api" if is_full => {
                let answer = self.api(command.args());
                self.send(Message::api_response(answer));
            }
            verb => {
                if !["linger", "event", "api"].contains(&verb) {
                    self.incidents.push(format!("command: {}", command.line()));
                }
                self.reply("-ERR command not found");
            }
        }
    }

    fn connect(&mut self) {
        self.is_connected = true;
        let mut event = self.event("CHANNEL_DATA");
        event.push("Content-Type", "command/reply");
        event.push("Reply-Text", "+OK\n");
        event.push("Socket-Mode", if self.setup.is_async { "async" } else { "static" });
        event.push("Control", if self.setup.is_full { "full" } else { "single-channel" });
        self.out.extend_from_slice(event.to_plain().as_bytes());
    }

    fn sendmsg(&mut self, command: &Command) {
        let target = command.args();
        if !target.is_empty() && target != self.setup.uuid {
            return self.end_leg_by(target);
        }
        if self.setup.is_async {
            let at = self.tick();
            self.queue.push_back((at, command.clone()));
            self.reply("+OK");
        } else {
            self.owes_answer = true;
            self.parse_event(command);
            if self.stack.is_empty() {
                self.answer_behind();
            }
        }
    }

    /// Without `async`: the answer, then the events of what has run.
    pub(super) fn answer_behind(&mut self) {
        if !std::mem::take(&mut self.owes_answer) {
            return;
        }
        self.reply("+OK");
        for message in std::mem::take(&mut self.behind) {
            message.write(&mut self.out);
        }
    }

    fn parse_event(&mut self, command: &Command) {
        let text = |name: &str| command.headers().get(name).unwrap_or_default().to_owned();
        match text("call-command").as_str() {
            "execute" if !text("execute-app-name").is_empty() => {
                let arg = match text("execute-app-arg") {
                    arg if arg.is_empty() => command.body().into_owned(),
                    arg => arg,
                };
                let uuid = Some(text("event-uuid")).filter(|uuid| !uuid.is_empty());
                self.execute(&text("execute-app-name"), &arg, uuid, text("event-lock") == "true");
            }
            "hangup" => {
                let cause = text("hangup-cause");
                self.hang_up(if cause.is_empty() { "NORMAL_CLEARING" } else { &cause });
            }
            _ => {}
        }
    }

    fn execute(&mut self, name: &str, arg: &str, uuid: Option<String>, is_locked: bool) {
        let expanded = expand(arg, &self.variables);
        self.incidents.extend(expanded.expansions.iter().map(|what| format!("expanded ${{{what}}}")));
        let arg = expanded.text;
        if arg.starts_with('%') && arg.chars().skip(1).take(2).any(|c| c == '[') {
            self.incidents.push(format!("scope variables: {arg}"));
        }
        self.executed.push(format!("{name}({arg})"));
        self.variables.remove("current_application_response");
        self.variables.insert("current_application".to_owned(), name.to_owned());
        self.variables.insert("current_application_data".to_owned(), arg.clone());
        let mut app = App { name: name.to_owned(), arg, uuid, is_locked, response: "_none_".to_owned(), state: State::Done };
        if !super::apps::is_known(name) {
            self.incidents.push(format!("unknown application {name}"));
            return self.hang_up("DESTINATION_OUT_OF_ORDER");
        }
        self.fire_of("CHANNEL_EXECUTE", &app);
        app.state = self.start(&app);
        self.stack.push(app);
        self.finish_what_is_done();
    }

    /// Ends applications that are over, the innermost first.
    pub(super) fn finish_what_is_done(&mut self) {
        while self.stack.last().is_some_and(|app| matches!(app.state, State::Done)) {
            let Some(app) = self.stack.pop() else { return };
            self.complete(&app);
            if !self.setup.is_async && self.stack.is_empty() && !self.is_over {
                self.answer_behind();
            }
        }
    }

    fn complete(&mut self, app: &App) {
        if app.response != "_none_" {
            self.variables.insert("current_application_response".to_owned(), app.response.clone());
        }
        let mut event = self.event("CHANNEL_EXECUTE_COMPLETE");
        event.push("Application", &app.name);
        event.push("Application-Data", &app.arg);
        event.push("Application-Response", &app.response);
        if let Some(uuid) = &app.uuid {
            event.push("Application-UUID", uuid);
        }
        self.fire(event);
    }

    fn fire_of(&mut self, name: &str, app: &App) {
        let mut event = self.event(name);
        event.push("Application", &app.name);
        event.push("Application-Data", &app.arg);
        if let Some(uuid) = &app.uuid {
            event.push("Application-UUID", uuid);
        }
        self.fire(event);
    }

    /// An event of this channel as it is now.
    pub(super) fn event(&mut self, name: &str) -> Event {
        self.sequence += 1;
        let mut event = Event::new(name);
        let stamp = (1_795_215_543_269_194 + self.now * 1_000).to_string();
        let sequence = self.sequence.to_string();
        let name = format!("sofia/internal/{}@127.0.0.1:54063", self.setup.caller);
        let direction = if self.setup.is_outbound { "outbound" } else { "inbound" };
        let state = if self.is_over { "CS_HANGUP" } else { "CS_EXECUTE" };
        for (header, value) in [
            ("Core-UUID", "0ab6603d-3ffc-4dd2-81d7-fd4f5c345611"),
            ("FreeSWITCH-Hostname", "fs1"),
            ("FreeSWITCH-Switchname", "fs1"),
            ("FreeSWITCH-IPv4", "192.0.2.2"),
            ("Event-Date-Timestamp", &stamp),
            ("Event-Sequence", &sequence),
            ("Channel-State", state),
            ("Channel-Name", &name),
            ("Unique-ID", &self.setup.uuid),
            ("Call-Direction", direction),
            ("Answer-State", self.answer_state),
            ("Channel-Read-Codec-Name", "PCMU"),
            ("Channel-Read-Codec-Rate", "8000"),
            ("Caller-Caller-ID-Name", &self.setup.caller),
            ("Caller-Caller-ID-Number", &self.setup.caller),
            ("Caller-Network-Addr", "127.0.0.1"),
            ("Caller-Destination-Number", &self.setup.destination),
            ("Caller-Context", "public"),
        ] {
            event.push(header, value);
        }
        if let Some(cause) = &self.hangup_cause {
            event.push("Hangup-Cause", cause);
        }
        for (name, value) in &self.variables {
            event.push(&format!("variable_{name}"), value);
        }
        event
    }

    /// Sends an event to whoever has subscribed.
    pub(super) fn fire(&mut self, event: Event) {
        let is_mine =
            self.my_events && !matches!(event.name(), "CHANNEL_HOLD" | "CHANNEL_UNHOLD" | "RECORD_START" | "RECORD_STOP");
        if !is_mine && !self.events.iter().any(|name| name == event.name() || name == "ALL") {
            return;
        }
        if let Some(at) = self.setup.lost.iter().position(|name| name == event.name()) {
            self.setup.lost.remove(at);
            return;
        }
        let message = if self.setup.is_json { Message::event_json(&event) } else { Message::event_plain(&event) };
        self.send(message);
    }

    fn send(&mut self, message: Message) {
        if !self.setup.is_async && self.owes_answer {
            self.behind.push(message);
        } else {
            message.write(&mut self.out);
        }
    }

    pub(super) fn reply(&mut self, text: &str) {
        Message::reply(text).write(&mut self.out);
    }

    /// A key of the caller.
    pub fn press(&mut self, digit: char) {
        if self.blocks_digits || self.is_over {
            return;
        }
        let mut event = self.event("DTMF");
        event.push("DTMF-Digit", &digit.to_string());
        event.push("DTMF-Duration", "800");
        event.push("DTMF-Source", "RTP");
        self.fire(event);
        self.digits.push_back(digit);
        self.key_for_top();
        self.work();
    }

    /// The caller hangs up.
    pub fn caller_hangs_up(&mut self) {
        self.variables.insert("sip_hangup_disposition".to_owned(), "recv_bye".to_owned());
        self.hang_up("NORMAL_CLEARING");
        self.work();
    }

    /// The connection breaks without a word.
    pub fn break_connection(&mut self) {
        self.out.clear();
        self.is_closed = true;
    }

    /// The call ends: the events of the end, in the order the server fires them.
    pub(super) fn hang_up(&mut self, cause: &str) {
        if self.is_over {
            return;
        }
        self.is_over = true;
        self.answer_state = "hangup";
        self.hangup_cause = Some(cause.to_owned());
        self.queue.clear();
        let event = self.event("CHANNEL_HANGUP");
        self.fire(event);
        while let Some(mut app) = self.stack.pop() {
            app.cut_off(self);
            self.complete(&app);
        }
        if !self.setup.is_async {
            self.answer_behind();
            if self.linger.is_none() {
                return self.disconnect();
            }
        }
        for name in ["CHANNEL_UNPARK", "CHANNEL_STATE", "CHANNEL_STATE"] {
            let event = self.event(name);
            self.fire(event);
        }
        self.variables.insert("hangup_cause".to_owned(), cause.to_owned());
        let event = self.event("CHANNEL_HANGUP_COMPLETE");
        self.fire(event);
        if self.is_lost || self.is_inbound {
            return;
        }
        match self.linger {
            Some(time) => {
                let seconds = (time / 1_000).to_string();
                let fields = [
                    ("Content-Type", "text/disconnect-notice"),
                    ("Controlled-Session-UUID", self.setup.uuid.as_str()),
                    ("Content-Disposition", "linger"),
                    ("Linger-Time", seconds.as_str()),
                    ("Content-Length", "0"),
                ];
                Message::bare(fields).write(&mut self.out);
                self.close_at = Some(self.now + time);
            }
            None => self.disconnect(),
        }
    }

    fn disconnect(&mut self) {
        let fields = [
            ("Content-Type", "text/disconnect-notice"),
            ("Controlled-Session-UUID", self.setup.uuid.as_str()),
            ("Content-Disposition", "disconnect"),
        ];
        let text = "Disconnected, goodbye.\nSee you at ClueCon! http://www.cluecon.com/\n";
        Message::with_body(fields.into_iter().collect(), text).write(&mut self.out);
        self.is_closed = true;
    }
}
