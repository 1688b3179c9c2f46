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

