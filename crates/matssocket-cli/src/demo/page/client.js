// A small client of the MatsSocket protocol, for the demo page: readable first, complete enough to
// show every promise. No dependencies; runs in browsers, and in Node with an injected WebSocket.
//
//   outbox    what we sent and the server has not yet taken     (cmid -> entry)
//   requests  what waits for a RESOLVE or REJECT                (cmid -> entry)
//   inbox     what we took and the server has not yet forgotten (smid -> receipt)
//
// A lost line costs nothing: the next connection says HELLO with the session id and sends the whole
// outbox again under the same ids; the server knows the ids it has, as the inbox knows ours.

const OPEN = 1; // WebSocket.readyState
const INFORMATION = new Set(["SEND", "REQUEST", "RESOLVE", "REJECT"]);
const SESSION_ENDS = new Set([1008, 1011, 4000, 4001, 4004]);
const CLOSE_SESSION = 4000, DISCONNECT = 4003, SERVICE_RESTART = 1012;

const WELCOME_WITHIN = 10_000; // ms from opening the socket; then the line counts as lost
const PING_EVERY = 15_000; // ms
const BATCH_WITHIN = 5; // ms that messages and receipts wait for company
const REAUTH_EVERY = 3_000; // ms between answers to REAUTH
const RETRY_ATTEMPTS = 10;

const backOff = (base, attempt, most) => Math.min(most, base * 2 ** attempt) * (1 + Math.random() / 4);
const randomId = () => Math.random().toString(36).slice(2, 10);

/** Why a message or request failed. `kind` is NACK, REJECT, RETRY, TIMEOUT or CLOSED. */
export class MatsSocketError extends Error {
  constructor(kind, message, msg) {
    super(message);
    this.name = "MatsSocketError";
    this.kind = kind;
    this.msg = msg; // payload of a REJECT
  }
}

/**
 * Events (CustomEvent, see `detail`):
 * - `state`     {state, reason, retryIn}: idle, connecting, established, waiting (will try again),
 *               disconnected (another connection took the session), closed
 * - `welcome`   {sessionId, url, resumed}
 * - `envelope`  {direction: "in"|"out", envelope, again}; authorization values are blanked out
 * - `duplicate` {envelope}: seen before, swallowed
 * - `pong`      {millis}
 * - `topic`     {topic, outcome}: SUB_OK, SUB_LOST, SUB_NO_AUTH
 * - `problem`   {message}: for people
 */
export class MatsSocketClient extends EventTarget {
  state = "idle";
  sessionId = null;
  counters = { sent: 0, resent: 0, received: 0, duplicates: 0, reconnects: 0 };

  #app; #urls; #urlIndex = 0; #WebSocket; #sendBeacon;
  #authorization = null; #reauthAt = 0; #newAuth = null;
  #socket = null; #connection = 0; #failures = 0; #helloSaid = false;
  #timers = {};
  #nextCmid = 0; #nextPing = 0; #pingSent = null;
  #outbox = new Map(); #requests = new Map(); #inbox = new Map(); #receipts = []; #subs = [];
  #terminators = new Map(); #endpoints = new Map(); #topics = new Map();

  /** `urls`: one per node. Options: `WebSocket`, `sendBeacon` (for tests), `shuffle` (default true). */
  constructor(appName, appVersion, urls, options = {}) {
    super();
    this.#app = { an: appName, av: appVersion };
    this.#urls = [...urls];
    if (options.shuffle ?? true) this.#urls.sort(() => Math.random() - 0.5);
    this.#WebSocket = options.WebSocket ?? globalThis.WebSocket;
    this.#sendBeacon = options.sendBeacon ?? ((url) => navigator.sendBeacon(url));
    this.endpoint("MatsSocket.renewAuth", () => this.#reauthorize().then(() => ({})));
  }

  /** The node that the client talks to, or will try next. */
  get url() { return this.#urls[this.#urlIndex]; }
  /** Messages that the server has not acknowledged yet. */
  get outboxSize() { return this.#outbox.size; }

  /** A value, or a (possibly async) function giving a fresh one, asked for each HELLO and REAUTH. */
  setAuthorization(authorization) {
    this.#authorization = authorization;
    this.#reauthAt = 0;
    if (this.state === "established") this.#reauthorize();
  }

  /** Opens a session; while waiting for the next attempt: makes it now. Sending does this by itself. */
  connect() {
    if (this.#authorization === null) throw new Error("setAuthorization comes before connect");
    if (["idle", "waiting", "disconnected", "closed"].includes(this.state)) this.#open();
  }

  /** Fire and forget. Resolves when the server has taken the message. Options: `traceId`. */
  send(endpointId, msg, options = {}) {
    return new Promise((resolve, reject) =>
      this.#post({ t: "SEND", eid: endpointId, msg }, options, { resolve, reject }));
  }

  /**
   * Resolves with {msg, traceId, millis, envelope}. Options: `traceId`, `timeout` (ms, default two
   * minutes), `onReceived` (called when the server has taken the request).
   */
  request(endpointId, msg, options = {}) {
    return new Promise((resolve, reject) => {
      const timeout = options.timeout ?? 120_000;
      const entry = { resolve, reject, request: true, onReceived: options.onReceived, at: Date.now() };
      const cmid = this.#post({ t: "REQUEST", eid: endpointId, to: timeout, msg }, options, entry);
      this.#requests.set(cmid, entry);
      entry.timeout = setTimeout(() => {
        take(this.#requests, cmid); // the message itself stays in the outbox: it was promised
        reject(new MatsSocketError("TIMEOUT", `no answer within ${timeout} ms`));
      }, timeout);
    });
  }

  /** `handler(msg, envelope)` gets what the server SENDs to this id. */
  terminator(id, handler) { this.#terminators.set(id, handler); }
  /** `handler(msg, envelope)` answers the server's REQUESTs: what it returns (or throws) goes back. */
  endpoint(id, handler) { this.#endpoints.set(id, handler); }

  /** `handler(msg, envelope)` gets what is published to the topic, over reconnects as well. */
  subscribe(topic, handler) {
    const known = this.#topics.get(topic);
    this.#topics.set(topic, { handler, lastSmid: known?.lastSmid });
    if (!known && this.#helloSaid) this.#subs.push({ t: "SUB", eid: topic });
    this.#flushSoon();
  }
  unsubscribe(topic) {
    if (this.#topics.delete(topic) && this.#helloSaid) this.#subs.push({ t: "UNSUB", eid: topic });
    this.#flushSoon();
  }

  /** Closes the session for good; everything outstanding fails. */
  close(reason = "closed by the client") {
    if (this.#speaking) this.#dropLine(false).close(CLOSE_SESSION, reason);
    else if (this.sessionId) this.#tellCloseSession();
    this.#end(reason);
  }

  /** For `pagehide`: there is no time for a handshake, a beacon must do. */
  leave() {
    if (this.sessionId) this.#tellCloseSession();
    this.#end("the page went away");
  }

  /** Loses the line as a tunnel would: nothing more is read or said. Comes back after `pause` ms. */
  cut(pause = 0) {
    if (this.#socket) this.#lose("the line was cut", pause);
  }

  // ---- the line -------------------------------------------------------------------------------

  get #speaking() { return this.#helloSaid && this.#socket.readyState === OPEN; }

  async #open() {
    const number = ++this.#connection;
    clearTimeout(this.#timers.reconnect);
    this.#setState("connecting");
    let auth;
    try {
      auth = await this.#askAuthorization();
      if (number !== this.#connection) return; // closed or reopened in the meantime
      this.#socket = new this.#WebSocket(this.url, "matssocket");
    } catch (error) {
      if (number === this.#connection) this.#failed(`could not connect: ${error.message}`);
      return;
    }
    this.#socket.onopen = () => this.#opened(auth);
    this.#socket.onmessage = (event) => this.#receivedText(event.data);
    this.#socket.onclose = (event) => this.#closed(event.code, event.reason);
    this.#timers.welcome = setTimeout(() => {
      this.#dropLine(true);
      this.#failed("no WELCOME in time");
    }, WELCOME_WITHIN);
  }

  /** HELLO and subscriptions are the first pipeline; what is queued follows without waiting. */
  #opened(auth) {
    const agent = globalThis.navigator?.userAgent ?? "unknown";
    const hello = { t: "HELLO", clv: `matssocket-demo-page,v1;${agent}`, ...this.#app, auth };
    if (this.sessionId) hello.sid = this.sessionId;
    const subs = [...this.#topics].map(([eid, { lastSmid }]) =>
      lastSmid ? { t: "SUB", eid, smid: lastSmid } : { t: "SUB", eid });
    this.#helloSaid = true;
    this.#write([hello, ...subs]);
    this.#flush();
  }

  #closed(code, reason) {
    const established = this.state === "established";
    this.#dropLine(false);
    if (SESSION_ENDS.has(code)) return this.#end(`${code}: ${reason || "closed by the server"}`);
    if (code === DISCONNECT) return this.#setState("disconnected", reason || "taken over");
    if (!established) return this.#failed(reason || `could not connect (${code})`);
    if (code === SERVICE_RESTART) this.#rotate(); // the next node is the better guess
    const why = code === SERVICE_RESTART ? "the node is stopping" : `the line was lost (${code})`;
    this.#wait(200 + Math.random() * 400, why);
  }

  /** A connect failed: the next URL almost at once, and a growing pause after each full round. */
  #failed(reason) {
    const round = Math.floor(this.#failures++ / this.#urls.length);
    this.#rotate();
    this.#wait(this.#failures % this.#urls.length ? 150 : backOff(500, round, 15_000), reason);
  }

  #rotate() { this.#urlIndex = (this.#urlIndex + 1) % this.#urls.length; }
  #lose(reason, pause) {
    this.#dropLine(true);
    this.#wait(pause, reason);
  }

  #wait(millis, reason) {
    this.#setState("waiting", reason, millis);
    this.#timers.reconnect = setTimeout(() => this.#open(), millis);
  }

  /** Forgets the socket, so that nothing it still says is heard. Receipts for it are void: the
   *  server sends again whatever it has no receipt for. ACK2s are kept, nobody asks for those. */
  #dropLine(close) {
    const socket = this.#socket;
    this.#connection++;
    this.#socket = null;
    this.#helloSaid = false;
    this.#pingSent = this.#newAuth = null;
    this.#subs = [];
    this.#receipts = this.#receipts.filter((receipt) => receipt.t === "ACK2");
    for (const timer of Object.values(this.#timers)) clearTimeout(timer);
    this.#timers = {};
    if (socket) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      if (close) socket.close();
    }
    return socket;
  }

  #end(reason) {
    this.#dropLine(true);
    this.sessionId = null;
    this.#failures = 0;
    this.#receipts = [];
    this.#inbox.clear();
    const gone = new MatsSocketError("CLOSED", `session closed: ${reason}`);
    for (const cmid of [...this.#outbox.keys(), ...this.#requests.keys()]) this.#fail(cmid, gone);
    this.#setState("closed", reason);
  }

  #setState(state, reason, retryIn) {
    this.state = state;
    this.#emit("state", { state, reason, retryIn });
  }

  #tellCloseSession() {
    const urls = this.state === "established" ? [this.url] : this.#urls; // any node will do, if it is up
    for (const url of urls) {
      const base = url.replace(/^ws/, "http").split("?")[0];
      this.#sendBeacon(`${base}/close_session?session_id=${encodeURIComponent(this.sessionId)}`);
    }
  }

  #ping() {
    if (this.#pingSent) return this.#lose("the server does not answer pings", 0);
    this.#pingSent = { x: String(++this.#nextPing), at: Date.now() };
    this.#write([{ t: "PING", x: this.#pingSent.x }]);
    this.#timers.ping = setTimeout(() => this.#ping(), PING_EVERY);
  }

  // ---- authorization --------------------------------------------------------------------------

  async #askAuthorization() {
    const given = this.#authorization;
    return typeof given === "function" ? given() : given;
  }

  /** Answers REAUTH. A repeated demand is answered slowly: the value is evidently not good enough. */
  async #reauthorize() {
    const number = this.#connection;
    const early = this.#reauthAt + REAUTH_EVERY - Date.now();
    this.#reauthAt = Date.now();
    try {
      if (early > 0) await new Promise((done) => setTimeout(done, early));
      const auth = await this.#askAuthorization();
      if (number !== this.#connection) return; // the next HELLO carries a fresh one
      this.#newAuth = auth;
      this.#flush();
    } catch (error) {
      this.#emit("problem", { message: `no authorization: ${error.message}` });
      if (number === this.#connection) await this.#reauthorize();
    }
  }

  // ---- outgoing -------------------------------------------------------------------------------

  #post(envelope, { traceId = randomId() }, entry) {
    const cmid = String(++this.#nextCmid);
    const { t, ...rest } = envelope;
    entry.envelope = { t, cmid, tid: traceId, ...rest };
    entry.writtenOn = 0; // number of the connection that carried it last
    entry.attempts = 0;
    this.#outbox.set(cmid, entry);
    this.counters.sent++;
    if (["idle", "closed"].includes(this.state) && this.#authorization !== null) this.connect();
    this.#flushSoon();
    return cmid;
  }

  /** ACK and NACK name a smid, which from then on counts as seen; ACK2 names a cmid. */
  #receipt(t, id, desc) {
    if (t !== "ACK2") this.#inbox.set(id, t);
    this.#receipts.push(t === "ACK2" ? { t, cmid: id } : desc ? { t, smid: id, desc } : { t, smid: id });
    this.#flushSoon();
  }

  #flushSoon() { this.#timers.batch ??= setTimeout(() => this.#flush(), BATCH_WITHIN); }

  /** Everything that this connection has not carried yet, as one pipeline. */
  #flush() {
    clearTimeout(this.#timers.batch);
    delete this.#timers.batch;
    if (!this.#speaking) return;
    const auth = this.#newAuth === null ? [] : [{ t: "AUTH", auth: this.#newAuth }];
    const pipeline = [...auth, ...merge(this.#receipts), ...this.#subs];
    this.#newAuth = null;
    this.#receipts = [];
    this.#subs = [];
    const again = new Set();
    for (const entry of this.#outbox.values()) {
      if (entry.writtenOn === this.#connection) continue;
      if (entry.writtenOn) again.add(entry.envelope);
      clearTimeout(entry.retry);
      entry.writtenOn = this.#connection;
      pipeline.push(entry.envelope);
    }
    this.counters.resent += again.size;
    if (pipeline.length) this.#write(pipeline, again);
  }

  #write(pipeline, again = new Set()) {
    this.#socket.send(JSON.stringify(pipeline));
    for (const envelope of pipeline) this.#emitEnvelope("out", envelope, again.has(envelope));
  }

  #fail(cmid, error) {
    const entry = take(this.#outbox, cmid) ?? this.#requests.get(cmid);
    take(this.#requests, cmid);
    entry?.reject?.(error);
  }

  // ---- incoming -------------------------------------------------------------------------------

  #receivedText(text) {
    let pipeline;
    try {
      pipeline = JSON.parse(text);
      if (!Array.isArray(pipeline)) throw new Error("not an array");
    } catch (error) {
      return this.#lose(`the server sent something unreadable: ${error.message}`, 1_000);
    }
    const number = this.#connection;
    for (const envelope of pipeline) {
      if (number !== this.#connection) return; // a handler cut or closed; the rest comes again
      this.#receive(envelope);
    }
  }

  #receive(envelope) {
    const { t, smid } = envelope;
    const cmids = () => (envelope.ids ?? [envelope.cmid]).map(String);
    const seen = (smid && INFORMATION.has(t) && this.#inbox.has(smid))
      || (t === "PUB" && this.#topics.get(envelope.eid)?.lastSmid === smid);
    this.#emitEnvelope("in", envelope, seen);
    if (seen) {
      this.counters.duplicates++;
      this.#emit("duplicate", { envelope });
      if (t !== "PUB") this.#receipt(this.#inbox.get(smid), smid);
      return;
    }
    if (INFORMATION.has(t) || t === "PUB") this.counters.received++;
    switch (t) {
      case "WELCOME": return this.#welcome(envelope);
      case "REAUTH": return void this.#reauthorize();
      case "PONG": return this.#pong(envelope);
      case "ACK": return cmids().forEach((cmid) => this.#taken(cmid));
      case "NACK": return cmids().forEach((cmid) => this.#refused(cmid, envelope));
      case "ACK2": return (envelope.ids ?? [smid]).forEach((id) => this.#inbox.delete(id));
      case "RETRY": return cmids().forEach((cmid) => this.#retry(cmid, envelope));
      case "RESOLVE": case "REJECT": return this.#settled(envelope);
      case "SEND": case "REQUEST": return this.#message(envelope);
      case "SUB_OK": case "SUB_LOST": case "SUB_NO_AUTH": return this.#subscribed(envelope);
      case "PUB": return this.#published(envelope);
      default: this.#emit("problem", { message: `the server sent an unknown "${t}"` });
    }
  }

  #welcome({ sid }) {
    const resumed = this.sessionId === sid;
    this.counters.reconnects += resumed ? 1 : 0;
    this.sessionId = sid;
    this.#failures = 0;
    clearTimeout(this.#timers.welcome);
    this.#timers.ping = setTimeout(() => this.#ping(), 3_000 + Math.random() * 4_000);
    this.#setState("established");
    this.#emit("welcome", { sessionId: sid, url: this.url, resumed });
  }

  #pong({ x }) {
    if (this.#pingSent?.x !== String(x)) return;
    this.#emit("pong", { millis: Date.now() - this.#pingSent.at });
    this.#pingSent = null;
  }

  #taken(cmid) {
    const entry = take(this.#outbox, cmid);
    this.#receipt("ACK2", cmid);
    (entry?.request ? entry.onReceived : entry?.resolve)?.();
  }

  #refused(cmid, { desc }) {
    this.#receipt("ACK2", cmid);
    this.#fail(cmid, new MatsSocketError("NACK", desc ?? "the server refused the message"));
  }

  /** The server could not handle it now and kept nothing: the same message again, a little later. */
  #retry(cmid, { desc }) {
    const entry = this.#outbox.get(cmid);
    if (!entry) return;
    clearTimeout(entry.retry);
    if (++entry.attempts > RETRY_ATTEMPTS) {
      return this.#fail(cmid, new MatsSocketError("RETRY", desc ?? "the server could not handle the message"));
    }
    entry.retry = setTimeout(() => {
      entry.writtenOn = -1; // as if an earlier connection had carried it
      this.#flush();
    }, backOff(500, entry.attempts - 1, 60_000));
  }

  /** An answer doubles as the ACK of its request. With `smid` it came through the server's outbox. */
  #settled(envelope) {
    const { t, smid, msg } = envelope;
    const cmid = String(envelope.cmid);
    const unacknowledged = take(this.#outbox, cmid);
    if (smid) this.#receipt("ACK", smid);
    if (!smid || unacknowledged) this.#receipt("ACK2", cmid);
    unacknowledged?.onReceived?.();
    const request = take(this.#requests, cmid); // none: timed out here, nobody waits any more
    if (t === "REJECT") request?.reject(new MatsSocketError(t, envelope.desc ?? "rejected by the server", msg));
    else request?.resolve({ msg, traceId: envelope.tid, millis: Date.now() - request.at, envelope });
  }

  #message(envelope) {
    const { t, smid, eid, msg } = envelope;
    const handler = (t === "SEND" ? this.#terminators : this.#endpoints).get(eid);
    if (!handler) return this.#receipt("NACK", smid, `nothing here is called "${eid}"`);
    this.#receipt("ACK", smid);
    if (t === "SEND") return this.#call(handler, msg, envelope);
    const reply = (type, value) => {
      if (this.sessionId) this.#post({ t: type, smid, msg: value }, { traceId: envelope.tid }, {});
    };
    Promise.resolve().then(() => handler(msg, envelope))
      .then((value) => reply("RESOLVE", value ?? null), (error) => reply("REJECT", String(error?.message ?? error)));
  }

  #subscribed({ t, eid }) {
    if (t === "SUB_NO_AUTH") this.#topics.delete(eid);
    this.#emit("topic", { topic: eid, outcome: t });
  }

  #published(envelope) {
    const topic = this.#topics.get(envelope.eid);
    if (!topic) return; // still under way when we unsubscribed
    topic.lastSmid = envelope.smid;
    this.#call(topic.handler, envelope.msg, envelope);
  }

  /** The message is taken, whatever the handler makes of it. */
  #call(handler, msg, envelope) {
    try { handler(msg, envelope); } catch (error) {
      this.#emit("problem", { message: `handler of "${envelope.eid}" failed: ${error.message}` });
    }
  }

  #emitEnvelope(direction, envelope, again) {
    const shown = "auth" in envelope ? { ...envelope, auth: "(hidden)" } : envelope;
    this.#emit("envelope", { direction, envelope: shown, again: Boolean(again) });
  }

  #emit(type, detail) { this.dispatchEvent(new CustomEvent(type, { detail })); }
}

function take(map, key) {
  const entry = map.get(key);
  map.delete(key);
  return entry;
}

/** Receipts of one kind share an envelope; those with a description keep their own. */
function merge(receipts) {
  const merged = receipts.filter((receipt) => receipt.desc);
  for (const [t, key] of [["ACK", "smid"], ["NACK", "smid"], ["ACK2", "cmid"]]) {
    const ids = [...new Set(receipts.filter((r) => r.t === t && !r.desc).map((r) => r[key]))];
    if (ids.length === 1) merged.push({ t, [key]: ids[0] });
    if (ids.length > 1) merged.push({ t, ids });
  }
  return merged;
}
