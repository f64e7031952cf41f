/** A clock that tests move. Timers fire in the order in which they are due. */
export class FakeClock {
  now = 1_000;
  /** By how much the wall clock is ahead of the other one. */
  wallLead = 1_700_000_000_000;
  #timers = new Set<{ due: number; callback: () => void }>();

  after(millis: number, callback: () => void): () => void {
    const timer = { due: this.now + millis, callback };
    this.#timers.add(timer);
    return () => void this.#timers.delete(timer);
  }

  /** When the next timer is due; Infinity if there is none. */
  get next(): number {
    return Math.min(Infinity, ...[...this.#timers].map(({ due }) => due));
  }

  /** Lets time pass, timer by timer, with everything that follows from each. */
  async advance(millis: number): Promise<void> {
    const end = this.now + millis;
    await settle();
    while (this.next <= end) {
      this.now = Math.max(this.now, this.next);
      this.fire();
      await settle();
    }
    this.now = end;
  }

  /** The time jumps: timers that became due meanwhile fire late. */
  jump(millis: number): void {
    this.now += millis;
    this.fire();
  }

  fire(): void {
    for (const timer of [...this.#timers].sort((a, b) => a.due - b.due)) {
      if (timer.due <= this.now && this.#timers.delete(timer)) timer.callback();
    }
  }
}

/** Lets everything happen that needs no time: promises, and IndexedDB's transactions. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 25; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/** Waits for what needs no time; fails if it does not come. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  for (let turn = 0; turn < 2_000; turn++) {
    if (condition()) return;
    await new Promise((resolve) => setImmediate(resolve));
  }
  throw new Error(`this did not happen: ${what}`);
}

/** The same numbers for the same seed. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
