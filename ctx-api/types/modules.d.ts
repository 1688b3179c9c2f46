
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
