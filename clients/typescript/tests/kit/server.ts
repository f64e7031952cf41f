// A server of the protocol, small enough to be obviously right, for tests of what client and server do together.

import type { Envelope } from "../../src/api.js";
import type { FakeWebSocket } from "./socket.js";

interface Session {
  id: string;
  socket: FakeWebSocket | undefined;
  /** What was handled, and is answered again without being handled again. */
  inbox: Map<string, Envelope>;
  /** What the client has not acknowledged. */
  outbox: Map<string, Envelope>;
  topics: Set<string>;
  /** The client has shown that it knows the id. */
  isKnown: boolean;
}

/** What the server has handled. */
export interface Handled {
  session: string;
  cmid: string;
  eid: string;
  msg: unknown;
}

export class FakeServer {
  readonly sessions = new Map<string, Session>();
  readonly handled: Handled[] = [];
  /** RESOLVEs and REJECTs of the client's endpoints. */
  readonly replies: Envelope[] = [];
  /** Everything that was published. */
  readonly #published: Envelope[] = [];
  /** Topics that nobody may listen to. */
  readonly denied = new Set<string>();
  /** Whether new lines are taken. */
  up = true;
  /** How a request is answered. Undefined: not at once; the test does that, by `reply`. */
  answer: (request: Envelope) => Envelope | undefined = ({ cmid, tid, msg }) => ({
    t: "RESOLVE", cmid: cmid!, tid: tid!, msg: { echo: msg },
  });
  #next = 0;

  /** To be called for each socket. */
  connect = (socket: FakeWebSocket): void => {
    setImmediate(() => {
      if (socket.readyState !== 0) return;
      if (!this.up) return socket.end(1006);
      let session: Session | undefined;
      socket.onGone = () => {
        if (session?.socket === socket) session.socket = undefined;
      };
      socket.onPipeline = (pipeline) => {
        const envelopes = structuredClone(pipeline);
        setImmediate(() => {
          if (socket.readyState > 1) return;
          for (const envelope of envelopes) {
            if (envelope.t === "HELLO") session = this.#hello(socket, envelope);
            else if (session?.socket === socket) this.#handle(session, envelope);
          }
        });
      };
      socket.accept();
    });
  };

  #hello(socket: FakeWebSocket, { sid }: Envelope): Session | undefined {
    if (sid !== undefined && !this.sessions.has(sid)) {
      setImmediate(() => socket.end(4001, "the session is gone"));
      return undefined;
    }
    const id = sid ?? `S${++this.#next}`;
    const session = this.sessions.get(id)
      ?? { id, socket: undefined, inbox: new Map(), outbox: new Map(), topics: new Set(), isKnown: false };
    session.isKnown ||= sid !== undefined;
    this.sessions.set(id, session);
    const before = session.socket;
    session.socket = socket;
    if (before) setImmediate(() => before.end(4003, "same MatsSocketSessionId"));
    this.#say(session, { t: "WELCOME", sid: id }, ...session.outbox.values());
    return session;
  }

  #handle(session: Session, envelope: Envelope): void {
    const { t, smid, cmid, ids } = envelope;
    session.isKnown = true;
    switch (t) {
      case "SEND":
      case "REQUEST":
      case "RESOLVE":
      case "REJECT": {
        const before = session.inbox.get(cmid!);
        if (before) return this.#say(session, { ...before, desc: "dupe" });
        const answer = t === "REQUEST" ? this.answer(envelope) : undefined;
        this.handled.push({ session: session.id, cmid: cmid!, eid: envelope.eid ?? t, msg: envelope.msg });
        if (t === "RESOLVE" || t === "REJECT") this.replies.push(envelope);
        const outcome: Envelope = answer ?? { t: "ACK", cmid: cmid! };
        session.inbox.set(cmid!, outcome);
        return this.#say(session, outcome);
      }
      case "ACK":
      case "NACK":
        for (const id of ids ?? [smid!]) {
          session.outbox.delete(id);
          this.#say(session, { t: "ACK2", smid: id });
        }
        return;
      case "ACK2":
        for (const id of ids ?? [cmid!]) session.inbox.delete(id);
        return;
      case "PING":
        return this.#say(session, { t: "PONG", x: envelope.x! });
      case "SUB":
        if (this.denied.has(envelope.eid!)) return this.#say(session, { t: "SUB_NO_AUTH", eid: envelope.eid! });
        session.topics.add(envelope.eid!);
        return this.#say(session, { t: "SUB_OK", eid: envelope.eid! }, ...this.#publishedAfter(envelope));
      case "UNSUB":
        session.topics.delete(envelope.eid!);
        return;
      default:
        return;
    }
  }

  #say(session: Session, ...envelopes: Envelope[]): void {
    const { socket } = session;
    if (!socket) return;
    setImmediate(() => {
      if (session.socket === socket) socket.say(...structuredClone(envelopes));
    });
  }

  /** Sends or requests something, to whichever session there is. */
  post(t: "SEND" | "REQUEST", eid: string, msg: unknown, session = [...this.sessions.values()].at(-1)!): string {
    const smid = `s${++this.#next}`;
    return this.#post(session, { t, smid, eid, tid: "t", msg });
  }

  /** Answers a request that was not answered at once. */
  reply(cmid: string, msg: unknown, t: "RESOLVE" | "REJECT" = "RESOLVE"): void {
    const session = [...this.sessions.values()].at(-1)!;
    this.#post(session, { t, smid: `s${++this.#next}`, cmid, tid: "t", msg });
  }

  #post(session: Session, envelope: Envelope): string {
    session.outbox.set(envelope.smid!, envelope);
    this.#say(session, envelope);
    return envelope.smid!;
  }

  publish(topic: string, msg: unknown): void {
    const envelope: Envelope = { t: "PUB", eid: topic, smid: `s${++this.#next}`, tid: "t", msg };
    this.#published.push(envelope);
    for (const session of this.sessions.values()) {
      if (session.topics.has(topic)) this.#say(session, envelope);
    }
  }

  /** What was missed since the last message that a SUB names. */
  #publishedAfter({ eid, smid }: Envelope): Envelope[] {
    const all = this.#published.filter((one) => one.eid === eid);
    return smid === undefined ? [] : all.slice(all.findIndex((one) => one.smid === smid) + 1);
  }

  /** Every line breaks. */
  cut(code = 1006): void {
    for (const session of this.sessions.values()) {
      session.socket?.end(code);
      session.socket = undefined;
    }
  }

  /** Everything is forgotten. */
  lose(): void {
    this.cut();
    this.sessions.clear();
  }
}
