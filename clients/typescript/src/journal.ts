// Where the holder of a session keeps what it decides.

import type { Write } from "./messages.js";

export interface Journal {
  /** What is written outlives the page. */
  readonly durable: boolean;
  /** All of it or nothing. */
  commit(writes: Write[]): Promise<void>;
}

/** Keeps nothing: what is outstanding lives in the core. */
export const NO_JOURNAL: Journal = { durable: false, commit: async () => {} };
