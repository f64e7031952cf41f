// The core by itself: inputs, and what it decides.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Saved } from "../../src/core/session.js";
import { Rig } from "../kit/core.js";

const saved = (more: Partial<Saved>): Saved => ({ sessionId: "S1", outbox: [], seen: [], inbox: [], ...more });

test("HELLO goes first, and messages only after WELCOME", () => {
  const rig = new Rig({ debug: 3 });
  rig.post("1");
  rig.core.subscribe("topic", "");
  rig.answer("token");
  rig.core.opened(rig.line);
  rig.take();
  assert.deepEqual(rig.sent, [
    { t: "HELLO", clv: "lib", an: "App", av: "1", auth: "token", rd: 3 },
    { t: "SUB", eid: "topic" },
  ]);
  rig.say({ t: "WELCOME", sid: "S1" });
  rig.until(rig.now);
  assert.deepEqual(rig.sent.map(({ cmid }) => cmid), ["1"]);
  assert.deepEqual(rig.of("session"), [{ e: "session", sessionId: "S1", resumed: false, url: "ws://one" }]);
});

test("what is outstanding goes again on a new line, in order, and settles once", () => {
  const rig = new Rig().establish();
  for (const id of ["1", "2", "3"]) rig.post(id);
  rig.until(rig.now);
  rig.say({ t: "ACK", cmid: "2" });
  rig.until(rig.now + 100);
  assert.deepEqual(rig.of("received").map(({ id }) => id), ["2"]);
  assert.deepEqual(rig.sent, [{ t: "ACK2", cmid: "2" }]);
  rig.reconnect();
  rig.say({ t: "WELCOME", sid: "S1" });
  rig.until(rig.now);
  assert.deepEqual(rig.of("session")[0]?.resumed, true);
  assert.deepEqual(rig.sent.flatMap(({ cmid = [] }) => cmid), ["2", "1", "3"], "an ACK2 that may be lost, then both");
  rig.say({ t: "ACK", ids: ["1", "3"] }, { t: "ACK", cmid: "1" });
  rig.until(rig.now + 100);
  assert.deepEqual(rig.of("received").map(({ id }) => id), ["1", "3"]);
});

test("a message is forgotten here before the server is told that it may forget it", () => {
  const rig = new Rig({ durable: true }).establish();
  rig.post("1");
  rig.until(rig.now);
  assert.deepEqual(rig.writes.map(([store, key]) => [store, key]), [["outbox", 1]], "marked as sent in S1");
  rig.say({ t: "ACK", cmid: "1" });
  rig.until(rig.now + 100);
  const order = rig.effects.map((effect) => effect.do).filter((what) => what === "write" || what === "send");
  assert.deepEqual(order, ["write", "send"]);
  assert.deepEqual(rig.writes, [["outbox", 1]]);
});

test("an answer stands for the ACK of its request, and comes once", () => {
  const rig = new Rig().establish();
  rig.post("1", "REQUEST");
  rig.until(rig.now);
  rig.say({ t: "RESOLVE", cmid: "1", tid: "t", msg: 7 }, { t: "RESOLVE", cmid: "1", tid: "t", msg: 7 });
  rig.until(rig.now + 100);
  assert.deepEqual(rig.of("deliver").map(({ delivery }) => [delivery.id, delivery.payload]), [["@1", 7]]);
  assert.deepEqual(rig.sent, [{ t: "ACK2", cmid: "1" }]);
});

test("an answer through the server's outbox is acknowledged by its smid", () => {
  const rig = new Rig().establish();
  rig.post("1", "REQUEST");
  rig.until(rig.now);
  rig.say({ t: "ACK", cmid: "1" });
  rig.until(rig.now + 100);
  assert.deepEqual(rig.sent, [{ t: "ACK2", cmid: "1" }]);
  rig.say({ t: "REJECT", cmid: "1", smid: "s1", tid: "t", msg: 7 }, { t: "REJECT", cmid: "1", smid: "s1", tid: "t" });
  rig.until(rig.now + 100);
  assert.equal(rig.of("deliver").length, 1);
  assert.deepEqual(rig.sent, [{ t: "ACK", smid: "s1", desc: "dupe" }, { t: "ACK", smid: "s1" }]);
});

test("a message is stored before it is acknowledged, and handled once", () => {
  const rig = new Rig({ durable: true }).establish();
  rig.say({ t: "SEND", eid: "T", smid: "s1", tid: "t", msg: 1 });
  rig.until(rig.now + 100);
  assert.deepEqual(rig.writes.map(([store, key]) => [store, key]), [["seen", "s1"], ["inbox", "s1"]]);
  assert.deepEqual(rig.sent, [{ t: "ACK", smid: "s1" }]);
  rig.reconnect();
  rig.say({ t: "WELCOME", sid: "S1" }, { t: "SEND", eid: "T", smid: "s1", tid: "t", msg: 1 });
  rig.until(rig.now + 100);
  assert.equal(rig.of("deliver").length, 0, "it was handled before");
  assert.deepEqual(rig.sent, [{ t: "ACK", smid: "s1", desc: "dupe" }]);
  rig.say({ t: "ACK2", smid: "s1" });
  rig.take();
  assert.deepEqual(rig.writes, [["seen", "s1"]]);
});

test("what nobody handles is refused", () => {
  const rig = new Rig().establish();
  rig.say({ t: "SEND", eid: "nothing", smid: "s1" }, { t: "REQUEST", eid: "E", smid: "s2" });
  rig.until(rig.now + 100);
  assert.deepEqual(rig.sent, [
    { t: "ACK", smid: "s2" }, { t: "NACK", smid: "s1", desc: 'nothing here is called "nothing"' },
  ]);
});

test("RETRY: again later, and not for ever", () => {
  const rig = new Rig().establish();
  rig.post("1");
  rig.until(rig.now);
  let times = 1;
  for (; times < 50; times++) {
    rig.say({ t: "RETRY", cmid: "1", desc: "not now" });
    if (rig.take().length > 0) break;
    const before = rig.now;
    while (rig.sent.length === 0 || !rig.sent.some(({ cmid }) => cmid === "1")) {
      rig.until(rig.now + 100);
      for (const { t, x } of rig.sent) if (t === "PING") rig.say({ t: "PONG", x: x! });
    }
    assert.ok(rig.now - before >= 500 * Math.min(2 ** (times - 1), 120), `try ${times} came too early`);
  }
  assert.equal(times, 10);
  assert.deepEqual(rig.of("failed").map(({ error }) => error.code), ["retries-exhausted"]);
});

test("4001: what never left goes out in the new session, the rest fails as unknown and stays readable", () => {
  const rig = new Rig({ durable: true }).establish();
  rig.post("1");
  rig.until(rig.now);
  rig.end(1006);
  rig.post("2");
  rig.until(rig.now + 1_000);
  rig.open();
  rig.end(4001, "gone");
  rig.until(rig.now + 5_000);
  rig.open();
  assert.equal(rig.core.sessionId, undefined);
  rig.say({ t: "WELCOME", sid: "S2" });
  rig.until(rig.now);
  assert.deepEqual(rig.sent.map(({ cmid }) => cmid), ["2"]);
});

test("4001 tells of what is unknown", () => {
  const rig = new Rig({ durable: true }).establish();
  rig.post("1");
  rig.until(rig.now);
  rig.end(4001, "gone");
  rig.take();
  assert.deepEqual(rig.of("failed").map(({ id, error }) => [id, error.code]), [["1", "unknown"]]);
  assert.deepEqual(rig.writes.map(([store, key, value]) => [store, key, value !== undefined]), [
    ["meta", "sessionId", false], ["outbox", 1, false], ["failed", "1", true],
  ]);
});

test("a stored message that says it was sent is not sent in another session", () => {
  const maker = new Rig();
  const outbox = [maker.entry("1", "SEND", { session: "S1" }), maker.entry("2")];
  const rig = new Rig({ durable: true }, saved({ outbox }));
  rig.core.start();
  rig.answer("token");
  rig.open();
  rig.end(4001);
  rig.take();
  assert.deepEqual(rig.of("failed").map(({ id }) => id), ["1"]);
});

test("1008 does not match: nothing is sent, nothing is wiped, and it is reported", () => {
  const rig = new Rig({ durable: true }, saved({ outbox: [new Rig().entry("1", "SEND", { session: "S1" })] }));
  rig.core.start();
  rig.answer("token");
  rig.core.opened(rig.line);
  rig.take();
  assert.deepEqual(rig.sent.map(({ t, sid }) => [t, sid]), [["HELLO", "S1"]]);
  rig.end(1008, "the user does not match");
  rig.take();
  assert.deepEqual(rig.writes, []);
  assert.deepEqual(rig.of("failed"), []);
  assert.equal(rig.core.state.status, "closed");
  assert.equal(rig.core.state.error?.code, "unauthorized");
  assert.equal(rig.core.sessionId, "S1");
});

test("a refused authorization is replaced once", () => {
  const rig = new Rig();
  rig.core.start();
  rig.answer("stale");
  rig.open();
  rig.end(1008, "expired");
  rig.until(rig.now);
  assert.deepEqual(rig.effects.flatMap((effect) => (effect.do === "authorize" ? [effect.need] : [])), ["refused"]);
  rig.core.authorized("fresh");
  rig.open();
  rig.end(1008, "expired");
  rig.until(rig.now);
  assert.equal(rig.core.state.status, "closed");
  // Somebody connects again: the same value may do now.
  rig.core.start();
  rig.answer("fresh");
  rig.open();
  rig.say({ t: "WELCOME", sid: "S1" });
  assert.equal(rig.core.state.status, "established");
});

test("a value that was refused is not tried twice", () => {
  const rig = new Rig();
  rig.core.start();
  rig.answer("stale");
  rig.open();
  rig.end(1008, "expired");
  rig.until(rig.now);
  rig.core.authorized("stale");
  rig.take();
  assert.equal(rig.core.state.error?.code, "unauthorized");
});

test("REAUTH is answered with a fresh value, at once, and the next one not sooner than after a second", () => {
  const rig = new Rig().establish();
  rig.say({ t: "REAUTH" });
  rig.until(rig.now);
  assert.deepEqual(rig.effects.map((effect) => effect.do), ["authorize"]);
  rig.core.authorized("fresh");
  rig.until(rig.now);
  assert.deepEqual(rig.sent, [{ t: "AUTH", auth: "fresh" }]);
  rig.say({ t: "REAUTH" });
  rig.until(rig.now + 900);
  assert.equal(rig.effects.length, 0);
  rig.until(rig.now + 200);
  assert.deepEqual(rig.effects.map((effect) => effect.do), ["authorize"]);
});

test("a value that is about to expire is replaced before it does, and a wrong clock makes no storm", () => {
  const rig = new Rig();
  rig.core.start();
  rig.take();
  rig.core.authorized({ value: "a", expires: rig.wall + 60_000 });
  rig.open();
  rig.say({ t: "WELCOME", sid: "S1" });
  let asked = 0;
  for (const end = rig.now + 100_000; rig.now < end;) {
    rig.until(rig.now + 1_000);
    for (const { t, x } of rig.sent) if (t === "PING") rig.say({ t: "PONG", x: x! });
    if (!rig.effects.some((effect) => effect.do === "authorize")) continue;
    asked++;
    // By the clock here, what the server gives is over already.
    rig.core.authorized({ value: "b", expires: rig.wall - 1 });
  }
  assert.equal(asked, 2);
});

test("authorize that fails while connecting is asked again, ever more slowly", () => {
  const rig = new Rig();
  rig.core.start();
  const pauses: number[] = [];
  for (let nth = 0, since = 0; nth < 8; nth++) {
    rig.take();
    rig.core.notAuthorized("no network");
    since = rig.now;
    while (rig.core.state.status !== "connecting") rig.until(rig.now + 10);
    pauses.push(rig.now - since);
  }
  assert.ok(pauses[7]! > pauses[1]! && Math.max(...pauses) <= 20_000, String(pauses));
});

test("a connect that fails tries the next URL; 1012 too", () => {
  const rig = new Rig().establish();
  rig.end(1012);
  rig.until(rig.now + 1_000);
  assert.deepEqual(rig.opens().map(({ url }) => url), ["ws://one", "ws://two"]);
  rig.end(1006);
  rig.until(rig.now + 1_000);
  assert.equal(rig.opens().at(-1)?.url, "ws://one");
});

test("failed connects are paused by 150 ms within a round, and back off by round", () => {
  const rig = new Rig();
  rig.core.start();
  rig.answer("token");
  const pauses: number[] = [];
  for (let nth = 0; nth < 16; nth++) {
    rig.end(1006);
    pauses.push(rig.core.due - rig.now);
    rig.until(rig.core.due);
    rig.opens();
  }
  assert.deepEqual(pauses.filter((_, nth) => nth % 2 === 0), Array(8).fill(150));
  assert.deepEqual(pauses.filter((_, nth) => nth % 2 === 1), [500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000, 15_000]);
});

test("a server that takes us in and throws us out at once sees no storm", () => {
  const rig = new Rig().establish();
  const pauses: number[] = [];
  for (let nth = 0; nth < 6; nth++) {
    rig.end(1006);
    pauses.push(rig.core.due - rig.now);
    rig.until(rig.core.due);
    rig.open();
    rig.say({ t: "WELCOME", sid: "S1" });
    rig.take();
  }
  assert.deepEqual(pauses, [0, 1_000, 2_000, 4_000, 8_000, 15_000]);
});

test("no WELCOME, and no PONG: the line is given up", () => {
  const rig = new Rig();
  rig.core.start();
  rig.answer("token");
  rig.open();
  rig.until(rig.now + 10_000);
  assert.equal(rig.core.state.status, "waiting");
  rig.until(rig.now + 200);
  rig.open();
  rig.say({ t: "WELCOME", sid: "S1" });
  rig.until(rig.now + 3_000);
  assert.deepEqual(rig.sent.map(({ t }) => t), ["PING"]);
  rig.until(rig.now + 9_900);
  assert.equal(rig.core.state.status, "established");
  rig.until(rig.now + 200);
  assert.notEqual(rig.core.state.status, "established");
});

test("PONG gives the round trip, and proves the ACK2s before it", () => {
  const rig = new Rig().establish();
  rig.say({ t: "ACK", cmid: "old" });
  rig.until(rig.now + 3_000);
  const ping = rig.sent.find(({ t }) => t === "PING")!;
  rig.now += 40;
  rig.say({ t: "PONG", x: ping.x! }, { t: "ACK", cmid: "new" });
  rig.take();
  assert.deepEqual(rig.of("pong"), [{ e: "pong", millis: 40 }]);
  rig.until(rig.now + 100);
  rig.reconnect();
  rig.say({ t: "WELCOME", sid: "S1" });
  rig.until(rig.now);
  assert.deepEqual(rig.sent, [{ t: "ACK2", cmid: "new" }]);
});

test("after a sleep the line has to prove itself within three seconds", () => {
  const rig = new Rig().establish();
  rig.until(rig.now + 1_000);
  rig.core.wake();
  rig.take();
  assert.deepEqual(rig.sent.map(({ t }) => t), ["PING"]);
  rig.until(rig.now + 3_100);
  assert.notEqual(rig.core.state.status, "established");
});

test("a tick that comes late asks again rather than give up the line", () => {
  const rig = new Rig().establish();
  rig.until(rig.now + 3_000);
  rig.now += 60_000;
  rig.core.tick(0);
  rig.take();
  assert.equal(rig.core.state.status, "established");
  assert.deepEqual(rig.sent.map(({ t }) => t), ["PING"]);
});

test("a slow line that takes something is not given up, one that takes nothing is", () => {
  const rig = new Rig().establish();
  rig.until(rig.now + 3_000);
  rig.now += 9_000;
  rig.core.tick(3_000_000);
  rig.now += 1_000;
  rig.core.tick(2_000_000);
  assert.equal(rig.core.state.status, "established");
  rig.now += 10_000;
  rig.core.tick(2_000_000);
  assert.notEqual(rig.core.state.status, "established");
});

test("nothing is added to a line that does not take what waits already", () => {
  const rig = new Rig().establish();
  rig.post("1");
  rig.core.tick(2 << 20);
  rig.take();
  assert.deepEqual(rig.sent, []);
  assert.ok(rig.core.due > rig.now, "it does not spin");
  rig.until(rig.now + 50);
  assert.deepEqual(rig.sent.map(({ cmid }) => cmid), ["1"]);
});

test("what wakes a client that waits connects it at once", () => {
  const rig = new Rig();
  rig.core.start();
  rig.answer("token");
  for (let nth = 0; nth < 11; nth++) {
    rig.end(1006);
    rig.until(rig.core.due);
    rig.opens();
  }
  rig.end(1006);
  rig.until(rig.now + 600);
  assert.equal(rig.core.state.status, "waiting");
  rig.core.wake();
  rig.take();
  assert.equal(rig.core.state.status, "connecting");
});

test("4003: away until there is something to say", () => {
  const rig = new Rig().establish();
  rig.end(4003, "same MatsSocketSessionId");
  rig.until(rig.now + 60_000);
  assert.equal(rig.core.state.status, "disconnected");
  rig.post("1");
  assert.equal(rig.core.state.status, "connecting");
});

test("a session that the server closes takes with it what it may have had", () => {
  for (const code of [1008, 4000, 4004]) {
    const rig = new Rig().establish();
    rig.post("1");
    rig.until(rig.now);
    rig.post("2");
    rig.end(code, "why");
    rig.take();
    assert.deepEqual(rig.of("failed").map(({ id, error }) => [id, error.code]), [["1", "unknown"], ["2", "closed"]]);
    assert.deepEqual(rig.of("sessionClosed"), [{ e: "sessionClosed", closeCode: code, reason: "why" }]);
    assert.equal(rig.core.state.status, "closed");
  }
});

test("close closes the session over the line, or out of band where there is none", () => {
  const rig = new Rig().establish();
  rig.core.close("bye");
  rig.take();
  assert.deepEqual(rig.shut.map(({ code, reason }) => [code, reason]), [[4000, "bye"]]);
  const away = new Rig().establish();
  away.end(1006);
  away.core.close("bye");
  away.take();
  assert.deepEqual(away.effects.filter((effect) => effect.do === "closeOutOfBand"), [
    { do: "closeOutOfBand", sessionId: "S1", urls: ["ws://one", "ws://two"] },
  ]);
});

test("a request that is taken back before it left is not sent; one that left stays", () => {
  const rig = new Rig({ durable: true }).establish();
  rig.post("1", "REQUEST");
  rig.core.abandon("1");
  rig.post("2", "REQUEST");
  rig.until(rig.now);
  assert.deepEqual(rig.sent.map(({ cmid }) => cmid), ["2"]);
  rig.core.abandon("2");
  rig.reconnect();
  rig.say({ t: "WELCOME", sid: "S1" });
  rig.until(rig.now);
  assert.deepEqual(rig.sent.map(({ cmid }) => cmid), ["2"]);
});

test("subscriptions say what was last seen, and UNSUBs go again", () => {
  const rig = new Rig().establish();
  rig.core.subscribe("a", "");
  rig.core.subscribe("b", "s0");
  rig.until(rig.now);
  assert.deepEqual(rig.sent, [{ t: "SUB", eid: "a" }, { t: "SUB", eid: "b", smid: "s0" }]);
  rig.say({ t: "PUB", eid: "a", smid: "s1" }, { t: "PUB", eid: "a", smid: "s1" }, { t: "PUB", eid: "c", smid: "s2" });
  rig.take();
  assert.equal(rig.of("publication").length, 1);
  rig.core.unsubscribe("b");
  rig.end(1006);
  rig.until(rig.now + 1_000);
  rig.core.opened(rig.line);
  rig.take();
  assert.deepEqual(rig.sent.slice(1), [{ t: "SUB", eid: "a", smid: "s1" }, { t: "UNSUB", eid: "b" }]);
});

test("what is unreadable ends the line, not the session", () => {
  for (const text of ["{", "{}", '[{"t":1}]', "[null]"]) {
    const rig = new Rig().establish();
    rig.core.received(rig.line, text);
    rig.take();
    assert.deepEqual(rig.shut.map(({ code }) => code), [4002], text);
    assert.equal(rig.core.sessionId, "S1");
  }
});

test("unknown types and fields do no harm", () => {
  const rig = new Rig().establish();
  rig.core.received(rig.line, JSON.stringify([{ t: "NEWS", x: {} }, { t: "PONG" }, { t: "ACK2", ids: ["a"], more: 1 }]));
  assert.equal(rig.core.state.status, "established");
});

test("many messages go in several pipelines, none of them huge", () => {
  const rig = new Rig().establish();
  for (let nth = 1; nth <= 250; nth++) rig.post(String(nth));
  rig.until(rig.now);
  const sizes = rig.effects.flatMap((effect) => (effect.do === "send" ? [JSON.parse(effect.text).length] : []));
  assert.deepEqual(sizes, [100, 100, 50]);
});
