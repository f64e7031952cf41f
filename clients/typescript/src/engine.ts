// Carries out what the core decides: WebSockets, timers, the journal.

import type { Authorization, Authorize, ConnectOptions } from "./api.js";
import { Core, type CoreOptions, type Effect, type Saved } from "./core/session.js";
import type { Environment } from "./environment.js";
import type { Journal } from "./journal.js";
import type { Entry, LineState, Told, Write } from "./messages.js";
import { text } from "./text.js";

export interface EngineOptions {
  app: string;
  version: string;
  urls: string[];
  debug: number;
  authorize: Authorize;
  preconnect: ConnectOptions["preconnect"];
}

export interface EngineListener {
  tell(told: Told): void;
  handles: CoreOptions["handles"];
  traced(): boolean;
  /** The journal failed, and the engine has stopped: because another tab leads now, or for this reason. */
  broken(error: unknown): void;
}

/** If the wall clock has gone this much further than the other one, the machine slept. */
const SLEPT = 5_000;
const CLOSE_WITHIN = 3_000;
const OPEN = 1;
const CLOSED = 3;

export class Engine {
  readonly #environment: Environment;
  readonly #options: EngineOptions;
  readonly #journal: Journal;
  readonly #listener: EngineListener;
  readonly #core: Core;
  #stopped = false;
  #effects: Effect[] = [];
  #busy = false;
  #whenIdle: (() => void)[] = [];
  #socket: WebSocket | undefined;
  /** The line whose WebSocket is being opened or open. */
  #line = -1;
  #closing: Promise<void> | undefined;
  #preconnecting: AbortController | undefined;
  #timer: { due: number; cancel: () => void } | undefined;
  /** By how much the wall clock is ahead of the other one. */
  #lead: number;

  constructor(
    environment: Environment, options: EngineOptions, journal: Journal, listener: EngineListener, saved?: Saved,
  ) {
    this.#environment = environment;
    this.#options = options;
    this.#journal = journal;
    this.#listener = listener;
    this.#lead = environment.wall() - environment.now();
    this.#core = new Core({
      ...environment, ...options, durable: journal.durable, traced: listener.traced, handles: listener.handles,
    }, saved);
  }

  /** What is done with the core, and then what follows from it. */
  act(action: (core: Core) => void): void {
    if (this.#stopped) return;
    this.#noticeSleep();
    action(this.#core);
    this.#effects.push(...this.#core.take());
    this.#perform();
    this.#schedule();
  }

  get sessionId(): string | undefined {
    return this.#core.sessionId;
  }

  get established(): boolean {
    return this.#core.state.status === "established";
  }

  get state(): LineState {
    return this.#core.state;
  }

  /** A message of ours that is not settled yet. */
  entry(id: string): Entry | undefined {
    return this.#core.entry(id);
  }

  get topics(): string[] {
    return this.#core.topics;
  }

  /** Waits until everything that was decided is done. */
  idle(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#busy && !this.#stopped) this.#whenIdle.push(resolve);
      else resolve();
    });
  }

  /** Waits until the line that was shut is closed on the other side, too; not for long. */
  async closed(): Promise<void> {
    await this.idle();
    await this.#closing;
  }

  /** Asks any of the servers, by HTTP, to close a session. */
  closeOutOfBand(sessionId: string, urls: string[]): void {
    for (const url of urls) this.#environment.beacon(closeUrl(url, sessionId));
  }

  /** Does nothing any more. The server keeps the session. */
  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#shut();
    this.#becomeIdle();
  }

  // ---- effects ------------------------------------------------------------------------------------------------

  #perform(): void {
    if (this.#busy) return;
    this.#busy = true;
    while (this.#effects.length > 0 && !this.#stopped) {
      const batch = this.#effects;
      this.#effects = [];
      const writes = this.#journal.durable ? writesOf(batch) : [];
      if (writes.length > 0) {
        // What is decided meanwhile waits, and is then written together.
        this.#journal.commit(writes).then(
          () => {
            this.#carryOut(batch);
            this.#busy = false;
            this.#perform();
          },
          (error: unknown) => {
            if (this.#stopped) return;
            this.stop();
            this.#listener.broken(error);
          },
        );
        return;
      }
      this.#carryOut(batch);
    }
    this.#busy = false;
    this.#becomeIdle();
  }

  #becomeIdle(): void {
    for (const idle of this.#whenIdle.splice(0)) idle();
  }

  #carryOut(batch: Effect[]): void {
    for (const effect of batch) {
      if (this.#stopped) return;
      switch (effect.do) {
        case "write":
          break;
        case "authorize":
          void this.#authorize(effect.need);
          break;
        case "open":
          void this.#open(effect.line, effect.url, effect.authorization);
          break;
        case "send":
          if (effect.line === this.#line && this.#socket?.readyState === OPEN) this.#socket.send(effect.text);
          break;
        case "shut":
          if (effect.line === this.#line) this.#shut(effect.code, effect.reason);
          break;
        case "closeOutOfBand":
          this.closeOutOfBand(effect.sessionId, effect.urls);
          break;
        case "tell":
          this.#listener.tell(effect.told);
          break;
      }
    }
  }

  async #authorize(need: Parameters<Authorize>[0]): Promise<void> {
    let authorization: Authorization;
    try {
      authorization = await this.#options.authorize(need);
    } catch (error) {
      this.act((core) => core.notAuthorized(text(error)));
      return;
    }
    this.act((core) => core.authorized(authorization));
  }

  async #open(line: number, url: string, authorization: string | undefined): Promise<void> {
    this.#shut();
    this.#line = line;
    try {
      if (this.#options.preconnect) {
        await this.#preconnect(url, authorization ?? "");
        url += `${url.includes("?") ? "&" : "?"}preconnect=true`;
      }
      if (line !== this.#line || this.#stopped) return;
      const { WebSocket } = this.#environment;
      if (!WebSocket) throw new Error("there is no WebSocket here: hand one to connect()");
      const socket = (this.#socket = new WebSocket(url, "matssocket"));
      socket.onopen = () => this.act((core) => core.opened(line));
      socket.onmessage = ({ data }) => this.act((core) => core.received(line, data));
      socket.onclose = ({ code, reason }) => this.act((core) => core.ended(line, code, String(reason)));
      socket.onerror = () => {}; // a close follows
    } catch (error) {
      this.act((core) => core.ended(line, 1006, text(error)));
    }
  }

  async #preconnect(url: string, authorization: string): Promise<void> {
    this.#preconnecting = new AbortController();
    const { signal } = this.#preconnecting;
    if (typeof this.#options.preconnect === "function") {
      await this.#options.preconnect(url, authorization, signal);
      return;
    }
    const headers = { Authorization: authorization };
    const response = await this.#environment.fetch(httpUrl(url), { headers, signal, credentials: "include" });
    const { ok, status } = response as Response;
    if (!ok) throw new Error(`the server refused the pre-connect request: ${status}`);
  }

  #shut(code?: number, reason?: string): void {
    this.#preconnecting?.abort();
    this.#preconnecting = undefined;
    this.#line = -1;
    const socket = this.#socket;
    if (!socket) return;
    this.#socket = undefined;
    socket.onopen = socket.onmessage = socket.onclose = null;
    if (socket.readyState === CLOSED) return;
    this.#closing = new Promise((resolve) => {
      const cancel = this.#environment.after(CLOSE_WITHIN, resolve);
      socket.onclose = () => {
        cancel();
        resolve();
      };
    });
    socket.close(code, reason);
  }

  // ---- time ---------------------------------------------------------------------------------------------------

  #schedule(): void {
    const { due } = this.#core;
    if (this.#stopped || due === Infinity) return;
    // Waking too early does no harm; moving the timer with each message would cost.
    if (this.#timer && this.#timer.due <= due) return;
    this.#timer?.cancel();
    this.#timer = undefined;
    const pause = due - this.#environment.now();
    if (pause <= 0) {
      let cancelled = false;
      this.#timer = { due: -Infinity, cancel: () => (cancelled = true) };
      this.#environment.soon(() => {
        if (!cancelled) this.#tick();
      });
    } else {
      this.#timer = { due, cancel: this.#environment.after(pause, () => this.#tick()) };
    }
  }

  #tick(): void {
    this.#timer = undefined;
    this.act((core) => core.tick(this.#socket?.bufferedAmount ?? 0));
  }

  #noticeSleep(): void {
    const lead = this.#environment.wall() - this.#environment.now();
    const slept = lead - this.#lead > SLEPT;
    this.#lead = lead;
    if (slept) this.#core.wake();
  }
}

function writesOf(effects: Effect[]): Write[] {
  return effects.flatMap((effect) => (effect.do === "write" ? [effect.write] : []));
}

function httpUrl(url: string): string {
  return url.replace(/^ws/, "http");
}

function closeUrl(url: string, sessionId: string): string {
  return `${httpUrl(url).split("?")[0]}/close_session?session_id=${encodeURIComponent(sessionId)}`;
}
