import type { Envelope } from "../api.js";
import { mergeReceipts, type Receipt } from "../wire.js";

/** ACK2s whose arrival nothing has proved yet; beyond this the oldest are taken for arrived. */
const MAX_UNPROVEN = 5_000;

/** ACKs, NACKs and ACK2s on their way. */
export class Receipts {
  #waiting: Receipt[] = [];
  #due = Infinity;
  /** ACK2s of this line. The server never asks for one, so those that a lost line may have swallowed go again. */
  #unproven: Receipt[] = [];
  #provenByPong = 0;

  get due(): number {
    return this.#due;
  }

  add(receipt: Receipt, due: number): void {
    this.#waiting.push(receipt);
    this.#due = Math.min(this.#due, due);
  }

  take(): Envelope[] {
    const taken = this.#waiting;
    this.#waiting = [];
    this.#due = Infinity;
    for (const receipt of taken) {
      if (receipt.t === "ACK2") this.#unproven.push(receipt);
    }
    const excess = this.#unproven.length - MAX_UNPROVEN;
    if (excess > 0) {
      this.#unproven.splice(0, excess);
      this.#provenByPong = Math.max(0, this.#provenByPong - excess);
    }
    return mergeReceipts(taken);
  }

  /** A PING goes out: its PONG proves that what went before it has arrived. */
  pinged(): void {
    this.#provenByPong = this.#unproven.length;
  }

  ponged(): void {
    this.#unproven.splice(0, this.#provenByPong);
    this.#provenByPong = 0;
  }

  /** There is a new line. ACKs are void: the server sends again whatever it has no receipt for. */
  newLine(now: number): void {
    const again = [...this.#unproven, ...this.#waiting.filter(({ t }) => t === "ACK2")];
    this.clear();
    this.#waiting = again;
    if (again.length > 0) this.#due = now;
  }

  clear(): void {
    this.#waiting = [];
    this.#unproven = [];
    this.#provenByPong = 0;
    this.#due = Infinity;
  }
}
