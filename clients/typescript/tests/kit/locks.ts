// Web Locks and broadcast channels among the pages of a test.

type Mode = "exclusive" | "shared";

/** What runs code: not while it is frozen, and never again once it is gone. */
export interface Runner {
  run(callback: () => void): void;
}

interface Request {
  name: string;
  mode: Mode;
  page: Runner;
  grant: () => void;
  /** Ends the hold by force. */
  rob: () => void;
}

export class FakeLocks {
  #held: Request[] = [];
  #waiting: Request[] = [];

  /** What one page sees as `navigator.locks`. */
  of(page: Runner): LockManager {
    const request = (name: string, ...rest: unknown[]) => {
      const callback = rest.pop() as (lock: unknown) => unknown;
      return this.#request(page, name, (rest[0] ?? {}) as LockOptions, callback);
    };
    return { request, query: async () => ({ held: [], pending: [] }) } as unknown as LockManager;
  }

  /** The page is gone, and with it what it holds and waits for. */
  release(page: object): void {
    this.#waiting = this.#waiting.filter((request) => request.page !== page);
    this.#held = this.#held.filter((request) => request.page !== page);
    this.#grant();
  }

  #request(page: Runner, name: string, options: LockOptions, callback: (lock: unknown) => unknown): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const request: Request = {
        name, page, mode: options.mode ?? "exclusive",
        rob: () => page.run(() => reject(new DOMException("the lock was stolen", "AbortError"))),
        grant: () => {
          const begun = new Promise<void>((begin) => page.run(begin));
          void begun.then(() => callback({ name })).then(resolve, reject).finally(() => {
            this.#held = this.#held.filter((held) => held !== request);
            this.#grant();
          });
        },
      };
      options.signal?.addEventListener("abort", () => {
        if (!this.#waiting.includes(request)) return;
        this.#waiting = this.#waiting.filter((waiting) => waiting !== request);
        reject(new DOMException("aborted", "AbortError"));
      });
      if (options.steal) {
        for (const held of this.#held.filter((held) => held.name === name)) {
          this.#held = this.#held.filter((other) => other !== held);
          held.rob();
        }
        this.#waiting.unshift(request);
      } else {
        this.#waiting.push(request);
      }
      this.#grant();
    });
  }

  #grant(): void {
    for (const request of [...this.#waiting]) {
      const ahead = this.#waiting.slice(0, this.#waiting.indexOf(request)).some(({ name }) => name === request.name);
      const held = this.#held.filter(({ name }) => name === request.name);
      const fits = held.length === 0 || (request.mode === "shared" && held.every(({ mode }) => mode === "shared"));
      if (ahead || !fits) continue;
      this.#waiting = this.#waiting.filter((waiting) => waiting !== request);
      this.#held.push(request);
      request.grant();
    }
  }
}

interface Member {
  page: object;
  name: string;
  onmessage: ((event: { data: unknown }) => void) | null;
}

/** Channels. A frozen page gets its messages when it thaws. */
export class FakeChannels {
  #members = new Set<Member>();
  #frozen = new Map<object, (() => void)[]>();

  of(page: object): typeof BroadcastChannel {
    const channels = this;
    return class {
      onmessage: Member["onmessage"] = null;
      page = page;
      constructor(readonly name: string) {
        channels.#members.add(this);
      }
      postMessage(message: unknown): void {
        channels.#post(this, structuredClone(message));
      }
      close(): void {
        channels.#members.delete(this);
      }
    } as unknown as typeof BroadcastChannel;
  }

  #post(from: Member, data: unknown): void {
    if (!this.#members.has(from)) return; // the page is gone
    for (const member of this.#members) {
      if (member === from || member.name !== from.name) continue;
      const deliver = () => {
        const waiting = this.#frozen.get(member.page);
        if (waiting) waiting.push(deliver);
        else if (this.#members.has(member)) member.onmessage?.({ data: structuredClone(data) });
      };
      setImmediate(deliver);
    }
  }

  freeze(page: object): void {
    this.#frozen.set(page, []);
  }

  thaw(page: object): void {
    const waiting = this.#frozen.get(page) ?? [];
    this.#frozen.delete(page);
    for (const deliver of waiting) setImmediate(deliver);
  }

  remove(page: object): void {
    this.#frozen.delete(page);
    for (const member of this.#members) if (member.page === page) this.#members.delete(member);
  }
}
