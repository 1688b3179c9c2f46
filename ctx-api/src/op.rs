//! Operations: everything a script can ask of the platform.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::host::HostCall;

/// Names one operation of one call: the turn that issued it and its place within that turn.
///
/// The same script fed the same journal issues the same ids, which is what lets a rebuilt script find the outcomes of
/// operations that have already run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OpId {
    /// The turn of the script in which the operation was issued, counted from 0.
    pub turn: u32,
    /// Its place among the operations of that turn, counted from 0.
    pub ordinal: u32,
}

impl fmt::Display for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.turn, self.ordinal)
    }
}

/// How an operation relates to the call's queue (contract, section 2.1 rule 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpClass {
    /// Runs after everything queued before it.
    Queued,
    /// Cuts off what is playing when nothing un-awaited is ahead of it; otherwise waits its turn.
    Cutting,
    /// Takes effect at once, whatever is queued: settings, starting and stopping a recording.
    Immediate,
    /// Not about the call's media or signalling: `fetch` and its like; concurrent, and outlives nothing.
    Host,
}

/// One operation, with its arguments converted and checked for shape.
///
/// Times are in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "a call has a handful of them, and each is moved a few times")]
pub enum Op {
    Set(SetArgs),
    SetHeader(SetHeaderArgs),
    BlockDtmf(BlockDtmfArgs),
    UnblockDtmf,
    Record(RecordArgs),
    RecordControl(RecordControlArgs),

    Answer(AnswerArgs),
    Ring(RingArgs),
    EarlyMedia,
    Play(PlayArgs),
    Tts(TtsArgs),
    Ivr(IvrArgs),
    Gather(GatherArgs),
    SendDtmf(SendDtmfArgs),
    Echo(EchoArgs),
    Bridge(BridgeArgs),
    Sleep(SleepArgs),

    Reject(RejectArgs),
    Redirect(RedirectArgs),
    Hangup(HangupArgs),

    Fetch(FetchArgs),
    Host(HostCall),
}

impl Op {
    /// The name a script author knows the operation by.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Set(_) => "set",
            Self::SetHeader(_) => "header",
            Self::BlockDtmf(_) => "blockDtmf",
            Self::UnblockDtmf => "unblockDtmf",
            Self::Record(_) => "record",
            Self::RecordControl(args) => args.action.name(),
            Self::Answer(_) => "answer",
            Self::Ring(_) => "ring",
            Self::EarlyMedia => "earlyMedia",
            Self::Play(_) => "play",
            Self::Tts(_) => "tts",
            Self::Ivr(_) => "ivr",
            Self::Gather(_) => "gather",
            Self::SendDtmf(_) => "sendDtmf",
            Self::Echo(_) => "echo",
            Self::Bridge(_) => "bridge",
            Self::Sleep(_) => "sleep",
            Self::Reject(_) => "reject",
            Self::Redirect(_) => "redirect",
            Self::Hangup(_) => "hangup",
            Self::Fetch(_) => "fetch",
            Self::Host(_) => "host",
        }
    }

    /// As messages name it: a call of a service by that service and its function.
    pub fn label(&self) -> Cow<'static, str> {
        match self {
            Self::Host(call) => Cow::Owned(call.label()),
            other => Cow::Borrowed(other.name()),
        }
    }

    /// How the operation relates to the call's queue.
    pub fn class(&self) -> OpClass {
        match self {
            Self::Set(_)
            | Self::SetHeader(_)
            | Self::BlockDtmf(_)
            | Self::UnblockDtmf
            | Self::Record(_)
            | Self::RecordControl(_) => OpClass::Immediate,
            Self::Answer(_)
            | Self::Ring(_)
            | Self::EarlyMedia
            | Self::Play(_)
            | Self::Tts(_)
            | Self::Ivr(_)
            | Self::Gather(_)
            | Self::SendDtmf(_)
            | Self::Echo(_)
            | Self::Bridge(_)
            | Self::Sleep(_) => OpClass::Queued,
            Self::Reject(_) | Self::Redirect(_) | Self::Hangup(_) => OpClass::Cutting,
            Self::Fetch(_) | Self::Host(_) => OpClass::Host,
        }
    }
}

/// Header fields in the order the script gave them. Names and values hold no control characters but tabs: the binding refuses others.
pub type Headers = Vec<(String, String)>;

/// Arguments of `ctx.set(k, v, skipWrite)`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SetArgs {
    pub key: String,
    /// `None` removes the variable.
    pub value: Option<String>,
    /// Only the script's own `ctx.get` has it: neither the channel nor the legs of a bridge.
    pub skip_write: bool,
}

/// Arguments of `ctx.header(name, value)`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SetHeaderArgs {
    pub name: String,
    pub value: String,
}

/// Arguments of `ctx.blockDtmf(digits)`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BlockDtmfArgs {
    pub digits: String,
}

/// Arguments of `ctx.answer({headers, codecs})`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AnswerArgs {
    pub headers: Headers,
    /// Codec names in order of preference; empty: as configured.
    pub codecs: Vec<String>,
}

/// Arguments of `ctx.ring({headers})`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RingArgs {
    pub headers: Headers,
}

/// Arguments of `ctx.play(sources, options)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlayArgs {
    /// `user/x.wav`, `ivr/x.wav`, `https://…`, `tone:…`, `silence:…`, played one after another.
    pub sources: Vec<String>,
    /// How often the whole list is played; 0: until stopped.
    pub repeat: u32,
    pub start_ms: u64,
    pub volume_db: f64,
    /// Digits any of which stops the audio; empty: none does.
    pub stop_on: String,
}

impl Default for PlayArgs {
    fn default() -> Self {
        Self { sources: Vec::new(), repeat: 1, start_ms: 0, volume_db: 0.0, stop_on: String::new() }
    }
}

/// Arguments of `ctx.tts(text, options)`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TtsArgs {
    pub text: String,
    pub provider: Option<String>,
    pub voice: Option<String>,
    pub language: Option<String>,
    pub ssml: bool,
    /// The `play` options; its `sources` are unused.
    pub play: PlayArgs,
}

/// Arguments of `ctx.ivr(file, timeout, min, max, terminators, options)`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct IvrArgs {
    pub file: Option<String>,
    /// Counted from the end of the audio, and again from each digit.
    pub timeout_ms: u64,
    pub min: u32,
    pub max: u32,
    pub terminators: String,
    pub tries: u32,
    pub invalid_file: Option<String>,
    /// What the digits must match as a whole; JavaScript syntax.
    pub regexp: Option<String>,
    pub transfer_on_failure: Option<String>,
    /// Drop the digits keyed before this operation.
    pub flush: bool,
}

/// What `gather` plays while it listens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Prompt {
    Play(Vec<String>),
    Tts(TtsArgs),
}

/// Arguments of `ctx.gather(options)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GatherArgs {
    pub prompt: Option<Prompt>,
    pub invalid_prompt: Option<Prompt>,
    pub min: u32,
    pub max: u32,
    pub terminators: String,
    /// From the end of the prompt to the first digit.
    pub timeout_ms: u64,
    pub inter_digit_timeout_ms: u64,
    pub regexp: Option<String>,
    pub tries: u32,
    pub barge_in: bool,
    pub flush: bool,
    /// Speech was asked for too; a backend without a recogniser completes with `NotConfigured`.
    pub speech: Option<SpeechArgs>,
}

/// The `speech` part of `gather`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SpeechArgs {
    pub language: Option<String>,
    pub hints: Vec<String>,
    pub grammar: Option<String>,
    pub end_silence_ms: Option<u64>,
}

/// How `sendDtmf` sends its digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DtmfMethod {
    /// RFC 4733 telephone-event packets.
    #[default]
    Rfc4733,
    /// SIP INFO with `application/dtmf-relay`.
    Info,
    /// Tones in the audio.
    Inband,
}

/// The most characters spoken at once; a longer text is a document, not an announcement.
pub const MAX_SPOKEN: usize = 10_000;

/// The most keys and pauses that `ctx.sendDtmf` takes.
pub const MAX_DTMF_KEYS: usize = 256;

/// Arguments of `ctx.sendDtmf(digits, options)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SendDtmfArgs {
    /// `0-9*#A-D`; `w` waits half a second, `W` a whole one.
    pub digits: String,
    pub duration_ms: u32,
    pub gap_ms: u32,
    /// `None`: RFC 4733 where the peer takes it, else in-band.
    pub method: Option<DtmfMethod>,
}

/// Arguments of `ctx.echo(delay_ms)`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EchoArgs {
    pub delay_ms: u32,
}

/// File format of a recording.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordFormat {
    #[default]
    Wav,
    Ogg,
}

impl RecordFormat {
    /// What a recording's name asks for by its extension.
    pub fn of(name: &str) -> Self {
        let is_ogg = Path::new(name).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("ogg"));
        if is_ogg { Self::Ogg } else { Self::Wav }
    }

    /// What its files' names end with.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Wav => "wav",
            Self::Ogg => "ogg",
        }
    }
}

/// Which side of the call a recording hears.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordDirection {
    #[default]
    Both,
    /// What the caller says.
    In,
    /// What the caller hears.
    Out,
}

/// Arguments of `ctx.record(name, options)`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RecordArgs {
    pub name: String,
    pub format: RecordFormat,
    /// Caller left, callee right.
    pub stereo: bool,
    pub direction: RecordDirection,
}

/// What is done to a running recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordAction {
    Pause,
    Resume,
    Stop,
}

impl RecordAction {
    /// The handle's method name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pause => "record.pause",
            Self::Resume => "record.resume",
            Self::Stop => "record.stop",
        }
    }
}

/// Arguments of a method of a recording's handle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordControlArgs {
    /// The `record` operation that started it.
    pub recording: OpId,
    pub action: RecordAction,
}

/// One target of a bridge.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BridgeTarget {
    /// Extension, registered user, Class 5 destination, number, or `sip:` URI.
    pub uri: String,
    pub headers: Headers,
    pub caller_id: Option<String>,
    pub from_name: Option<String>,
    pub timeout_ms: Option<u64>,
}

/// Whether several targets ring together or in turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BridgeStrategy {
    #[default]
    Parallel,
    Sequential,
}

/// Whether the script goes on after a bridge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContinueOn {
    /// `false`: the call ends with the bridge.
    #[default]
    Never,
    /// `true`
    Always,
    /// `'fail'`: only if it was not answered.
    Fail,
    /// `'completed'`: only if it was answered.
    Completed,
}

/// How long whoever is called rings where nobody says.
pub const RING_TIME: Duration = Duration::from_secs(60);

/// The most destinations one bridge takes.
pub const MAX_BRIDGE_TARGETS: usize = 32;

/// Arguments of `ctx.bridge(dest, options)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BridgeArgs {
    pub targets: Vec<BridgeTarget>,
    pub strategy: BridgeStrategy,
    /// How long targets may ring: all together when parallel, each when sequential. 0: the usual time.
    pub timeout_ms: u64,
    pub caller_id: Option<String>,
    pub from_name: Option<String>,
    pub headers: Headers,
    /// What the caller hears while it rings and the far end sends nothing: a play source; `None`: the local ring-back tone.
    pub ringback: Option<String>,
    /// Pass the far end's early media to the caller.
    pub early_media: bool,
    /// Played to the answering party before the two are joined.
    pub whisper: Option<String>,
    /// Played to the answering party, who must press a digit to accept.
    pub screen: Option<String>,
    /// Digit of the caller that ends the bridge.
    pub hangup_on: Option<String>,
    pub continue_on: ContinueOn,
    /// Record the joined call under this name.
    pub record: Option<String>,
    pub codecs: Vec<String>,
}

impl BridgeArgs {
    /// One target after the other, each for the usual ring time, and nothing else asked for.
    pub fn to(targets: Vec<BridgeTarget>) -> Self {
        Self {
            targets,
            strategy: BridgeStrategy::Sequential,
            timeout_ms: 0,
            caller_id: None,
            from_name: None,
            headers: Headers::new(),
            ringback: None,
            early_media: true,
            whisper: None,
            screen: None,
            hangup_on: None,
            continue_on: ContinueOn::Never,
            record: None,
            codecs: Vec::new(),
        }
    }
}

/// Arguments of `ctx.sleep(ms)`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SleepArgs {
    pub duration_ms: u64,
}

/// Arguments of `ctx.reject(code, reason)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RejectArgs {
    /// 400–699 (3xx: use `redirect`).
    pub code: u16,
    pub reason: Option<String>,
    pub headers: Headers,
}

/// Arguments of `ctx.redirect(uri)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RedirectArgs {
    /// 300–399.
    pub code: u16,
    pub contacts: Vec<String>,
}

/// Arguments of `ctx.hangup({code, reason, headers})`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HangupArgs {
    /// Before answer: the final response; after it: the cause in the BYE's Reason header.
    pub code: Option<u16>,
    pub reason: Option<String>,
    pub headers: Headers,
}

/// Arguments of `fetch(url, init)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FetchArgs {
    pub method: String,
    pub url: String,
    pub headers: Headers,
    #[serde(with = "crate::octets::opt")]
    pub body: Option<Vec<u8>>,
    pub redirect: FetchRedirect,
    pub timeout_ms: Option<u64>,
}

/// `fetch`'s `redirect` option.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FetchRedirect {
    #[default]
    Follow,
    Manual,
    Error,
}

/// What the variables that a script sets on its call may take together, names included, in bytes.
pub const MAX_SET_BYTES: usize = 1 << 20;

/// Call variables, in an order that does not depend on hashing.
pub type Vars = BTreeMap<String, String>;
