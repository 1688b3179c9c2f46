//! A caller: one phone, one call, and the engine's view of that call.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use lockstep_engine::phone::{Capture, Continuity, Dial, Ended, Phone, PhoneCall, PhoneConfig, PhoneEvent};
use lockstep_media::codec::Codec;
use lockstep_media::playout::EncodedPrompt;
use lockstep_sip::net::Protocol;
use lockstep_sip::transport::Listen;
use serde_json::Value;
use tokio::time::Interval;

use crate::audio::{self, Spoken};
use crate::engine::{Engine, Events, PATIENCE, within};

static NUMBERS: AtomicU32 = AtomicU32::new(0);

/// Settings of a phone on this machine.
pub fn phone_config(user: &str) -> PhoneConfig {
    let listen = vec![Listen { protocol: Protocol::Udp, address: ([127, 0, 0, 1], 0).into() }];
    PhoneConfig { user: user.to_owned(), listen, ..PhoneConfig::default() }
}

/// A phone on this machine.
///
/// # Panics
/// When its sockets cannot be opened.
pub async fn phone(user: &str) -> Phone {
    Phone::start(phone_config(user)).await.expect("a phone can be started")
}

/// A phone registered as `user` at the engine, with the password of [`USERS`].
///
/// # Panics
/// When it is not let in.
pub async fn registered(engine: &Engine, user: &str) -> Phone {
    let phone = phone(user).await;
    let (address, password) = (engine.uri(user), format!("pw-{user}"));
    let registration = phone.register(&address, &password, Duration::from_secs(600));
    within("a registration", registration).await.expect("the user may register");
    phone
}

/// The configuration of users 1001 to 1003.
pub const USERS: &str = "[[user]]\nname = \"1001\"\npassword = \"pw-1001\"\n[[user]]\nname = \"1002\"\npassword = \"pw-1002\"\n[[user]]\nname = \"1003\"\npassword = \"pw-1003\"\n";

/// The next call of a phone.
///
/// # Panics
/// When none comes.
pub async fn incoming(phone: &mut Phone) -> PhoneCall {
    within("an incoming call", phone.incoming()).await.expect("the phone lives")
}

/// Plays a stock prompt to the other side of a call.
pub fn speak(call: &PhoneCall, name: &str) {
    call.play(vec![Arc::new(EncodedPrompt::new(Codec::Pcmu, audio::prompt(name)))]);
}

/// Waits until a call has heard `audio` from begin to end, whatever silence came between.
///
/// # Panics
/// When the call ends before, or nothing comes.
pub async fn hears(call: &PhoneCall, what: &str, audio: &[u8]) {
    heard(call, what, audio, |capture| audio::is_spoken(capture, audio).then_some(())).await;
}

/// Waits until `look` finds `audio`, which is called `what`, in what a call hears.
async fn heard<T>(call: &PhoneCall, what: &str, audio: &[u8], look: impl Fn(&Capture) -> Option<T>) -> T {
    let look = |capture: &Capture| match look(capture) {
        Some(found) => Some(Ok(found)),
        None => capture.is_over().then_some(Err("the call is over")),
    };
    let found = tokio::time::timeout(PATIENCE, call.heard().until(look)).await.unwrap_or(Err("nothing more came"));
    found.unwrap_or_else(|why| {
        let (most, all, continuity) = call.heard().with(|capture| {
            let heard = capture.in_order();
            (audio::longest_beginning(heard, audio), heard.len(), capture.continuity())
        });
        let [most, all, whole] = [most, all, audio.len()].map(|octets| octets / 8);
        panic!("waited for {what}, but {why}: at most {most} of its {whole} ms were heard in {all} ms; {continuity:?}")
    })
}

/// A number nobody else calls from in this process.
pub fn fresh_number() -> String {
    format!("4420{:07}", NUMBERS.fetch_add(1, Ordering::Relaxed))
}

/// Whether the engine refused a call because the machine is busy: packets of other calls leave late. It says when to call again.
pub fn is_full(ended: &Ended) -> bool {
    ended.code == 503
}

/// What to wait for before an engine that is full is called again: calling all the time would keep it full.
pub fn redialling() -> Interval {
    tokio::time::interval(Duration::from_millis(200))
}

/// One caller.
pub struct Caller {
    pub call: PhoneCall,
    /// The call's id in the engine.
    pub id: String,
    pub events: Events,
    /// What the phone told before the engine told that it has taken the call.
    early: VecDeque<PhoneEvent>,
    phone: Phone,
}

impl Caller {
    /// Calls a number of the engine; comes back when the engine has taken the call.
    pub async fn dial(engine: &Engine, number: &str) -> Self {
        Self::dial_with(engine, number, phone_config("caller"), Dial::default()).await
    }

    /// Calls and waits for the answer.
    pub async fn answered(engine: &Engine, number: &str) -> Self {
        let mut caller = Self::dial(engine, number).await;
        caller.answer().await;
        caller
    }

    /// Calls a number of the engine.
    ///
    /// # Panics
    /// When the engine does not take the call.
    pub async fn dial_with(engine: &Engine, number: &str, config: PhoneConfig, dial: Dial) -> Self {
        let mut events = engine.events().await;
        let phone = Phone::start(config).await.expect("a phone can be started");
        let from = dial.from.clone().unwrap_or_else(fresh_number);
        let dial = Dial { from: Some(from.clone()), ..dial };
        let mut early = VecDeque::new();
        let mut pause = redialling();
        let mut call = phone.dial(&engine.uri(number), dial.clone()).await.expect("the engine can be called");
        let id = loop {
            tokio::select! {
                biased;
                id = events.started(&from) => break id,
                Some(event) = call.event() => match event {
                    PhoneEvent::Ended(ended) if is_full(&ended) => {
                        pause.tick().await;
                        call = phone.dial(&engine.uri(number), dial.clone()).await.expect("the engine can be called");
                    }
                    event => early.push_back(event),
                },
            }
        };
        Self { call, id, events, early, phone }
    }

    /// Waits for the answer.
    ///
    /// # Panics
    /// When there is none.
    pub async fn answer(&mut self) {
        self.event("an answer", |event| matches!(event, PhoneEvent::Answered { .. }).then_some(())).await;
    }

    /// Waits for an event of the phone.
    ///
    /// # Panics
    /// When the call ends instead.
    pub async fn event<T>(&mut self, what: &str, mut look: impl FnMut(&PhoneEvent) -> Option<T>) -> T {
        while let Some(event) = self.early.pop_front() {
            if let Some(found) = look(&event) {
                return found;
            }
            assert!(!matches!(event, PhoneEvent::Ended(_)), "waited for {what}, but: {event:?}");
        }
        within(what, self.call.wait(look)).await.unwrap_or_else(|ended| panic!("waited for {what}, but: {ended}"))
    }

    /// Waits until a stock prompt was heard from begin to end, after octet `after`; where it ended.
    pub async fn hears(&self, name: &str, after: usize) -> usize {
        let audio = audio::prompt(name);
        heard(&self.call, name, &audio, |capture| capture.find(&audio, after)).await + audio.len()
    }

    /// Waits until the first 200 ms of a stock prompt were heard after octet `after`; where they began.
    pub async fn hears_begin(&self, name: &str, after: usize) -> usize {
        let audio = audio::prompt(name);
        let start = audio.iter().position(|octet| *octet != audio::SILENCE).unwrap_or(0);
        let begin = &audio[start..start + 1_600];
        heard(&self.call, name, begin, |capture| capture.find(begin, after)).await
    }

    /// Waits for a line of the call's log that contains `text`.
    pub async fn logged(&mut self, text: &str) -> Value {
        let id = self.id.clone();
        self.events
            .find(&format!("a log line with `{text}`"), |event| {
                let line = event["entry"]["text"].as_str().unwrap_or_default();
                (event["type"] == "log" && event["call"] == *id && line.contains(text)).then(|| event["entry"].clone())
            })
            .await
    }

    /// Waits for a line of the call's timeline, of its log aside.
    pub async fn entry(&mut self, what: &str, is_it: impl Fn(&Value) -> bool) {
        let id = self.id.clone();
        let look = |event: &Value| (event["type"] == "timeline" && event["call"] == *id && is_it(&event["entry"])).then_some(());
        self.events.find(what, look).await;
    }

    /// Waits until the call is in that state: `early`, `answered`, ….
    pub async fn state(&mut self, state: &str) {
        let id = self.id.clone();
        self.events
            .find(&format!("state {state}"), |event| {
                (event["type"] == "call-state" && event["call"] == *id && event["state"] == state).then_some(())
            })
            .await;
    }

    /// Hangs up and waits for the end.
    pub async fn hang_up(self, engine: &Engine) -> Story {
        self.call.hangup();
        self.over(engine).await
    }

    /// Waits until both sides know that the call is over.
    pub async fn over(mut self, engine: &Engine) -> Story {
        let early = self.early.into_iter().find_map(|event| match event {
            PhoneEvent::Ended(ended) => Some(ended),
            _ => None,
        });
        let ended = match early {
            Some(ended) => ended,
            None => within("the end of the call", self.call.ended()).await,
        };
        let timeline = engine.whole_timeline(&self.id).await;
        let (heard, continuity) = self.call.heard().with(|capture| (capture.in_order().to_vec(), capture.continuity()));
        self.phone.stop().await;
        Story { ended, heard, continuity, timeline }
    }
}

/// What is known of a call that is over.
#[derive(Debug)]
pub struct Story {
    /// How it ended for the phone.
    pub ended: Ended,
    /// µ-law, the audio of every packet behind that of the one before it.
    pub heard: Vec<u8>,
    pub continuity: Continuity,
    pub timeline: Value,
}

impl Story {
    fn entries(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.timeline["entries"].as_array().into_iter().flatten().filter(move |entry| entry["kind"] == kind)
    }

    /// The operations of the script, in the order it issued them.
    pub fn operations(&self) -> Vec<&Value> {
        self.entries("operation").collect()
    }

    /// The names of the operations.
    pub fn names(&self) -> Vec<&str> {
        self.entries("operation").filter_map(|entry| entry["name"].as_str()).collect()
    }

    /// The lines of the call's log.
    pub fn logs(&self) -> Vec<&str> {
        self.entries("log").filter_map(|entry| entry["text"].as_str()).collect()
    }

    /// Whether a line of the log contains `text`.
    pub fn has_logged(&self, text: &str) -> bool {
        self.logs().iter().any(|line| line.contains(text))
    }

    /// What the script logged as `name JSON`.
    ///
    /// # Panics
    /// When it did not.
    pub fn value(&self, name: &str) -> Value {
        let found = self.logs().into_iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let text = found.unwrap_or_else(|| panic!("the script logged no {name}: {:#}", self.timeline));
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{name}: {error} in {text}"))
    }

    /// The SIP messages in one direction, by start line.
    pub fn sip(&self, direction: &str) -> Vec<&str> {
        self.entries("sip")
            .filter(|entry| entry["direction"] == direction)
            .filter_map(|entry| entry["summary"].as_str())
            .collect()
    }

    /// Checks what was heard, silence around it aside.
    ///
    /// # Panics
    /// When it was something else.
    pub fn assert_heard(&self, expected: &[Spoken]) {
        if let Err(difference) = audio::compare(&self.heard, expected) {
            panic!("{difference}\n{:#}", self.timeline);
        }
    }

    /// Checks what was heard, all silence aside: where some of it was forwarded, see [`audio::is_spoken`].
    ///
    /// # Panics
    /// When it was something else.
    pub fn assert_spoken(&self, expected: &[Spoken]) {
        let expected: Vec<Spoken> = expected.iter().map(Spoken::without_pauses).collect();
        if let Err(difference) = audio::compare(&audio::without_pauses(&self.heard, audio::SILENCE), &expected) {
            panic!("{difference} without its pauses\n{:#}", self.timeline);
        }
    }

    /// Checks that the audio was one RTP stream whose packets all came, in order, and whose timestamps leave out time only where a
    /// talkspurt begins: between two of them, or where the machine let packets leave too late.
    ///
    /// # Panics
    /// When it was not.
    pub fn assert_unbroken(&self) {
        let Continuity { streams, sequence_breaks, timestamp_breaks, .. } = self.continuity;
        assert_eq!((streams, sequence_breaks, timestamp_breaks), (1, 0, 0), "{:?}", self.continuity);
    }
}
