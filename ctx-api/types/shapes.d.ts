/** Stops the operation when it is aborted; it then rejects with `AbortError`. */
interface Abortable {
  signal?: AbortSignal;
}

/** Header fields; a list gives a field several times. */
type HeaderFields = Record<string, string | number | Array<string | number>>;

interface AnswerOptions extends Abortable {
  headers?: HeaderFields;
  /** Codec names in order of preference. */
  codecs?: string[];
}

interface RingOptions extends Abortable {
  headers?: HeaderFields;
}

interface RejectOptions extends Abortable {
  /** 300 to 699; of a 3xx the reason is the URI to which the caller is sent. */
  code?: number;
  reason?: string;
  headers?: HeaderFields;
}

interface RedirectOptions extends Abortable {
  /** 300 to 399; 302 unless said otherwise. */
  code?: number;
}

interface HangupOptions extends Abortable {
  code?: number;
  reason?: string;
  headers?: HeaderFields;
}

interface PlayOptions extends Abortable {
  /** `true` or 0: until stopped; a number: so many times. */
  loop?: boolean | number;
  start_ms?: number;
  /** -60 to 60. */
  volume_db?: number;
  /** Digits any of which stops the audio; `true`: any digit. */
  stop_on?: string | boolean;
}

interface TtsOptions extends PlayOptions {
  provider?: string;
  voice?: string;
  language?: string;
  /** The text is SSML; found out by itself when it begins with `<speak`. */
  ssml?: boolean;
}

interface Played {
  played_ms: number;
  reason: 'completed' | 'dtmf';
  digit?: string;
}

interface IvrOptions extends Abortable {
  tries?: number;
  invalid_file?: string;
  /** What the digits must match as a whole. */
  regexp?: string | RegExp;
  transfer_on_failure?: string;
  /** Drop the digits keyed before. */
  flush?: boolean;
}

interface IvrResult {
  status: 'success' | 'timeout' | 'invalid';
  /** Empty when there is none. */
  value: string;
}

type Prompt = string | string[] | ({ tts: string } & TtsOptions);

interface GatherOptions extends Abortable {
  prompt?: Prompt;
  invalid_prompt?: Prompt;
  min?: number;
  max?: number;
  terminators?: string;
  /** From the end of the prompt to the first digit; 5000 unless said otherwise. */
  timeout_ms?: number;
  /** 3000 unless said otherwise. */
  inter_digit_timeout_ms?: number;
  regexp?: string | RegExp;
  tries?: number;
  /** Whether a digit stops the prompt; `true` unless said otherwise. */
  barge_in?: boolean;
  flush?: boolean;
  speech?: boolean | { language?: string; hints?: string[]; grammar?: string; end_silence_ms?: number };
}

interface Gathered {
  status: 'success' | 'timeout' | 'invalid';
  via: 'dtmf' | 'speech';
  value: string;
  digits: string;
  terminator?: string;
  speech?: { text: string; confidence: number };
}

interface SendDtmfOptions extends Abortable {
  /** 100 unless said otherwise. */
  duration_ms?: number;
  /** 100 unless said otherwise. */
  gap_ms?: number;
  method?: 'rfc4733' | 'info' | 'inband';
}

interface RecordOptions {
  /** Without it, what the name ends with: `.ogg`, or else `.wav`. */
  format?: 'wav' | 'ogg';
  /** Caller left, callee right. */
  stereo?: boolean;
  direction?: 'both' | 'in' | 'out';
}

interface Recording {
  readonly file: string;
  pause(): Promise<void>;
  resume(): Promise<void>;
  stop(): Promise<Recorded>;
}

interface Recorded {
  file: string;
  duration_ms: number;
}

interface DestinationObject {
  uri: string;
  headers?: HeaderFields;
  caller_id?: string;
  from_name?: string;
  timeout_ms?: number;
}

type Destination = string | number | DestinationObject;

/** Whether the script goes on after a bridge: always, never, only if it was not answered, only if it was. */
type ContinueOn = boolean | 'fail' | 'completed';

interface BridgeOptions extends Abortable {
  strategy?: 'parallel' | 'sequential';
  /** How long destinations ring: all together, or each. 60000 unless said otherwise. */
  timeout_ms?: number;
  caller_id?: string;
  from_name?: string;
  /** Instead of those of the same name that `header` or `set` has set; a destination's own come instead of these. */
  headers?: HeaderFields;
  /** What the caller hears while it rings and the far end sends nothing; the usual tone where it cannot be played. */
  ringback?: string;
  early_media?: boolean;
  /** Played to the answering party before the two are joined; until then it rings for the caller. */
  whisper?: string;
  /** Played to the answering party, who must press a digit to accept; until then it rings for the caller. */
  screen?: string;
  /** Digit of the caller that ends the bridge. */
  hangup_on?: string;
  continue_on?: ContinueOn;
  /** Record the joined call under this name, in stereo; a name with `.ogg` at its end makes it Ogg-Opus. */
  record?: string;
  codecs?: string[];
}

interface BridgeResult {
  status: 'completed' | 'busy' | 'no-answer' | 'failed' | 'cancelled';
  code: number;
  reason: string;
  duration_ms: number;
  bleg?: string;
}

/** How a call ended. */
interface CallEndedCause {
  code: number;
  reason: string;
  by: 'caller' | 'callee' | 'script' | 'engine';
}

/** What pending operations reject with when the call ends. Uncaught, it is a normal end of the script. */
interface CallEnded extends Error {
  name: 'CallEnded';
  cause: CallEndedCause;
}

interface CtxEvents {
  dtmf: { type: 'dtmf'; digit: string; duration_ms: number; method: 'rfc4733' | 'info' | 'inband' };
  hangup: { type: 'hangup' } & CallEndedCause;
  hold: { type: 'hold' };
  unhold: { type: 'unhold' };
  speech: { type: 'speech'; text: string; confidence: number };
  transcription: { type: 'transcription'; text: string };
  bridge: { type: 'bridge'; bleg: string };
  unbridge: { type: 'unbridge'; bleg: string };
  transfer: { type: 'transfer'; target: string };
  media_timeout: { type: 'media_timeout'; silent_ms: number; bleg?: string };
}

type CtxEventName = keyof CtxEvents;

interface CallFacts {
  readonly id: string;
  readonly direction: 'inbound' | 'outbound';
  readonly from: string;
  readonly to: string;
  readonly did?: string;
  readonly customer_id?: number;
  readonly state: 'new' | 'ringing' | 'early' | 'answered' | 'ended';
  /** Milliseconds since the Unix epoch, as all times here. */
  readonly started_at: number;
  readonly answered_at?: number;
  readonly codec?: string;
  readonly remote_addr: string;
}
