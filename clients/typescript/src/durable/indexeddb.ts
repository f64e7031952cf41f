// The journal in IndexedDB. One database per server, application and user; all tabs of that user share it.
//
//   outbox  what we sent and the server has not settled     key → Entry
//   seen    what the server may send again                  smid → our answer
//   inbox   what the server sent and no handler has finished id → Delivery
//   failed  what failed and nobody may have learned of       id → FailedEntry
//   meta    sessionId, and the epoch: raised by each holder of the session, so that an earlier one cannot write

import type { Saved } from "../core/session.js";
import type { Journal } from "../journal.js";
import type { Delivery, Entry, FailedEntry, Write } from "../messages.js";

const VERSION = 1;
type StoreName = Write[0];
const STORES: StoreName[] = ["outbox", "seen", "inbox", "failed", "meta"];

type Body<T> = (store: (name: StoreName) => IDBObjectStore) => Promise<T>;

/** What the holder of the session begins with. */
export interface Lead extends Saved {
  epoch: number;
  /** Takes writes until there is another holder. */
  journal: Journal;
}

/** Another tab has become the holder of the session: this one's writes no longer count. */
export class FencedError extends Error {}

export class IndexedDbJournal {
  readonly #database: IDBDatabase;
  readonly #onFull: () => void;
  readonly #running = new Set<IDBTransaction>();
  /** While the page is frozen. */
  #resumed: Promise<void> | undefined;
  #resume = () => {};

  private constructor(database: IDBDatabase, onFull: () => void) {
    this.#database = database;
    this.#onFull = onFull;
  }

  /**
   * `onGone`: the database is closed by the browser, or wanted by a newer version of this client.
   * `onFull`: something could not be stored.
   */
  static async open(
    factory: IDBFactory, name: string, onGone: (why: string) => void, onFull: () => void,
  ): Promise<IndexedDbJournal> {
    const request = factory.open(name, VERSION);
    request.onupgradeneeded = () => {
      for (const store of STORES) {
        if (!request.result.objectStoreNames.contains(store)) {
          request.result.createObjectStore(store, { autoIncrement: store === "outbox" });
        }
      }
    };
    const database = await result(request);
    database.onclose = () => onGone("the browser closed the database");
    database.onversionchange = () => {
      database.close();
      onGone("a newer version of the page needs the database");
    };
    return new IndexedDbJournal(database, onFull);
  }

  /** Becomes the one holder of the session: writes of any earlier one fail from now on. Gives what is stored. */
  async lead(): Promise<Lead> {
    return this.#run(STORES, "readwrite", async (store) => {
      const [epoch, sessionId, outboxKeys, outbox, seenKeys, seen, inbox] = await Promise.all([
        result<number | undefined>(store("meta").get("epoch")),
        result<string | undefined>(store("meta").get("sessionId")),
        result(store("outbox").getAllKeys()),
        result<Entry[]>(store("outbox").getAll()),
        result(store("seen").getAllKeys()),
        result<("ACK" | "NACK")[]>(store("seen").getAll()),
        result<Delivery[]>(store("inbox").getAll()),
      ]);
      const mine = (epoch ?? 0) + 1;
      store("meta").put(mine, "epoch");
      return {
        epoch: mine,
        journal: { durable: true, commit: (writes) => this.#commit(mine, writes) },
        sessionId,
        outbox: withKeys(outboxKeys, outbox),
        seen: seenKeys.map((smid, nth) => [String(smid), seen[nth]!]),
        inbox: inbox.sort((a, b) => a.order - b.order),
      };
    });
  }

  /**
   * Puts a message into the outbox, and gives it its key. With `finished`, a delivery that it answers is done in the
   * same transaction. Any tab may do so.
   */
  async add(entry: Entry, finished?: string): Promise<void> {
    const stores: StoreName[] = finished === undefined ? ["outbox"] : ["outbox", "inbox"];
    await this.#run(stores, "readwrite", async (store) => {
      if (finished !== undefined) store("inbox").delete(finished);
      entry.key = Number(await result(store("outbox").add(entry)));
    });
  }

  /** What was put into the outbox after this key. */
  async since(key: number): Promise<Entry[]> {
    return this.#run(["outbox"], "readonly", async (store) => {
      const range = IDBKeyRange.lowerBound(key, true);
      const [keys, entries] = await Promise.all([
        result(store("outbox").getAllKeys(range)),
        result<Entry[]>(store("outbox").getAll(range)),
      ]);
      return withKeys(keys, entries);
    });
  }

  /**
   * Writes of the holder. Fails with `FencedError` if it is not the holder any more. With a full disk, what comes in
   * is handled without being stored: better that than a page that stands still.
   */
  async #commit(epoch: number, writes: Write[]): Promise<void> {
    try {
      await this.#write(epoch, writes);
    } catch (error) {
      if ((error as Error | null)?.name !== "QuotaExceededError") throw error;
      this.#onFull();
      await this.#write(epoch, writes.filter(([store, , value]) => store !== "inbox" || value === undefined));
    }
  }

  async #write(epoch: number, writes: Write[]): Promise<void> {
    const names = new Set(writes.map(([name]) => name));
    await this.#run([...names.add("meta")], "readwrite", async (store) => {
      if ((await result(store("meta").get("epoch"))) !== epoch) throw new FencedError("another tab leads");
      for (const [name, key, value] of writes) {
        if (value === undefined) store(name).delete(key);
        else store(name).put(value, key);
      }
    });
  }

  /** Whether a delivery that was made under this epoch is still to be handled: the epoch holds, and it is not done. */
  async isOpen(id: string, epoch: number): Promise<boolean> {
    return this.#run(["inbox", "meta"], "readonly", async (store) => {
      const [current, key] = await Promise.all([
        result(store("meta").get("epoch")),
        result(store("inbox").getKey(id)),
      ]);
      return current === epoch && key !== undefined;
    });
  }

  /** A delivery is handled. Any tab may say so. */
  async finish(id: string): Promise<void> {
    await this.#run(["inbox"], "readwrite", async (store) => void store("inbox").delete(id));
  }

  async failed(): Promise<FailedEntry[]> {
    return this.#run(["failed"], "readonly", (store) => result(store("failed").getAll()));
  }

  async discard(id: string): Promise<void> {
    await this.#run(["failed"], "readwrite", async (store) => void store("failed").delete(id));
  }

  /** Empties the database. The epoch stays, and rises, so that no other tab writes to it by mistake. */
  async wipe(): Promise<void> {
    await this.#run(STORES, "readwrite", async (store) => {
      const epoch = (await result<number | undefined>(store("meta").get("epoch"))) ?? 0;
      for (const name of STORES) store(name).clear();
      store("meta").put(epoch + 1, "epoch");
    });
  }

  close(): void {
    this.#database.close();
  }

  /** A transaction that a frozen page has open would keep every other page from the database: none is, until `resume`. */
  freeze(): void {
    this.#resumed ??= new Promise((resolve) => {
      this.#resume = resolve;
    });
    for (const transaction of this.#running) transaction.abort();
  }

  /** What `freeze` interrupted begins again. */
  resume(): void {
    this.#resumed = undefined;
    this.#resume();
  }

  async #run<T>(stores: StoreName[], mode: IDBTransactionMode, body: Body<T>): Promise<T> {
    for (;;) {
      while (this.#resumed) await this.#resumed;
      try {
        return await this.#runOnce(stores, mode, body);
      } catch (error) {
        if (!this.#resumed) throw error;
      }
    }
  }

  /** One transaction. It is done when it is committed; if the body fails, nothing of it is kept. */
  #runOnce<T>(stores: StoreName[], mode: IDBTransactionMode, body: Body<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const transaction = this.#database.transaction(stores, mode);
      this.#running.add(transaction);
      let outcome: T;
      let failure: unknown;
      transaction.oncomplete = () => {
        this.#running.delete(transaction);
        resolve(outcome);
      };
      transaction.onabort = () => {
        this.#running.delete(transaction);
        reject(failure ?? transaction.error ?? new Error("the transaction was aborted"));
      };
      body((name) => transaction.objectStore(name)).then(
        (value) => {
          outcome = value;
        },
        (error) => {
          failure = error;
          try {
            transaction.abort();
          } catch {
            reject(error); // it is aborted already
          }
        },
      );
    });
  }
}

function result<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** An entry does not know its key before it is stored. */
function withKeys(keys: IDBValidKey[], entries: Entry[]): Entry[] {
  return entries.map((entry, nth) => ({ ...entry, key: Number(keys[nth]) }));
}
