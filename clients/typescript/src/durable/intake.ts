import type { Holder } from "../holder.js";
import type { Entry, Told } from "../messages.js";
import type { IndexedDbJournal } from "./indexeddb.js";

/** Brings the tabs' messages from the journal to the leader's core, each once and in the order of their keys. */
export class Intake {
  readonly #holder: Holder;
  readonly #journal: IndexedDbJournal;
  readonly #broken: (error: unknown) => void;
  #lastKey: number;
  #looking: Promise<void> | undefined;
  #lookAgain = false;

  constructor(holder: Holder, journal: IndexedDbJournal, lastKey: number, broken: (error: unknown) => void) {
    this.#holder = holder;
    this.#journal = journal;
    this.#lastKey = lastKey;
    this.#broken = broken;
  }

  /** A message of the leader's own tab is in the journal. */
  post(entry: Entry): void {
    if (entry.key === this.#lastKey + 1) {
      this.#take(entry, true);
    } else {
      // Another tab's message was stored before it and has not been seen here.
      void this.look();
    }
  }

  /** Takes what is new in the journal. */
  look(): Promise<void> {
    this.#lookAgain = true;
    this.#looking ??= this.#takeNew().catch(this.#broken).finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  async #takeNew(): Promise<void> {
    while (this.#lookAgain) {
      this.#lookAgain = false;
      for (const entry of await this.#journal.since(this.#lastKey)) {
        if (entry.key > this.#lastKey) this.#take(entry, false);
      }
    }
  }

  #take(entry: Entry, fresh: boolean): void {
    this.#lastKey = entry.key;
    this.#holder.act((core) => core.post(entry, fresh));
  }

  /** What a tab has to be told of the messages that it waits for. */
  async account(tab: string, waiting: string[]): Promise<Told[]> {
    await this.look();
    if (waiting.length === 0) return [];
    const failed = new Map((await this.#journal.failed()).map((failure) => [failure.entry.id, failure]));
    const answered = this.#holder.answered();
    return waiting.flatMap((id): Told[] => {
      const failure = failed.get(id);
      if (failure) return [{ e: "failed", id, tab, error: { code: failure.why, message: failure.description } }];
      const entry = this.#holder.engine.entry(id);
      return entry?.taken || (!entry && !answered.has(id)) ? [{ e: "received", id, tab }] : [];
    });
  }
}
