// Types of Lockstep scripts. Generated from the catalogue of operations: `lockstep types` prints this file.

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

/** The call a script owns. */
interface Ctx {
  /** Facts of the call, as they are now. */
  readonly call: CallFacts;

  /** Reads a call variable: `sip_from_user`, `sip_from_host`, `sip_to_user`, `sip_call_id`, `sip_h_<Header>`, `caller_id_number`, `destination_number`, `call_id`, `network_addr`, and everything `set`. */
  get(key: string): string | undefined;

  /** Sets a call variable; `null` or `undefined` removes it. `sip_h_X-…` set before a bridge becomes a header of the new leg. With `skipWrite` only `get` has it: neither the channel nor a leg. */
  set(key: string, value: string | number | boolean | null | undefined, skipWrite?: boolean): Promise<void>;

  /** Reads a header of the incoming INVITE, or sets one for the next response or outgoing leg; the same name in that operation's own `headers` takes its place. Control characters other than tabs are refused. */
  header(name: string): string | undefined;
  /** Reads a header of the incoming INVITE, or sets one for the next response or outgoing leg; the same name in that operation's own `headers` takes its place. Control characters other than tabs are refused. */
  header(name: string, value: string | number): Promise<void>;

  /** Writes a line to the call's own log. */
  log(...values: unknown[]): void;

  /** Answers the call (200); resolves when the ACK is there. */
  answer(options?: AnswerOptions): Promise<void>;

  /** Sends 180 Ringing. */
  ring(options?: RingOptions): Promise<void>;

  /** Starts media before the answer (183 with SDP). */
  earlyMedia(options?: Abortable): Promise<void>;

  /** Refuses the call with a final response, 300 to 699; 603 Decline unless said otherwise. Of a 3xx the reason is the URI to which the caller is sent. */
  reject(code?: number | string, reason?: string): Promise<void>;
  /** Refuses the call with a final response, 300 to 699; 603 Decline unless said otherwise. Of a 3xx the reason is the URI to which the caller is sent. */
  reject(options: RejectOptions): Promise<void>;

  /** Sends the caller elsewhere (302). */
  redirect(uri: string | string[], options?: RedirectOptions): Promise<void>;

  /** Ends the call: BYE after the answer, a final response before it, as `reject` sends it. */
  hangup(options?: HangupOptions): Promise<void>;
  /** Ends the call: BYE after the answer, a final response before it, as `reject` sends it. */
  hangup(code: number, reason?: string): Promise<void>;

  /** Plays `user/x.wav`, `ivr/x.wav`, `https://…`, `tone:350+440,1000/0` or `silence:500`; resolves after the last packet. On an unanswered call early media starts first. */
  play(source: string | string[], options?: PlayOptions): Promise<Played>;

  /** Speaks a text; resolves when it is spoken. */
  tts(text: string, options?: TtsOptions): Promise<Played>;

  /** The same as `tts`. */
  say(text: string, options?: TtsOptions): Promise<Played>;

  /** Plays a file and collects digits. `timeout` is in seconds, from the end of the audio and again from each digit; a digit stops the audio. Digits keyed before count first, unless `flush` drops them. */
  ivr(file: string | null, timeout?: number, min?: number, max?: number, terminators?: string, options?: IvrOptions): Promise<IvrResult>;
  /** Plays a file and collects digits. `timeout` is in seconds, from the end of the audio and again from each digit; a digit stops the audio. Digits keyed before count first, unless `flush` drops them. */
  ivr(options: IvrOptions & { file?: string; timeout_ms?: number; min?: number; max?: number; terminators?: string }): Promise<IvrResult>;

  /** Collects digits, or speech where a recogniser is configured, behind a prompt. */
  gather(options?: GatherOptions): Promise<Gathered>;

  /** Waits until the digits keyed since this call match; consumes none. A string is a regular expression, or keys where it is none (`*`, `*9`). Rejects with `QuitError` on `quit`, after `timeout` (seconds; 1000 and more are milliseconds; 60 unless said otherwise), or with what a function throws. Many may wait at once. */
  waitFor(match: string | RegExp | ((digits: string) => unknown), quit?: string | RegExp | ((digits: string) => unknown) | null, timeout?: number, options?: Abortable): Promise<string>;

  /** Listens to an event of the call. Listeners keep nothing alive. */
  on<E extends CtxEventName>(event: E, listener: (event: CtxEvents[E]) => void): this;

  /** Listens to the next event of a kind. */
  once<E extends CtxEventName>(event: E, listener: (event: CtxEvents[E]) => void): this;

  /** Stops listening. */
  off<E extends CtxEventName>(event: E, listener?: (event: CtxEvents[E]) => void): this;

  /** Every event from now to the end of the call, for `for await`. */
  events(): AsyncIterableIterator<CtxEvents[CtxEventName]>;

  /** Resolves with the cause when the call is over. */
  waitForHangup(): Promise<CallEndedCause>;

  /** Keeps digits (0-9 unless said otherwise) from the script and from the far end of a bridge. */
  blockDtmf(digits?: string): Promise<void>;

  /** Undoes `blockDtmf`. */
  unblockDtmf(): Promise<void>;

  /** Sends digits; `w` waits half a second, `W` a whole one. */
  sendDtmf(digits: string, options?: SendDtmfOptions): Promise<void>;

  /** Sends the caller's audio back, until hangup or abort. */
  echo(delay_ms?: number, options?: Abortable): Promise<void>;

  /** Starts recording the call in the background; resolves with a handle once it has started. */
  record(name: string, options?: RecordOptions): Promise<Recording>;

  /** Dials and joins; resolves at the end of the bridge, also when nobody could be reached: `status` and `code` say how it went. A destination is an extension or user, a Class 5 destination, a number, a `sip:` URI (`sip:1001@example.net?X-Id=7` sends the header field `X-Id`), or an object. */
  bridge(destination: Destination | Destination[], options?: BridgeOptions | ContinueOn, unused?: boolean): Promise<BridgeResult>;

  /** Does nothing for a while. */
  sleep(ms: number, options?: Abortable): Promise<void>;

  /** Records a voicemail-style message. Not yet available: rejects with `Unsupported`. */
  recordMessage(name: string, options?: Record<string, unknown>): Promise<Recorded>;

  /** Transfers the call (REFER). Not yet available: rejects with `Unsupported`. */
  transfer(target: string, options?: Record<string, unknown>): Promise<unknown>;

  /** Puts the caller on hold. Not yet available: rejects with `Unsupported`. */
  hold(options?: Record<string, unknown>): Promise<void>;

  /** Takes the caller off hold. Not yet available: rejects with `Unsupported`. */
  unhold(): Promise<void>;

  /** Parks the call in a slot. Not yet available: rejects with `Unsupported`. */
  park(slot: string): Promise<void>;

  /** Picks up a parked call. Not yet available: rejects with `Unsupported`. */
  pickup(slot: string): Promise<void>;

  /** Joins a conference room. Not yet available: rejects with `Unsupported`. */
  conference(room: string, options?: Record<string, unknown>): Promise<unknown>;

  /** Waits in a queue. Not yet available: rejects with `Unsupported`. */
  enqueue(queue: string, options?: Record<string, unknown>): Promise<unknown>;

  /** Leaves or hears voicemail. Not yet available: rejects with `Unsupported`. */
  voicemail(user: string, options?: Record<string, unknown>): Promise<unknown>;

  /** Streams the audio over a WebSocket. Not yet available: rejects with `Unsupported`. */
  stream(url: string, options?: Record<string, unknown>): Promise<unknown>;

  /** Starts transcribing the call. Not yet available: rejects with `Unsupported`. */
  transcribeStart(options?: Record<string, unknown>): Promise<void>;

  /** Stops transcribing the call. Not yet available: rejects with `Unsupported`. */
  transcribeStop(): Promise<void>;

  /** Tells a person from a machine. Not yet available: rejects with `Unsupported`. */
  detectMachine(options?: Record<string, unknown>): Promise<unknown>;
}

// What scripts have of the web and of Node. `var`, and Node's own names of types, so that `@types/node` may stand beside it.

interface Console {
  debug(...values: any[]): void;
  log(...values: any[]): void;
  info(...values: any[]): void;
  warn(...values: any[]): void;
  error(...values: any[]): void;
  trace(...values: any[]): void;
  assert(condition?: unknown, ...values: any[]): void;
  dir(value?: any, options?: any): void;
  table(rows?: any, columns?: any): void;
  time(label?: string): void;
  timeLog(label?: string, ...values: any[]): void;
  timeEnd(label?: string): void;
  count(label?: string): void;
  countReset(label?: string): void;
  group(...values: any[]): void;
  groupCollapsed(...values: any[]): void;
  groupEnd(): void;
}
/** Lines of the call's log. */
declare var console: Console;

declare namespace NodeJS {
  interface ProcessEnv {
    [name: string]: string | undefined;
  }
  interface Process {
    env: ProcessEnv;
    nextTick(callback: Function, ...args: any[]): void;
  }
  interface Require {
    (name: string): any;
  }
  interface Module {
    exports: any;
    export: any;
  }
  interface Timeout {
    refresh(): this;
    ref(): this;
    unref(): this;
    hasRef(): boolean;
    [Symbol.toPrimitive](): number;
  }
  interface Immediate {
    ref(): this;
    unref(): this;
    hasRef(): boolean;
  }
}
declare var process: NodeJS.Process;
declare var require: NodeJS.Require;
declare var module: NodeJS.Module;
declare var exports: any;
declare var __filename: string;
declare var __dirname: string;
declare var global: typeof globalThis;

declare function setTimeout(callback: (...args: any[]) => void, ms?: number, ...args: any[]): NodeJS.Timeout;
declare function setInterval(callback: (...args: any[]) => void, ms?: number, ...args: any[]): NodeJS.Timeout;
declare function setImmediate(callback: (...args: any[]) => void, ...args: any[]): NodeJS.Immediate;
declare function clearTimeout(timer: NodeJS.Timeout | string | number | null | undefined): void;
declare function clearInterval(timer: NodeJS.Timeout | string | number | null | undefined): void;
declare function clearImmediate(timer: NodeJS.Immediate | null | undefined): void;
declare function queueMicrotask(callback: () => void): void;
declare function structuredClone<T>(value: T): T;
declare function atob(text: string): string;
declare function btoa(text: string): string;

interface Performance {
  now(): number;
  readonly timeOrigin: number;
}
/** The script's clock. */
declare var performance: Performance;

interface Crypto {
  getRandomValues<T extends ArrayBufferView>(array: T): T;
  randomUUID(): `${string}-${string}-${string}-${string}-${string}`;
  randomInt(max: number): number;
  randomInt(min: number, max: number): number;
  randomBytes(count: number): Buffer;
}
declare var crypto: Crypto;

interface Event {
  readonly type: string;
  readonly target: EventTarget | null;
  readonly currentTarget: EventTarget | null;
  readonly cancelable: boolean;
  readonly defaultPrevented: boolean;
  readonly timeStamp: number;
  preventDefault(): void;
  stopPropagation(): void;
  stopImmediatePropagation(): void;
}
declare var Event: { prototype: Event; new (type: string, options?: { bubbles?: boolean; cancelable?: boolean }): Event };

interface EventTarget {
  addEventListener(type: string, listener: ((event: Event) => void) | { handleEvent(event: Event): void }, options?: { once?: boolean; signal?: AbortSignal }): void;
  removeEventListener(type: string, listener: ((event: Event) => void) | { handleEvent(event: Event): void }): void;
  dispatchEvent(event: Event): boolean;
}
declare var EventTarget: { prototype: EventTarget; new (): EventTarget };

interface AbortSignal extends EventTarget {
  readonly aborted: boolean;
  readonly reason: any;
  onabort: ((this: AbortSignal, event: Event) => any) | null;
  throwIfAborted(): void;
}
declare var AbortSignal: {
  prototype: AbortSignal;
  new (): AbortSignal;
  abort(reason?: any): AbortSignal;
  timeout(ms: number): AbortSignal;
  any(signals: AbortSignal[]): AbortSignal;
};

interface AbortController {
  readonly signal: AbortSignal;
  abort(reason?: any): void;
}
declare var AbortController: { prototype: AbortController; new (): AbortController };

interface DOMException extends Error {
  readonly name: string;
  readonly message: string;
  readonly code: number;
}
declare var DOMException: { prototype: DOMException; new (message?: string, name?: string | { name?: string; cause?: unknown }): DOMException };

interface Headers {
  append(name: string, value: string): void;
  delete(name: string): void;
  get(name: string): string | null;
  getSetCookie(): string[];
  has(name: string): boolean;
  set(name: string, value: string): void;
  forEach(callback: (value: string, name: string, headers: Headers) => void): void;
  entries(): IterableIterator<[string, string]>;
  keys(): IterableIterator<string>;
  values(): IterableIterator<string>;
  [Symbol.iterator](): IterableIterator<[string, string]>;
}
declare var Headers: { prototype: Headers; new (fields?: Iterable<readonly [string, string]> | Record<string, string> | Headers): Headers };

interface RequestInit {
  method?: string;
  headers?: any;
  body?: any;
  redirect?: 'follow' | 'error' | 'manual';
  signal?: AbortSignal | null;
}
interface Body {
  readonly body: any;
  readonly bodyUsed: boolean;
  json(): Promise<any>;
  text(): Promise<string>;
  bytes(): Promise<Uint8Array>;
  arrayBuffer(): Promise<ArrayBuffer>;
}
interface Request extends Body {
  readonly method: string;
  readonly url: string;
  readonly headers: Headers;
  readonly signal: AbortSignal;
  clone(): Request;
}
declare var Request: { prototype: Request; new (input: string | URL | Request, init?: RequestInit): Request };

interface Response extends Body {
  readonly ok: boolean;
  readonly status: number;
  readonly statusText: string;
  readonly url: string;
  readonly redirected: boolean;
  readonly headers: Headers;
  clone(): Response;
}
declare var Response: {
  prototype: Response;
  new (body?: any, init?: { status?: number; statusText?: string; headers?: any }): Response;
  json(data: unknown, init?: { status?: number; statusText?: string; headers?: any }): Response;
  error(): Response;
  redirect(url: string | URL, status?: number): Response;
};
/** Within the bounds of docs/scripts.md; does not queue with the call's operations. */
declare function fetch(input: string | URL | Request, init?: RequestInit): Promise<Response>;

interface URLSearchParams {
  readonly size: number;
  append(name: string, value: string): void;
  delete(name: string, value?: string): void;
  get(name: string): string | null;
  getAll(name: string): string[];
  has(name: string, value?: string): boolean;
  set(name: string, value: string): void;
  sort(): void;
  toString(): string;
  forEach(callback: (value: string, name: string, params: URLSearchParams) => void): void;
  entries(): IterableIterator<[string, string]>;
  keys(): IterableIterator<string>;
  values(): IterableIterator<string>;
  [Symbol.iterator](): IterableIterator<[string, string]>;
}
declare var URLSearchParams: { prototype: URLSearchParams; new (init?: any): URLSearchParams };

interface URL {
  hash: string;
  host: string;
  hostname: string;
  href: string;
  readonly origin: string;
  password: string;
  pathname: string;
  port: string;
  protocol: string;
  search: string;
  readonly searchParams: URLSearchParams;
  username: string;
  toString(): string;
  toJSON(): string;
}
declare var URL: {
  prototype: URL;
  new (url: string | URL, base?: string | URL): URL;
  canParse(url: string | URL, base?: string | URL): boolean;
  parse(url: string | URL, base?: string | URL): URL | null;
};

interface TextEncoder {
  readonly encoding: string;
  encode(text?: string): Uint8Array;
  encodeInto(text: string, target: Uint8Array): { read: number; written: number };
}
declare var TextEncoder: { prototype: TextEncoder; new (): TextEncoder };

interface TextDecoder {
  readonly encoding: string;
  readonly fatal: boolean;
  readonly ignoreBOM: boolean;
  decode(bytes?: ArrayBuffer | ArrayBufferView, options?: { stream?: boolean }): string;
}
declare var TextDecoder: { prototype: TextDecoder; new (label?: string, options?: { fatal?: boolean; ignoreBOM?: boolean }): TextDecoder };

type BufferNumber = 'Int8' | 'UInt8' | 'Uint8' | `${'Int16' | 'UInt16' | 'Uint16' | 'Int32' | 'UInt32' | 'Uint32' | 'Float' | 'Double'}${'LE' | 'BE'}`;
type BufferBigInt = `Big${'Int' | 'UInt' | 'Uint'}64${'LE' | 'BE'}`;
type BufferBytes = `${'Int' | 'UInt' | 'Uint'}${'LE' | 'BE'}`;
type BufferNumbers =
  & Record<`read${BufferNumber}`, (offset?: number) => number>
  & Record<`write${BufferNumber}`, (value: number, offset?: number) => number>
  & Record<`read${BufferBigInt}`, (offset?: number) => bigint>
  & Record<`write${BufferBigInt}`, (value: bigint, offset?: number) => number>
  & Record<`read${BufferBytes}`, (offset: number, length: number) => number>
  & Record<`write${BufferBytes}`, (value: number, offset: number, length: number) => number>;
interface Buffer<TArrayBuffer extends ArrayBufferLike = ArrayBufferLike> extends Uint8Array<TArrayBuffer>, BufferNumbers {
  toString(encoding?: string, start?: number, end?: number): string;
  toJSON(): { type: 'Buffer'; data: number[] };
  equals(other: Uint8Array): boolean;
  compare(target: Uint8Array, targetStart?: number, targetEnd?: number, sourceStart?: number, sourceEnd?: number): -1 | 0 | 1;
  copy(target: Uint8Array, targetStart?: number, start?: number, end?: number): number;
  slice(start?: number, end?: number): Buffer<ArrayBuffer>;
  subarray(start?: number, end?: number): Buffer<TArrayBuffer>;
  write(text: string, encoding?: string): number;
  write(text: string, offset: number, length?: number, encoding?: string): number;
  fill(value: string | Uint8Array | number, offset?: number, end?: number, encoding?: string): this;
  indexOf(value: string | number | Uint8Array, from?: number | string, encoding?: string): number;
  lastIndexOf(value: string | number | Uint8Array, from?: number | string, encoding?: string): number;
  includes(value: string | number | Uint8Array, from?: number | string, encoding?: string): boolean;
  swap16(): this;
  swap32(): this;
  swap64(): this;
}
interface BufferConstructor {
  from(data: string, encoding?: string): Buffer<ArrayBuffer>;
  from(data: ArrayBuffer, offset?: number, length?: number): Buffer<ArrayBuffer>;
  from(data: ArrayLike<number> | Iterable<number>): Buffer<ArrayBuffer>;
  alloc(size: number, fill?: string | Uint8Array | number, encoding?: string): Buffer<ArrayBuffer>;
  allocUnsafe(size: number): Buffer<ArrayBuffer>;
  byteLength(value: string | ArrayBuffer | ArrayBufferView, encoding?: string): number;
  concat(list: readonly Uint8Array[], length?: number): Buffer<ArrayBuffer>;
  compare(a: Uint8Array, b: Uint8Array): -1 | 0 | 1;
  isBuffer(value: any): value is Buffer;
  isEncoding(name: string): boolean;
}
declare var Buffer: BufferConstructor;

/** What `main` gets as its first argument in a call. */
interface CallData {
  call_id: string;
  from: string;
  to: string;
  direction: 'inbound' | 'outbound';
  did: string | null;
  customer_id: number | null;
  headers: Record<string, string>;
  vars: Record<string, unknown>;
  [name: string]: unknown;
}

declare module 'cxC5Server' {
  interface Server {
    new (correlationId?: string): Ctx;
    (correlationId?: string): Ctx;
    default: Server;
    cxC5Server: Server;
  }
  /** `new cxC5Server(process.env.CORRELATION_ID)` is the call this run owns. */
  const cxC5Server: Server;
  export = cxC5Server;
}

/** The data of the run: an object, and a function that returns it. */
declare const vars: Record<string, any> & (() => any);

/** Ends the run with a result; no code after it runs. */
declare function exit(result?: unknown): never;

/** Ends the run with an error: `err([404, 'Not Found'])`, `err(404, 'Not Found')`. */
declare function err(reason: [number | string, string] | string | number | Error): never;
declare function err(code: number | string, text: string): never;

/** Sets a variable of the script's app: `process.env` of the next run has it. A locked one rejects with `InvalidState`. */
declare function setEnvVar(key: string, value: string): Promise<void>;

/** The app's variables by name, but for private ones; `null` in place of a protected value. */
declare function getEnvVars(): Promise<Record<string, string | null>>;

declare module 'cxKV' {
  /** Texts by key, shared by all scripts of the account. `ttl_s`: seconds until the key is gone. */
  export const kv: {
    /** The text; `null` when there is none. */
    get(key: string): Promise<string | null>;
    set(key: string, value: string, ttl_s?: number): Promise<void>;
    /** Whether there was one. */
    del(key: string): Promise<boolean>;
  };
  /** Objects by key, apart from the texts. */
  export const ko: {
    get(key: string): Promise<any>;
    set(key: string, value: unknown, ttl_s?: number): Promise<void>;
    del(key: string): Promise<boolean>;
  };
  /** Adds to the number under a key of `kv`, atomically across all runs; the new value. `expire_s` sets when the key is gone. */
  export function incr(key: string, by?: number, expire_s?: number): Promise<number>;
  /** Names of keys of `kv`, in order. */
  export function keys(prefix?: string): Promise<string[]>;
  /** What the account's keys take. */
  export function usage(): Promise<{ keys: number; bytes: number; max_bytes: number }>;
}

declare module 'cxUserspace' {
  interface ListOptions {
    prefix?: string;
    /** 100 unless said otherwise, at most 1,000. */
    limit?: number;
    /** The key after which the list begins. */
    after?: string;
  }
  /** Makes a record of any shape; rejects with `InvalidState` when there is one. */
  export function create(area: string, key: string, data: unknown): Promise<any>;
  /** The data of a record; `null` when there is none. */
  export function read(area: string, key: string): Promise<any>;
  /** The same as `read`. */
  export function get(area: string, key: string): Promise<any>;
  /** Replaces the data; resolves with it, or with `null` when there is no such record. */
  export function update(area: string, key: string, data: unknown): Promise<any>;
  /** The data of any one record; `null` when the area is empty. */
  export function random(area: string): Promise<any>;
  /** Records in the order of their keys. */
  export function list(area: string, options?: ListOptions): Promise<{ key: string; data: any }[]>;
  /** One statement on the account's own database: rows, or what it changed. An integer past 2^53 - 1 is a `bigint`. */
  export function sql(text: string, params?: unknown[] | Record<string, unknown>): Promise<any>;
  /** knex's query builder on a table of the account's database; without a table knex itself. Transactions are refused. */
  export function knex(database: string, table?: string): any;
  /** Whether there was such a record. */
  function remove(area: string, key: string): Promise<boolean>;
  export { remove as delete };
  const userspace: {
    create: typeof create;
    read: typeof read;
    get: typeof get;
    update: typeof update;
    delete: typeof remove;
    random: typeof random;
    list: typeof list;
    sql: typeof sql;
    knex: typeof knex;
  };
  export default userspace;
}

declare module 'cxSend' {
  /** One address, several behind commas, or a list: `Ann <ann@example.net>`. */
  type Recipients = string | string[];
  /** An e-mail: written out, or `NAME.txt` and `NAME.html` of the templates folder filled in with `vars`. */
  export function email(message: {
    to: Recipients;
    cc?: Recipients;
    bcc?: Recipients;
    from?: string;
    reply_to?: string;
    subject?: string;
    text?: string;
    html?: string;
    template?: string;
    vars?: Record<string, unknown>;
  }): Promise<{ message_id: string; recipients: number }>;
  /** A text message by the provider of `[sms]`, whose answer is `answer`; without one as a SIP MESSAGE, as `sip` sends it. */
  export function sms(number: string, text: string, from?: string): Promise<{ sent: true; answer?: unknown; code?: number }>;
  export function sms(message: { to: string; text: string; from?: string }): Promise<{ sent: true; answer?: unknown; code?: number }>;
  /** A SIP MESSAGE (RFC 3428) to a user, a number on a gateway or a `sip:` URI of one; `code` is what it was taken with. Up to 1,300 bytes. */
  export function sip(message: { to: string; from?: string; text?: string; body?: string; content_type?: string }): Promise<{ sent: true; code: number }>;
  export function sip(to: string, text: string): Promise<{ sent: true; code: number }>;
  /** A notice to people by the provider of `[notify]`. */
  export function notify(notice: { to?: string; title?: string; text: string }): Promise<{ sent: true; answer: unknown }>;
}

/** Look-ups of numbers (`[lookup.NAME]`), and what `cxSend` does. */
declare const api: {
  lookup: {
    ping(number?: string | number): Promise<'pong'>;
    /** `asrplus`, `tps`, `nnpc`, `hlr`, `lrn`, `userspaceLookup`, or any other name that is configured. */
    [name: string]: (number: string | number) => Promise<any>;
  };
  send: typeof import('cxSend');
};

/** The WebSocket that this run serves. */
declare module 'cxWebSocket' {
  /** Sends text or bytes as they are, anything else as JSON; resolves once it is on its way. */
  export function send(message: unknown): Promise<void>;
  /** Closes with a code of RFC 6455, section 7.4 (default 1000). */
  export function close(code?: number, reason?: string): Promise<void>;
  /** Resolves when either side has closed. */
  export function waitForClose(): Promise<{ code: number; reason: string }>;
}

declare module 'cxPubSub' {
  /** Hands a payload to every run of the account that has subscribed to the topic; how many that are. */
  export function publish(topic: string, payload: unknown): Promise<number>;
  export function publish(topic: string, id: string, payload: unknown): Promise<number>;
  type Callback = (payload: any, id: string | null, topic: string) => void;
  interface Subscription {
    unsubscribe(): Promise<void>;
  }
  /** Calls back with every message of the topic from now on. */
  export function subscribe(topic: string, callback: Callback): Subscription;
  /** Only with messages of this id; `'*'`: with all. */
  export function subscribe(topic: string, id: string, callback: Callback): Subscription;
}

declare module 'cxJob' {
  /** Taken and not used: what Bull and BullMQ have besides. */
  type UnusedJobOption =
    | 'continueParentOnFailure' | 'debounce' | 'deduplication' | 'failParentOnFailure' | 'ignoreDependencyOnFailure' | 'jobId' | 'keepLogs' | 'lifo'
    | 'parent' | 'preventParsingData' | 'rateLimiterKey' | 'removeDependencyOnFailure' | 'removeOnComplete' | 'removeOnFail' | 'repeat' | 'sizeLimit'
    | 'stackTraceLimit' | 'telemetry' | 'timeout' | 'timestamp';
  interface JobOptions extends Partial<Record<UnusedJobOption, unknown>> {
    /** How often it is tried; 1 unless said otherwise. */
    attempts?: number;
    /** How long it waits before its first try. */
    delay_ms?: number;
    /** The same by Bull's name. */
    delay?: number;
    /** Between the first two tries, doubled each time; 1,000 unless said otherwise. */
    backoff_ms?: number;
    /** The same by Bull's name. */
    backoff?: number | { type?: string; delay?: number };
    /** 1 comes before 2; those without one come first. */
    priority?: number;
    /** Wall time of one try; 60 s unless script or job says otherwise. */
    timeout_ms?: number;
    /** The queue it can be paused with; the script's name unless said otherwise. */
    queue?: string;
  }
  interface JobInfo {
    id: number;
    queue: string;
    script: string;
    fn: string | null;
    state: 'waiting' | 'prioritized' | 'delayed' | 'active' | 'completed' | 'failed' | 'paused';
    data: any;
    attempts: number;
    attempt: number;
    progress: any;
    result: any;
    error: string | null;
    [name: string]: unknown;
  }
  interface Job {
    readonly id: number;
    /** What the function returned; rejects with `JobFailed` when no try succeeded. */
    readonly result: Promise<any>;
    /** The job as it is now. */
    state(): Promise<JobInfo | null>;
  }
  /** Has a function of a script run as a job; resolves once the job is on disk. `scriptId`: a number, a uuid or a name. */
  export function add(scriptId: string | number, fn: string | null, data?: unknown, options?: JobOptions): Promise<Job>;
  /** The same of a script's `main`. */
  export function scriptForge(scriptId: string | number, data?: unknown, options?: JobOptions): Promise<Job>;
  /** A job by its number. */
  export function get(id: number): Promise<JobInfo | null>;
  /** Within a job: how far it has come. */
  export function setProgress(progress: unknown): Promise<void>;
  /** Within a job: what another try gets as its data. */
  export function setData(data: unknown): Promise<void>;
}

declare module 'cxOriginate' {
  /**
   * Calls `destination` and, once it is answered, leads it to `extension`: what a caller could have dialled, or `class5:NAME` of a script
   * of the account. Resolves when the call is placed; rejects with `NotFound` when nobody is at `extension`. The first two are not used.
   */
  export function originate(
    companyId: unknown,
    server: unknown,
    destination: string | number,
    cli: string | number | null | undefined,
    extension: string | number,
  ): Promise<{ call_id: string }>;
}

declare module 'cxCallControl' {
  /** A live call of the account. */
  interface LiveCall extends Omit<CallFacts, 'did' | 'customer_id' | 'answered_at' | 'codec'> {
    readonly did: string | null;
    readonly customer_id: number | null;
    readonly answered_at: number | null;
    readonly codec: string | null;
    readonly script: string | null;
    readonly account: string;
    /** How long it has lasted. */
    readonly duration_ms: number;
  }
  /** A device of a user of the account that has registered. */
  interface Registration {
    user: string;
    account: string;
    contact: string;
    /** Where its packets come from. */
    remote: string;
    user_agent: string | null;
    expires_s: number;
  }
  interface Wanted {
    /** User, number or `sip:` URI. */
    to: string | number;
    /** Caller id. */
    from?: string | number | null;
    /** Where it is led once it is answered. */
    destination: string | number;
    /** How long it may ring, 1,000 to 300,000; 60,000 unless said otherwise. */
    timeout_ms?: number;
  }
  interface PlacedEvents {
    originated: { call_id: string };
    /** A 180, or a 183. */
    ringing: { call_id: string };
    answered: { call_id: string };
    hangup: { call_id: string; cause: { code: number; reason: string; by: 'caller' | 'callee' | 'script' | 'engine' } | null; duration_ms?: number };
    /** It could not be placed. Without a listener the run fails. */
    error: Error;
  }
  interface PlacedCall {
    /** Set from `originated` on. */
    readonly id?: string;
    on<E extends keyof PlacedEvents>(event: E, listener: (facts: PlacedEvents[E]) => void): this;
    once<E extends keyof PlacedEvents>(event: E, listener: (facts: PlacedEvents[E]) => void): this;
    off<E extends keyof PlacedEvents>(event: E, listener: (facts: PlacedEvents[E]) => void): this;
    /** As `on` and `off`. */
    addListener<E extends keyof PlacedEvents>(event: E, listener: (facts: PlacedEvents[E]) => void): this;
    removeListener<E extends keyof PlacedEvents>(event: E, listener: (facts: PlacedEvents[E]) => void): this;
  }
  interface Class5 {
    originate(wanted: Wanted): PlacedCall;
    originate(destination: string | number, cli: string | number | null | undefined, extension: string | number): PlacedCall;
    /** Live calls, at most 1,000. */
    calls(): Promise<LiveCall[]>;
    hangup(id: string): Promise<void>;
    /** Takes a call from its owner and leads it elsewhere; rejects with `NotFound` when nobody is there, and the call stays where it is. */
    transfer(id: string, destination: string | number): Promise<void>;
  }
  interface Class4 {
    registrations(user?: string | number): Promise<Registration[]>;
    dialogs(): Promise<LiveCall[]>;
  }
  /** The server is accepted and not used. */
  export function C5(server?: unknown): Class5;
  export function C4(server?: unknown): Class4;
}

declare module 'cxRest' {
  type Query = Record<string, string | number | boolean>;
  /** Paths are below `/v1`; answers are what the interface says, as JSON. Rejects with `NotFound` on 404, else with `NetworkError`, each with the interface's message. */
  interface Client {
    get(path: string, query?: Query): Promise<any>;
    post(path: string, body?: unknown): Promise<any>;
    put(path: string, body?: unknown): Promise<any>;
    delete(path: string, query?: Query): Promise<any>;
    /** The same as `post`, `get` and `put`. */
    create(path: string, body?: unknown): Promise<any>;
    read(path: string, query?: Query): Promise<any>;
    update(path: string, body?: unknown): Promise<any>;
  }
  /** `user`: a name under `[rest.users]`; without one, only for scripts of the account `default`. */
  interface Auth {
    (user?: string): Client;
    new (user?: string): Client;
  }
  interface Rest extends Auth {
    auth: Auth;
    cxRest: Rest;
    default: Rest;
  }
  const cxRest: Rest;
  export = cxRest;
}

declare module 'cxHelper' {
  /** A key good for a day: an INVITE with it in `X-PBX-Security-Key` is that customer's. `companyId`: `id` of a `[[customer]]`. */
  export function generatePbxSecurityKey(companyId: number | string, server: string): Promise<string>;
}

/** A header field to be added. */
interface RoutingHeader {
  key: string;
  value: string | number | boolean;
}

/** One attempt: a gateway, or several that are tried in the order of their ids. */
interface EgressRow {
  /** By id of the `[[gateway]]`. */
  gw: Record<string, { cli?: string | number }>;
  /** Added on this row's legs, after `remove_headers`. */
  headers?: RoutingHeader[];
  /** Names of fields, or objects with the name as `key`. */
  remove_headers?: Array<string | { key: string }>;
}

/** `data.routing` of a routing script. */
interface Routing {
  /** Call-ID of the leg that called. */
  callid: string;
  /** The engine's id of the call. */
  callidb: string;
  /** Host name or address that the call came in at. */
  server: string;
  /** This engine's own name. */
  switch: string;
  /** `orig`: it came in by a DID; `term`: it goes out. */
  direction: 'orig' | 'term';
  /** `id` of the `[[customer]]`; `null`: nobody's. */
  account_id: number | null;
  /** Caller id of every destination. */
  cli: string;
  /** What is dialled. */
  dest_number: string;
  /** User part of the request URI as it came. */
  ou: string;
  card_rev: number;
  params: {
    /** User part of From. */
    fU: string;
    /** User part of the request URI. */
    oU: string;
    callid: string;
    userAgent: string | null;
    /** Address and port that the INVITE came from. */
    si: string;
    sp: number;
    proto: string;
  };
  /** What an Identity header claims (RFC 8225, RFC 8588): not verified. */
  stir_shaken?: { attest: string | null; origid: string | null; cert_id: string | null };
  /** Milliseconds since the call came in. */
  profile: { auth: number; ingress: number; total: number };
  /** Tried in this order, at most 32; none is left: `503 No Routes Available`. A DID begins with none. */
  egress_routing: EgressRow[];
  headers: RoutingHeader[];
  remove_headers: Array<string | { key: string }>;
  /** Lines for the timeline of the call. */
  log: unknown[];
  [name: string]: unknown;
}

/**
 * What a Class 4 script gets, and returns: whole, or `data.routing` bare, or nothing. The lists stand at the top, too; of the two the
 * one that was changed counts, of two changed ones the one at the top. Besides, the variables of customer, DID and route.
 */
interface RoutingData {
  routing: Routing;
  egress_routing: EgressRow[];
  /** Added on every leg, after `remove_headers`. */
  headers: RoutingHeader[];
  remove_headers: Array<string | { key: string }>;
  /** What scripts took, in milliseconds: of an object that came over HTTP, on its way back. */
  sandbox_time?: number;
  [name: string]: any;
}

// Packages of the allow-list and Node's modules: anything, until their types are installed. An exact name would hide those.
declare module 'axios*';
declare module 'card-validator*';
declare module 'csv-parse*';
declare module 'data-forge*';
declare module 'decompress-zip*';
declare module 'elasticemail-webapiclient*';
declare module 'fast-csv*';
declare module 'fast-toml*';
declare module 'ftp*';
declare module 'helpscout-2.0*';
declare module 'moment*';
declare module 'rss-parser*';
declare module 'soap*';
declare module 'stripe*';
declare module 'tough-cookie*';
declare module 'node:*';
declare module 'assert*';
declare module 'buffer*';
declare module 'crypto*';
declare module 'dns*';
declare module 'events*';
declare module 'fs*';
declare module 'http*';
declare module 'net*';
declare module 'os*';
declare module 'path*';
declare module 'punycode*';
declare module 'querystring*';
declare module 'stream*';
declare module 'string_decoder*';
declare module 'timers*';
declare module 'tls*';
declare module 'url*';
declare module 'util*';
declare module 'zlib*';


declare module 'lockstep:test' {
  type Millis = number;
  interface Line { loss?: number; delay_ms?: Millis; jitter_ms?: Millis; reorder?: number; duplicate?: number; seed?: number }
  interface TestOptions { network?: Line; seed?: number; at?: string | number | Date; timeout?: Millis }
  interface PhoneOptions { from?: string; password?: string; codecs?: ('pcmu' | 'pcma')[]; ptime_ms?: number; network?: Line; headers?: Record<string, string> }
  interface Patience { timeout_ms?: Millis }
  type Sound = string | { tone: number | string | number[] } | { tts: string | RegExp };
  interface Heard { what: string; from_ms: Millis; to_ms: Millis; how: 'exact' | 'lossy' | 'similar'; missing: number }
  /** One call of a phone; every step resolves in virtual time. */
  interface TestCall {
    readonly id: number;
    readonly from: string;
    readonly to: string;
    readonly codec: string | null;
    readonly headers: Record<string, string>;
    readonly keys: string;
    readonly state: 'calling' | 'ringing' | 'answered' | 'ended';
    readonly duration: Millis;
    answered(options?: Patience): Promise<void>;
    ringing(options?: Patience): Promise<void>;
    ended(options?: Patience): Promise<{ code: number; reason: string; by: 'local' | 'remote' | 'network' }>;
    answer(): Promise<void>;
    ring(): Promise<void>;
    reject(code?: number): Promise<void>;
    hangup(): Promise<void>;
    hold(): Promise<void>;
    unhold(): Promise<void>;
    hears(what: Sound, options?: Patience & { at_least_ms?: Millis }): Promise<Heard>;
    says(what: Sound, options?: Patience): Promise<void>;
    silence(ms: Millis): Promise<void>;
    press(keys: string, options?: { duration_ms?: Millis; gap_ms?: Millis; method?: 'rfc4733' | 'inband' }): Promise<void>;
    receives(keys: string, options?: Patience): Promise<string>;
    bridgedTo(other: TestCall, options?: Patience): Promise<void>;
    logs(): Promise<string[]>;
    timeline(): Promise<any>;
    journal(): Promise<string | null>;
    quality(): Promise<{ sent: number; received: number; lost: number; jitter_ms: number; reordered: number }>;
  }
  interface TestPhone {
    registered(): Promise<void>;
    unregister(): Promise<void>;
    incoming(options?: Patience): Promise<TestCall>;
    dial(target: string, options?: Pick<PhoneOptions, 'headers'>): Promise<TestCall>;
  }
  interface Register {
    (name: string, fn: (...row: any[]) => unknown): void;
    (name: string, options: TestOptions, fn: (...row: any[]) => unknown): void;
  }
  interface Test extends Register {
    only: Register & { each(rows: Iterable<any>): Register };
    skip: Register & { each(rows: Iterable<any>): Register };
    todo(name: string): void;
    each(rows: Iterable<any>): Register;
  }
  type Describe = ((name: string, fn: () => void) => void) & { each(rows: Iterable<any>): (name: string, fn: (...row: any[]) => void) => void };
  type Hook = (fn: () => unknown) => void;
  interface Answer {
    reply(status: number, body?: unknown, options?: { headers?: Record<string, string>; delay_ms?: Millis; times?: number }): void;
    fail(message?: string, options?: { delay_ms?: Millis; times?: number }): void;
    never(options?: { times?: number }): void;
  }
  export const test: Test;
  export const it: Test;
  export const describe: Describe & { only: Describe; skip: Describe };
  export const beforeAll: Hook;
  export const beforeEach: Hook;
  export const afterEach: Hook;
  export const afterAll: Hook;
  export const expect: ((value: any) => any) & Record<'any' | 'anything' | 'objectContaining' | 'arrayContaining' | 'stringContaining' | 'stringMatching', (...args: any[]) => any>;
  export const phone: {
    dial(target: string, options?: PhoneOptions): Promise<TestCall>;
    register(user: string, options?: PhoneOptions): TestPhone;
    gateway(which: number | string, options?: PhoneOptions): TestPhone;
  };
  export function network(line?: Line): Line;
  export const http: { on(url: string | RegExp): Answer; requests(): Promise<{ method: string; url: string; headers: Record<string, string>; body: string | null }[]> };
  export const tts: { fails(message?: string): void; works(): void; spoken(): Promise<string[]> };
  export const time: { now(): Millis; advance(ms: Millis): Promise<void> };
  export function recordings(): Promise<{ file: string; channels: number; duration_ms: Millis }[]>;
  export function class4(data: object, options?: { script?: string }): Promise<any>;
  export function driver(script: string, fn: string, data?: object): Promise<any>;
  export function form(script: string, fields?: object): Promise<any>;
  export function run(script: string, fn?: string, data?: unknown): Promise<any>;
  export function replays(file: string, options?: { script?: string }): Promise<{ turns: number }>;
  export { kv, ko } from 'cxKV';
}
