/** What `main` gets as its first argument in a call. */
interface CallData {
  call_id: string;
  from: string;
  to: string;
  direction: 'inbound' | 'outbound';
  did?: string;
  customer_id?: number;
  headers: Record<string, string>;
  vars: Record<string, unknown>;
  [name: string]: unknown;
}

declare module 'cxC5Server' {
  /** `new cxC5Server(process.env.CORRELATION_ID)` is the call this run owns. */
  const cxC5Server: { new (correlationId?: string): Ctx; (correlationId?: string): Ctx };
  export default cxC5Server;
  export { cxC5Server };
}

/** The data of the run: an object, and a function that returns it. */
declare const vars: Record<string, any> & (() => any);

/** Ends the run with a result; no code after it runs. */
declare function exit(result?: unknown): never;

/** Ends the run with an error: `err([404, 'Not Found'])`. */
declare function err(reason: [number, string] | string | Error): never;

declare function require(name: string): any;

declare const module: { exports: any };

declare const process: { env: Record<string, string | undefined>; nextTick(callback: (...args: any[]) => void, ...args: any[]): void };

/** Sets a variable of the script's app: `process.env` of the next run has it. A locked one rejects with `InvalidState`. */
declare function setEnvVar(key: string, value: string): Promise<void>;

/** The app's variables by name, but for private ones; `null` in place of a protected value. */
declare function getEnvVars(): Promise<Record<string, string | null>>;
