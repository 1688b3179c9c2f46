
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
