import { Core, type CoreOptions, type Effect, type Saved } from "../../src/core/session.js";
import type { Envelope } from "../../src/api.js";
import type { Entry, Told, Write } from "../../src/messages.js";
import { printEnvelope } from "../../src/wire.js";

/** The core with a clock that the test moves, and a record of what it decides. */
export class Rig {
  now = 0;
  wall = 1_000_000;
  handlers = new Set(["T", "E"]);
  readonly core: Core;
  effects: Effect[] = [];
  #key = 0;

  constructor(options: Partial<CoreOptions> = {}, saved?: Saved) {
    this.core = new Core({
      app: "App", version: "1", library: "lib", urls: ["ws://one", "ws://two"], debug: 0, durable: false,
      traced: () => false,
      handles: (_, endpoint) => this.handlers.has(endpoint),
      now: () => this.now,
      wall: () => this.wall + this.now,
      random: () => 0,
      hidden: () => false,
      ...options,
    }, saved);
  }

  /** What was decided since the last call. */
  take(): Effect[] {
    return (this.effects = this.core.take());
  }

  /** The core ticks until it wants nothing before this time. */
  until(time: number): Effect[] {
    const all = this.core.take();
    while (this.core.due <= time) {
      this.now = Math.max(this.now, this.core.due);
      this.core.tick(0);
      all.push(...this.core.take());
    }
    this.now = time;
    return (this.effects = all);
  }

  /** From nothing to an established session. */
  establish(sessionId = "S1"): this {
    this.core.start();
    this.answer("token");
    this.open();
    this.say({ t: "WELCOME", sid: sessionId });
    this.until(this.now);
    return this;
  }

  answer(token: string): void {
    if (this.take().some((effect) => effect.do === "authorize")) this.core.authorized(token);
  }

  get line(): number {
    return this.opens().at(-1)!.line;
  }

  #opens: Extract<Effect, { do: "open" }>[] = [];
  opens(): Extract<Effect, { do: "open" }>[] {
    this.effects.push(...this.core.take());
    for (const effect of this.effects) {
      if (effect.do === "open" && !this.#opens.includes(effect)) this.#opens.push(effect);
    }
    return this.#opens;
  }

  open(): void {
    this.core.opened(this.line);
    this.effects = [];
  }

  say(...envelopes: Envelope[]): void {
    this.core.received(this.line, JSON.stringify(envelopes));
  }

  end(code: number, reason = ""): void {
    this.core.ended(this.line, code, reason);
  }

  /** The line breaks and another one is open. */
  reconnect(): void {
    this.end(1006);
    this.until(this.now + 1_000);
    this.open();
  }

  entry(id: string, t: Entry["t"] = "SEND", more: Partial<Entry> = {}): Entry {
    const text = printEnvelope({ t, cmid: id, tid: "t", eid: "X" }, "1");
    return { key: ++this.#key, id, t, text, tab: "tab", endpoint: "X", traceId: "t", at: 0, session: "", ...more };
  }

  post(id: string, t: Entry["t"] = "SEND"): void {
    this.core.post(this.entry(id, t), true);
  }

  // What the last effects were:

  get sent(): Envelope[] {
    return this.effects.flatMap((effect) => (effect.do === "send" ? (JSON.parse(effect.text) as Envelope[]) : []));
  }

  get writes(): Write[] {
    return this.effects.flatMap((effect) => (effect.do === "write" ? [effect.write] : []));
  }

  get told(): Told[] {
    return this.effects.flatMap((effect) => (effect.do === "tell" ? [effect.told] : []));
  }

  of<E extends Told["e"]>(e: E): Extract<Told, { e: E }>[] {
    return this.told.filter((told): told is Extract<Told, { e: E }> => told.e === e);
  }

  get shut(): Extract<Effect, { do: "shut" }>[] {
    return this.effects.filter((effect) => effect.do === "shut" && effect.code !== undefined) as never;
  }
}
