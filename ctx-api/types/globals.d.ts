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
