// Runs the application's handlers for what the server sends.

import type { LateReply, Message } from "./api.js";
import { LATE_REPLIES, type Delivery } from "./messages.js";

type Handler = (payload: any, message: Message) => unknown;

export interface HandlersListener {
  /** Whether a delivery is still this tab's to handle. */
  mayBegin(delivery: Delivery, epoch: number, age: number): boolean | Promise<boolean>;
  /** The handler is done. For a request: with this value, or this failure. */
  done(delivery: Delivery, outcome: { value: unknown } | { failure: unknown }): Promise<void>;
  now(): number;
}

export class Handlers {
  readonly terminators = new Map<string, Handler>();
  readonly endpoints = new Map<string, Handler>();
  readonly replyTerminators = new Map<string, (reply: LateReply) => unknown>();
  readonly #listener: HandlersListener;
  /** For each terminator, the end of what runs and waits there. */
  readonly #queues = new Map<string, Promise<void>>();
  readonly #running = new Set<string>();
  /** Raised when what waits is not this tab's any more. */
  #generation = 0;

  constructor(listener: HandlersListener) {
    this.#listener = listener;
  }

  /** Deliveries that a handler is busy with. */
  get running(): string[] {
    return [...this.#running];
  }

  /** What no handler has begun is dropped: whoever holds the session now delivers it again. */
  drop(): void {
    this.#generation++;
    this.#queues.clear();
  }

  /** The messages of one terminator come one after the other; requests begin in their order, and may take their time. */
  deliver(delivery: Delivery, epoch: number): void {
    const run = this.#run(this.#generation, delivery, epoch, this.#listener.now());
    if (delivery.t === "REQUEST") {
      void run();
      return;
    }
    const queue = `${delivery.t === "SEND" ? "s" : "r"}${delivery.request?.replyTo ?? delivery.endpoint}`;
    const before = this.#queues.get(queue);
    const end = before ? before.then(run) : run();
    this.#queues.set(queue, end);
    void end.then(() => {
      if (this.#queues.get(queue) === end) this.#queues.delete(queue);
    });
  }

  #run(generation: number, delivery: Delivery, epoch: number, since: number): () => Promise<void> {
    return async () => {
      if (generation !== this.#generation || this.#running.has(delivery.id)) return;
      const mine = this.#listener.mayBegin(delivery, epoch, this.#listener.now() - since);
      if (mine !== true && !(await mine.valueOf())) return;
      this.#running.add(delivery.id);
      try {
        const outcome = await this.#handle(delivery);
        if (outcome) await this.#listener.done(delivery, outcome);
      } finally {
        this.#running.delete(delivery.id);
      }
    };
  }

  /** Undefined if there is no handler any more; then the delivery waits for a page that has it. */
  async #handle(delivery: Delivery): Promise<{ value: unknown } | { failure: unknown } | undefined> {
    const { t, id, endpoint, traceId, payload, debug, redelivered = false, request, description = "" } = delivery;
    const message: Message = { payload, endpoint, traceId, messageId: id, redelivered, debug };
    try {
      if (request) {
        const handler = this.replyTerminators.get(request.replyTo ?? LATE_REPLIES);
        const resolved = t === "RESOLVE";
        const { id: requestId, correlation } = request;
        return handler && { value: await handler({ ...message, resolved, requestId, correlation, description }) };
      }
      const handler = (t === "SEND" ? this.terminators : this.endpoints).get(endpoint);
      return handler && { value: await handler(payload, message) };
    } catch (failure) {
      return { failure };
    }
  }
}
