// What the client takes from the platform. Tests hand in their own.

import type { WebSocketClass } from "./api.js";

export interface Environment {
  WebSocket: WebSocketClass | undefined;
  indexedDB: IDBFactory | undefined;
  locks: LockManager | undefined;
  BroadcastChannel: typeof BroadcastChannel | undefined;
  /** Milliseconds that never jump back. On some systems they stand still while the machine sleeps. */
  now(): number;
  /** Milliseconds since the epoch. */
  wall(): number;
  /** At least 0, below 1. */
  random(): number;
  /** A short text that nobody else has. */
  randomId(): string;
  /** Calls back after so many milliseconds; gives what cancels that. */
  after(millis: number, callback: () => void): () => void;
  /** Calls back soon, before anything else happens. */
  soon(callback: () => void): void;
  fetch(url: string, init: RequestInit): Promise<unknown>;
  /** A POST that outlives the page. */
  beacon(url: string): void;
  /** Whether timers are slow, since nobody looks at the page. */
  hidden(): boolean;
  /** Tells of what the page goes through. Gives what ends that. */
  listen(listener: (event: PageEvent) => void): () => void;
  /** Names this library and what it runs on, for the server's records. */
  library: string;
}

export type PageEvent =
  /** Something may have killed the line, or brought the network back. */
  | "wake"
  /** The page goes away, and may come back from the browser's cache. */
  | "leave"
  /** The page is back. */
  | "return"
  /** The browser stops the page, which keeps what it holds. Some of its code may still run, but its database does not. */
  | "freeze"
  /** The browser lets the page run again. */
  | "resume";

const VERSION = "0.1.0";

/** The platform that this runs on: a browser's window or worker, Node, Bun or Deno. */
export function platform(WebSocket: WebSocketClass | undefined): Environment {
  const { navigator, document } = globalThis;
  return {
    WebSocket: WebSocket ?? globalThis.WebSocket,
    indexedDB: globalThis.indexedDB,
    locks: navigator?.locks,
    BroadcastChannel: globalThis.BroadcastChannel,
    now: () => performance.now(),
    wall: () => Date.now(),
    random: Math.random,
    randomId,
    after(millis, callback) {
      const timer = setTimeout(callback, Math.min(millis, 0x7fffffff));
      return () => clearTimeout(timer);
    },
    // Browsers want to see their own object as `this`.
    soon: (callback) => queueMicrotask(callback),
    fetch: (url, init) => fetch(url, init),
    beacon(url) {
      if (!navigator?.sendBeacon?.(url)) fetch(url, { method: "POST", keepalive: true }).catch(() => {});
    },
    hidden: () => document?.visibilityState === "hidden",
    listen,
    library: `matssocket-ts,${VERSION}; ${navigator?.userAgent ?? "unknown"}`,
  };
}

/** 96 bits. */
function randomId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(36).padStart(2, "0")).join("");
}

function listen(listener: (event: PageEvent) => void): () => void {
  const { document } = globalThis;
  const ends: (() => void)[] = [];
  const on = (target: EventTarget | undefined, type: string, event: (event: Event) => PageEvent | undefined) => {
    // Not there in Node, and in workers only in part.
    if (!target?.addEventListener) return;
    const handler = (occurred: Event) => {
      const told = event(occurred);
      if (told) listener(told);
    };
    target.addEventListener(type, handler);
    ends.push(() => target.removeEventListener(type, handler));
  };
  const wake = (): PageEvent => "wake";
  on(globalThis, "online", wake);
  on(globalThis, "offline", wake);
  on(document, "freeze", () => "freeze");
  on(document, "resume", () => "resume");
  on(document, "visibilitychange", () => (document.visibilityState === "visible" ? "wake" : undefined));
  on(globalThis, "pagehide", () => "leave");
  on(globalThis, "pageshow", (event) => ((event as PageTransitionEvent).persisted ? "return" : undefined));
  return () => ends.forEach((end) => end());
}
