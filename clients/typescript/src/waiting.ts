// The promises of a tab: who waits for what becomes of which message.

import type { Initiation, Reply, Requesting, Sending } from "./api.js";
import {
  ClosedError, MatsSocketError, RefusedError, RejectedError, RetriesExhaustedError, TimeoutError, UnauthorizedError,
  UnknownOutcomeError, type ErrorCode,
} from "./errors.js";
import type { Delivery, WireError } from "./messages.js";

/** A promise, and what settles it. */
class Deferred<T> {
  readonly promise: Promise<T>;
  resolve!: (value: T) => void;
  reject!: (error: unknown) => void;

  /** `quiet`: nobody has to wait for it. */
  constructor(quiet: boolean) {
    this.promise = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
    if (quiet) this.promise.catch(() => {});
  }
}

/** One message that this tab has sent. */
export class Waiter {
  readonly #accepted = new Deferred<void>(true);
  readonly #received: Deferred<void>;
  readonly #reply: Deferred<Reply>;
  readonly #cleanUps: (() => void)[] = [];
  /** It is in the journal. */
  accepted = false;
  #receivedAfter: number | undefined;

  constructor(readonly about: Pick<Initiation, "id" | "kind" | "endpoint" | "traceId">, readonly begun: number) {
    // Of what the caller is given, the promise itself fails aloud.
    this.#received = new Deferred(about.kind === "request");
    this.#reply = new Deferred(true);
  }

  sending(): Sending {
    return Object.assign(this.#received.promise, { id: this.about.id, accepted: this.#accepted.promise });
  }

  requesting(): Requesting<any> {
    return Object.assign(this.#reply.promise.then(({ payload }) => payload), {
      id: this.about.id,
      accepted: this.#accepted.promise,
      received: this.#received.promise,
      reply: this.#reply.promise,
    });
  }

  /** Called when the message is settled, one way or another. */
  onSettled(cleanUp: () => void): void {
    this.#cleanUps.push(cleanUp);
  }

  accept(): void {
    this.accepted = true;
    this.#accepted.resolve();
  }

  /** The server has taken it. Gives the figures, the first time. */
  receive(now: number): Initiation | undefined {
    if (this.#receivedAfter !== undefined) return undefined;
    this.#receivedAfter = now - this.begun;
    this.#received.resolve();
    return { ...this.about, received: this.#receivedAfter };
  }

  /** The answer is there. */
  answer(delivery: Delivery, now: number): Initiation {
    const roundTrip = now - this.begun;
    this.#received.resolve();
    if (delivery.t === "RESOLVE") {
      const { payload, traceId, debug } = delivery;
      this.#reply.resolve({ payload, traceId, roundTrip, debug });
    } else {
      const message = delivery.description || `the endpoint "${this.about.endpoint}" rejected the request`;
      this.#reply.reject(new RejectedError(message, delivery.payload));
    }
    return { ...this.about, received: this.#receivedAfter ?? roundTrip, answered: roundTrip };
  }

  fail(error: unknown): void {
    this.#accepted.reject(error);
    this.#received.reject(error);
    this.#reply.reject(error);
  }

  settled(): void {
    for (const cleanUp of this.#cleanUps) cleanUp();
  }
}

const CLASSES: Partial<Record<ErrorCode, new (message: string, closeCode?: number) => MatsSocketError>> = {
  refused: RefusedError,
  "retries-exhausted": RetriesExhaustedError,
  timeout: TimeoutError,
  closed: ClosedError,
  unauthorized: UnauthorizedError,
  unknown: UnknownOutcomeError,
};

/** An error as data becomes one that a program can tell apart. */
export function errorOf({ code, message, closeCode }: WireError): MatsSocketError {
  const Class = CLASSES[code];
  return Class ? new Class(message, closeCode) : new MatsSocketError(code, message);
}
