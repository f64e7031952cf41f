import type { Envelope } from "../api.js";

/** The subscriptions of a session, and what was last seen of each. */
export class Topics {
  #lastSeen = new Map<string, string>();
  /** UNSUBs of this session. Nothing tells whether one arrived, so they go again after a reconnect. */
  #unsubscribed = new Set<string>();

  get names(): string[] {
    return [...this.#lastSeen.keys()];
  }

  /** Gives the SUB to send, unless the topic is subscribed to already. */
  subscribe(topic: string, lastSeen: string): Envelope | undefined {
    if (this.#lastSeen.has(topic)) return undefined;
    this.#unsubscribed.delete(topic);
    this.#lastSeen.set(topic, lastSeen);
    return sub(topic, lastSeen);
  }

  /** Gives the UNSUB to send, if there was a subscription. */
  unsubscribe(topic: string): Envelope | undefined {
    if (!this.#lastSeen.delete(topic)) return undefined;
    this.#unsubscribed.add(topic);
    return { t: "UNSUB", eid: topic };
  }

  /** The server does not allow it: there is nothing to unsubscribe from. */
  deny(topic: string): void {
    this.#lastSeen.delete(topic);
  }

  /** A message of a topic came. False if nobody listens, or it came before. */
  seen(topic: string, smid: string | undefined): boolean {
    const last = this.#lastSeen.get(topic);
    if (last === undefined || (smid !== undefined && smid === last)) return false;
    this.#lastSeen.set(topic, smid ?? last);
    return true;
  }

  /** What a new line says. */
  envelopes(): Envelope[] {
    const unsubs = [...this.#unsubscribed].map((eid): Envelope => ({ t: "UNSUB", eid }));
    return [...[...this.#lastSeen].map(([topic, last]) => sub(topic, last)), ...unsubs];
  }

  /** The session is gone, and with it what it had to unsubscribe from. */
  sessionEnded(): void {
    this.#unsubscribed.clear();
  }
}

function sub(eid: string, smid: string): Envelope {
  return smid === "" ? { t: "SUB", eid } : { t: "SUB", eid, smid };
}
