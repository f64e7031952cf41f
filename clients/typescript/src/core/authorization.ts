import type { Authorization, AuthorizationNeed } from "../api.js";

/** A value must be good for this long yet to be worth sending. */
const ROOM = 10_000;
/** A value that was given less than this ago is used, however short it lasts: the clock here may be wrong. */
const GRACE = 30_000;
/** At least so long between two answers to the server, so that a value which never pleases makes no storm. */
const PAUSE = 1_000;
const LONGEST_PAUSE = 30_000;

/** Where the authorization of a client stands. Times are of the monotonic clock, but for `expires`. */
export class AuthorizationState {
  #value: string | undefined;
  #expires = Infinity;
  #givenAt = -Infinity;
  #unsent = false;
  #requested = false;
  #refused = false;
  #triedAgain = false;
  #sent: string | undefined;
  #notBefore = 0;
  #failures = 0;

  /** Takes a value. False if it is the very one that the server has just refused. */
  accept(authorization: Authorization, now: number): boolean {
    const { value, expires = Infinity } =
      typeof authorization === "string" ? { value: authorization } : authorization;
    if (this.#refused && value === this.#sent) return false;
    this.#value = value;
    this.#expires = expires;
    this.#givenAt = now;
    this.#unsent = true;
    this.#failures = 0;
    this.#refused = false;
    if (this.#requested) this.#notBefore = now + PAUSE;
    this.#requested = false;
    return true;
  }

  /** Nothing could be had: not asked again at once. */
  failed(now: number): void {
    this.#notBefore = now + Math.min(LONGEST_PAUSE, PAUSE * 2 ** this.#failures++);
  }

  /** The server wants a fresh value (REAUTH). */
  request(): void {
    this.#requested = true;
  }

  /** The server refused the value that came with HELLO. Says whether to try another: once until WELCOME. */
  refuse(): boolean {
    // A fresher one may have been set in the meantime.
    this.#refused = this.#value === this.#sent;
    const again = !this.#triedAgain;
    this.#triedAgain = true;
    return again;
  }

  /** WELCOME came. */
  welcome(): void {
    this.#refused = this.#triedAgain = false;
  }

  /** Somebody connects anew: what was refused may do now, yet a fresh value is asked for first. */
  reset(): void {
    this.#triedAgain = false;
    this.#sent = undefined;
    this.#notBefore = 0;
  }

  /** What a new value is needed for, if it is, whether or not it may be asked for already. */
  need(now: number, wall: number): AuthorizationNeed | undefined {
    if (this.#refused) return "refused";
    if (this.#value === undefined) return "first";
    if (this.#requested) return "requested";
    const stale = this.#expires - ROOM <= wall && this.#givenAt + GRACE <= now;
    return stale ? "expired" : undefined;
  }

  /** When `need` is worth another look while the line is up. */
  due(now: number, wall: number): number {
    const need = this.need(now, wall);
    if (need === undefined) return Math.max(this.#givenAt + GRACE, now + this.#expires - ROOM - wall);
    return Math.max(now, this.#notBefore);
  }

  /** The value that goes with HELLO. */
  forHello(): string | undefined {
    this.#sent = this.#value;
    this.#unsent = this.#requested = false;
    return this.#sent;
  }

  /** The value that goes as AUTH, unless the server has it. */
  forAuth(): string | undefined {
    if (!this.#unsent) return undefined;
    this.#unsent = false;
    this.#sent = this.#value;
    return this.#sent;
  }
}
