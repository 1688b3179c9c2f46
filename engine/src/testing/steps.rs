//! The steps of tests, one after another: arguments, and what is done or waited for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lockstep_ctx_api::host::HostReply;
use lockstep_ctx_api::op::Vars;
use lockstep_ctx_api::{ErrorCode, OpError, OpId};
use lockstep_media::digit::Digit;
use lockstep_media::stream::DtmfMethod;
use serde_json::{Value, json};

use super::options::{PhoneOptions, Sound, StepOptions, Text, millis};
use super::session::{Session, misuse};
use super::tone;
use super::wait::{Awaited, Hears};
use crate::host::Arguments;
use crate::runs::{Order, RunKind};
use crate::script::Program;
use crate::simulation::{Answer, LATENCY, PhoneCallId, PhoneError, PhoneId, Reply, UrlMatch, speech};

/// How long a step waits that says nothing of it.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long keys and gaps between them last where a step says nothing.
const KEY: Duration = Duration::from_millis(100);
/// The longest sequence of keys.
const MAX_KEYS: usize = 100;

impl Session {
    /// Carries a step out; `None` when it waits.
    pub(super) fn carry_out(&mut self, op: OpId, step: &str, mut args: Arguments) -> Result<Option<HostReply>, OpError> {
        if let Some(why) = virtual_only(step).filter(|_| self.stage.is_real()) {
            self.skip(format!("{step}: {why}"));
            return Ok(None);
        }
        match step {
            "register" => self.register(&mut args),
            "gateway" => self.gateway(&mut args),
            "registered" => {
                let phone = self.phone(&mut args)?;
                self.wait(op, Awaited::Registered(phone), PATIENCE);
                Ok(None)
            }
            "unregister" => {
                let phone = self.phone(&mut args)?;
                self.stage.phones.unregister(self.stage.now(), phone);
                Ok(Some(HostReply::undefined()))
            }
            "dial" => self.dial(op, &mut args),
            "incoming" => {
                let phone = self.phone(&mut args)?;
                let limit = limit_of(&mut args)?;
                self.wait(op, Awaited::Incoming(phone), limit);
                Ok(None)
            }
            "http" => self.lay_out(&mut args),
            "requests" => Ok(Some(self.requests())),
            "speech" => {
                let why = args.opt_text("message")?;
                self.stage.audio_mut().fail_speech(why);
                Ok(Some(HostReply::undefined()))
            }
            "spoken" => Ok(Some(HostReply::json(&json!(self.stage.audio().spoken())))),
            "recordings" => {
                let audio = self.stage.audio();
                let list = audio
                    .recordings()
                    .map(|(file, kept)| json!({ "file": file, "channels": kept.channels, "duration_ms": kept.mono.len() / 8 }));
                Ok(Some(HostReply::json(&Value::Array(list.collect()))))
            }
            "advance" => {
                let time = millis(args.number("ms")?);
                let until = self.stage.now() + time;
                self.wait(op, Awaited::Time(until), time + PATIENCE);
                Ok(None)
            }
            "run" => self.run(op, &mut args),
            "replays" => self.replays(&mut args),
            _ => self.on_call(op, step, &mut args),
        }
    }

    /// Leaves the test out: here it cannot do what it says.
    fn skip(&mut self, why: String) {
        self.skipped = Some(why);
    }

    fn phone(&self, args: &mut Arguments) -> Result<PhoneId, OpError> {
        let number = args.number("phone")? as u64;
        self.phones.get(&number).copied().ok_or_else(|| misuse("there is no such phone".to_owned()))
    }

    /// The phone of this number; made, if there is none yet.
    fn phone_for(&mut self, number: u64, user: &str, options: &PhoneOptions) -> Result<PhoneId, OpError> {
        if let Some(phone) = self.phones.get(&number) {
            return Ok(*phone);
        }
        let password = self.stage.project().password_of(user);
        if options.network.is_some() && self.stage.is_real() {
            self.skip("a line that loses or delays packets needs the simulated network".to_owned());
        }
        let settings = options.settings(user, password).map_err(misuse)?;
        let phone = self.stage.add_phone(settings, None).map_err(refused)?;
        if let (Some(line), Some(address)) = (options.network, self.stage.phones.address(phone)) {
            self.stage.set_line(address.ip(), line.conditions());
        }
        self.phones.insert(number, phone);
        Ok(phone)
    }

    fn register(&mut self, args: &mut Arguments) -> Result<Option<HostReply>, OpError> {
        let number = args.number("phone")? as u64;
        let user = args.text("user")?;
        let options: PhoneOptions = args.shape("options")?;
        if options.password.is_none() && self.stage.project().password_of(&user).is_none() {
            let known: Vec<&str> = self.stage.project().config.users.iter().map(|user| user.name.as_str()).collect();
            let known = if known.is_empty() { "it has none".to_owned() } else { format!("it has {}", known.join(", ")) };
            return Err(misuse(format!("phone.register({user:?}): no [[user]] of the configuration has that name; {known}")));
        }
        let phone = self.phone_for(number, &user, &options)?;
        self.stage.phones.register(self.stage.now(), phone);
        Ok(Some(HostReply::undefined()))
    }

    fn gateway(&mut self, args: &mut Arguments) -> Result<Option<HostReply>, OpError> {
        let number = args.number("phone")? as u64;
        let which = args.text("gateway")?;
        let options: PhoneOptions = args.shape("options")?;
        let by_id = self.stage.project().config.gateways.iter().find(|gateway| gateway.id.to_string() == which);
        let name = by_id.map_or_else(|| which.clone(), |gateway| gateway.address.to_string());
        let name = name.strip_prefix("sip:").unwrap_or(&name).to_owned();
        let uri = lockstep_sip::message::Uri::parse(&format!("sip:{name}"))
            .map_err(|_| misuse(format!("phone.gateway({which:?}): expected the id of a [[gateway]], or a host")))?;
        let sip = uri.as_sip().ok_or_else(|| misuse(format!("phone.gateway({which:?}): expected a SIP address")))?;
        let port = sip.port.unwrap_or(5060);
        let address = match sip.host.ip() {
            Some(ip) => std::net::SocketAddr::new(ip, port),
            None => self.stage.address_of_name(&sip.host.to_string(), port),
        };
        if self.stage.phones.is_at(address) {
            return Err(misuse(format!("phone.gateway({which:?}): somebody answers for it already")));
        }
        let settings = options.settings("gateway", None).map_err(misuse)?;
        let phone = self.stage.add_phone(settings, Some(address)).map_err(refused)?;
        if let Some(line) = options.network {
            self.stage.set_line(address.ip(), line.conditions());
        }
        self.phones.insert(number, phone);
        Ok(Some(HostReply::undefined()))
    }

    fn dial(&mut self, op: OpId, args: &mut Arguments) -> Result<Option<HostReply>, OpError> {
        let number = args.number("phone")? as u64;
        let target = args.text("target")?;
        let options: PhoneOptions = args.shape("options")?;
        if let Some(name) = options.of_phone().filter(|_| self.phones.contains_key(&number)) {
            let message =
                format!("phone.dial: `{name}` is of the phone: expected where it is registered, and here `headers` only");
            return Err(misuse(message));
        }
        let user = options.from.clone().unwrap_or_else(|| "caller".to_owned());
        let phone = self.phone_for(number, &user, &options)?;
        let headers = options.headers.clone().into_iter().collect();
        self.wait(op, Awaited::Dial { phone, target, headers }, PATIENCE);
        Ok(None)
    }

    fn lay_out(&mut self, args: &mut Arguments) -> Result<Option<HostReply>, OpError> {
        #[derive(Default, serde::Deserialize)]
        struct For {
            method: Option<String>,
            url: Option<Text>,
        }
        #[derive(Default, serde::Deserialize)]
        #[serde(default)]
        struct Given {
            status: Option<u16>,
            headers: Vec<(String, String)>,
            body: String,
            failure: Option<String>,
            nothing: bool,
        }
        #[derive(Default, serde::Deserialize)]
        #[serde(default)]
        struct When {
            delay_ms: Option<f64>,
            times: Option<u32>,
        }
        let (target, given, when): (For, Given, When) = (args.shape("for")?, args.shape("reply")?, args.shape("options")?);
        let url = match target.url.ok_or_else(|| misuse("http.on: expected a URL".to_owned()))? {
            Text::Plain(url) => UrlMatch::Text(url),
            pattern => match pattern.matcher().map_err(misuse)? {
                super::options::TextMatch::Pattern(pattern) => UrlMatch::Pattern(pattern),
                super::options::TextMatch::Part(text) => UrlMatch::Text(text),
            },
        };
        let reply = match (given.failure, given.nothing, given.status) {
            (Some(why), _, _) => Reply::Failure(why),
            (None, true, _) => Reply::Nothing,
            (None, false, status) => {
                Reply::Response { status: status.unwrap_or(200), headers: given.headers, body: given.body.into_bytes() }
            }
        };
        let delay = when.delay_ms.map_or(LATENCY, millis);
        self.stage.http.lay_out(Answer { method: target.method, url, reply, delay, times: when.times });
        Ok(Some(HostReply::undefined()))
    }

    fn requests(&self) -> HostReply {
        let requests = self.stage.http.requests().iter().map(|request| {
            let headers: BTreeMap<&str, &str> =
                request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let body = request.body.as_ref().map(|body| String::from_utf8_lossy(body).into_owned());
            json!({ "method": request.method, "url": request.url, "headers": headers, "body": body })
        });
        HostReply::json(&Value::Array(requests.collect()))
    }

    fn run(&mut self, op: OpId, args: &mut Arguments) -> Result<Option<HostReply>, OpError> {
        let kind = args.text("kind")?;
        let script = args.opt_text("script")?;
        let function = args.opt_text("fn")?;
        let data = args.json("data")?;
        let program = script.as_deref().map(|name| self.script(name)).transpose()?;
        let kind = match kind.as_str() {
            "hook" => return self.hook(op, script.as_deref(), &data),
            "driver" => RunKind::Driver,
            "form" => RunKind::Form,
            _ => RunKind::Api,
        };
        let program = program.ok_or_else(|| misuse("expected the name of a script".to_owned()))?;
        let limit = program.settings.timeout_s.map_or(kind.timeout(), Duration::from_secs_f64);
        let order = Order { program, kind, function, data, env: Vars::new(), timeout: limit, seed: [9; 32] };
        self.run_script(op, order, limit + PATIENCE)?;
        Ok(None)
    }

    fn script(&self, name: &str) -> Result<Arc<Program>, OpError> {
        let programs = &self.stage.project().programs;
        programs.by_name(name).cloned().ok_or_else(|| {
            let why = programs.problem(name).or_else(|| programs.problem(&format!("{name}.js")));
            misuse(why.map_or_else(|| format!("no script {name}"), |problem| problem.to_string()))
        })
    }

    /// The Class 4 hook, by `script` or by all that apply.
    fn hook(&mut self, op: OpId, script: Option<&str>, data: &str) -> Result<Option<HostReply>, OpError> {
        let (changed, took) = self.stage.hook(data, script);
        let result = changed.map(|value| HostReply { value, body: None }).map_err(|rejection| {
            let why = rejection.why.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
            OpError::new(ErrorCode::InvalidState, format!("{rejection}{why}"))
        });
        self.complete_step_after(took, op, result);
        Ok(None)
    }

    /// A recorded call whose script is to ask for what it asked for then.
    fn replays(&self, args: &mut Arguments) -> Result<Option<HostReply>, OpError> {
        let (file, script) = (args.text("file")?, args.opt_text("script")?);
        let turns = super::recorded::repeats(self.stage.project(), self.test_file(), &file, script.as_deref())?;
        Ok(Some(HostReply::json(&json!({ "turns": turns }))))
    }

    /// Steps about one call.
    fn on_call(&mut self, op: OpId, step: &str, args: &mut Arguments) -> Result<Option<HostReply>, OpError> {
        let id = PhoneCallId(args.number("call")? as usize);
        let Some(call) = self.stage.phones.call(id) else { return Err(misuse("there is no such call".to_owned())) };
        let (heard, keys) = (call.heard.len(), call.keys.len());
        let now = self.stage.now();
        let done = |session: &Self| Ok(Some(session.reply(Some(id), Value::Null)));
        match step {
            "answered" => self.wait_for(op, args, Awaited::Answered(id)),
            "ringing" => self.wait_for(op, args, Awaited::Ringing(id)),
            "ended" => self.wait_for(op, args, Awaited::Ended(id)),
            "answer" => {
                self.stage.phones.answer(now, id).map_err(refused)?;
                self.wait(op, Awaited::Answered(id), PATIENCE);
                Ok(None)
            }
            "ring" => {
                self.stage.phones.ring(now, id).map_err(refused)?;
                done(self)
            }
            "reject" => {
                let code = args.number("code")? as u16;
                self.stage.phones.reject(now, id, code).map_err(refused)?;
                done(self)
            }
            "hangup" => {
                self.stage.phones.hang_up(now, id).map_err(refused)?;
                self.wait(op, Awaited::Ended(id), PATIENCE);
                Ok(None)
            }
            "hold" => {
                let hold = args.value() == Value::Bool(true);
                self.stage.phones.hold(now, id, hold).map_err(refused)?;
                self.wait(op, Awaited::Agreed(id), PATIENCE);
                Ok(None)
            }
            "press" => self.press(op, id, args),
            "receives" => {
                let wanted = args.text("keys")?.to_ascii_uppercase();
                keys_of(&wanted)?;
                let from = self.cursors.keys.get(&id).copied().unwrap_or(0).min(keys);
                self.wait_for(op, args, Awaited::Keys { call: id, wanted, from })
            }
            "says" => {
                let sound = sound_of(args)?;
                let limit = limit_of(args)?;
                self.say(id, &sound)?;
                self.wait(op, Awaited::Said(id), limit.max(Duration::from_secs(600)));
                Ok(None)
            }
            "hears" => self.hears(op, id, args),
            "silence" => {
                let time = millis(args.number("ms")?);
                self.wait(op, Awaited::Silence { call: id, from: heard, until: now + time }, time + PATIENCE);
                Ok(None)
            }
            "bridgedTo" => {
                let other = PhoneCallId(args.number("other")? as usize);
                let Some(b) = self.stage.phones.call(other) else { return Err(misuse("there is no such call".to_owned())) };
                let bridged = Awaited::Bridged { a: id, b: other, a_from: heard, b_from: b.heard.len() };
                self.wait_for(op, args, bridged)
            }
            "logs" | "timeline" => {
                let timeline = self.timeline_of(id);
                let value = match (step, timeline) {
                    ("timeline", timeline) => timeline,
                    (_, timeline) => logs_of(&timeline),
                };
                Ok(Some(self.reply(Some(id), value)))
            }
            "journal" => {
                let engine = super::narrate::engine_call(&mut self.stage, id);
                let journal = engine.and_then(|engine| self.stage.journal(&engine));
                Ok(Some(self.reply(Some(id), json!(journal))))
            }
            "quality" => {
                let stats = call.stats();
                let value = json!({
                    "sent": stats.packets_sent,
                    "received": stats.packets_received,
                    "lost": stats.packets_lost,
                    "jitter_ms": stats.jitter.as_secs_f64() * 1_000.0,
                    "reordered": stats.packets_reordered,
                });
                Ok(Some(self.reply(Some(id), value)))
            }
            other => Err(misuse(format!("there is no step {other}"))),
        }
    }

    fn wait_for(&mut self, op: OpId, args: &mut Arguments, what: Awaited) -> Result<Option<HostReply>, OpError> {
        let limit = limit_of(args)?;
        self.wait(op, what, limit);
        Ok(None)
    }

    fn press(&mut self, op: OpId, id: PhoneCallId, args: &mut Arguments) -> Result<Option<HostReply>, OpError> {
        let digits = keys_of(&args.text("keys")?)?;
        let options: StepOptions = args.shape("options")?;
        let method = match options.method.as_deref() {
            None | Some("rfc4733") => DtmfMethod::TelephoneEvent,
            Some("inband") => DtmfMethod::InBand,
            Some(other) => return Err(misuse(format!("call.press: method {other:?}: expected rfc4733 or inband"))),
        };
        let (duration, gap) = (options.duration_ms.map_or(KEY, millis), options.gap_ms.map_or(KEY, millis));
        let limit = (duration + gap) * u32::try_from(digits.len()).unwrap_or(u32::MAX) + PATIENCE;
        let now = self.stage.now();
        let number = self.stage.phones.press(now, id, digits, duration, gap, method).map_err(refused)?;
        self.wait(op, Awaited::Pressed { call: id, number }, limit);
        Ok(None)
    }

    fn say(&mut self, id: PhoneCallId, sound: &Sound) -> Result<(), OpError> {
        let codec = self.stage.phones.call(id).and_then(|call| call.negotiated()).map(|negotiated| negotiated.codec);
        let codec = codec.ok_or_else(|| misuse("call.says: the call has no audio yet".to_owned()))?;
        let now = self.stage.now();
        let find = |session: &Self, name: &str| session.stage.audio().find(now, name, codec);
        let prompt = match sound {
            Sound::Source(name) => find(self, name)?,
            Sound::Tone(tone) => find(self, &format!("tone:{tone},1000/0"))?,
            Sound::Tts(Text::Plain(text)) => Arc::new(speech(text, codec)),
            Sound::Tts(pattern) => return Err(misuse(format!("call.says: {pattern} is a pattern, nobody can say it"))),
        };
        self.stage.phones.say(now, id, vec![prompt]).map_err(refused)
    }

    fn hears(&mut self, op: OpId, id: PhoneCallId, args: &mut Arguments) -> Result<Option<HostReply>, OpError> {
        let sound = sound_of(args)?;
        let options: StepOptions = args.shape("options")?;
        let limit = options.timeout_ms.map_or(PATIENCE, millis);
        if matches!(sound, Sound::Tts(_)) && self.stage.is_real() {
            self.skip("hears: what a real voice says is not recognised".to_owned());
            return Ok(None);
        }
        let matcher = match &sound {
            Sound::Tts(text) => Some(text.matcher().map_err(misuse)?),
            Sound::Source(_) | Sound::Tone(_) => None,
        };
        let frequencies = match &sound {
            Sound::Tone(tone) => tone::frequencies(tone).map_err(misuse)?,
            Sound::Source(_) | Sound::Tts(_) => Vec::new(),
        };
        let from = self.cursors.heard.get(&id).copied().unwrap_or(0);
        let hears = Hears {
            call: id,
            sound,
            matcher,
            frequencies,
            at_least: options.at_least_ms.map(millis),
            from,
            looked: from,
            clips_known: 0,
            listeners: Vec::new(),
        };
        self.wait(op, Awaited::Hears(Box::new(hears)), limit);
        Ok(None)
    }

    /// The timeline that the engine has of a phone's call, as JSON.
    pub(super) fn timeline_of(&mut self, id: PhoneCallId) -> Value {
        let timeline = super::narrate::engine_call(&mut self.stage, id).and_then(|engine| self.stage.timeline(&engine));
        timeline.and_then(|timeline| serde_json::to_value(timeline).ok()).unwrap_or(Value::Null)
    }
}

fn logs_of(timeline: &Value) -> Value {
    let entries = timeline.get("entries").and_then(Value::as_array).cloned().unwrap_or_default();
    let lines = entries.into_iter().filter(|entry| entry.get("kind").is_some_and(|kind| kind == "log"));
    Value::Array(lines.filter_map(|entry| entry.get("text").cloned()).collect())
}

fn refused(error: PhoneError) -> OpError {
    misuse(error.to_string())
}

/// Why a step cannot be taken against a running engine, in real time.
fn virtual_only(step: &str) -> Option<&'static str> {
    match step {
        "advance" => Some("the time of a running engine cannot be set"),
        "http" | "requests" => Some("a running engine fetches from the network itself"),
        "speech" | "spoken" => Some("a running engine speaks with a voice of its own"),
        "recordings" => Some("a running engine writes recordings to files"),
        "gateway" => Some("a running engine here has no gateways"),
        _ => None,
    }
}

fn limit_of(args: &mut Arguments) -> Result<Duration, OpError> {
    let options: StepOptions = args.shape("options")?;
    Ok(options.timeout_ms.map_or(PATIENCE, millis))
}

fn sound_of(args: &mut Arguments) -> Result<Sound, OpError> {
    serde_json::from_value(args.value()).map_err(|error| misuse(format!("no sound: {error}")))
}

fn keys_of(keys: &str) -> Result<Vec<Digit>, OpError> {
    let digits: Option<Vec<Digit>> = keys.chars().map(Digit::from_char).collect();
    match digits {
        Some(digits) if (1..=MAX_KEYS).contains(&digits.len()) => Ok(digits),
        _ => Err(misuse(format!("{keys:?}: expected keys out of 0-9 * # A-D"))),
    }
}
