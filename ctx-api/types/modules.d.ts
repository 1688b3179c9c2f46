
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
