// What a tab speaks to: the session's holder, in this tab or in another.

import type { Authorization, Unresolved } from "./api.js";
import { Holder } from "./holder.js";
import type { Environment, PageEvent } from "./environment.js";
import type { EngineOptions } from "./engine.js";
import { NO_JOURNAL } from "./journal.js";
import type { Delivery, Entry, Registration, Told } from "./messages.js";

/** The tab, as the hub sees it. */
export interface HubListener {
  told(told: Told, epoch: number): void;
  registration(): Registration;
  /** Deliveries whose handler runs. */
  running(): string[];
  /** Messages that are accepted, and whose promises are not settled. */
  waiting(): string[];
  traced(): boolean;
  /** The role of this tab has changed. Deliveries that no handler has begun belong to another holder now. */
  role(tab: "leader" | "follower"): void;
  /** Another tab has logged out. */
  loggedOut(): void;
  /** Nothing can be kept any more. */
  lost(reason: string): void;
}

export interface Hub {
  readonly durable: boolean;
  /** Stores a message. Done when it is accepted. */
  post(entry: Entry, finished?: string): Promise<void>;
  /** Nobody waits for the answer. */
  abandon(id: string): void;
  /** Whether a delivery is still this tab's to handle. */
  mayBegin(delivery: Delivery, epoch: number, age: number): boolean | Promise<boolean>;
  /** A delivery is handled. */
  finish(id: string): Promise<void>;
  /** What this tab takes part in has changed. */
  registered(): void;
  start(): void;
  setAuthorization(authorization: Authorization): void;
  /** What the page goes through. */
  happens(event: PageEvent): void;
  unresolved(): Promise<Unresolved[]>;
  discard(id: string): Promise<void>;
  close(): Promise<void>;
  logOut(): Promise<void>;
}

/** A session for this tab alone. Nothing outlives the page. */
export class LoneHub implements Hub {
  readonly durable = false;
  #key = 0;
  readonly #holder: Holder;
  readonly #listener: HubListener;
  readonly #me: string;
  readonly #urls: string[];

  constructor(environment: Environment, options: EngineOptions, me: string, listener: HubListener) {
    this.#listener = listener;
    this.#me = me;
    this.#urls = options.urls;
    this.#holder = new Holder(environment, options, NO_JOURNAL, me, {
      send: (told) => listener.told(told, 0),
      traced: () => listener.traced(),
      keeps: () => false,
      broken: (error) => listener.lost(String(error)),
    });
  }

  async post(entry: Entry): Promise<void> {
    entry.key = ++this.#key;
    this.#holder.act((core) => core.post(entry, true));
  }

  abandon(id: string): void {
    this.#holder.act((core) => core.abandon(id));
  }

  mayBegin(): boolean {
    return true;
  }

  async finish(id: string): Promise<void> {
    this.#holder.finished(id);
  }

  registered(): void {
    this.#holder.setTab(this.#me, this.#listener.registration());
  }

  start(): void {
    this.#holder.act((core) => core.start());
  }

  setAuthorization(authorization: Authorization): void {
    this.#holder.act((core) => core.setAuthorization(authorization));
  }

  happens(event: PageEvent): void {
    const { engine } = this.#holder;
    const { sessionId } = engine;
    if (event === "return") {
      this.start();
    } else if (event === "leave") {
      engine.act((core) => core.leave());
      // The server ends the session unless the page is back within half a minute.
      if (sessionId !== undefined) engine.closeOutOfBand(sessionId, this.#urls);
    } else if (event !== "freeze") {
      engine.act((core) => core.wake());
    }
  }

  async unresolved(): Promise<Unresolved[]> {
    return [];
  }

  async discard(): Promise<void> {}

  async close(): Promise<void> {
    this.#holder.act((core) => core.close("closed by the application"));
    await this.#holder.engine.closed();
  }

  logOut(): Promise<void> {
    return this.close();
  }
}
