
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
