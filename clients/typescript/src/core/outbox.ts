import type { Entry } from "../messages.js";
import { backOff } from "./backoff.js";

/** How often a message goes out at most when the server keeps asking for it again. */
const MAX_ATTEMPTS = 10;
const FIRST_RETRY = 500;
const LONGEST_RETRY = 60_000;
/** What goes out at once: more would delay the answers to what went before. */
const BATCH_MESSAGES = 100;
const BATCH_CHARACTERS = 256 << 10;

interface Item {
  readonly entry: Entry;
  attempts: number;
  /** When it goes again, after a RETRY; Infinity if that is not under way. */
  retryAt: number;
  queued: boolean;
  /** No line has carried it, whatever the entry says: that is written a moment before it goes out. */
  untouched: boolean;
}

/** Our messages in the order in which they were made. */
export class Outbox {
  #items = new Map<string, Item>();
  #queue: Item[] = [];
  #backingOff = new Set<Item>();

  get size(): number {
    return this.#items.size;
  }

  get hasQueued(): boolean {
    return this.#queue.length > 0;
  }

  /** When the next of those that the server asked for again is due. */
  get due(): number {
    let due = Infinity;
    for (const { retryAt } of this.#backingOff) due = Math.min(due, retryAt);
    return due;
  }

  /** `fresh`: it was made in this page. */
  add(entry: Entry, fresh: boolean): void {
    if (this.#items.has(entry.id)) return;
    const untouched = fresh || entry.session === "";
    const item: Item = { entry, attempts: 0, retryAt: Infinity, queued: false, untouched };
    this.#items.set(entry.id, item);
    if (!entry.taken) this.#enqueue(item);
  }

  get(id: string): Entry | undefined {
    return this.#items.get(id)?.entry;
  }

  isUntouched(id: string): boolean {
    return this.#items.get(id)?.untouched ?? false;
  }

  entries(): Entry[] {
    return [...this.#items.values()].map(({ entry }) => entry);
  }

  remove(id: string): Entry | undefined {
    const item = this.#items.get(id);
    if (!item) return undefined;
    this.#items.delete(id);
    this.#backingOff.delete(item);
    item.queued = false; // the queue skips it
    return item.entry;
  }

  /** There is a new line: what is not taken goes again, oldest first. */
  newLine(): void {
    this.#queue = [];
    this.#backingOff.clear();
    for (const item of this.#items.values()) {
      item.queued = false;
      item.retryAt = Infinity;
      if (!item.entry.taken) this.#enqueue(item);
    }
  }

  /** The next messages to send, at least one if there is any. */
  next(): Entry[] {
    const taken: Entry[] = [];
    let characters = 0;
    let nth = 0;
    for (; nth < this.#queue.length && taken.length < BATCH_MESSAGES; nth++) {
      const item = this.#queue[nth]!;
      if (!item.queued) continue;
      characters += item.entry.text.length;
      if (characters > BATCH_CHARACTERS && taken.length > 0) break;
      item.queued = false;
      item.attempts++;
      item.untouched = false;
      taken.push(item.entry);
    }
    this.#queue.splice(0, nth);
    return taken;
  }

  /** The server wants the message later. False if it had it often enough. */
  retry(id: string, now: number, random: () => number): boolean {
    const item = this.#items.get(id);
    if (!item) return true;
    if (item.attempts >= MAX_ATTEMPTS) return false;
    if (!item.queued) {
      item.retryAt = now + backOff(FIRST_RETRY, item.attempts - 1, LONGEST_RETRY, random);
      this.#backingOff.add(item);
    }
    return true;
  }

  /** Queues what is due again. */
  queueDue(now: number): void {
    for (const item of this.#backingOff) {
      if (item.retryAt <= now) {
        this.#backingOff.delete(item);
        item.retryAt = Infinity;
        this.#enqueue(item);
      }
    }
  }

  #enqueue(item: Item): void {
    if (!item.queued) this.#queue.push(item);
    item.queued = true;
  }
}
