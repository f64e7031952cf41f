// Who holds the session: runs the engine, and knows which tab gets what.

import type { Environment } from "./environment.js";
import { Engine, type EngineOptions } from "./engine.js";
import type { Journal } from "./journal.js";
import { LATE_REPLIES, type Delivery, type LineState, type Registration, type Told } from "./messages.js";
import type { Core, Saved } from "./core/session.js";

export interface HolderListener {
  /** Hands something to one tab, or to all. */
  send(told: Told, tab?: string): void;
  traced(): boolean;
  /** Whether what no tab handles is taken all the same, and waits for one that does. */
  keeps(t: "SEND" | "REQUEST"): boolean;
  broken(error: unknown): void;
}

/** Deliveries that wait for a tab; beyond that they are refused. */
const MAX_HOMELESS = 1_000;

export class Holder {
  readonly #listener: HolderListener;
  readonly #me: string;
  readonly engine: Engine;
  readonly #tabs = new Map<string, Registration>();
  /** Deliveries that no tab has a handler for yet. */
  readonly #homeless = new Map<string, Delivery>();
  /** New deliveries, while those that an earlier page did not finish are still to come. */
  #held: Delivery[] | undefined;
  /** Deliveries at a tab that has not finished them. */
  readonly #running = new Map<string, { delivery: Delivery; tab: string }>();

  constructor(
    environment: Environment, options: EngineOptions, journal: Journal, me: string, listener: HolderListener,
    saved?: Saved,
  ) {
    this.#listener = listener;
    this.#me = me;
    if (saved?.inbox.length) this.#held = [];
    this.engine = new Engine(environment, options, journal, {
      tell: (told) => this.#tell(told),
      handles: (t, endpoint) => this.#handlerOf(t, endpoint) !== undefined
        || (listener.keeps(t) && this.#homeless.size < MAX_HOMELESS),
      traced: listener.traced,
      broken: listener.broken,
    }, saved);
  }

  act(action: (core: Core) => void): void {
    this.engine.act(action);
  }

  get state(): LineState {
    return this.engine.state;
  }

  /** A tab is there, and takes part in this; or it is gone. */
  setTab(tab: string, registration: Registration | undefined): void {
    if (registration) this.#tabs.set(tab, registration);
    else this.#tabs.delete(tab);
    this.#updateTopics();
    if (registration) {
      const waiting = [...this.#homeless.values()];
      this.#homeless.clear();
      for (const delivery of waiting) this.#route(delivery);
    } else {
      for (const { delivery, tab: at } of [...this.#running.values()]) {
        if (at !== tab) continue;
        this.#running.delete(delivery.id);
        this.#route({ ...delivery, redelivered: true });
      }
    }
  }

  /** Deliveries that an earlier page did not finish. `running`: by id, the tab that is handling it right now. */
  redeliver(deliveries: Delivery[], running: Map<string, string>): void {
    for (const delivery of deliveries) {
      const tab = running.get(delivery.id);
      if (tab !== undefined) this.#running.set(delivery.id, { delivery, tab });
      else this.#route({ ...delivery, redelivered: true });
    }
    for (const delivery of this.#held ?? []) this.#route(delivery);
    this.#held = undefined;
  }

  /** The requests whose answers are at a tab, or wait for one. */
  answered(): Set<string | undefined> {
    const deliveries = [
      ...[...this.#running.values()].map(({ delivery }) => delivery), ...this.#homeless.values(), ...(this.#held ?? []),
    ];
    return new Set(deliveries.map(({ request }) => request?.id));
  }

  finished(id: string): void {
    this.#running.delete(id);
  }

  #updateTopics(): void {
    const wanted = new Map<string, string>();
    // This tab's position is the one that this holder knows to be right.
    const registrations = [...this.#tabs].sort(([a], [b]) => Number(b === this.#me) - Number(a === this.#me));
    for (const [, { topics }] of registrations) {
      for (const [topic, lastSeen] of topics) {
        if (!wanted.get(topic)) wanted.set(topic, lastSeen);
      }
    }
    const known = new Set(this.engine.topics);
    for (const [topic, lastSeen] of wanted) {
      if (!known.has(topic)) this.act((core) => core.subscribe(topic, lastSeen));
    }
    for (const topic of known) {
      if (!wanted.has(topic)) this.act((core) => core.unsubscribe(topic));
    }
  }

  #tell(told: Told): void {
    switch (told.e) {
      case "deliver":
        if (this.#held) this.#held.push(told.delivery);
        else this.#route(told.delivery);
        return;
      case "received":
      case "failed":
        if (this.#tabs.has(told.tab)) this.#listener.send(told, told.tab);
        return;
      case "publication":
        for (const [tab, { topics }] of this.#tabs) {
          if (topics.some(([topic]) => topic === told.envelope.eid)) this.#listener.send(told, tab);
        }
        return;
      default:
        this.#listener.send(told);
    }
  }

  #route(delivery: Delivery): void {
    const tab = this.#destination(delivery);
    if (tab === undefined) {
      this.#homeless.set(delivery.id, delivery);
    } else {
      this.#running.set(delivery.id, { delivery, tab });
      this.#listener.send({ e: "deliver", delivery }, tab);
    }
  }

  #destination({ t, endpoint, request }: Delivery): string | undefined {
    if (t === "SEND" || t === "REQUEST") return this.#handlerOf(t, endpoint);
    if (!request) return undefined;
    if (request.replyTo === undefined && this.#tabs.has(request.tab)) return request.tab;
    const id = request.replyTo ?? LATE_REPLIES;
    return this.#find(({ replyTerminators }) => replyTerminators.includes(id), request.tab);
  }

  #handlerOf(t: "SEND" | "REQUEST", endpoint: string): string | undefined {
    return this.#find((registration) =>
      (t === "SEND" ? registration.terminators : registration.endpoints).includes(endpoint), this.#me);
  }

  /** A tab that fits: this one for choice. */
  #find(fits: (registration: Registration) => boolean, first: string): string | undefined {
    const registration = this.#tabs.get(first);
    if (registration && fits(registration)) return first;
    for (const [tab, registration] of this.#tabs) {
      if (fits(registration)) return tab;
    }
    return undefined;
  }
}
