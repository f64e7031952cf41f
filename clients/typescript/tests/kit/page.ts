import { IDBFactory as FakeIndexedDB } from "fake-indexeddb";
import "fake-indexeddb/auto"; // IDBKeyRange
import type { ConnectOptions, WebSocketClass } from "../../src/api.js";
import { TabClient } from "../../src/client.js";
import type { Environment, PageEvent } from "../../src/environment.js";
import { FakeClock, settle } from "./clock.js";
import { FakeChannels, FakeLocks } from "./locks.js";
import { FakeWebSocket } from "./socket.js";

/** A browser: what its pages have in common. */
export class Browser {
  readonly clock: FakeClock;
  readonly locks = new FakeLocks();
  readonly channels = new FakeChannels();
  readonly indexedDB: IDBFactory = new FakeIndexedDB();
  readonly beacons: string[] = [];
  /** Where sockets go; else a test finds them at their page. */
  onSocket: ((socket: FakeWebSocket) => void) | undefined;
  random: () => number = () => 0;
  pages = 0;

  constructor(clock = new FakeClock()) {
    this.clock = clock;
  }
}

/** A page of a browser, that can be frozen and killed. */
export class Page {
  readonly sockets: FakeWebSocket[] = [];
  readonly environment: Environment;
  readonly errors: unknown[] = [];
  alive = true;
  hidden = false;
  readonly name: string;
  #frozen: (() => void)[] | undefined;
  #told = false;
  #listeners = new Set<(event: PageEvent) => void>();

  constructor(readonly browser: Browser, overrides: Partial<Environment> = {}) {
    this.name = `p${++browser.pages}`;
    const page = this;
    const { clock } = browser;
    let ids = 0;
    this.environment = {
      WebSocket: class extends FakeWebSocket {
        constructor(url: string, protocol: string) {
          super(url, protocol, (callback) => page.run(callback));
          page.sockets.push(this);
          if (page.alive) browser.onSocket?.(this);
        }
      } as unknown as WebSocketClass,
      indexedDB: browser.indexedDB,
      locks: browser.locks.of(this),
      BroadcastChannel: browser.channels.of(this),
      now: () => clock.now,
      wall: () => clock.now + clock.wallLead,
      random: () => browser.random(),
      randomId: () => (ids++ === 0 ? this.name : `${this.name}t${ids}`),
      after: (millis, callback) => clock.after(millis, () => this.run(callback)),
      soon: (callback) => queueMicrotask(() => this.run(callback)),
      fetch: () => Promise.reject(new Error("there is no HTTP in this test")),
      beacon: (url) => void browser.beacons.push(url),
      hidden: () => this.hidden,
      listen: (listener) => {
        this.#listeners.add(listener);
        return () => this.#listeners.delete(listener);
      },
      library: "test",
      ...overrides,
    };
  }

  connect(options: Partial<ConnectOptions> = {}, urls = ["ws://one/matssocket", "ws://two/matssocket"]): TabClient {
    const defaults: ConnectOptions = { app: "Test", version: "1", authorize: "token", shuffle: false };
    const client = new TabClient(this.environment, urls, { ...defaults, ...options });
    client.on("error", (error) => this.errors.push(error));
    return client;
  }

  get socket(): FakeWebSocket {
    const socket = this.sockets.at(-1);
    if (!socket) throw new Error("the page has no socket");
    return socket;
  }

  happens(event: PageEvent): void {
    for (const listener of this.#listeners) listener(event);
  }

  /** Runs code of the page: not while it is frozen, and never once it is killed. */
  run(callback: () => void): void {
    if (!this.alive) return;
    if (this.#frozen) this.#frozen.push(callback);
    else callback();
  }

  /** Nothing runs in the page until it is thawed. Its locks stay its own. `told`: the browser says so before. */
  async freeze(told = false): Promise<void> {
    if (told) this.happens("freeze");
    this.#told = told;
    // What IndexedDB has to say cannot be held back here, so it says it before.
    await settle();
    this.#frozen = [];
    this.browser.channels.freeze(this);
  }

  thaw(): void {
    const callbacks = this.#frozen ?? [];
    this.#frozen = undefined;
    this.browser.channels.thaw(this);
    for (const callback of callbacks) callback();
    if (this.#told) this.happens("resume");
    this.#told = false;
  }

  /** The page crashes. */
  kill(): void {
    this.alive = false;
    for (const socket of this.sockets) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.readyState = 3;
      socket.onGone?.();
    }
    this.browser.channels.remove(this);
    this.browser.locks.release(this);
  }
}
