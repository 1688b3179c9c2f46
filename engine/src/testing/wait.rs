//! What a step of a test waits for.

use std::time::{Duration, Instant};

use lockstep_ctx_api::OpId;
use lockstep_media::codec::Codec;
use serde_json::{Value, json};

use super::listen::{Likeness, Listener};
use super::options::{Sound, TextMatch};
use super::tone;
use crate::simulation::{Call, ClipKind, PhoneCallId, PhoneId, RegistrationState, Simulation, State, is_quiet};

/// Octets of a second.
const SECOND: usize = 8_000;
/// How much of what one phone has sent is searched for what another one hears.
const RECENT: usize = 2 * SECOND;

/// A step that has not come true yet.
pub(super) struct Wait {
    pub(super) op: OpId,
    pub(super) what: Awaited,
    /// When it has failed.
    pub(super) deadline: Instant,
    pub(super) limit: Duration,
}

/// See the module.
pub(super) enum Awaited {
    Registered(PhoneId),
    Incoming(PhoneId),
    Ringing(PhoneCallId),
    Answered(PhoneCallId),
    Ended(PhoneCallId),
    /// The answer to its own new offer.
    Agreed(PhoneCallId),
    Pressed {
        call: PhoneCallId,
        number: u64,
    },
    Said(PhoneCallId),
    Keys {
        call: PhoneCallId,
        wanted: String,
        from: usize,
    },
    Hears(Box<Hears>),
    Silence {
        call: PhoneCallId,
        from: usize,
        until: Instant,
    },
    Bridged {
        a: PhoneCallId,
        b: PhoneCallId,
        a_from: usize,
        b_from: usize,
    },
    Time(Instant),
    /// Registrations under way, then a call.
    Dial {
        phone: PhoneId,
        target: String,
        headers: Vec<(String, String)>,
    },
    Run,
}

/// Listening for something.
pub(super) struct Hears {
    pub(super) call: PhoneCallId,
    pub(super) sound: Sound,
    /// For speech.
    pub(super) matcher: Option<TextMatch>,
    pub(super) frequencies: Vec<f64>,
    pub(super) at_least: Option<Duration>,
    pub(super) from: usize,
    /// How much had been heard at the last look.
    pub(super) looked: usize,
    pub(super) clips_known: usize,
    pub(super) listeners: Vec<(String, Listener)>,
}

/// What has become of a wait.
pub(super) enum Progress {
    Waiting,
    Done(Value),
    /// It cannot come true any more.
    Failed(String),
    Dialled(PhoneCallId),
}

impl Awaited {
    /// The moment at which it must be looked at even when nothing happens.
    pub(super) fn due(&self) -> Option<Instant> {
        match self {
            Self::Time(until) | Self::Silence { until, .. } => Some(*until),
            _ => None,
        }
    }

    /// The call it is about.
    pub(super) fn call(&self) -> Option<PhoneCallId> {
        match self {
            Self::Ringing(call)
            | Self::Answered(call)
            | Self::Ended(call)
            | Self::Agreed(call)
            | Self::Said(call)
            | Self::Pressed { call, .. }
            | Self::Keys { call, .. }
            | Self::Silence { call, .. } => Some(*call),
            Self::Bridged { a, .. } => Some(*a),
            Self::Hears(hears) => Some(hears.call),
            Self::Registered(_) | Self::Incoming(_) | Self::Time(_) | Self::Dial { .. } | Self::Run => None,
        }
    }

    /// What was expected, for a message.
    pub(super) fn expected(&self) -> String {
        match self {
            Self::Registered(_) => "the phone to be registered".to_owned(),
            Self::Incoming(_) => "a call to come in".to_owned(),
            Self::Ringing(_) => "the call to ring".to_owned(),
            Self::Answered(_) => "the call to be answered".to_owned(),
            Self::Ended(_) => "the call to end".to_owned(),
            Self::Agreed(_) => "the new offer to be answered".to_owned(),
            Self::Pressed { .. } => "the keys to be sent".to_owned(),
            Self::Said(_) => "it to be said".to_owned(),
            Self::Keys { wanted, .. } => format!("to receive the keys {wanted}"),
            Self::Hears(hears) => format!("to hear {}", hears.sound),
            Self::Silence { .. } => "silence".to_owned(),
            Self::Bridged { .. } => "the two calls to hear each other".to_owned(),
            Self::Time(_) => "time to pass".to_owned(),
            Self::Dial { .. } => "the phones to be registered before dialling".to_owned(),
            Self::Run => "the script to end".to_owned(),
        }
    }

    /// Looks whether it has come true.
    pub(super) fn look(&mut self, stage: &mut Simulation, cursors: &mut super::session::Cursors) -> Progress {
        let now = stage.now();
        match self {
            Self::Registered(phone) => match stage.phones.registration(*phone) {
                RegistrationState::Registered => Progress::Done(Value::Null),
                RegistrationState::Failed(why) => Progress::Failed(format!("the registration was refused: {why}")),
                RegistrationState::Absent => Progress::Failed("the phone does not register".to_owned()),
                RegistrationState::Pending => Progress::Waiting,
            },
            Self::Incoming(phone) => match stage.phones.next_incoming(*phone) {
                Some(call) => Progress::Dialled(call),
                None => Progress::Waiting,
            },
            Self::Ringing(id) => on_call(stage, *id, |call| match call.state {
                State::Calling { .. } if call.progress.iter().any(|(code, _)| *code >= 180) => Progress::Done(Value::Null),
                State::Up { .. } => Progress::Done(Value::Null),
                _ => over_or_waiting(call),
            }),
            Self::Answered(id) => on_call(stage, *id, |call| match call.state {
                State::Up { .. } => Progress::Done(Value::Null),
                State::Over(_) if call.answered.is_some() => Progress::Done(Value::Null),
                _ => over_or_waiting(call),
            }),
            Self::Ended(id) => on_call(stage, *id, |call| match call.ended() {
                Some(ended) => Progress::Done(json!({ "code": ended.code, "reason": ended.reason, "by": ended.by.name() })),
                None => Progress::Waiting,
            }),
            Self::Agreed(id) => on_call(stage, *id, |call| match call.reoffers() {
                true => over_or_waiting(call),
                false => Progress::Done(Value::Null),
            }),
            Self::Pressed { call, number } => on_call(stage, *call, |call| match call.ended() {
                _ if call.has_pressed(*number) => Progress::Done(Value::Null),
                Some(_) => Progress::Failed("the call ended before all keys were pressed".to_owned()),
                None => Progress::Waiting,
            }),
            Self::Said(call) => on_call(stage, *call, |call| match call.ended() {
                Some(_) => Progress::Failed("the call ended before it was said".to_owned()),
                None if call.is_speaking() => Progress::Waiting,
                None => Progress::Done(Value::Null),
            }),
            Self::Keys { call, wanted, from } => {
                let call_id = *call;
                on_call(stage, call_id, |call| {
                    let got: String = call.keys.iter().skip(*from).map(|key| key.key).collect();
                    if got.contains(wanted.as_str()) {
                        cursors.keys.insert(call_id, *from + got.find(wanted.as_str()).unwrap_or(0) + wanted.chars().count());
                        return Progress::Done(Value::String(got));
                    }
                    match call.ended() {
                        Some(_) => Progress::Failed(format!("the call ended; it received {got:?}")),
                        None => Progress::Waiting,
                    }
                })
            }
            Self::Hears(hears) => hears.look(stage, cursors),
            Self::Silence { call, from, until } => on_call(stage, *call, |call| {
                let heard = call.heard.octets().get(*from..).unwrap_or_default();
                let codec = call.heard.codec().unwrap_or(Codec::Pcmu);
                if let Some(loud) = heard.iter().position(|octet| !is_quiet(codec.decode_sample(*octet))) {
                    return Progress::Failed(format!("after {:.2} s something was heard", loud as f64 / SECOND as f64));
                }
                *from += heard.len();
                if now >= *until { Progress::Done(Value::Null) } else { Progress::Waiting }
            }),
            Self::Bridged { a, b, a_from, b_from } => {
                let (Some(a), Some(b)) = (stage.phones.call(*a), stage.phones.call(*b)) else {
                    return Progress::Failed("there is no such call".to_owned());
                };
                if let Some(ended) = a.ended().or_else(|| b.ended()) {
                    return Progress::Failed(format!("a call ended: {} {}", ended.code, ended.reason));
                }
                let both = hears_other(a, b, *a_from) && hears_other(b, a, *b_from);
                if both { Progress::Done(Value::Null) } else { Progress::Waiting }
            }
            Self::Time(until) => {
                if now >= *until {
                    Progress::Done(Value::Null)
                } else {
                    Progress::Waiting
                }
            }
            // A user who is being registered is found by whoever dials afterwards.
            Self::Dial { .. } if stage.phones.is_registering() => Progress::Waiting,
            Self::Dial { phone, target, headers } => match stage.phones.dial(now, *phone, target, headers) {
                Ok(call) => Progress::Dialled(call),
                Err(error) => Progress::Failed(error.to_string()),
            },
            // Its end is told by the runs themselves.
            Self::Run => Progress::Waiting,
        }
    }
}

fn on_call(stage: &Simulation, id: PhoneCallId, look: impl FnOnce(&Call) -> Progress) -> Progress {
    stage.phones.call(id).map_or_else(|| Progress::Failed("there is no such call".to_owned()), look)
}

fn over_or_waiting(call: &Call) -> Progress {
    match call.ended() {
        Some(ended) => Progress::Failed(format!("it ended: {} {}", ended.code, ended.reason)),
        None => Progress::Waiting,
    }
}

/// Whether the latest audio of `a` is what `b` has just sent: word for word, or translated by a bridge between codecs.
fn hears_other(a: &Call, b: &Call, from: usize) -> bool {
    use lockstep_media::codec::g711;
    const PIECE: usize = 120;
    let (heard, sent) = (a.heard.octets(), b.sent.octets());
    let Some(start) = heard.len().checked_sub(PIECE).filter(|start| *start >= from) else { return false };
    let piece = heard.get(start..).unwrap_or_default();
    if a.heard.missing(start..heard.len()) > 0 || piece.iter().all(|octet| Some(octet) == piece.first()) {
        return false;
    }
    let recent = sent.get(sent.len().saturating_sub(RECENT)..).unwrap_or_default();
    let translated: Vec<u8>;
    let recent = match (b.sent.codec(), a.heard.codec()) {
        (Some(Codec::Pcmu), Some(Codec::Pcma)) => {
            translated = recent.iter().map(|octet| g711::ULAW_TO_ALAW[usize::from(*octet)]).collect();
            translated.as_slice()
        }
        (Some(Codec::Pcma), Some(Codec::Pcmu)) => {
            translated = recent.iter().map(|octet| g711::ALAW_TO_ULAW[usize::from(*octet)]).collect();
            translated.as_slice()
        }
        _ => recent,
    };
    memchr::memmem::find(recent, piece).is_some()
}

impl Hears {
    fn look(&mut self, stage: &Simulation, cursors: &mut super::session::Cursors) -> Progress {
        let Some(call) = stage.phones.call(self.call) else { return Progress::Failed("there is no such call".to_owned()) };
        let Some(codec) = call.heard.codec() else { return self.unless_over(call) };
        if let Err(why) = self.prepare(stage, codec) {
            return Progress::Failed(why);
        }
        if call.heard.len() > self.looked {
            let found = match self.sound {
                Sound::Tone(_) => self.find_tone(call, codec),
                Sound::Source(_) | Sound::Tts(_) => self.find_clip(call),
            };
            self.looked = call.heard.len();
            if let Some((end, value)) = found {
                cursors.heard.insert(self.call, end);
                return Progress::Done(value);
            }
        }
        self.unless_over(call)
    }

    fn unless_over(&self, call: &Call) -> Progress {
        match call.ended() {
            Some(ended) => Progress::Failed(format!("the call ended: {} {}", ended.code, ended.reason)),
            None => Progress::Waiting,
        }
    }

    /// Makes the listeners, once the codec is known; speech is known when the engine has spoken it.
    fn prepare(&mut self, stage: &Simulation, codec: Codec) -> Result<(), String> {
        let at_least = self.at_least.map(|time| codec.payload_len(time));
        match &self.sound {
            Sound::Tone(_) => {}
            Sound::Source(name) if self.listeners.is_empty() => {
                let remote =
                    stage.audio().clips().iter().find(|clip| clip.name == *name && clip.prompt.codec() == codec).cloned();
                let found = match remote {
                    Some(clip) => Ok(clip.prompt),
                    None if name.contains("://") => return Ok(()),
                    None => stage.audio().find(stage.now(), name, codec),
                };
                let prompt = found.map_err(|error| error.message)?;
                let listener = Listener::new(codec, prompt.octets(), self.from, at_least);
                if !listener.is_audible() && !name.starts_with("tone:") {
                    return Err(format!("{name} is silent: nothing tells it from silence; use call.silence(ms)"));
                }
                self.listeners.push((name.clone(), listener));
            }
            Sound::Source(_) => {}
            Sound::Tts(_) => {
                let audio = stage.audio();
                let fresh = audio.clips().get(self.clips_known..).unwrap_or_default();
                for clip in fresh.iter().filter(|clip| clip.kind == ClipKind::Speech && clip.prompt.codec() == codec) {
                    if self.matcher.as_ref().is_some_and(|matcher| matcher.matches(&clip.name)) {
                        let listener = Listener::new(codec, clip.prompt.octets(), self.from, at_least);
                        self.listeners.push((clip.name.clone(), listener));
                        self.looked = self.from;
                    }
                }
                self.clips_known = audio.clips().len();
            }
        }
        Ok(())
    }

    fn find_clip(&mut self, call: &Call) -> Option<(usize, Value)> {
        for (name, listener) in &mut self.listeners {
            if let Some(found) = listener.look(&call.heard) {
                let (how, share) = match found.how {
                    Likeness::Exact => ("exact", 0.0),
                    Likeness::Lossy(share) => ("lossy", share),
                    Likeness::Similar(likeness) => ("similar", 1.0 - likeness),
                };
                let ms = |octets: usize| octets as f64 / 8.0;
                let value =
                    json!({ "what": name, "from_ms": ms(found.start), "to_ms": ms(found.end), "how": how, "missing": share });
                return Some((found.end, value));
            }
        }
        None
    }

    fn find_tone(&self, call: &Call, codec: Codec) -> Option<(usize, Value)> {
        // Whole windows only, some of them for the second time: a tone may have begun just before.
        let begin = self.looked.saturating_sub(4 * tone::WINDOW).max(self.from);
        let mut samples = Vec::new();
        codec.decode(call.heard.octets().get(begin..)?, &mut samples);
        let end = begin + tone::find(&samples, &self.frequencies)?;
        Some((end, json!({ "what": self.sound.to_string(), "to_ms": end as f64 / 8.0 })))
    }

    /// What came closest, for a message.
    pub(super) fn nearest(&self) -> Option<String> {
        let best = self.listeners.iter().filter_map(|(name, listener)| Some((name, listener.heard_at_best()?)));
        let (name, (length, start)) = best.max_by(|a, b| a.1.0.total_cmp(&b.1.0))?;
        Some(format!("{name} began at {start:.2} s and broke off after {length:.2} s"))
    }
}
