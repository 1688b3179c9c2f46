//! The one table of what `ctx` can do: types, documentation and the binding's list of methods come from it.

use std::fmt::Write as _;

use crate::error::ErrorCode::{self, *};

/// How an entry of the catalogue is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Joins the call's queue.
    Queued,
    /// Cuts off what is playing when nothing un-awaited is ahead of it; otherwise joins the queue.
    Cutting,
    /// A setting: takes effect at once.
    Immediate,
    /// A listener or a reader, answered in the worker.
    Local,
}

impl Class {
    fn describe(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Cutting => "cuts off",
            Self::Immediate => "at once",
            Self::Local => "listener",
        }
    }
}

/// One method of `ctx`.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    pub name: &'static str,
    /// TypeScript signatures without the name, one per calling form.
    pub signatures: &'static [&'static str],
    /// What it does, for whoever writes the script.
    pub doc: &'static str,
    pub class: Class,
    /// What it may reject with besides `CallEnded`, `AbortError` when it takes a signal, and `LimitError` past the operations of a turn.
    pub errors: &'static [ErrorCode],
    /// First version that carries it out; `None`: it rejects with `Unsupported`.
    pub since: Option<&'static str>,
}

const fn operation(
    name: &'static str,
    class: Class,
    since: Option<&'static str>,
    signatures: &'static [&'static str],
    errors: &'static [ErrorCode],
    doc: &'static str,
) -> Operation {
    Operation { name, signatures, doc, class, errors, since }
}

const V1: Option<&str> = Some("0.1.0");

/// Every method, in the order the documentation shows them.
pub const OPERATIONS: &[Operation] = &[
    operation(
        "get",
        Class::Local,
        V1,
        &["(key: string): string | undefined"],
        &[],
        "Reads a call variable: `sip_from_user`, `sip_from_host`, `sip_to_user`, `sip_call_id`, `sip_h_<Header>`, `caller_id_number`, `destination_number`, `call_id`, `network_addr`, and everything `set`.",
    ),
    operation(
        "set",
        Class::Immediate,
        V1,
        &["(key: string, value: string | number | boolean | null | undefined, skipWrite?: boolean): Promise<void>"],
        &[TypeError, RangeError, InvalidState, LimitError],
        "Sets a call variable; `null` or `undefined` removes it. `sip_h_X-…` set before a bridge becomes a header of the new leg. With `skipWrite` only `get` has it: neither the channel nor a leg.",
    ),
    operation(
        "header",
        Class::Immediate,
        V1,
        &["(name: string): string | undefined", "(name: string, value: string | number): Promise<void>"],
        &[TypeError, InvalidState, LimitError],
        "Reads a header of the incoming INVITE, or sets one for the next response or outgoing leg; the same name in that operation's own `headers` takes its place. Control characters other than tabs are refused.",
    ),
    operation("log", Class::Local, V1, &["(...values: unknown[]): void"], &[], "Writes a line to the call's own log."),
    operation(
        "answer",
        Class::Queued,
        V1,
        &["(options?: AnswerOptions): Promise<void>"],
        &[TypeError, RangeError, InvalidState, MediaError, LimitError, NetworkError],
        "Answers the call (200); resolves when the ACK is there.",
    ),
    operation(
        "ring",
        Class::Queued,
        V1,
        &["(options?: RingOptions): Promise<void>"],
        &[TypeError, InvalidState],
        "Sends 180 Ringing.",
    ),
    operation(
        "earlyMedia",
        Class::Queued,
        V1,
        &["(options?: Abortable): Promise<void>"],
        &[TypeError, InvalidState, MediaError, LimitError, NetworkError],
        "Starts media before the answer (183 with SDP).",
    ),
    operation(
        "reject",
        Class::Cutting,
        V1,
        &["(code?: number | string, reason?: string): Promise<void>", "(options: RejectOptions): Promise<void>"],
        &[TypeError, RangeError, InvalidState],
        "Refuses the call with a final response, 300 to 699; 603 Decline unless said otherwise. Of a 3xx the reason is the URI to which the caller is sent.",
    ),
    operation(
        "redirect",
        Class::Cutting,
        V1,
        &["(uri: string | string[], options?: RedirectOptions): Promise<void>"],
        &[TypeError, RangeError, InvalidState],
        "Sends the caller elsewhere (302).",
    ),
    operation(
        "hangup",
        Class::Cutting,
        V1,
        &["(options?: HangupOptions): Promise<void>", "(code: number, reason?: string): Promise<void>"],
        &[TypeError, RangeError, InvalidState],
        "Ends the call: BYE after the answer, a final response before it, as `reject` sends it.",
    ),
    operation(
        "play",
        Class::Queued,
        V1,
        &["(source: string | string[], options?: PlayOptions): Promise<Played>"],
        &[TypeError, RangeError, InvalidState, NotFound, MediaError, LimitError, NetworkError],
        "Plays `user/x.wav`, `ivr/x.wav`, `https://…`, `tone:350+440,1000/0` or `silence:500`; resolves after the last packet. On an unanswered call early media starts first.",
    ),
    operation(
        "tts",
        Class::Queued,
        V1,
        &["(text: string, options?: TtsOptions): Promise<Played>"],
        &[TypeError, RangeError, InvalidState, NotConfigured, MediaError, LimitError, NetworkError],
        "Speaks a text; resolves when it is spoken.",
    ),
    operation(
        "say",
        Class::Queued,
        V1,
        &["(text: string, options?: TtsOptions): Promise<Played>"],
        &[TypeError, RangeError, InvalidState, NotConfigured, MediaError, LimitError, NetworkError],
        "The same as `tts`.",
    ),
    operation(
        "ivr",
        Class::Queued,
        V1,
        &[
            "(file: string | null, timeout?: number, min?: number, max?: number, terminators?: string, options?: IvrOptions): Promise<IvrResult>",
            "(options: IvrOptions & { file?: string; timeout_ms?: number; min?: number; max?: number; terminators?: string }): Promise<IvrResult>",
        ],
        &[TypeError, RangeError, InvalidState, NotFound, MediaError, LimitError, NetworkError],
        "Plays a file and collects digits. `timeout` is in seconds, from the end of the audio and again from each digit; a digit stops the audio. Digits keyed before count first, unless `flush` drops them.",
    ),
    operation(
        "gather",
        Class::Queued,
        V1,
        &["(options?: GatherOptions): Promise<Gathered>"],
        &[TypeError, RangeError, InvalidState, NotFound, MediaError, NotConfigured, LimitError, NetworkError],
        "Collects digits, or speech where a recogniser is configured, behind a prompt.",
    ),
    operation(
        "waitFor",
        Class::Local,
        V1,
        &[
            "(match: string | RegExp | ((digits: string) => unknown), quit?: string | RegExp | ((digits: string) => unknown) | null, timeout?: number, options?: Abortable): Promise<string>",
        ],
        &[TypeError, RangeError, TimeoutError],
        "Waits until the digits keyed since this call match; consumes none. A string is a regular expression, or keys where it is none (`*`, `*9`). Rejects with `QuitError` on `quit`, after `timeout` (seconds; 1000 and more are milliseconds; 60 unless said otherwise), or with what a function throws. Many may wait at once.",
    ),
    operation(
        "on",
        Class::Local,
        V1,
        &["<E extends CtxEventName>(event: E, listener: (event: CtxEvents[E]) => void): this"],
        &[TypeError],
        "Listens to an event of the call. Listeners keep nothing alive.",
    ),
    operation(
        "once",
        Class::Local,
        V1,
        &["<E extends CtxEventName>(event: E, listener: (event: CtxEvents[E]) => void): this"],
        &[TypeError],
        "Listens to the next event of a kind.",
    ),
    operation(
        "off",
        Class::Local,
        V1,
        &["<E extends CtxEventName>(event: E, listener?: (event: CtxEvents[E]) => void): this"],
        &[],
        "Stops listening.",
    ),
    operation(
        "events",
        Class::Local,
        V1,
        &["(): AsyncIterableIterator<CtxEvents[CtxEventName]>"],
        &[],
        "Every event from now to the end of the call, for `for await`.",
    ),
    operation(
        "waitForHangup",
        Class::Local,
        V1,
        &["(): Promise<CallEndedCause>"],
        &[],
        "Resolves with the cause when the call is over.",
    ),
    operation(
        "blockDtmf",
        Class::Immediate,
        V1,
        &["(digits?: string): Promise<void>"],
        &[TypeError, RangeError, InvalidState],
        "Keeps digits (0-9 unless said otherwise) from the script and from the far end of a bridge.",
    ),
    operation("unblockDtmf", Class::Immediate, V1, &["(): Promise<void>"], &[InvalidState], "Undoes `blockDtmf`."),
    operation(
        "sendDtmf",
        Class::Queued,
        V1,
        &["(digits: string, options?: SendDtmfOptions): Promise<void>"],
        &[TypeError, RangeError, InvalidState],
        "Sends digits; `w` waits half a second, `W` a whole one.",
    ),
    operation(
        "echo",
        Class::Queued,
        V1,
        &["(delay_ms?: number, options?: Abortable): Promise<void>"],
        &[TypeError, RangeError, InvalidState, MediaError, LimitError, NetworkError],
        "Sends the caller's audio back, until hangup or abort.",
    ),
    operation(
        "record",
        Class::Immediate,
        V1,
        &["(name: string, options?: RecordOptions): Promise<Recording>"],
        &[TypeError, RangeError, InvalidState, NotFound, MediaError, LimitError, NetworkError],
        "Starts recording the call in the background; resolves with a handle once it has started.",
    ),
    operation(
        "bridge",
        Class::Queued,
        V1,
        &[
            "(destination: Destination | Destination[], options?: BridgeOptions | ContinueOn, unused?: boolean): Promise<BridgeResult>",
        ],
        &[TypeError, RangeError, InvalidState, LimitError, NetworkError],
        "Dials and joins; resolves at the end of the bridge, also when nobody could be reached: `status` and `code` say how it went. A destination is an extension or user, a Class 5 destination, a number, a `sip:` URI (`sip:1001@example.net?X-Id=7` sends the header field `X-Id`), or an object.",
    ),
    operation(
        "sleep",
        Class::Queued,
        V1,
        &["(ms: number, options?: Abortable): Promise<void>"],
        &[TypeError, RangeError, InvalidState],
        "Does nothing for a while.",
    ),
    operation(
        "recordMessage",
        Class::Queued,
        None,
        &["(name: string, options?: Record<string, unknown>): Promise<Recorded>"],
        &[Unsupported],
        "Records a voicemail-style message.",
    ),
    operation(
        "transfer",
        Class::Cutting,
        None,
        &["(target: string, options?: Record<string, unknown>): Promise<unknown>"],
        &[Unsupported],
        "Transfers the call (REFER).",
    ),
    operation(
        "hold",
        Class::Queued,
        None,
        &["(options?: Record<string, unknown>): Promise<void>"],
        &[Unsupported],
        "Puts the caller on hold.",
    ),
    operation("unhold", Class::Queued, None, &["(): Promise<void>"], &[Unsupported], "Takes the caller off hold."),
    operation("park", Class::Queued, None, &["(slot: string): Promise<void>"], &[Unsupported], "Parks the call in a slot."),
    operation("pickup", Class::Queued, None, &["(slot: string): Promise<void>"], &[Unsupported], "Picks up a parked call."),
    operation(
        "conference",
        Class::Queued,
        None,
        &["(room: string, options?: Record<string, unknown>): Promise<unknown>"],
        &[Unsupported],
        "Joins a conference room.",
    ),
    operation(
        "enqueue",
        Class::Queued,
        None,
        &["(queue: string, options?: Record<string, unknown>): Promise<unknown>"],
        &[Unsupported],
        "Waits in a queue.",
    ),
    operation(
        "voicemail",
        Class::Queued,
        None,
        &["(user: string, options?: Record<string, unknown>): Promise<unknown>"],
        &[Unsupported],
        "Leaves or hears voicemail.",
    ),
    operation(
        "stream",
        Class::Immediate,
        None,
        &["(url: string, options?: Record<string, unknown>): Promise<unknown>"],
        &[Unsupported],
        "Streams the audio over a WebSocket.",
    ),
    operation(
        "transcribeStart",
        Class::Immediate,
        None,
        &["(options?: Record<string, unknown>): Promise<void>"],
        &[Unsupported],
        "Starts transcribing the call.",
    ),
    operation("transcribeStop", Class::Immediate, None, &["(): Promise<void>"], &[Unsupported], "Stops transcribing the call."),
    operation(
        "detectMachine",
        Class::Queued,
        None,
        &["(options?: Record<string, unknown>): Promise<unknown>"],
        &[Unsupported],
        "Tells a person from a machine.",
    ),
];

/// The entry of that name.
pub fn find(name: &str) -> Option<&'static Operation> {
    OPERATIONS.iter().find(|operation| operation.name == name)
}

/// Whether the documentation says that an operation, or a method of its handle such as `record.stop`, may reject with `code`.
pub fn may_reject(name: &str, code: ErrorCode) -> bool {
    let method = name.split('.').next().unwrap_or(name);
    matches!(code, CallEnded | AbortError) || find(method).is_some_and(|operation| operation.errors.contains(&code))
}

/// Whether every call of that method becomes an operation, or a rejection that names it. Not so for `header`: reading it issues nothing.
pub fn is_issued(name: &str) -> bool {
    name != "header" && find(name).is_some_and(|operation| operation.class != Class::Local)
}

/// The text of `ctx.d.ts`: what an editor needs to know about a script's world.
pub fn type_declarations() -> String {
    let mut text = String::from(
        "// Types of Lockstep scripts. Generated from the catalogue of operations: `lockstep types` prints this file.\n\n",
    );
    text.push_str(include_str!("../types/shapes.d.ts"));
    text.push_str("\n/** The call a script owns. */\ninterface Ctx {\n  /** Facts of the call, as they are now. */\n  readonly call: CallFacts;\n");
    for operation in OPERATIONS {
        text.push('\n');
        for signature in operation.signatures {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  /** {}{} */\n  {}{signature};", operation.doc, availability(operation), operation.name);
        }
    }
    text.push_str("}\n\n");
    text.push_str(include_str!("../types/web.d.ts"));
    text.push_str(include_str!("../types/globals.d.ts"));
    text.push_str(include_str!("../types/modules.d.ts"));
    text.push_str(include_str!("../types/control.d.ts"));
    text.push_str(include_str!("../types/routing.d.ts"));
    text.push_str(include_str!("../types/packages.d.ts"));
    text.push_str(include_str!("../types/test.d.ts"));
    text
}

/// The text of `docs/ctx.md`.
pub fn reference() -> String {
    let mut text = String::from(
        "# `ctx`: the call\n\n\
         <!-- Generated from the catalogue of operations (`ctx-api/src/catalog.rs`); `cargo test -p lockstep-ctx-api` says when it is out of date. -->\n\n\
         Every operation returns a promise that resolves when the platform has finished it. *queued* operations run one after another,\n\
         awaited or not; those that *cut off* stop what is playing unless something un-awaited is ahead of them; *at once* and *listener*\n\
         do not wait for the queue. All pending operations reject with `CallEnded` when the call ends, and operations that take a\n\
         `signal` with `AbortError` when it is aborted. Past 10,000 operations in one turn any of them rejects with `LimitError`.\n\n\
         | operation | order | may reject with | since |\n|---|---|---|---|\n",
    );
    for operation in OPERATIONS {
        let errors: Vec<String> = operation.errors.iter().map(|code| format!("`{}`", code.name())).collect();
        let since = operation.since.unwrap_or("not yet");
        let _ = writeln!(
            text,
            "| [`{0}`](#{1}) | {2} | {3} | {since} |",
            operation.name,
            operation.name.to_lowercase(),
            operation.class.describe(),
            errors.join(", ")
        );
    }
    for operation in OPERATIONS {
        let _ = write!(text, "\n## {}\n\n```ts\n", operation.name);
        for signature in operation.signatures {
            let _ = writeln!(text, "ctx.{}{signature}", operation.name);
        }
        let _ = writeln!(text, "```\n\n{}{}", operation.doc, availability(operation));
    }
    text.push_str("\n## Shapes\n\n```ts\n");
    text.push_str(include_str!("../types/shapes.d.ts"));
    text.push_str("```\n");
    text
}

fn availability(operation: &Operation) -> &'static str {
    if operation.since.is_some() { "" } else { " Not yet available: rejects with `Unsupported`." }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn committed(path: &str) -> String {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Set `LOCKSTEP_BLESS=1` to write the files instead of comparing them.
    fn assert_generated(path: &str, text: &str) {
        if std::env::var_os("LOCKSTEP_BLESS").is_some() {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
            std::fs::write(path, text).expect("the file can be written");
        }
        assert!(committed(path) == text, "{path} is out of date: run the tests of this crate once with LOCKSTEP_BLESS=1");
    }

    #[test]
    fn the_committed_types_are_what_the_catalogue_generates() {
        assert_generated("types/ctx.d.ts", &type_declarations());
    }

    #[test]
    fn the_committed_reference_is_what_the_catalogue_generates() {
        assert_generated("../docs/ctx.md", &reference());
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = OPERATIONS.iter().map(|operation| operation.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
