// What a client decides: state and input give effects. No I/O here, and no time or chance but those handed in.
//
// Effects are carried out in order, and those that write before all others of their batch: so a message is stored
// before it is acknowledged, and forgotten before the server is told that it may forget it, too.

import type { Authorization, AuthorizationNeed, Envelope } from "../api.js";
import type { Delivery, Entry, FailedEntry, LineState, Told, WireError, Write } from "../messages.js";
import {
  CLOSE_SESSION, DISCONNECT, idsOf, parsePipeline, printEnvelope, PROTOCOL_ERROR, RECONNECT, SERVICE_RESTART, SESSION_LOST,
  UNEXPECTED_CONDITION, VIOLATED_POLICY,
} from "../wire.js";
import { AuthorizationState } from "./authorization.js";
import { backOff } from "./backoff.js";
import { Outbox } from "./outbox.js";
import { Receipts } from "./receipts.js";
import { Topics } from "./topics.js";
import { text } from "../text.js";

export type Effect =
  | { do: "write"; write: Write }
  | { do: "authorize"; need: AuthorizationNeed }
  /** Open a WebSocket. Whatever it says carries the line's number. */
  | { do: "open"; line: number; url: string; authorization: string | undefined }
  | { do: "send"; line: number; text: string }
  /** Close the WebSocket, and hear no more of it. A reason has room for 123 bytes. */
  | { do: "shut"; line: number; code?: number | undefined; reason?: string | undefined }
  /** Close the session by HTTP, through any of these servers. */
  | { do: "closeOutOfBand"; sessionId: string; urls: string[] }
  | { do: "tell"; told: Told };

export interface CoreOptions {
  app: string;
  version: string;
  library: string;
  urls: string[];
  debug: number;
  /** What is written outlives the page, so what never left may wait for the next session. */
  durable: boolean;
  /** Whether envelopes are to be told of. */
  traced: () => boolean;
  /** Whether somebody handles this. What nobody handles is refused. */
  handles: (t: "SEND" | "REQUEST", endpoint: string) => boolean;
  /** Milliseconds that never jump, the wall clock, and a random number below 1. */
  now: () => number;
  wall: () => number;
  random: () => number;
  /** Whether timers come up to a second late. */
  hidden: () => boolean;
}

/** What the journal knew at the start. */
export interface Saved {
  sessionId: string | undefined;
  outbox: Entry[];
  seen: [string, "ACK" | "NACK"][];
  inbox: Delivery[];
}

const WELCOME_WITHIN = 10_000;
const FIRST_PING = 3_000;
const PING_EVERY = 15_000;
const PONG_WITHIN = 10_000;
/** After something that may have killed the line, such as a sleep, it has to prove itself quickly. */
const PONG_WITHIN_AFTER_WAKE = 3_000;
/** A timer that comes this late tells that the page slept, not that the server is silent. */
const LATE = 5_000;
const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 15_000;
/** Between two nodes of the list. */
const NEXT_URL = 150;
/** A line that ends sooner than this after WELCOME, and brought nothing, counts as a failed attempt. */
const SHORT_LIVED = 5_000;
/** Characters of HELLO and the SUBs with it: servers take little before the session is there. */
const FIRST_PIPELINE = 16 << 10;
/** While this much waits in the WebSocket, nothing is added. */
const CONGESTED = 1 << 20;
const CONGESTED_PAUSE = 20;
const MAX_SEEN = 20_000;
/** Receipts wait this long for company. */
const RECEIPT_DELAY = 25;

export class Core {
  readonly #options: CoreOptions;
  readonly #authorization = new AuthorizationState();
  readonly #outbox = new Outbox();
  readonly #receipts = new Receipts();
  readonly #topics = new Topics();
  /** Answers to messages that the server may send again. */
  readonly #seen = new Map<string, "ACK" | "NACK">();
  #effects: Effect[] = [];
  #state: LineState = { status: "idle" };
  #sessionId: string | undefined;
  #order = 0;

  #urlIndex = 0;
  #failures = 0;
  /** The number of the line, raised whenever one begins or ends. */
  #line = 0;
  #opened = false;
  #establishedAt = -Infinity;
  /** The line has brought more than WELCOME. */
  #useful = false;
  #attemptAt = -Infinity;
  #welcomeDue = Infinity;
  #reconnectAt = Infinity;
  #authorizing = false;

  #control: Envelope[] = [];
  #flushAt = Infinity;
  #congestedUntil = -Infinity;
  #pingNumber = 0;
  #pingAt = Infinity;
  #pinged = 0;
  #pongDue = Infinity;
  #buffered = 0;

  constructor(options: CoreOptions, saved?: Saved) {
    this.#options = options;
    if (!saved) return;
    this.#sessionId = saved.sessionId;
    for (const entry of saved.outbox) this.#outbox.add(entry, false);
    for (const [smid, answer] of saved.seen) this.#seen.set(smid, answer);
    for (const { order } of saved.inbox) this.#order = Math.max(this.#order, order);
  }

  get state(): LineState {
    return this.#state;
  }

  get sessionId(): string | undefined {
    return this.#sessionId;
  }

  /** What has to be done, in order. */
  take(): Effect[] {
    const effects = this.#effects;
    this.#effects = [];
    return effects;
  }

  /** When `tick` is to be called next. */
  get due(): number {
    switch (this.#state.status) {
      case "waiting":
        return this.#reconnectAt;
      case "connecting":
        return this.#welcomeDue;
      case "established": {
        const authorization = this.#authorizing
          ? Infinity
          : this.#authorization.due(this.#options.now(), this.#options.wall());
        const flush = Math.min(this.#flushAt, this.#receipts.due, this.#outbox.due);
        return Math.min(Math.max(flush, this.#congestedUntil), this.#pingAt, this.#pongDue, authorization);
      }
      default:
        return Infinity;
    }
  }

  // ---- what the application does ------------------------------------------------------------------------------

  /** Connects, if that is not under way; does not wait any longer. */
  start(): void {
    const { status } = this.#state;
    if (status === "connecting" || status === "established") return;
    this.#authorization.reset();
    this.#connect();
  }

  /** Takes a message that is in the journal. */
  post(entry: Entry, fresh: boolean): void {
    this.#outbox.add(entry, fresh);
    if (this.#state.status === "idle" || this.#state.status === "disconnected") this.start();
    this.#flushSoon();
  }

  /** Nobody waits for the answer any more. What never left is taken back. */
  abandon(id: string): void {
    const entry = this.#outbox.get(id);
    if (entry && this.#outbox.isUntouched(id)) this.#forget(entry);
  }

  /** What is not settled yet, by its id. */
  entry(id: string): Entry | undefined {
    return this.#outbox.get(id);
  }

  subscribe(topic: string, lastSeen: string): void {
    this.#say(this.#topics.subscribe(topic, lastSeen));
    if (this.#state.status === "idle") this.start();
  }

  unsubscribe(topic: string): void {
    this.#say(this.#topics.unsubscribe(topic));
  }

  get topics(): string[] {
    return this.#topics.names;
  }

  /** Closes the session for good. */
  close(reason: string): void {
    if (this.#opened) {
      this.#endLine(CLOSE_SESSION, reason);
    } else {
      this.#endLine();
      if (this.#sessionId !== undefined) {
        this.#effects.push({ do: "closeOutOfBand", sessionId: this.#sessionId, urls: this.#options.urls });
      }
    }
    this.#endSession(undefined, reason, { wiped: true });
    this.#setState("closed", { reason, error: { code: "closed", message: reason } });
  }

  /** Ends the line and keeps the session. */
  leave(): void {
    this.#endLine();
    this.#setState("idle", { reason: "left" });
  }

  setAuthorization(authorization: Authorization): void {
    this.authorized(authorization);
  }

  // ---- what happens to the line -------------------------------------------------------------------------------

  /** `authorize` gave a value. */
  authorized(authorization: Authorization): void {
    this.#authorizing = false;
    const { status } = this.#state;
    if (!this.#authorization.accept(authorization, this.#options.now())) {
      this.#unauthorized("the server refused the authorization", VIOLATED_POLICY);
    } else if (status === "connecting" && this.#welcomeDue === Infinity) {
      this.#open();
    } else if (status === "established") {
      this.#flushSoon();
    }
  }

  /** `authorize` failed. */
  notAuthorized(message: string): void {
    this.#authorizing = false;
    this.#tell({ e: "error", message: `authorize failed: ${message}` });
    this.#authorization.failed(this.#options.now());
    if (this.#state.status === "connecting") this.#connectFailed(`no authorization: ${message}`);
  }

  /** The WebSocket is open: HELLO and the subscriptions go first, the rest after WELCOME. */
  opened(line: number): void {
    if (line !== this.#line) return;
    const { app, version, library, debug, durable } = this.#options;
    const hello: Envelope = { t: "HELLO", clv: library, an: app, av: version };
    const auth = this.#authorization.forHello();
    if (auth !== undefined) hello.auth = auth;
    if (this.#sessionId !== undefined) hello.sid = this.#sessionId;
    // A page that crashes closes its socket with 1001, which ends a session that nobody wants to keep.
    if (durable) hello.keep = true;
    if (debug) hello.rd = debug;
    this.#opened = true;
    this.#control = this.#topics.envelopes();
    const first = [hello];
    for (let room = FIRST_PIPELINE; this.#control.length > 0 && room > 0;) {
      const envelope = this.#control.shift()!;
      room -= JSON.stringify(envelope).length;
      first.push(envelope);
    }
    this.#write(first);
  }

  /** A WebSocket message came. */
  received(line: number, data: unknown): void {
    if (line !== this.#line) return;
    let envelopes: Envelope[];
    try {
      envelopes = parsePipeline(data);
    } catch (error) {
      this.#lost(`the server sent something unreadable: ${text(error)}`);
      return;
    }
    for (const envelope of envelopes) this.#receive(envelope);
  }

  /** The WebSocket could not be opened, or was closed. */
  ended(line: number, code: number, reason: string): void {
    if (line !== this.#line) return;
    const established = this.#state.status === "established";
    const shown = reason || `closed with ${code}`;
    switch (code) {
      case DISCONNECT:
        this.#endLine();
        this.#setState("disconnected", { reason: reason || "another connection has the session" });
        break;
      case SESSION_LOST:
        this.#endLine();
        this.#endSession(code, shown, { reopened: true });
        this.#comeBack(shown, established);
        break;
      case UNEXPECTED_CONDITION:
        this.#endLine();
        if (established) this.#endSession(code, shown, { reopened: true });
        this.#connectFailed(shown);
        break;
      case VIOLATED_POLICY:
        if (established) this.#closedByServer(code, shown);
        else this.#refused(shown);
        break;
      case CLOSE_SESSION:
        this.#closedByServer(code, shown);
        break;
      case PROTOCOL_ERROR:
        if (established) this.#closedByServer(code, shown);
        else this.#stop({ code: "closed", message: shown, closeCode: code });
        break;
      default:
        this.#endLine();
        // The next node is the better guess when this one is stopping.
        if (code === SERVICE_RESTART) this.#nextUrl();
        if (established) this.#comeBack(shown, true);
        else this.#connectFailed(shown);
    }
  }

  /** Something may have killed the line or brought the network back: a sleep, another network, a page that is seen again. */
  wake(): void {
    const now = this.#options.now();
    if (this.#state.status === "established") {
      this.#ping(now, PONG_WITHIN_AFTER_WAKE);
    } else if (this.#state.status === "waiting" && now - this.#attemptAt >= FIRST_PAUSE) {
      this.#connect();
    }
  }

  /** A time that `due` named has come. `buffered` are the bytes that wait in the WebSocket. */
  tick(buffered: number): void {
    const now = this.#options.now();
    switch (this.#state.status) {
      case "waiting":
        if (now >= this.#reconnectAt) this.#connect();
        break;
      case "connecting":
        if (now >= this.#welcomeDue) {
          this.#endLine(RECONNECT, "no WELCOME in time");
          this.#connectFailed("no WELCOME in time");
        }
        break;
      case "established":
        this.#tickEstablished(now, buffered);
        break;
    }
  }

  #tickEstablished(now: number, buffered: number): void {
    const moves = buffered < this.#buffered;
    this.#buffered = buffered;
    if (now >= this.#pongDue) {
      if (now > this.#pongDue + LATE) {
        this.#ping(now, PONG_WITHIN_AFTER_WAKE);
      } else if (moves) {
        // A slow line is busy with what is large.
        this.#pongDue = now + PONG_WITHIN;
      } else {
        this.#lost("the server does not answer");
        return;
      }
    }
    if (now >= this.#pingAt) this.#ping(now, PONG_WITHIN);
    const need = this.#authorization.need(now, this.#options.wall());
    if (need && !this.#authorizing && now >= this.#authorization.due(now, this.#options.wall())) this.#authorize(need);
    this.#outbox.queueDue(now);
    if (this.#outbox.hasQueued) this.#flushSoon();
    const due = now >= this.#flushAt || now >= this.#receipts.due;
    if (due && now >= this.#congestedUntil) this.#flush(now, buffered);
  }

  // ---- connecting ---------------------------------------------------------------------------------------------

  get #url(): string {
    return this.#options.urls[this.#urlIndex]!;
  }

  #connect(): void {
    this.#endLine();
    this.#attemptAt = this.#options.now();
    this.#setState("connecting", {});
    const need = this.#authorization.need(this.#attemptAt, this.#options.wall());
    if (!need) this.#open();
    else if (!this.#authorizing) this.#authorize(need);
  }

  #authorize(need: AuthorizationNeed): void {
    this.#authorizing = true;
    this.#effects.push({ do: "authorize", need });
  }

  #open(): void {
    this.#welcomeDue = this.#options.now() + WELCOME_WITHIN;
    const authorization = this.#authorization.forHello();
    this.#effects.push({ do: "open", line: this.#line, url: this.#url, authorization });
  }

  /** Another attempt: the next URL almost at once, and a growing pause after each full round. */
  #connectFailed(reason: string): void {
    this.#endLine();
    const round = Math.floor(this.#failures++ / this.#options.urls.length);
    this.#nextUrl();
    const pause = this.#failures % this.#options.urls.length
      ? NEXT_URL
      : backOff(FIRST_PAUSE, round, LONGEST_PAUSE, this.#options.random);
    this.#wait(pause, reason);
  }

  /** A line is lost that was good: back almost at once, but not all clients of a node in the same instant. */
  #comeBack(reason: string, established: boolean): void {
    const good = established && (this.#useful || this.#options.now() - this.#establishedAt >= SHORT_LIVED);
    if (!good) {
      // Else a server that takes us in and throws us out at once would see a storm.
      const pause = backOff(FIRST_PAUSE, this.#failures++, LONGEST_PAUSE, this.#options.random);
      this.#wait(this.#failures === 1 ? pause * this.#options.random() : pause, reason);
    } else {
      this.#failures = 0;
      this.#wait(FIRST_PAUSE * this.#options.random(), reason);
    }
  }

  #wait(pause: number, reason: string): void {
    this.#reconnectAt = this.#options.now() + pause;
    this.#setState("waiting", { reason, retryAt: this.#options.wall() + pause });
  }

  #nextUrl(): void {
    this.#urlIndex = (this.#urlIndex + 1) % this.#options.urls.length;
  }

  #lost(reason: string): void {
    this.#endLine(RECONNECT, "the line is of no use");
    this.#comeBack(reason, true);
  }

  /** Nothing that the line still says is heard. */
  #endLine(code?: number, reason?: string): void {
    this.#effects.push({ do: "shut", line: this.#line, code, reason });
    this.#line++;
    this.#opened = false;
    this.#welcomeDue = this.#reconnectAt = this.#pingAt = this.#pongDue = this.#flushAt = Infinity;
    this.#congestedUntil = -Infinity;
    this.#control = [];
    this.#buffered = 0;
  }

  /** HELLO was refused. That leaves the session, if there is one, as it was: nothing is wiped. */
  #refused(reason: string): void {
    if (!reason.includes("does not match") && this.#authorization.refuse()) {
      this.#endLine();
      this.#wait(0, reason);
    } else {
      this.#unauthorized(reason, VIOLATED_POLICY);
    }
  }

  #unauthorized(message: string, closeCode: number): void {
    this.#stop({ code: "unauthorized", message, closeCode });
  }

  /** No further attempt. What can be kept is kept; the rest fails. */
  #stop(error: WireError): void {
    this.#endLine();
    if (!this.#options.durable) for (const entry of this.#outbox.entries()) this.#fail(entry, error);
    this.#setState("closed", { reason: error.message, error });
  }

  #closedByServer(closeCode: number, reason: string): void {
    this.#endLine();
    this.#endSession(closeCode, reason, {});
    this.#setState("closed", { reason, error: { code: "closed", message: reason, closeCode } });
  }

  /** The session is gone, and what was under way with it. */
  #endSession(closeCode: number | undefined, reason: string, how: { reopened?: boolean; wiped?: boolean }): void {
    const had = this.#sessionId !== undefined;
    this.#sessionId = undefined;
    this.#store("meta", "sessionId");
    for (const smid of this.#seen.keys()) this.#store("seen", smid);
    this.#seen.clear();
    this.#receipts.clear();
    this.#topics.sessionEnded();
    for (const entry of this.#outbox.entries()) {
      if (entry.t === "RESOLVE" || entry.t === "REJECT") {
        this.#forget(entry);
      } else if (how.wiped) {
        this.#fail(entry, { code: "closed", message: `the session was closed: ${reason}` });
      } else if (!this.#outbox.isUntouched(entry.id)) {
        this.#fail(entry, { code: "unknown", message: `the session was lost meanwhile: ${reason}` });
      } else if (!how.reopened && !this.#options.durable) {
        this.#fail(entry, { code: "closed", message: `the session was closed: ${reason}`, closeCode });
      } else if (entry.session !== "") {
        entry.session = "";
        this.#store("outbox", entry.key, entry);
      }
    }
    if (had) this.#tell({ e: "sessionClosed", closeCode, reason });
  }

  // ---- outgoing -----------------------------------------------------------------------------------------------

  #say(envelope: Envelope | undefined): void {
    // What is said before the line is open goes with HELLO.
    if (envelope && this.#opened) this.#control.push(envelope);
    this.#flushSoon();
  }

  #flushSoon(): void {
    if (this.#state.status === "established") this.#flushAt = Math.min(this.#flushAt, this.#options.now());
  }

  #flush(now: number, buffered: number): void {
    if (buffered > CONGESTED) {
      this.#congestedUntil = now + CONGESTED_PAUSE;
      return;
    }
    this.#flushAt = Infinity;
    const envelopes: Envelope[] = [];
    const auth = this.#authorization.forAuth();
    if (auth !== undefined) envelopes.push({ t: "AUTH", auth });
    envelopes.push(...this.#control, ...this.#receipts.take());
    this.#control = [];
    const entries = this.#outbox.next();
    for (const entry of entries) {
      if (entry.session === this.#sessionId) continue;
      entry.session = this.#sessionId!;
      this.#store("outbox", entry.key, entry);
    }
    if (envelopes.length + entries.length > 0) this.#write(envelopes, entries.map(({ text }) => text));
    if (this.#outbox.hasQueued) this.#flushSoon();
  }

  #write(envelopes: Envelope[], texts: string[] = []): void {
    const all = [...envelopes.map((envelope) => printEnvelope(envelope)), ...texts];
    const text = `[${all.join(",")}]`;
    this.#effects.push({ do: "send", line: this.#line, text });
    if (!this.#options.traced()) return;
    for (const envelope of parsePipeline(text)) {
      delete envelope.auth;
      this.#tell({ e: "envelope", direction: "out", envelope });
    }
  }

  #ping(now: number, within: number): void {
    this.#pinged = now;
    this.#pongDue = now + within;
    this.#pingAt = now + PING_EVERY;
    this.#receipts.pinged();
    this.#write([{ t: "PING", x: ++this.#pingNumber }]);
  }

  #fail(entry: Entry, error: WireError): void {
    this.#forget(entry);
    const { code: why, message: description } = error;
    if ((why === "unknown" || why === "refused" || why === "retries-exhausted") && this.#options.durable) {
      this.#store("failed", entry.id, { entry, why, description } satisfies FailedEntry);
    }
    this.#tell({ e: "failed", id: entry.id, tab: entry.tab, error });
  }

  #forget(entry: Entry): void {
    this.#outbox.remove(entry.id);
    this.#store("outbox", entry.key);
  }

  // ---- incoming -----------------------------------------------------------------------------------------------

  #receive(envelope: Envelope): void {
    this.#useful = envelope.t !== "WELCOME";
    if (this.#options.traced()) this.#tell({ e: "envelope", direction: "in", envelope });
    switch (envelope.t) {
      case "WELCOME":
        return this.#welcome(envelope.sid ?? "");
      case "ACK":
        for (const id of idsOf(envelope, "cmid")) this.#taken(id);
        return;
      case "NACK":
        for (const id of idsOf(envelope, "cmid")) this.#refusedMessage(id, envelope.desc);
        return;
      case "ACK2":
        for (const smid of idsOf(envelope, "smid")) {
          this.#seen.delete(smid);
          this.#store("seen", smid);
        }
        return;
      case "RETRY":
        for (const id of idsOf(envelope, "cmid")) this.#retry(id, envelope.desc);
        return;
      case "RESOLVE":
      case "REJECT":
        return this.#settled(envelope, envelope.t);
      case "SEND":
      case "REQUEST":
        return this.#message(envelope, envelope.t);
      case "SUB_OK":
        return this.#tell({ e: "topic", topic: envelope.eid ?? "", outcome: "subscribed" });
      case "SUB_LOST":
        return this.#tell({ e: "topic", topic: envelope.eid ?? "", outcome: "lost" });
      case "SUB_NO_AUTH":
        this.#topics.deny(envelope.eid ?? "");
        return this.#tell({ e: "topic", topic: envelope.eid ?? "", outcome: "denied" });
      case "PUB":
        if (this.#topics.seen(envelope.eid ?? "", envelope.smid)) this.#tell({ e: "publication", envelope });
        return;
      case "REAUTH":
        return this.#authorization.request();
      case "PONG":
        return this.#pong(envelope.x);
      // The others are not for clients, or come from a newer server.
    }
  }

  #welcome(sessionId: string): void {
    const now = this.#options.now();
    const resumed = this.#sessionId === sessionId;
    if (!resumed) this.#store("meta", "sessionId", sessionId);
    this.#sessionId = sessionId;
    this.#establishedAt = now;
    this.#welcomeDue = Infinity;
    this.#authorization.welcome();
    this.#receipts.newLine(now);
    this.#outbox.newLine();
    this.#pingAt = now + FIRST_PING * (1 + this.#options.random());
    this.#setState("established", {});
    this.#tell({ e: "session", sessionId, resumed, url: shownUrl(this.#url) });
    this.#flushSoon();
  }

  /** The server has taken a message of ours. It is forgotten here before the server is told to forget it. */
  #taken(id: string): void {
    const entry = this.#outbox.get(id);
    if (entry && !entry.taken) {
      if (entry.t === "REQUEST") {
        entry.taken = true;
        this.#store("outbox", entry.key, entry);
      } else {
        this.#forget(entry);
      }
      this.#tell({ e: "received", id, tab: entry.tab });
    }
    // Of unknown ones, too: our ACK2 may have been lost.
    this.#receipt("ACK2", id);
  }

  #refusedMessage(id: string, desc: string | undefined): void {
    const entry = this.#outbox.get(id);
    if (entry) this.#fail(entry, { code: "refused", message: desc ?? "the server refused the message" });
    this.#receipt("ACK2", id);
  }

  #retry(id: string, desc: string | undefined): void {
    if (this.#outbox.retry(id, this.#options.now(), this.#options.random)) return;
    const message = desc ?? "the server never took it";
    this.#fail(this.#outbox.get(id)!, { code: "retries-exhausted", message });
  }

  /** The answer to a request of ours. It stands for the ACK if that did not come before. */
  #settled(envelope: Envelope, t: "RESOLVE" | "REJECT"): void {
    const { smid } = envelope;
    const cmid = String(envelope.cmid);
    if (smid !== undefined && this.#repeated(smid)) return;
    const entry = this.#outbox.get(cmid);
    if (smid !== undefined) this.#answer(smid, "ACK");
    if (smid === undefined || (entry && !entry.taken)) this.#receipt("ACK2", cmid);
    if (!entry || entry.t !== "REQUEST") return;
    this.#forget(entry);
    const { id, tab, at, replyTo, correlation } = entry;
    const request = { id, tab, at, correlation, ...(replyTo === undefined ? {} : { replyTo }) };
    this.#deliver({ ...this.#delivery(envelope, t, smid ?? `@${cmid}`), endpoint: entry.endpoint, request });
  }

  #message(envelope: Envelope, t: "SEND" | "REQUEST"): void {
    const { smid, eid = "" } = envelope;
    if (smid === undefined || this.#repeated(smid)) return;
    if (this.#options.handles(t, eid)) {
      this.#answer(smid, "ACK");
      this.#deliver(this.#delivery(envelope, t, smid));
    } else {
      this.#answer(smid, "NACK", `nothing here is called "${eid}"`);
    }
  }

  #delivery(envelope: Envelope, t: Delivery["t"], id: string): Delivery {
    const { eid = "", tid = "", msg: payload, desc: description, debug } = envelope;
    return { id, order: ++this.#order, t, endpoint: eid, traceId: tid, payload, description, debug };
  }

  #deliver(delivery: Delivery): void {
    this.#store("inbox", delivery.id, delivery);
    this.#tell({ e: "deliver", delivery });
  }

  /** Whether a message came before; then it is only acknowledged. */
  #repeated(smid: string): boolean {
    const answer = this.#seen.get(smid);
    if (answer) this.#receipt(answer, smid, "dupe");
    return answer !== undefined;
  }

  #answer(smid: string, t: "ACK" | "NACK", desc?: string): void {
    this.#seen.set(smid, t);
    this.#store("seen", smid, t);
    if (this.#seen.size > MAX_SEEN) {
      const oldest: string = this.#seen.keys().next().value!;
      this.#seen.delete(oldest);
      this.#store("seen", oldest);
    }
    this.#receipt(t, smid, desc);
  }

  #receipt(t: "ACK" | "NACK" | "ACK2", id: string, desc?: string): void {
    const delay = this.#options.hidden() ? 0 : RECEIPT_DELAY;
    this.#receipts.add(desc === undefined ? { t, id } : { t, id, desc }, this.#options.now() + delay);
  }

  #pong(x: unknown): void {
    if (String(x) !== String(this.#pingNumber)) return;
    this.#pongDue = Infinity;
    this.#receipts.ponged();
    this.#tell({ e: "pong", millis: this.#options.now() - this.#pinged });
  }

  // ---- effects ------------------------------------------------------------------------------------------------

  #store(...write: Write): void {
    this.#effects.push({ do: "write", write });
  }

  #tell(told: Told): void {
    this.#effects.push({ do: "tell", told });
  }

  #setState(status: LineState["status"], more: Partial<LineState>): void {
    this.#state = { status, sessionId: this.#sessionId, url: shownUrl(this.#url), ...more };
    this.#tell({ e: "state", state: this.#state });
  }
}

/** A URL without its query, which may hold a secret. */
function shownUrl(url: string): string {
  return url.split("?")[0]!;
}
