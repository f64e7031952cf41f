// The demo page's protocol client against a scripted server: `node --test tests/browser/`.
// Time is mocked; a test moves it by `tick`, and nothing here waits for a real clock.

import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import { MatsSocketClient } from "../../crates/matssocket-cli/src/demo/page/client.js";

const URLS = ["ws://one/matssocket", "ws://two/matssocket"];
let sockets, beacons;

class FakeWebSocket {
  readyState = 0;
  pipelines = [];
  constructor(url, protocol) {
    Object.assign(this, { url, protocol });
    sockets.push(this);
  }
  send(text) {
    assert.equal(this.readyState, 1, "send on a socket that is not open");
    this.pipelines.push(JSON.parse(text));
  }
  close(code, reason) {
    this.readyState = 3;
    this.closedWith = { code, reason };
  }
  // What the server does:
  accept() {
    this.readyState = 1;
    this.onopen();
  }
  say(...envelopes) { this.onmessage?.({ data: JSON.stringify(envelopes) }); }
  end(code, reason = "") {
    this.readyState = 3;
    this.onclose?.({ code, reason });
  }
  get envelopes() { return this.pipelines.flat(); }
  of(t) { return this.envelopes.filter((envelope) => envelope.t === t); }
}

beforeEach(() => {
  sockets = [];
  beacons = [];
  mock.timers.enable({ apis: ["setTimeout"] });
});
afterEach(() => mock.timers.reset());

/** Lets promises settle without letting time pass. */
const settle = () => new Promise((done) => setImmediate(done));
async function tick(millis) {
  await settle();
  mock.timers.tick(millis);
  await settle();
}
const last = () => sockets.at(-1);

function newClient(authorization = "Demo:anna") {
  const client = new MatsSocketClient("Test", "1", URLS, {
    WebSocket: FakeWebSocket, sendBeacon: (url) => beacons.push(url), shuffle: false,
  });
  if (authorization) client.setAuthorization(authorization);
  return client;
}

async function established() {
  const client = newClient();
  client.connect();
  await settle();
  last().accept();
  last().say({ t: "WELCOME", sid: "S1" });
  return client;
}

/** The line breaks and the client comes back; the server has not said WELCOME yet. */
async function reconnect(code = 1006) {
  last().end(code);
  await tick(1_000);
  last().accept();
}

/** What a promise came to: its value, or its error. */
const outcome = (promise) => promise.then((value) => ({ value }), (error) => ({ error }));

test("HELLO and subscriptions come first, what was queued right behind, before WELCOME", async () => {
  const client = newClient();
  client.subscribe("Topic", () => {});
  client.send("Terminator", { a: 1 }).catch(() => {});
  client.send("Terminator", { a: 2 }).catch(() => {});
  await settle();
  assert.equal(last().protocol, "matssocket");
  last().accept();
  const [first, second] = last().pipelines;
  assert.deepEqual(first.map(({ t }) => t), ["HELLO", "SUB"]);
  assert.equal(first[0].auth, "Demo:anna");
  assert.ok(first[0].clv && first[0].an && first[0].av && !("sid" in first[0]));
  assert.deepEqual(second.map(({ t, msg }) => [t, msg.a]), [["SEND", 1], ["SEND", 2]]);
  assert.ok(second.every(({ cmid, tid }) => typeof cmid === "string" && tid));
  assert.notEqual(second[0].cmid, second[1].cmid);
});

test("ACK settles a SEND and is answered by ACK2", async () => {
  const client = await established();
  const sent = outcome(client.send("Terminator", 1));
  await tick(5);
  const [{ cmid }] = last().of("SEND");
  last().say({ t: "ACK", cmid });
  assert.deepEqual(await sent, { value: undefined });
  await tick(5);
  assert.deepEqual(last().of("ACK2"), [{ t: "ACK2", cmid }]);
  assert.equal(client.outboxSize, 0);
});

test("several ids travel in one receipt, both ways", async () => {
  const client = await established();
  client.terminator("T", () => {});
  const sent = Promise.all([client.send("Terminator", 1), client.send("Terminator", 2)]);
  await tick(5);
  const ids = last().of("SEND").map(({ cmid }) => cmid);
  last().say({ t: "ACK", ids }, { t: "SEND", eid: "T", smid: "a", tid: "t" }, { t: "SEND", eid: "T", smid: "b", tid: "t" });
  await sent;
  await tick(5);
  assert.deepEqual(last().of("ACK2"), [{ t: "ACK2", ids }]);
  assert.deepEqual(last().of("ACK"), [{ t: "ACK", ids: ["a", "b"] }]);
});

test("NACK fails a message in the server's words", async () => {
  const client = await established();
  const results = Promise.all([outcome(client.send("No", 1)), outcome(client.request("No", 1))]);
  await tick(5);
  const ids = last().envelopes.filter(({ eid }) => eid === "No").map(({ cmid }) => cmid);
  for (const cmid of ids) last().say({ t: "NACK", cmid, desc: "no such endpoint" });
  for (const { error } of await results) {
    assert.equal(error.kind, "NACK");
    assert.equal(error.message, "no such endpoint");
  }
});

test("after a lost line the unacknowledged goes again under its old id, the acknowledged does not", async () => {
  const client = await established();
  const first = client.send("Terminator", "first");
  const second = client.send("Terminator", "second");
  await tick(5);
  const [a, b] = last().of("SEND");
  last().say({ t: "ACK", cmid: a.cmid });
  await first;
  await reconnect();
  assert.equal(sockets.length, 2);
  assert.equal(last().url, URLS[0]);
  assert.equal(last().of("HELLO")[0].sid, "S1");
  assert.deepEqual(last().of("SEND"), [b]);
  last().say({ t: "WELCOME", sid: "S1" }, { t: "ACK", cmid: b.cmid });
  await second;
  assert.equal(client.counters.resent, 1);
  assert.equal(client.counters.reconnects, 1);
});

test("a request that was acknowledged is not sent again and its answer may come on another line", async () => {
  const client = await established();
  const answer = client.request("Endpoint", 1);
  await tick(5);
  const [{ cmid }] = last().of("REQUEST");
  last().say({ t: "ACK", cmid });
  await reconnect();
  assert.deepEqual(last().of("REQUEST"), []);
  last().say({ t: "WELCOME", sid: "S1" }, { t: "RESOLVE", cmid, smid: "s1", tid: "t", msg: { ok: true } });
  assert.deepEqual((await answer).msg, { ok: true });
  await tick(5);
  assert.deepEqual(last().of("ACK"), [{ t: "ACK", smid: "s1" }]);
});

test("a RESOLVE without smid doubles as the ACK: answered by ACK2, no ACK", async () => {
  const client = await established();
  const answer = client.request("Endpoint", 1);
  await tick(5);
  const [{ cmid }] = last().of("REQUEST");
  last().say({ t: "RESOLVE", cmid, tid: "t", msg: 42 });
  assert.equal((await answer).msg, 42);
  await tick(5);
  assert.deepEqual(last().of("ACK2"), [{ t: "ACK2", cmid }]);
  assert.deepEqual(last().of("ACK"), []);
  assert.equal(client.outboxSize, 0);
});

test("a RESOLVE with smid that overtook the ACK settles the outbox as well", async () => {
  const client = await established();
  const answer = client.request("Endpoint", 1);
  await tick(5);
  const [{ cmid }] = last().of("REQUEST");
  last().say({ t: "RESOLVE", cmid, smid: "s1", tid: "t", msg: 42 });
  await answer;
  await tick(5);
  assert.deepEqual([last().of("ACK"), last().of("ACK2")], [[{ t: "ACK", smid: "s1" }], [{ t: "ACK2", cmid }]]);
  assert.equal(client.outboxSize, 0);
});

test("REJECT fails a request and carries its payload", async () => {
  const client = await established();
  const answer = outcome(client.request("Endpoint", 1));
  await tick(5);
  last().say({ t: "REJECT", cmid: last().of("REQUEST")[0].cmid, tid: "t", msg: { why: "no" } });
  const { error } = await answer;
  assert.deepEqual([error.kind, error.msg], ["REJECT", { why: "no" }]);
});

test("a message that comes again is acknowledged and swallowed, until ACK2 forgets its id", async () => {
  const client = await established();
  const got = [];
  client.terminator("T", (msg) => got.push(msg));
  const message = { t: "SEND", eid: "T", smid: "s1", tid: "t", msg: 1 };
  last().say(message);
  last().say(message);
  await reconnect(); // before our receipt went out
  last().say({ t: "WELCOME", sid: "S1" }, message);
  assert.deepEqual(got, [1]);
  assert.equal(client.counters.duplicates, 2);
  await tick(5);
  assert.deepEqual(last().of("ACK"), [{ t: "ACK", smid: "s1" }]);
  last().say({ t: "ACK2", smid: "s1" }, message);
  assert.deepEqual(got, [1, 1]);
});

test("a message to an unknown terminator is refused, also when it comes again", async () => {
  const client = await established();
  const message = { t: "SEND", eid: "Unknown", smid: "s1", tid: "t" };
  last().say(message);
  await tick(5);
  last().say(message);
  await tick(5);
  assert.deepEqual(last().of("NACK").map(({ smid }) => smid), ["s1", "s1"]);
  assert.equal(client.counters.duplicates, 1);
});

test("a handler that cuts the line in mid-pipeline gets the rest after the reconnect, in order, once", async () => {
  const client = await established();
  const got = [];
  client.terminator("T", (msg) => {
    got.push(msg);
    if (got.length === 2) client.cut();
  });
  const messages = [1, 2, 3, 4].map((msg) => ({ t: "SEND", eid: "T", smid: `s${msg}`, tid: "t", msg }));
  last().say(...messages);
  assert.deepEqual(got, [1, 2]);
  await tick(0);
  last().accept();
  last().say({ t: "WELCOME", sid: "S1" }, ...messages);
  assert.deepEqual(got, [1, 2, 3, 4]);
  assert.equal(client.counters.duplicates, 2);
});

test("RETRY sends the same message again after a pause that grows, and gives up in the end", async () => {
  const client = await established();
  const sent = outcome(client.send("Terminator", 1));
  await tick(5);
  const { cmid } = last().of("SEND")[0];
  const say = () => last().say({ t: "RETRY", cmid, desc: "busy" });
  say();
  await tick(450);
  assert.equal(last().of("SEND").length, 1);
  await tick(200);
  assert.equal(last().of("SEND").length, 2);
  say();
  await tick(900);
  assert.equal(last().of("SEND").length, 2);
  await tick(400);
  assert.equal(last().of("SEND").length, 3);
  assert.equal(new Set(last().of("SEND").map((envelope) => envelope.cmid)).size, 1);
  for (let attempt = 2; attempt < 11; attempt++) {
    say();
    const before = sockets.length;
    for (let step = 0; step < 8; step++) {
      await tick(10_000);
      if (last().of("PING").length) last().say({ t: "PONG", x: last().of("PING").at(-1).x });
    }
    assert.equal(sockets.length, before, "pings were answered, the line must stay");
  }
  const { error } = await sent;
  assert.deepEqual([error.kind, error.message], ["RETRY", "busy"]);
});

test("REAUTH asks for a fresh value and sends AUTH", async () => {
  let asked = 0;
  const client = newClient();
  client.setAuthorization(async () => `Demo:anna:${++asked}`);
  client.connect();
  await settle();
  last().accept();
  last().say({ t: "WELCOME", sid: "S1" }, { t: "REAUTH" });
  await tick(5);
  assert.equal(last().of("HELLO")[0].auth, "Demo:anna:1");
  assert.deepEqual(last().of("AUTH"), [{ t: "AUTH", auth: "Demo:anna:2" }]);
});

test("a REAUTH that keeps coming is answered at most every three seconds", async () => {
  await established();
  for (let i = 0; i < 20; i++) {
    last().say({ t: "REAUTH" });
    await tick(5);
  }
  assert.equal(last().of("AUTH").length, 1);
  await tick(3_000);
  assert.ok(last().of("AUTH").length >= 2);
});

test("the server's renewAuth request is answered after fresh authorization went out", async () => {
  await established();
  last().say({ t: "REQUEST", eid: "MatsSocket.renewAuth", smid: "s1", tid: "t", msg: "" });
  await tick(5);
  const types = last().envelopes.map(({ t }) => t);
  assert.ok(types.indexOf("AUTH") > 0 && types.indexOf("AUTH") < types.indexOf("RESOLVE"), `${types}`);
});

test("leaving the page tells the node it is on, by beacon", async () => {
  const client = await established();
  client.leave();
  assert.deepEqual(beacons, ["http://one/matssocket/close_session?session_id=S1"]);
  assert.equal(client.state, "closed");
});

test("events never show an authorization value", async () => {
  const client = newClient("Demo:secret");
  const seen = [];
  client.addEventListener("envelope", ({ detail }) => seen.push(detail));
  client.connect();
  await settle();
  last().accept();
  last().say({ t: "WELCOME", sid: "S1" }, { t: "REAUTH" });
  await tick(5);
  assert.ok(seen.some(({ envelope }) => envelope.t === "AUTH"));
  assert.ok(!JSON.stringify(seen).includes("secret"));
});

test("1012 goes to the next node at once, with the session id", async () => {
  const client = await established();
  last().end(1012, "stopping");
  assert.equal(client.state, "waiting");
  await tick(600);
  assert.equal(last().url, URLS[1]);
  last().accept();
  assert.equal(last().of("HELLO")[0].sid, "S1");
  last().say({ t: "WELCOME", sid: "S1" });
  assert.deepEqual([client.state, client.url], ["established", URLS[1]]);
});

for (const code of [1008, 1011, 4000, 4001, 4004]) {
  test(`${code} ends the session: state closed, everything outstanding fails`, async () => {
    const client = await established();
    const results = Promise.all([outcome(client.send("T", 1)), outcome(client.request("E", 1))]);
    await tick(5);
    last().end(code, "gone");
    assert.deepEqual([client.state, client.sessionId, client.outboxSize], ["closed", null, 0]);
    for (const { error } of await results) assert.equal(error.kind, "CLOSED");
    await tick(60_000);
    assert.equal(sockets.length, 1);
  });
}

test("after the session's end connect opens a new one, and batching works there", async () => {
  const client = await established();
  client.send("T", 1).catch(() => {});
  last().end(4001, "gone");
  client.connect();
  await settle();
  last().accept();
  assert.ok(!("sid" in last().of("HELLO")[0]));
  last().say({ t: "WELCOME", sid: "S2" });
  client.send("T", 2).catch(() => {});
  await tick(5);
  assert.deepEqual(last().of("SEND").map(({ msg }) => msg), [2]);
});

test("4003 does not come back by itself: the session lives on another connection", async () => {
  const client = await established();
  last().end(4003, "same MatsSocketSessionId");
  await tick(60_000);
  assert.deepEqual([client.state, sockets.length], ["disconnected", 1]);
});

test("failing connects rotate through the nodes and back off after each round", async () => {
  const client = newClient();
  client.connect();
  await settle();
  const pauses = [];
  client.addEventListener("state", ({ detail }) => {
    if (detail.state === "waiting") pauses.push(detail.retryIn);
  });
  for (let i = 0; i < 6; i++) {
    last().end(1006);
    await tick(20_000);
  }
  assert.deepEqual(sockets.map(({ url }) => url).slice(0, 4), [URLS[0], URLS[1], URLS[0], URLS[1]]);
  const rounds = [pauses[1], pauses[3], pauses[5]];
  assert.ok(rounds[0] < rounds[1] && rounds[1] < rounds[2], `${rounds}`);
});

test("a socket that never says WELCOME is given up", async () => {
  const client = newClient();
  client.connect();
  await settle();
  await tick(10_000);
  await tick(1_000);
  assert.deepEqual([client.state, sockets.length, last().url], ["connecting", 2, URLS[1]]);
});

test("the first ping comes within 7 s; a line that does not answer is left", async () => {
  const client = await established();
  const pongs = [];
  client.addEventListener("pong", ({ detail }) => pongs.push(detail.millis));
  await tick(7_100);
  last().say({ t: "PONG", x: last().of("PING")[0].x });
  assert.equal(pongs.length, 1);
  await tick(15_000);
  assert.equal(last().of("PING").length, 2);
  assert.equal(sockets.length, 1);
  await tick(15_000);
  await tick(10);
  assert.equal(sockets.length, 2);
});

test("a server's REQUEST is acknowledged and answered, also by a failing endpoint", async () => {
  const client = await established();
  client.endpoint("E", async (msg) => msg * 2);
  client.endpoint("F", () => { throw new Error("broken"); });
  last().say({ t: "REQUEST", eid: "E", smid: "s1", tid: "t1", msg: 21 }, { t: "REQUEST", eid: "F", smid: "s2", tid: "t2", msg: 1 });
  await tick(5);
  const [resolve] = last().of("RESOLVE"), [reject] = last().of("REJECT");
  assert.deepEqual([resolve.smid, resolve.tid, resolve.msg], ["s1", "t1", 42]);
  assert.deepEqual([reject.smid, reject.tid, reject.msg], ["s2", "t2", "broken"]);
  assert.deepEqual(last().of("ACK"), [{ t: "ACK", ids: ["s1", "s2"] }]);
  last().say({ t: "ACK", ids: [resolve.cmid, reject.cmid] });
  assert.equal(client.outboxSize, 0);
});

test("a subscription tells the last message it saw, and swallows that one if it comes again", async () => {
  const client = await established();
  const got = [];
  client.subscribe("Topic", (msg) => got.push(msg));
  await tick(5);
  assert.deepEqual(last().of("SUB"), [{ t: "SUB", eid: "Topic" }]);
  last().say({ t: "SUB_OK", eid: "Topic" }, { t: "PUB", eid: "Topic", smid: "p1", msg: 1 });
  await reconnect();
  assert.deepEqual(last().of("SUB"), [{ t: "SUB", eid: "Topic", smid: "p1" }]);
  last().say({ t: "WELCOME", sid: "S1" }, { t: "PUB", eid: "Topic", smid: "p1", msg: 1 }, { t: "PUB", eid: "Topic", smid: "p2", msg: 2 });
  assert.deepEqual(got, [1, 2]);
  client.unsubscribe("Topic");
  await tick(5);
  assert.deepEqual(last().of("UNSUB"), [{ t: "UNSUB", eid: "Topic" }]);
});

test("close says 4000 on an open line, and goes beside it when there is none", async () => {
  const open = await established();
  open.close("bye");
  assert.deepEqual(last().closedWith, { code: 4000, reason: "bye" });
  assert.deepEqual([open.state, beacons], ["closed", []]);
  const away = await established();
  last().end(1006);
  away.close();
  assert.deepEqual(beacons, ["one", "two"].map((node) => `http://${node}/matssocket/close_session?session_id=S1`));
  const count = sockets.length;
  await tick(60_000);
  assert.equal(sockets.length, count);
});

test("a request fails when its time is up; the late answer is still acknowledged", async () => {
  const client = await established();
  const answer = outcome(client.request("E", 1, { timeout: 1_000 }));
  await tick(1_000);
  assert.equal((await answer).error.kind, "TIMEOUT");
  last().say({ t: "RESOLVE", cmid: last().of("REQUEST")[0].cmid, smid: "s1", tid: "t", msg: 1 });
  await tick(5);
  assert.deepEqual(last().of("ACK"), [{ t: "ACK", smid: "s1" }]);
});
