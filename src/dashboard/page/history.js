// What a node's figures were in the last minutes, as far as this page has seen them.

/** Most samples that are kept: at one every two seconds, ten minutes. */
const MOST = 300;

const sum = (object, value) => Object.values(object).reduce((total, it) => total + value(it), 0);
const OUTCOMES = ["done", "resolved", "rejected", "denied", "forwarded", "retried", "failed"];

/** Calls of a handler that have ended. */
export const calls = (endpoint) => OUTCOMES.reduce((total, outcome) => total + endpoint[outcome], 0);

/** Per second; undefined where a counter began anew. */
const rate = (now, before, seconds) => (now < before ? undefined : (now - before) / seconds);
/** The mean time of what was done in between, in milliseconds; undefined if nothing was done. */
const mean = (time, count) => (count > 0 && time >= 0 ? time / count / 1000 : undefined);

export class History {
  samples = [];
  #last;

  /** Takes what `node` answered. */
  add({ now, metrics }) {
    const last = this.#last?.metrics.node === metrics.node ? this.#last : undefined;
    this.#last = { now, metrics };
    if (!last) {
      this.samples = [];
      return;
    }
    const seconds = (now - last.now) / 1000;
    if (seconds <= 0) return;
    const ended = (it) => sum(it.endpoints, calls);
    const handling = (it) => sum(it.endpoints, (endpoint) => endpoint.handling.sum_us);
    const [after, before] = [metrics, last.metrics];
    this.samples.push({
      at: now,
      calls: rate(ended(after), ended(before), seconds),
      commits: rate(after.store.batches, before.store.batches, seconds),
      handler: mean(handling(after) - handling(before), ended(after) - ended(before)),
      commit: mean(after.store.commit_us - before.store.commit_us, after.store.batches - before.store.batches),
      mailboxes: sum(after.actors, (mailbox) => mailbox.depth),
      store: after.store.depth,
      sessions: after.sessions_connected,
      handlers: after.handlers_running,
    });
    if (this.samples.length > MOST) this.samples.shift();
  }

  get last() {
    return this.samples.at(-1);
  }
}
