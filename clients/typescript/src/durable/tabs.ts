// The tabs of one user share a session: one of them, the leader, holds it; the others speak through it.
//
// Leadership is a Web Lock, which falls free the moment its holder closes or crashes. A leader that is frozen keeps the
// lock, so it is stolen when the leader does not answer; an epoch in the journal keeps the robbed one from writing when
// it wakes up. There is no heartbeat, since the timers of hidden tabs hardly run: a tab asks when it has something to say.
//
// The journal is the truth, and what goes over the channel a hint: a tab puts its messages into the journal itself, and
// then says "look". So nothing is lost or doubled when the leader changes in between.

import type { Authorization, Envelope, Unresolved } from "../api.js";
import type { EngineOptions } from "../engine.js";
import type { Environment, PageEvent } from "../environment.js";
import type { Holder } from "../holder.js";
import type { Hub, HubListener } from "../hub.js";
import type { Delivery, Entry, Registration, Told } from "../messages.js";
import { FencedError, type IndexedDbJournal } from "./indexeddb.js";
import { Intake } from "./intake.js";

type Message =
  /** To the leader, which answers each with `ok`. */
  | { m: "look"; from: string }
  | { m: "here"; from: string; registration: Registration; running: string[]; waiting: string[] }
  | { m: "command"; from: string; command: Command }
  /** To the leader, without an answer. */
  | { m: "finished"; id: string }
  | { m: "abandon"; id: string }
  | { m: "gone"; from: string }
  /** From the leader. */
  | { m: "ok"; to: string }
  | { m: "leader"; epoch: number }
  | { m: "told"; to?: string | undefined; told: Told; epoch: number }
  /** To all. */
  | { m: "loggedOut" };

type Command = { do: "start" } | { do: "wake" } | { do: "authorize"; authorization: Authorization } | { do: "logOut" };

/** A leader that does not answer within this time is frozen, and robbed. */
const ANSWER_WITHIN = 1_000;
/** How long a new leader waits to hear which deliveries the other tabs are busy with. */
const HEAR_WITHIN = 300;
/** A delivery that waited longer than this for its handler may have become another tab's. */
const FRESH = 500;
/** After the journal failed, the leader starts again. */
const PAUSE = 1_000;

export interface TabsOptions {
  name: string;
  me: string;
  engine: EngineOptions;
  journal: IndexedDbJournal;
  Holder: typeof Holder;
}

export class TabsHub implements Hub {
  readonly durable = true;
  readonly #environment: Environment;
  readonly #options: TabsOptions;
  readonly #journal: IndexedDbJournal;
  readonly #me: string;
  readonly #listener: HubListener;
  #channel: BroadcastChannel | undefined;
  #epoch = 0;
  #holder: Holder | undefined;
  #intake: Intake | undefined;
  /** Ends the hold on a lock, or the wait for it. */
  #release: (() => void) | undefined;
  #releaseTab: (() => void) | undefined;
  /** Raised whenever this tab joins or leaves, so that what is left of before is recognised. */
  #membership = 0;
  #cancelWait: (() => void) | undefined;
  /** While the page is frozen: what has come meanwhile. */
  #frozen: Message[] | undefined;
  /** Commands that no leader has confirmed yet. */
  #commands: Command[] = [];
  /** As the leader: what the tabs have said since. Told what they are busy with. */
  #runningElsewhere = new Map<string, string>();
  #watched = new Set<string>();
  #loggedOut: (() => void) | undefined;

  constructor(environment: Environment, options: TabsOptions, listener: HubListener) {
    this.#environment = environment;
    this.#options = options;
    this.#journal = options.journal;
    this.#me = options.me;
    this.#listener = listener;
    this.#join();
  }

  // ---- what the tab does --------------------------------------------------------------------------------------

  async post(entry: Entry, finished?: string): Promise<void> {
    // The leader is about to send it: said at once, this saves a second write.
    if (this.#holder?.engine.established) entry.session = this.#holder.engine.sessionId ?? "";
    await this.#journal.add(entry, finished);
    if (this.#intake) this.#intake.post(entry);
    else this.#ask({ m: "look", from: this.#me });
  }

  abandon(id: string): void {
    if (this.#holder) this.#holder.act((core) => core.abandon(id));
    else this.#say({ m: "abandon", id });
  }

  mayBegin({ id }: Delivery, epoch: number, age: number): boolean | Promise<boolean> {
    return (this.#holder !== undefined && age < FRESH) || this.#journal.isOpen(id, epoch);
  }

  async finish(id: string): Promise<void> {
    await this.#journal.finish(id);
    if (this.#holder) this.#holder.finished(id);
    else this.#say({ m: "finished", id });
  }

  registered(): void {
    if (this.#holder) this.#holder.setTab(this.#me, this.#listener.registration());
    else this.#announce();
  }

  start(): void {
    this.#command({ do: "start" });
  }

  setAuthorization(authorization: Authorization): void {
    this.#command({ do: "authorize", authorization });
  }

  happens(event: PageEvent): void {
    switch (event) {
      case "wake":
        // To have an answer matters, too: the leader may be frozen since this tab was looked at last.
        return this.#command({ do: "wake" });
      case "leave":
        return this.#leave();
      case "return":
        return this.#join();
      case "freeze":
        return this.#freeze();
      case "resume":
        return this.#resume();
    }
  }

  async unresolved(): Promise<Unresolved[]> {
    return (await this.#journal.failed()).map(({ entry, why, description }) => ({
      id: entry.id,
      kind: entry.t === "REQUEST" ? "request" : "send",
      endpoint: entry.endpoint,
      traceId: entry.traceId,
      payload: (JSON.parse(entry.text) as Envelope).msg,
      why,
      description,
      sentAt: entry.at,
    }));
  }

  discard(id: string): Promise<void> {
    return this.#journal.discard(id);
  }

  async close(): Promise<void> {
    const { engine } = this.#holder ?? {};
    await engine?.idle();
    this.#leave();
    await engine?.closed();
    this.#journal.close();
  }

  async logOut(): Promise<void> {
    const done = new Promise<void>((resolve) => {
      this.#loggedOut = resolve;
    });
    this.#command({ do: "logOut" });
    await done;
  }

  // ---- who leads ----------------------------------------------------------------------------------------------

  #join(): void {
    const { BroadcastChannel } = this.#environment;
    this.#channel = new BroadcastChannel!(this.#options.name);
    this.#channel.onmessage = ({ data }) => this.#receive(data as Message);
    this.#releaseTab = this.#hold(`${this.#options.name}/tab/${this.#me}`, {}, () => {});
    this.#queue(false);
    this.#announce();
  }

  #leave(): void {
    this.#membership++;
    this.#say({ m: "gone", from: this.#me });
    this.#stepDown();
    this.#release?.();
    this.#releaseTab?.();
    this.#cancelWait?.();
    this.#cancelWait = undefined;
    this.#channel?.close();
    this.#channel = undefined;
  }

  /**
   * Another tab shall lead. This one touches nothing any more: a transaction that it began would not end, and keep all
   * other tabs from the database.
   */
  #freeze(): void {
    this.#frozen ??= [];
    this.#journal.freeze();
    this.#membership++;
    this.#stepDown();
    this.#release?.();
    this.#cancelWait?.();
    this.#cancelWait = undefined;
  }

  #resume(): void {
    const missed = this.#frozen ?? [];
    this.#frozen = undefined;
    this.#journal.resume();
    this.#queue(false);
    for (const message of missed) this.#receive(message);
    this.#announce();
  }

  /** Waits for the lock, or takes it by force. */
  #queue(steal: boolean): void {
    this.#release?.();
    const membership = ++this.#membership;
    this.#release = this.#hold(this.#options.name, steal ? { steal } : {}, () => this.#lead(membership), () => {
      if (membership !== this.#membership) return;
      this.#stepDown();
      this.#queue(false);
      this.#announce();
    });
  }

  /** Requests a lock. Gives what releases it, or ends the wait for it. */
  #hold(name: string, options: LockOptions, granted: () => void, robbed?: () => void): () => void {
    const waiting = new AbortController();
    let release = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    // A signal and `steal` exclude each other.
    const request = options.steal ? options : { ...options, signal: waiting.signal };
    this.#environment.locks!.request(name, request, () => {
      granted();
      return held;
    }).catch(() => {
      if (!waiting.signal.aborted) robbed?.();
    });
    return () => {
      waiting.abort();
      release();
    };
  }

  async #lead(membership: number): Promise<void> {
    // The grant of a lock that is stolen by now may come late.
    if (membership !== this.#membership) return;
    try {
      const saved = await this.#journal.lead();
      if (membership !== this.#membership) return;
      this.#cancelWait?.();
      this.#cancelWait = undefined;
      this.#epoch = saved.epoch;
      this.#runningElsewhere = new Map();
      this.#watched = new Set();
      const begun = this.#environment.now();
      const holder = new this.#options.Holder(this.#environment, this.#options.engine, saved.journal, this.#me, {
        send: (told, tab) => this.#tell(told, tab),
        traced: () => this.#listener.traced(),
        // A tab that has the handler may not have said so yet, may be frozen, or is still to be opened.
        keeps: (t) => t === "SEND" || this.#environment.now() < begun + HEAR_WITHIN,
        broken: (error) => this.#broken(membership, error),
      }, saved);
      this.#holder = holder;
      const intake = new Intake(holder, this.#journal, saved.outbox.at(-1)?.key ?? 0, (error) => {
        this.#broken(membership, error);
      });
      this.#intake = intake;
      this.#listener.role("leader");
      const mine = this.#listener.running();
      holder.setTab(this.#me, this.#listener.registration());
      this.#say({ m: "leader", epoch: saved.epoch });
      holder.act((core) => core.start());
      for (const command of this.#commands.splice(0)) this.#perform(command);
      this.#account(intake, this.#me, this.#listener.waiting());
      this.#environment.after(HEAR_WITHIN, () => {
        if (this.#holder !== holder) return;
        for (const id of mine) this.#runningElsewhere.set(id, this.#me);
        holder.redeliver(saved.inbox, this.#runningElsewhere);
      });
    } catch (error) {
      this.#broken(membership, error);
    }
  }

  #stepDown(): void {
    if (!this.#holder) return;
    this.#holder.engine.stop();
    this.#holder = this.#intake = undefined;
    this.#listener.role("follower");
  }

  /** The journal failed. If another tab leads now, that is as it should be; else begin again with what is stored. */
  #broken(membership: number, error: unknown): void {
    if (membership !== this.#membership) return;
    this.#stepDown();
    if (error instanceof FencedError) {
      this.#queue(false);
      this.#announce();
      return;
    }
    this.#listener.told({ e: "error", message: `the journal failed: ${error}` }, this.#epoch);
    this.#environment.after(PAUSE, () => {
      if (membership === this.#membership) void this.#lead(membership);
    });
  }

  // ---- the channel --------------------------------------------------------------------------------------------

  #say(message: Message): void {
    this.#channel?.postMessage(message);
  }

  /** Says something to the leader, and robs it if it does not answer. */
  #ask(message: Message): void {
    this.#say(message);
    if (this.#cancelWait || !this.#channel) return;
    const patience = ANSWER_WITHIN * (1 + this.#environment.random() / 5);
    this.#cancelWait = this.#environment.after(patience, () => {
      this.#cancelWait = undefined;
      this.#queue(true);
    });
  }

  #announce(): void {
    const { registration, running, waiting } = {
      registration: this.#listener.registration(), running: this.#listener.running(), waiting: this.#listener.waiting(),
    };
    this.#ask({ m: "here", from: this.#me, registration, running, waiting });
  }

  #command(command: Command): void {
    if (this.#holder) {
      this.#perform(command);
    } else {
      this.#commands.push(command);
      this.#ask({ m: "command", from: this.#me, command });
    }
  }

  #perform(command: Command): void {
    const holder = this.#holder!;
    switch (command.do) {
      case "start":
        return holder.act((core) => core.start());
      case "wake":
        return holder.act((core) => core.wake());
      case "authorize":
        return holder.act((core) => core.setAuthorization(command.authorization));
      case "logOut":
        return void this.#performLogOut(holder);
    }
  }

  async #performLogOut({ engine }: Holder): Promise<void> {
    engine.act((core) => core.close("logged out"));
    await engine.closed();
    await this.#journal.wipe();
    this.#say({ m: "loggedOut" });
    this.#endLoggedOut();
  }

  #endLoggedOut(): void {
    this.#leave();
    this.#journal.close();
    this.#loggedOut?.();
    this.#listener.loggedOut();
  }

  #receive(message: Message): void {
    if (this.#frozen) {
      this.#frozen.push(message);
      return;
    }
    switch (message.m) {
      case "ok":
        if (message.to === this.#me) this.#answered();
        return;
      case "leader":
        if (message.epoch < this.#epoch) return;
        this.#epoch = message.epoch;
        this.#stepDown();
        this.#cancelWait?.();
        this.#cancelWait = undefined;
        this.#listener.role("follower");
        this.#announce();
        for (const command of this.#commands) this.#ask({ m: "command", from: this.#me, command });
        return;
      case "told":
        if (message.epoch < this.#epoch || (message.to !== undefined && message.to !== this.#me)) return;
        this.#epoch = message.epoch;
        this.#listener.told(message.told, message.epoch);
        return;
      case "loggedOut":
        return this.#endLoggedOut();
      default:
        if (this.#holder && this.#intake) this.#serve(this.#holder, this.#intake, message);
    }
  }

  #answered(): void {
    this.#cancelWait?.();
    this.#cancelWait = undefined;
    this.#commands = this.#commands.filter((command) => command.do === "logOut");
  }

  /** What a leader does for the other tabs. */
  #serve(holder: Holder, intake: Intake, message: Message): void {
    switch (message.m) {
      case "finished":
        return holder.finished(message.id);
      case "abandon":
        return holder.act((core) => core.abandon(message.id));
      case "gone":
        return holder.setTab(message.from, undefined);
      case "look":
        break;
      case "here":
        for (const id of message.running) this.#runningElsewhere.set(id, message.from);
        this.#watch(holder, message.from);
        holder.setTab(message.from, message.registration);
        // What it does not know since it came, or since this leader did.
        this.#tell({ e: "state", state: holder.state }, message.from);
        this.#account(intake, message.from, message.waiting);
        break;
      case "command":
        this.#perform(message.command);
        break;
      default:
        return;
    }
    // Only now, as a proof that this tab does more than answer.
    void intake.look().then(() => this.#say({ m: "ok", to: message.from }));
  }

  /** A tab waits for what becomes of these messages. It may have missed that, if another tab led then. */
  #account(intake: Intake, tab: string, waiting: string[]): void {
    void intake.account(tab, waiting).then((told) => {
      if (this.#intake === intake) for (const one of told) this.#tell(one, tab);
    });
  }

  /** Learns when a tab is gone, however that happens: it holds a lock while it lives. */
  #watch(holder: Holder, tab: string): void {
    if (this.#watched.has(tab)) return;
    this.#watched.add(tab);
    const watched = this.#watched;
    this.#environment.locks!.request(`${this.#options.name}/tab/${tab}`, { mode: "shared" }, () => {
      watched.delete(tab);
      if (this.#holder === holder) holder.setTab(tab, undefined);
    }).catch(() => {});
  }

  #tell(told: Told, tab: string | undefined): void {
    if (tab !== this.#me) this.#say({ m: "told", to: tab, told, epoch: this.#epoch });
    if (tab === undefined || tab === this.#me) this.#listener.told(told, this.#epoch);
  }
}
