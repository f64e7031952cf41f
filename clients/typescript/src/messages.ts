// What the parts of the client hand to each other. All of it is plain data: it is stored, and sent between tabs.

import type { ErrorCodeOfUnresolved } from "./api.js";
import type { ErrorCode } from "./errors.js";
import type { Envelope } from "./api.js";

/** A message of ours that the server has not settled yet. */
export interface Entry {
  /** Where it stands in the outbox, which is the order in which messages go out. Given by the journal. */
  key: number;
  /** Its cmid: a random part of the page that made it, and a number. Never used twice. */
  id: string;
  t: "SEND" | "REQUEST" | "RESOLVE" | "REJECT";
  /** The envelope, as it goes over the line. */
  text: string;
  /** The page that made it. */
  tab: string;
  endpoint: string;
  traceId: string;
  /** When it was made, by the wall clock. */
  at: number;
  /** The session whose line may have carried it; empty if none ever did. */
  session: string;
  /** The server has taken it, and owes an answer. */
  taken?: boolean;
  /** The terminator that its answer goes to, unless the page waits for it. */
  replyTo?: string;
  correlation?: unknown;
}

/** A message of the server's that no handler has finished yet. */
export interface Delivery {
  /** Its smid; for an answer without one, `@` and the cmid of the request. */
  id: string;
  /** Orders what is delivered. */
  order: number;
  t: "SEND" | "REQUEST" | "RESOLVE" | "REJECT";
  endpoint: string;
  traceId: string;
  payload: unknown;
  description?: string | undefined;
  debug?: Record<string, unknown> | undefined;
  /** For an answer: the request that it settles. */
  request?: Pick<Entry, "id" | "tab" | "at" | "replyTo" | "correlation">;
  /** It was handed to a handler before, in a page that is gone. */
  redelivered?: boolean;
}

/** A message whose fate nobody learned of. */
export interface FailedEntry {
  entry: Entry;
  why: ErrorCodeOfUnresolved;
  description: string;
}

/** What is kept in the journal: the stores, and what is written to them. No value: the key is deleted. */
export type Write =
  | ["outbox", number, Entry?]
  | ["seen", string, ("ACK" | "NACK")?]
  | ["inbox", string, Delivery?]
  | ["failed", string, FailedEntry?]
  | ["meta", string, unknown?];

/** Where the line and the session stand, as the core knows it. */
export interface LineState {
  status: "idle" | "connecting" | "established" | "waiting" | "disconnected" | "closed";
  sessionId?: string | undefined;
  url?: string | undefined;
  reason?: string | undefined;
  retryAt?: number | undefined;
  error?: WireError | undefined;
}

/** An error as data. */
export interface WireError {
  code: ErrorCode;
  message: string;
  closeCode?: number | undefined;
}

/** What the holder of the session tells the tabs. */
export type Told =
  | { e: "state"; state: LineState }
  | { e: "session"; sessionId: string; resumed: boolean; url: string }
  | { e: "sessionClosed"; closeCode: number | undefined; reason: string }
  /** The server has taken the message. */
  | { e: "received"; id: string; tab: string }
  | { e: "failed"; id: string; tab: string; error: WireError }
  | { e: "deliver"; delivery: Delivery }
  | { e: "topic"; topic: string; outcome: "subscribed" | "lost" | "denied" }
  | { e: "publication"; envelope: Envelope }
  | { e: "pong"; millis: number }
  | { e: "envelope"; direction: "in" | "out"; envelope: Envelope }
  | { e: "error"; message: string };

/** What a tab takes part in. */
export interface Registration {
  terminators: string[];
  endpoints: string[];
  replyTerminators: string[];
  /** Topics and the id of the message seen last of each; empty if none was. */
  topics: [topic: string, lastSeen: string][];
}

/** The reply terminator of requests whose page is gone. */
export const LATE_REPLIES = "*";
