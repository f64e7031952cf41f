// What only a client that persists needs: loaded when one is made, and built as a module of its own.
// It imports nothing of the core but types, so that nothing is loaded twice.

import type { EngineOptions } from "../engine.js";
import type { Environment } from "../environment.js";
import type { Holder } from "../holder.js";
import type { Hub, HubListener } from "../hub.js";
import { IndexedDbJournal } from "./indexeddb.js";
import { TabsHub } from "./tabs.js";

export interface DurableParts {
  environment: Environment;
  /** Names the database, the lock and the channel: one per server, application and user. */
  name: string;
  me: string;
  engine: EngineOptions;
  Holder: typeof Holder;
}

/** A hub that keeps everything in IndexedDB, and shares the session with the other tabs. */
export async function openDurable(parts: DurableParts, listener: HubListener): Promise<Hub> {
  const { environment, name } = parts;
  const full = () => listener.told({ e: "error", message: "the disk is full: what comes in is not stored" }, 0);
  const lost = (reason: string) => listener.lost(reason);
  const journal = await IndexedDbJournal.open(environment.indexedDB!, name, lost, full);
  return new TabsHub(environment, { ...parts, journal }, listener);
}
