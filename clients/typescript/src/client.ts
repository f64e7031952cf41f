// The client as a tab's application sees it: promises, handlers, topics and events, on top of a hub.

import type {
  Authorization, AuthorizationNeed, Authorize, Client, ClientEvents, ConnectionState, ConnectOptions, Envelope, LateReply,
  Message, RequestOptions, Requesting, Sending, SendOptions, Topic, TopicOptions,
  Unresolved,
} from "./api.js";
import { ClosedError, LimitError, MatsSocketError, NotStoredError, RejectedError, TimeoutError } from "./errors.js";
import type { EngineOptions } from "./engine.js";
import type { Environment } from "./environment.js";
import { Events } from "./events.js";
import { Handlers } from "./handlers.js";
import { Holder } from "./holder.js";
import { LoneHub, type Hub, type HubListener } from "./hub.js";
import { LATE_REPLIES, type Delivery, type Entry, type LineState, type Registration, type Told } from "./messages.js";
import { Value } from "./observable.js";
import { topicOf, type Subscriber } from "./topic.js";
import { errorOf, Waiter } from "./waiting.js";
import { printEnvelope } from "./wire.js";
import { text } from "./text.js";

const DEFAULT_TIMEOUT = 120_000;
const MAX_OUTSTANDING = 10_000;
const MAX_MESSAGE_BYTES = 4 << 20;
/** Of a topic, so that a message which comes again from a new leader is known. */
const RECENT = 200;

interface Subscription {
  subscribers: Set<Subscriber>;
  lastSeen: string;
  recent: Set<string>;
}

export class TabClient implements Client, HubListener {
  readonly state: Value<ConnectionState>;
  readonly roundTrip = new Value<number | undefined>(undefined);
  readonly outstanding = new Value(0);
  readonly #environment: Environment;
  readonly #options: ConnectOptions;
  readonly #engineOptions: EngineOptions;
  /** Of this page load, and a part of each id that it makes. */
  readonly #me: string;
  readonly #events = new Events();
  readonly #handlers: Handlers;
  readonly #waiters = new Map<string, Waiter>();
  readonly #topics = new Map<string, Subscription>();
  readonly #ready: Promise<void>;
  readonly #stopListening: () => void;
  /** Set once `#ready` is. */
  #hub!: Hub;
  #line: LineState = { status: "idle" };
  #number = 0;
  #closed: MatsSocketError | undefined;

  constructor(environment: Environment, urls: string[], options: ConnectOptions) {
    this.#environment = environment;
    this.#options = options;
    this.#me = environment.randomId();
    this.state = new Value<ConnectionState>({ status: "idle", persistence: "memory", tab: "alone" });
    this.#engineOptions = {
      app: options.app,
      version: options.version,
      urls: options.shuffle === false ? urls : shuffled(urls, environment.random),
      debug: options.debug ?? 0,
      authorize: authorizeOf(options.authorize),
      preconnect: options.preconnect,
    };
    this.#handlers = new Handlers({
      mayBegin: (delivery, epoch, age) => this.#hub.mayBegin(delivery, epoch, age),
      done: (delivery, outcome) => this.#handled(delivery, outcome),
      now: environment.now,
    });
    this.endpoint("MatsSocket.renewAuth", () => this.#renewAuthorization());
    this.#ready = this.#begin(urls[0]!);
    // At once: a page that goes away has no time for promises.
    this.#stopListening = environment.listen((event) => {
      if (!this.#closed) this.#hub?.happens(event);
    });
  }

  // ---- sending ------------------------------------------------------------------------------------------------

  send(id: string, payload: unknown, options: SendOptions = {}): Sending {
    return this.#post({ t: "SEND" }, id, payload, options).sending();
  }

  request(id: string, payload: unknown, options: RequestOptions = {}): Requesting<any> {
    const timeout = options.timeout ?? this.#options.timeout ?? DEFAULT_TIMEOUT;
    const waiter = this.#post(this.#requestHead(options, timeout), id, payload, options);
    if (!this.#waiters.has(waiter.about.id)) return waiter.requesting(); // it has failed already
    const takeBack = (error: unknown) => {
      this.#whenReady((hub) => hub.abandon(waiter.about.id));
      this.#fail(waiter.about.id, error);
    };
    waiter.onSettled(this.#environment.after(timeout, () => {
      takeBack(new TimeoutError(`no answer from "${id}" within ${timeout} ms`));
    }));
    const { signal } = options;
    if (signal) {
      const abort = () => takeBack(signal.reason);
      if (signal.aborted) abort();
      signal.addEventListener("abort", abort);
      waiter.onSettled(() => signal.removeEventListener("abort", abort));
    }
    return waiter.requesting();
  }

  requestReplyTo(
    id: string, payload: unknown, replyTo: string, correlation?: unknown, options: RequestOptions = {},
  ): Sending {
    const head = this.#requestHead(options, options.timeout ?? this.#options.timeout ?? DEFAULT_TIMEOUT);
    return this.#post(head, id, payload, options, { replyTo, correlation }).sending();
  }

  #requestHead({ debug = this.#options.debug }: RequestOptions, to: number): Envelope {
    return debug ? { t: "REQUEST", to, rd: debug } : { t: "REQUEST", to };
  }

  #post(
    head: Envelope, endpoint: string, payload: unknown, { traceId }: SendOptions,
    reply?: Pick<Entry, "replyTo" | "correlation">,
  ): Waiter {
    const entry = this.#entry(head, traceId ?? this.#environment.randomId(), endpoint, payload);
    const { id, traceId: tid } = entry;
    const kind = head.t === "REQUEST" && !reply ? "request" : "send";
    const waiter = new Waiter({ id, kind, endpoint, traceId: tid }, this.#environment.now());
    const refused = this.#cannotPost(entry);
    if (refused) {
      waiter.fail(refused);
      return waiter;
    }
    this.#waiters.set(id, waiter);
    this.outstanding.set(this.#waiters.size);
    void this.#store(Object.assign(entry, reply), waiter);
    return waiter;
  }

  async #store(entry: Entry, waiter: Waiter): Promise<void> {
    try {
      await this.#ready;
      // It may have been taken back meanwhile.
      if (!this.#waiters.has(entry.id)) return;
      await this.#hub.post(entry);
      if (this.#waiters.has(entry.id)) waiter.accept();
      else this.#hub.abandon(entry.id);
    } catch (cause) {
      const message = `not stored, so not sent: ${text(cause)}`;
      this.#fail(entry.id, new NotStoredError(message, { cause }));
    }
  }

  #entry(head: Envelope, traceId: string, endpoint: string, payload: unknown): Entry {
    const id = `${this.#me}-${++this.#number}`;
    const { t, ...rest } = head;
    const eid = t === "SEND" || t === "REQUEST" ? { eid: endpoint } : {};
    const text = printEnvelope({ t, cmid: id, tid: traceId, ...eid, ...rest }, JSON.stringify(payload) ?? "null");
    const at = this.#environment.wall();
    return { key: 0, id, t: t as Entry["t"], text, tab: this.#me, endpoint, traceId, at, session: "" };
  }

  #cannotPost({ text }: Entry): MatsSocketError | undefined {
    if (this.#closed) return this.#closed;
    if (this.#line.error && !this.#hub.durable) return this.state.value.error;
    const { maxOutstanding = MAX_OUTSTANDING, maxMessageBytes = MAX_MESSAGE_BYTES } = this.#options;
    if (this.#waiters.size >= maxOutstanding) return new LimitError(`${this.#waiters.size} messages are outstanding`);
    const bytes = text.length * 3 > maxMessageBytes ? new TextEncoder().encode(text).length : 0;
    return bytes > maxMessageBytes
      ? new LimitError(`the message has ${bytes} bytes, at most ${maxMessageBytes} are allowed`)
      : undefined;
  }

  #settle(id: string): Waiter | undefined {
    const waiter = this.#waiters.get(id);
    if (!waiter) return undefined;
    this.#waiters.delete(id);
    this.outstanding.set(this.#waiters.size);
    waiter.settled();
    return waiter;
  }

  #fail(id: string, error: unknown): void {
    this.#settle(id)?.fail(error);
  }

  // ---- receiving ----------------------------------------------------------------------------------------------

  terminator(id: string, handler: (payload: any, message: Message) => unknown): () => void {
    return this.#register(this.#handlers.terminators, id, handler);
  }

  endpoint(id: string, handler: (payload: any, message: Message) => any): () => void {
    return this.#register(this.#handlers.endpoints, id, handler);
  }

  replyTerminator(id: string, handler: (reply: LateReply) => unknown): () => void {
    return this.#register(this.#handlers.replyTerminators, id, handler);
  }

  onLateReply(handler: (reply: LateReply) => unknown): () => void {
    return this.#register(this.#handlers.replyTerminators, LATE_REPLIES, handler);
  }

  #register<T>(handlers: Map<string, T>, id: string, handler: T): () => void {
    handlers.set(id, handler);
    this.#registrationChanged();
    return () => {
      if (handlers.get(id) !== handler) return;
      handlers.delete(id);
      this.#registrationChanged();
    };
  }

  /** Several changes in a row are told once. */
  #registrationPending = false;
  #registrationChanged(): void {
    if (!this.#hub || this.#registrationPending || this.#closed) return;
    this.#registrationPending = true;
    this.#environment.soon(() => {
      this.#registrationPending = false;
      if (!this.#closed) this.#hub.registered();
    });
  }

  topic<T = any>(id: string, { after = "" }: TopicOptions = {}): Topic<T> {
    return topicOf<T>(id, (subscriber) => {
      const subscription = this.#topics.get(id) ?? { subscribers: new Set(), lastSeen: after, recent: new Set() };
      this.#topics.set(id, subscription);
      subscription.subscribers.add(subscriber);
      this.#registrationChanged();
      return () => {
        if (!subscription.subscribers.delete(subscriber) || subscription.subscribers.size > 0) return;
        if (this.#topics.get(id) === subscription) this.#topics.delete(id);
        this.#registrationChanged();
      };
    });
  }

  #published({ eid = "", smid = "", tid = "", msg, debug }: Envelope): void {
    const topic = this.#topics.get(eid);
    if (!topic || topic.recent.has(smid)) return;
    topic.lastSeen = smid;
    topic.recent.add(smid);
    if (topic.recent.size > RECENT) topic.recent.delete(topic.recent.values().next().value!);
    const message = { payload: msg, endpoint: eid, traceId: tid, messageId: smid, redelivered: false, debug };
    for (const subscriber of [...topic.subscribers]) this.#guard(() => subscriber.next(message));
  }

  #topicAnswered(topic: string, outcome: ClientEvents["topic"]["outcome"]): void {
    const subscription = this.#topics.get(topic);
    if (!subscription) return;
    if (outcome === "denied") {
      this.#topics.delete(topic);
      for (const subscriber of [...subscription.subscribers]) subscriber.denied();
    }
    this.#events.emit("topic", { topic, outcome });
  }

  #delivered(delivery: Delivery, epoch: number): void {
    const { request } = delivery;
    if (!request || request.replyTo !== undefined || request.tab !== this.#me) {
      this.#handlers.deliver(delivery, epoch);
      return;
    }
    const waiter = this.#settle(request.id);
    // A late answer finds nobody.
    if (waiter) this.#events.emit("initiation", waiter.answer(delivery, this.#environment.now()));
    this.#finish(delivery.id);
  }

  #finish(id: string): void {
    this.#hub.finish(id).catch((error: unknown) => this.#events.emit("error", error));
  }

  async #handled(delivery: Delivery, outcome: { value: unknown } | { failure: unknown }): Promise<void> {
    const failed = "failure" in outcome;
    const { failure } = failed ? outcome : { failure: undefined };
    // To reject is an endpoint's right; anything else that is thrown is an error here, too.
    if (failed && !(failure instanceof RejectedError)) this.#events.emit("error", failure);
    try {
      if (delivery.t !== "REQUEST") {
        await this.#hub.finish(delivery.id);
        return;
      }
      const payload = !failed ? outcome.value : failure instanceof RejectedError ? failure.payload : text(failure);
      await this.#hub.post(this.#reply(failed ? "REJECT" : "RESOLVE", delivery, payload), delivery.id);
    } catch (error) {
      this.#events.emit("error", error);
    }
  }

  #reply(t: "RESOLVE" | "REJECT", { id: smid, traceId, endpoint }: Delivery, payload: unknown): Entry {
    try {
      return this.#entry({ t, smid }, traceId, endpoint, payload);
    } catch (error) {
      this.#events.emit("error", error);
      return this.#entry({ t: "REJECT", smid }, traceId, endpoint, text(error));
    }
  }

  // ---- the client itself --------------------------------------------------------------------------------------

  on<E extends keyof ClientEvents>(event: E, listener: (detail: ClientEvents[E]) => void): () => void {
    return this.#events.on(event, listener);
  }

  setAuthorization(authorization: Authorization): void {
    this.#whenReady((hub) => hub.setAuthorization(authorization));
  }

  reconnect(): void {
    this.#whenReady((hub) => hub.start());
  }

  /** At once, if that is possible. */
  #whenReady(action: (hub: Hub) => void): void {
    const act = () => {
      if (!this.#closed) action(this.#hub);
    };
    if (this.#hub) act();
    else void this.#ready.then(act);
  }

  async unresolved(): Promise<Unresolved[]> {
    await this.#ready;
    return this.#hub.unresolved();
  }

  async discard(id: string): Promise<void> {
    await this.#ready;
    await this.#hub.discard(id);
  }

  async close(): Promise<void> {
    await this.#ready;
    if (this.#closed) return;
    const kept = this.#hub.durable ? "; what was accepted is kept" : "";
    this.#closed = new ClosedError(`the client is closed${kept}`);
    await this.#hub.close();
    this.#end();
  }

  async logOut(): Promise<void> {
    await this.#ready;
    if (this.#closed) return;
    await this.#hub.logOut();
    this.loggedOut();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #end(): void {
    this.#stopListening();
    this.#handlers.drop();
    for (const id of [...this.#waiters.keys()]) this.#fail(id, this.#closed);
    this.#setLine({ status: "closed", reason: this.#closed!.message });
  }

  async #renewAuthorization(): Promise<object> {
    // What went wrong is the application's affair, not the server's.
    const fresh = await Promise.resolve(this.#engineOptions.authorize("requested")).catch((error: unknown) => {
      this.#events.emit("error", error);
      throw new RejectedError("no fresh authorization", null);
    });
    this.#hub.setAuthorization(fresh);
    return {};
  }

  async #begin(server: string): Promise<void> {
    // Handlers that are registered right after connect() are there before anything comes.
    await Promise.resolve();
    const { hub, reason } = await this.#open(server);
    this.#begun(hub, reason);
  }

  #begun(hub: Hub, reason: string | undefined): void {
    this.#hub = hub;
    this.state.set({
      ...this.state.value,
      persistence: hub.durable ? "durable" : "memory",
      persistenceReason: reason,
      tab: hub.durable ? "follower" : "alone",
    });
    hub.registered();
    hub.start();
  }

  /** A hub that keeps what is sent, where that is wanted and possible. */
  async #open(server: string): Promise<{ hub: Hub; reason?: string }> {
    const { app, user, persist = true } = this.#options;
    const { indexedDB, locks, BroadcastChannel } = this.#environment;
    const lone = (reason?: string) => ({
      hub: new LoneHub(this.#environment, this.#engineOptions, this.#me, this),
      ...(reason === undefined ? {} : { reason }),
    });
    if (user === undefined || !persist) return lone();
    if (!indexedDB || !locks || !BroadcastChannel) return lone("there is no IndexedDB here, or no Web Locks");
    try {
      const name = `matssocket/${app}/${user}/${server.split("?")[0]}`;
      const { openDurable } = await import("./durable/index.js");
      const parts = { environment: this.#environment, name, me: this.#me, engine: this.#engineOptions, Holder };
      return { hub: await openDurable(parts, this) };
    } catch (error) {
      return lone(`IndexedDB cannot be used: ${text(error)}`);
    }
  }

  // ---- what the hub says --------------------------------------------------------------------------------------

  told(told: Told, epoch: number): void {
    this.#guard(() => this.#told(told, epoch));
  }

  #told(told: Told, epoch: number): void {
    switch (told.e) {
      case "state":
        return this.#setLine(told.state);
      case "session":
        return this.#events.emit("session", { sessionId: told.sessionId, resumed: told.resumed, url: told.url });
      case "sessionClosed":
        return this.#events.emit("sessionClosed", { closeCode: told.closeCode, reason: told.reason });
      case "received":
        return this.#received(told.id);
      case "failed":
        return this.#fail(told.id, errorOf(told.error));
      case "deliver":
        return this.#delivered(told.delivery, epoch);
      case "publication":
        return this.#published(told.envelope);
      case "topic":
        return this.#topicAnswered(told.topic, told.outcome);
      case "pong":
        this.roundTrip.set(told.millis);
        return this.#events.emit("pong", told.millis);
      case "envelope":
        return this.#events.emit("envelope", { direction: told.direction, envelope: told.envelope });
      case "error":
        return this.#events.emit("error", new Error(told.message));
    }
  }

  #received(id: string): void {
    const waiter = this.#waiters.get(id);
    const initiation = waiter?.receive(this.#environment.now());
    if (waiter?.about.kind === "send") this.#settle(id);
    if (initiation) this.#events.emit("initiation", initiation);
  }

  #setLine(line: LineState): void {
    this.#line = line;
    const { error, ...rest } = line;
    const { persistence, persistenceReason, tab } = this.state.value;
    this.state.set({ ...rest, persistence, persistenceReason, tab, ...(error ? { error: errorOf(error) } : {}) });
    this.#events.emit("state", this.state.value);
  }

  registration(): Registration {
    return {
      terminators: [...this.#handlers.terminators.keys()],
      endpoints: [...this.#handlers.endpoints.keys()],
      replyTerminators: [...this.#handlers.replyTerminators.keys()],
      topics: [...this.#topics].map(([topic, { lastSeen }]) => [topic, lastSeen]),
    };
  }

  running(): string[] {
    return this.#handlers.running;
  }

  waiting(): string[] {
    return [...this.#waiters].flatMap(([id, waiter]) => (waiter.accepted ? [id] : []));
  }

  traced(): boolean {
    return this.#events.has("envelope");
  }

  role(tab: "leader" | "follower"): void {
    this.#handlers.drop();
    this.state.set({ ...this.state.value, tab });
    this.#guard(() => this.#events.emit("state", this.state.value));
  }

  loggedOut(): void {
    if (this.#closed) return;
    this.#closed = new ClosedError("logged out");
    this.#end();
  }

  /** Goes on in memory. What was accepted stays where it is, for a page that can use it. */
  lost(reason: string): void {
    if (this.#closed || !this.#hub?.durable) return;
    this.#hub.happens("leave");
    this.#handlers.drop();
    for (const id of this.waiting()) this.#fail(id, new ClosedError(`${reason}; what was accepted is kept`));
    this.#begun(new LoneHub(this.#environment, this.#engineOptions, this.#me, this), reason);
  }

  /** An error of the application's own code does not reach ours. */
  #guard(action: () => void): void {
    try {
      action();
    } catch (error) {
      console.error("matssocket: a listener failed:", error);
    }
  }
}

function authorizeOf(authorize: string | Authorize): Authorize {
  return typeof authorize === "string" ? () => authorize : (need: AuthorizationNeed) => authorize(need);
}

function shuffled(urls: string[], random: () => number): string[] {
  const left = [...urls];
  return urls.map(() => left.splice(Math.floor(random() * left.length), 1)[0]!);
}
