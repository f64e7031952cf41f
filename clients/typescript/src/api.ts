// The public face: everything that an application sees. `connect` in `index.ts` gives a `Client`.

import type { MatsSocketError } from "./errors.js";

/**
 * What an application's server and page say to each other, by id. Given to `connect<Api>()`, every id, payload and
 * answer is checked by the compiler; `matssocket types` writes one from what the server says of itself.
 */
export interface Api {
  /** Endpoints of the server: `client.request(id, payload)`. */
  endpoints: Record<string, { request: any; reply: any; reject?: any }>;
  /** Terminators of the server: `client.send(id, payload)`. */
  terminators: Record<string, any>;
  /** Topics: `client.topic(id)`. */
  topics: Record<string, any>;
  /** Endpoints of the page: `client.endpoint(id, handler)`. */
  clientEndpoints: Record<string, { request: any; reply: any; reject?: any }>;
  /** Terminators of the page: `client.terminator(id, handler)`. */
  clientTerminators: Record<string, any>;
}

type Id<T> = keyof T & string;

/** What an endpoint rejects with, which is the `payload` of the `RejectedError`. */
export type Rejection<A extends Api, K extends Id<A["endpoints"]>> =
  A["endpoints"][K] extends { reject: infer R } ? R : unknown;

/** Why `authorize` is asked. */
export type AuthorizationNeed =
  /** There is no value yet. */
  | "first"
  /** The last one has expired, or is about to. */
  | "expired"
  /** The server wants a fresh one. */
  | "requested"
  /** The server refused the last one. The same value again ends the attempt. */
  | "refused";

/** An authorization value, and until when it is good (milliseconds since the epoch), if that is known. */
export type Authorization = string | { value: string; expires?: number | undefined };

/** Gives an authorization value when one is needed. If it fails, the client asks again a little later. */
export type Authorize = (need: AuthorizationNeed) => Authorization | Promise<Authorization>;

/** A WebSocket class: the platform's, or the one of the package `ws`. */
export type WebSocketClass = new (url: string, protocol: string) => WebSocket;

/** How to connect. */
export interface ConnectOptions {
  /** The application's name, for the server's records. */
  app: string;
  /** The application's version, for the server's records. */
  version: string;
  /** The authorization value, or what gives one. A value alone cannot be renewed. */
  authorize: string | Authorize;
  /**
   * Who uses this page, as the application knows it. Where it is given and the platform has IndexedDB and Web Locks,
   * what is sent and received survives reloads and crashes, and the tabs of this user share one session.
   */
  user?: string | undefined;
  /** `false` keeps everything in memory, and a session per tab, even where `user` is given. Default: true. */
  persist?: boolean | undefined;
  /**
   * Called before each connection, for what has to travel by HTTP (a cookie, say). `true` stands for a GET of the
   * server's own path with the header `Authorization`. The server is told by `?preconnect=true`.
   */
  preconnect?: boolean | ((url: string, authorization: string, signal: AbortSignal) => unknown) | undefined;
  /** What to connect with. Needed in Node before 22; default: the platform's own. */
  WebSocket?: unknown;
  /** Whether to try the URLs in random order, so that clients spread over the nodes. Default: true. */
  shuffle?: boolean | undefined;
  /** Debug options to ask for, a sum of bits: 1 timestamps, 2 names of nodes. The server may allow fewer. */
  debug?: number | undefined;
  /** How long a request waits for its answer, in milliseconds, where it does not say. Default: two minutes. */
  timeout?: number | undefined;
  /** Most messages that may be outstanding. Default: 10,000. */
  maxOutstanding?: number | undefined;
  /** Largest message in bytes. A larger one would cost the session, so it must fit the server's limit. Default: 4 MiB. */
  maxMessageBytes?: number | undefined;
}

/** What can be said with a message. */
export interface SendOptions {
  /** Follows the message through logs. Default: a random one. */
  traceId?: string | undefined;
}

/** What can be said with a request. */
export interface RequestOptions extends SendOptions {
  /** Takes the request back: it fails with the signal's reason, and is not sent if it was not yet. */
  signal?: AbortSignal | undefined;
  /** How long to wait for the answer, in milliseconds. */
  timeout?: number | undefined;
  /** Debug options for this request alone. */
  debug?: number | undefined;
}

/** A message on its way. It settles once the server has taken the message, or refused it. */
export interface Sending extends Promise<void> {
  /** The message's id. */
  readonly id: string;
  /**
   * Settles before anything reaches the wire: the message is queued and, where the client persists, stored, so that
   * it goes out whatever becomes of this page.
   */
  readonly accepted: Promise<void>;
}

/** A request on its way. It settles with the payload of the answer. */
export interface Requesting<T> extends Promise<T> {
  /** The request's id. */
  readonly id: string;
  /** As `Sending.accepted`. */
  readonly accepted: Promise<void>;
  /** The server has taken the request, and will answer. */
  readonly received: Promise<void>;
  /** The answer with all that is known of it. */
  readonly reply: Promise<Reply<T>>;
}

/** The answer to a request. */
export interface Reply<T = any> {
  payload: T;
  traceId: string;
  /** Milliseconds from the call to the answer. */
  roundTrip: number;
  /** What the server says of its way, if debug options are in force. */
  debug?: Record<string, unknown> | undefined;
}

/** A message from the server, for its handler. */
export interface Message<T = any> {
  payload: T;
  /** The id of the terminator, endpoint or topic. */
  endpoint: string;
  traceId: string;
  /** The server's id of the message. */
  messageId: string;
  /** A handler had this message before and did not finish: the page was closed, or crashed. */
  redelivered: boolean;
  /** What the server says of its way, if debug options are in force. */
  debug?: Record<string, unknown> | undefined;
}

/** The answer to a request made by `requestReplyTo`, or by a page that is gone. */
export interface LateReply<T = any> extends Message<T> {
  /** Whether the request was resolved; else it was rejected. */
  resolved: boolean;
  /** The id of the request. */
  requestId: string;
  /** What was given to `requestReplyTo`. */
  correlation: any;
  /** What the server says of a rejection. */
  description: string;
}

/** A message whose fate nobody learned of: see `client.unresolved()`. */
export interface Unresolved {
  id: string;
  kind: "send" | "request";
  endpoint: string;
  traceId: string;
  payload: any;
  /** `unknown`: it may have been handled. Else it was not. */
  why: ErrorCodeOfUnresolved;
  description: string;
  /** When it was sent, in milliseconds since the epoch. */
  sentAt: number;
}

/** Why a message stands among the unresolved ones. */
export type ErrorCodeOfUnresolved = "unknown" | "refused" | "retries-exhausted";

/** Where a client stands. */
export interface ConnectionState {
  status:
    /** Nothing wants a connection yet. */
    | "idle"
    /** A connection is being made. */
    | "connecting"
    /** The session is there. */
    | "established"
    /** Another attempt follows, at `retryAt`. */
    | "waiting"
    /** Another connection has the session; the next message takes it back. */
    | "disconnected"
    /** The session or the client is closed. */
    | "closed";
  /** The session, once there is one. */
  sessionId?: string | undefined;
  /** The server that is connected, or tried. */
  url?: string | undefined;
  /** For people: why the client is where it is. */
  reason?: string | undefined;
  /** When the next attempt is made, in milliseconds since the epoch. */
  retryAt?: number | undefined;
  /** Why the session is closed. */
  error?: MatsSocketError | undefined;
  /** Whether what is sent survives this page. */
  persistence: "durable" | "memory";
  /** Why nothing is kept although it was asked for. */
  persistenceReason?: string | undefined;
  /** Which tab speaks with the server: this one, for itself or for all, or another. */
  tab: "alone" | "leader" | "follower";
}

/** Numbers about a message that was sent. */
export interface Initiation {
  id: string;
  kind: "send" | "request";
  endpoint: string;
  traceId: string;
  /** Milliseconds from the call until the server had taken the message. */
  received: number;
  /** Milliseconds from the call to the answer, for a request. */
  answered?: number | undefined;
}

/** What a client tells its listeners. */
export interface ClientEvents {
  /** The state has changed. */
  state: ConnectionState;
  /** The session is there, new or resumed. */
  session: { sessionId: string; resumed: boolean; url: string };
  /** The session is gone. What was under way has failed. */
  sessionClosed: { closeCode: number | undefined; reason: string };
  /** The server's answer to a subscription; `lost`: messages since the last one seen are gone. */
  topic: { topic: string; outcome: "subscribed" | "lost" | "denied" };
  /** A PING was answered after so many milliseconds. */
  pong: number;
  /** A message was taken, or a request answered. */
  initiation: Initiation;
  /** Something failed that no promise tells of: a handler, or `authorize`. */
  error: unknown;
  /** Every envelope; authorization values are left out. Listening costs time. */
  envelope: { direction: "in" | "out"; envelope: Envelope };
}

/** A value that changes. `subscribe` calls at once, and then at each change; it gives what ends that. */
export interface Observable<T> {
  readonly value: T;
  subscribe(listener: (value: T) => void): () => void;
}

/** How to subscribe to a topic. */
export interface TopicOptions {
  /**
   * The id of the last message that the page has kept of this topic: what came after it is sent first, as far as the
   * server still has it (else the event `topic` says `lost`). Only where no tab is subscribed to the topic yet.
   */
  after?: string | undefined;
}

/** A topic, not subscribed to until somebody listens or iterates. */
export interface Topic<T> extends AsyncIterable<T> {
  /** Calls the listener for each message, until the function that is given back is called. */
  subscribe(listener: (payload: T, message: Message<T>) => void): () => void;
  [Symbol.asyncIterator](): AsyncIterator<T, undefined>;
}

/** A session with a cluster of servers. */
export interface Client<A extends Api = Api> {
  /** Where the client stands. */
  readonly state: Observable<ConnectionState>;
  /** Milliseconds from the last PING to its PONG. */
  readonly roundTrip: Observable<number | undefined>;
  /** Messages of this tab that the server has not taken yet, and requests without an answer. */
  readonly outstanding: Observable<number>;

  /** Sends a message to a terminator of the server. */
  send<K extends Id<A["terminators"]>>(id: K, payload: A["terminators"][K], options?: SendOptions): Sending;

  /**
   * Sends a request to an endpoint of the server.
   * Fails with `RejectedError`, `RefusedError`, `TimeoutError`, `ClosedError` and the other errors of this module.
   */
  request<K extends Id<A["endpoints"]>>(
    id: K, payload: A["endpoints"][K]["request"], options?: RequestOptions,
  ): Requesting<A["endpoints"][K]["reply"]>;

  /**
   * Sends a request whose answer goes to a handler, registered by `replyTerminator`, in whichever page is there by then.
   * The correlation comes back with it; it must be such that JSON can print it.
   */
  requestReplyTo<K extends Id<A["endpoints"]>>(
    id: K, payload: A["endpoints"][K]["request"], replyTo: string, correlation?: unknown, options?: RequestOptions,
  ): Sending;

  /** Where the answers to `requestReplyTo` go. Gives what removes the handler. */
  replyTerminator<T = any>(id: string, handler: (reply: LateReply<T>) => unknown): () => void;

  /** Where the answers to requests of a page that is gone go. Gives what removes the handler. */
  onLateReply<T = any>(handler: (reply: LateReply<T>) => unknown): () => void;

  /**
   * Registers, or replaces, where messages of the server go. The messages of one terminator are handled one after the
   * other. With several tabs, one of those that have the terminator gets the message. Gives what removes the handler.
   *
   * Register right after `connect` what the server may send unasked: a message for which there is no handler is refused;
   * or, where the client persists, waits for one.
   */
  terminator<K extends Id<A["clientTerminators"]>>(
    id: K, handler: (payload: A["clientTerminators"][K], message: Message<A["clientTerminators"][K]>) => unknown,
  ): () => void;

  /** Registers, or replaces, where requests of the server go. What the handler returns resolves, what it throws rejects. */
  endpoint<K extends Id<A["clientEndpoints"]>>(
    id: K,
    handler: (
      payload: A["clientEndpoints"][K]["request"], message: Message<A["clientEndpoints"][K]["request"]>,
    ) => A["clientEndpoints"][K]["reply"] | Promise<A["clientEndpoints"][K]["reply"]>,
  ): () => void;

  /** A topic: iterate over it, or subscribe. */
  topic<K extends Id<A["topics"]>>(id: K, options?: TopicOptions): Topic<A["topics"][K]>;

  /** Hands over a fresh authorization without being asked. */
  setAuthorization(authorization: Authorization): void;

  /** Connects now: again after `disconnected` or `closed`, or without waiting any longer. */
  reconnect(): void;

  /** Listens to events. Gives what ends that. */
  on<E extends keyof ClientEvents>(event: E, listener: (detail: ClientEvents[E]) => void): () => void;

  /** Messages whose fate nobody learned of: kept, where the client persists, until they are discarded. */
  unresolved(): Promise<Unresolved[]>;
  /** Forgets an unresolved message. */
  discard(id: string): Promise<void>;

  /**
   * Ends this client. Where it persists, everything is kept for the next page; else the session is closed, and what is
   * outstanding fails.
   */
  close(): Promise<void>;

  /** Closes the session, in all tabs, and wipes everything that was stored for this user. */
  logOut(): Promise<void>;

  /** Same as `close`. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** What an envelope is for. */
export type MessageType =
  | "HELLO" | "WELCOME" | "AUTH" | "REAUTH" | "PING" | "PONG"
  | "SEND" | "REQUEST" | "RESOLVE" | "REJECT"
  | "ACK" | "NACK" | "ACK2" | "RETRY"
  | "SUB" | "UNSUB" | "SUB_OK" | "SUB_LOST" | "SUB_NO_AUTH" | "PUB";

/** One envelope, in either direction. Absent fields are left out, never null. */
export interface Envelope {
  t: MessageType;
  smid?: string;
  cmid?: string;
  x?: string | number;
  ids?: string[];
  tid?: string;
  auth?: string;
  sid?: string;
  keep?: boolean;
  rd?: number;
  eid?: string;
  to?: number;
  desc?: string;
  clv?: string;
  an?: string;
  av?: string;
  msg?: unknown;
  debug?: Record<string, unknown>;
}
