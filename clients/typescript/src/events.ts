import type { ClientEvents } from "./api.js";

type Listener<E extends keyof ClientEvents> = (detail: ClientEvents[E]) => void;

/** Who listens to which event. */
export class Events {
  readonly #listeners = new Map<keyof ClientEvents, Set<Listener<any>>>();

  on<E extends keyof ClientEvents>(event: E, listener: Listener<E>): () => void {
    const own: Listener<E> = (detail) => listener(detail);
    const listeners = this.#listeners.get(event) ?? new Set();
    this.#listeners.set(event, listeners.add(own));
    return () => void listeners.delete(own);
  }

  has(event: keyof ClientEvents): boolean {
    return (this.#listeners.get(event)?.size ?? 0) > 0;
  }

  /** An error that nobody listens to goes to the console, rather than nowhere. */
  emit<E extends keyof ClientEvents>(event: E, detail: ClientEvents[E]): void {
    if (event === "error" && !this.has("error")) console.error("matssocket:", detail);
    for (const listener of [...(this.#listeners.get(event) ?? [])]) listener(detail);
  }
}
