
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
