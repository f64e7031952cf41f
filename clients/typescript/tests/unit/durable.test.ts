// A client that persists: reloads, crashes, other tabs. IndexedDB is a fake in memory; the server a small one.

import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { ClosedError, NotStoredError, UnknownOutcomeError } from "../../src/errors.js";
import type { LateReply, Message } from "../../src/api.js";
import { settle } from "../kit/clock.js";
import { Browser, Page } from "../kit/page.js";
import { FakeServer } from "../kit/server.js";

function world() {
  const browser = new Browser();
  const server = new FakeServer();
  browser.onSocket = server.connect;
  const { clock } = browser;
  /** A page of the user's, and its client. */
  const open = (options = {}) => {
    const page = new Page(browser);
    const client = page.connect({ user: "anna", ...options });
    return { page, client };
  };
  return { browser, server, clock, open };
}

const failure = (promise: Promise<unknown>): Promise<any> => promise.then(
  (value) => assert.fail(`it did not fail, but gave ${JSON.stringify(value)}`),
  (error: unknown) => error,
);

/** Promises of pages that crash stay open for ever; of those that are closed, they fail. */
const ignored = (promise: Promise<unknown>) => void promise.catch(() => {});

test("what was accepted goes out after a crash, once and in order", async () => {
  const { server, clock, open } = world();
  server.up = false;
  const first = open();
  await clock.advance(100);
  const sendings = [1, 2, 3].map((nth) => first.client.send("X", nth));
  await Promise.all(sendings.map(({ accepted }) => accepted));
  assert.equal(first.client.state.value.persistence, "durable");
  first.page.kill();
  server.up = true;
  open();
  await clock.advance(2_000);
  assert.deepEqual(server.handled.map(({ msg }) => msg), [1, 2, 3]);
});

test("a reload resumes the session, and nothing is sent twice", async () => {
  const { server, clock, open } = world();
  const first = open();
  await clock.advance(100);
  const sending = first.client.send("X", 1);
  await clock.advance(0);
  first.page.kill();
  ignored(sending);
  const second = open();
  await clock.advance(2_000);
  void second.client.send("X", 2);
  await clock.advance(100);
  assert.equal(server.sessions.size, 1);
  assert.deepEqual(server.handled.map(({ msg }) => msg), [1, 2]);
});

test("a handler that a crash interrupts runs again, and is told so", async () => {
  const { server, clock, open } = world();
  const got: unknown[] = [];
  const first = open();
  first.client.terminator("T", (payload, { redelivered }) => {
    got.push([payload, redelivered]);
    return payload === 2 ? new Promise(() => {}) : undefined;
  });
  await clock.advance(100);
  for (const nth of [1, 2, 3]) server.post("SEND", "T", nth);
  await clock.advance(100);
  first.page.kill();
  const second = open();
  second.client.terminator("T", (payload, { redelivered }: Message) => void got.push([payload, redelivered]));
  await clock.advance(1_000);
  assert.deepEqual(got, [[1, false], [2, false], [2, true], [3, true]]);
  assert.equal([...server.sessions.values()][0]!.outbox.size, 0, "all were acknowledged");
});

test("what no page has a handler for any more waits for one", async () => {
  const { server, clock, open } = world();
  const first = open();
  first.client.terminator("T", () => new Promise(() => {}));
  await clock.advance(100);
  server.post("SEND", "T", 1);
  await clock.advance(100);
  first.page.kill();
  const second = open();
  await clock.advance(1_000);
  const got: unknown[] = [];
  second.client.terminator("T", (payload) => void got.push(payload));
  await clock.advance(100);
  assert.deepEqual(got, [1]);
});

test("answers to requests of the page before come to a handler for them", async () => {
  const { server, clock, open } = world();
  server.answer = () => undefined;
  const first = open();
  await clock.advance(100);
  const request = first.client.request("Slow", 1);
  const other = first.client.requestReplyTo("Slow", 2, "Replies", { row: 7 });
  ignored(request);
  ignored(other);
  await clock.advance(100);
  first.page.kill();
  const second = open();
  const late: unknown[] = [];
  const keep = ({ requestId, payload, correlation, resolved }: LateReply) => {
    late.push([requestId, payload, correlation, resolved]);
  };
  second.client.onLateReply(keep);
  second.client.replyTerminator("Replies", keep);
  await clock.advance(1_000);
  server.reply(request.id, "a");
  server.reply(other.id, "b", "REJECT");
  await clock.advance(100);
  assert.deepEqual(late, [[request.id, "a", undefined, true], [other.id, "b", { row: 7 }, false]]);
});

test("a request that was acknowledged before a crash is not sent again", async () => {
  const { server, clock, open } = world();
  server.answer = () => undefined;
  const first = open();
  await clock.advance(100);
  ignored(first.client.request("Slow", 1));
  await clock.advance(100);
  first.page.kill();
  server.cut();
  open();
  await clock.advance(1_000);
  assert.equal(server.handled.length, 1);
});

test("an endpoint's answer is stored with the end of its handler", async () => {
  const { server, clock, open } = world();
  const first = open();
  first.client.endpoint("E", (payload: number) => payload * 2);
  await clock.advance(100);
  server.post("REQUEST", "E", 21);
  await settle();
  first.page.kill();
  const second = open();
  second.client.endpoint("E", (payload: number) => payload * 2);
  await clock.advance(1_000);
  assert.deepEqual(server.replies.map(({ msg }) => msg), [42]);
});

test("4001: what never left goes out, the rest is unknown and stays readable until it is discarded", async () => {
  const { server, clock, open } = world();
  const first = open();
  await clock.advance(100);
  first.page.socket.onPipeline = () => {}; // the server hears nothing of this
  const lost = failure(first.client.send("X", { text: "lost" }, { traceId: "trace" }));
  await clock.advance(0);
  server.lose();
  server.up = false;
  await clock.advance(100);
  const kept = first.client.send("X", "kept");
  await kept.accepted;
  server.up = true;
  await clock.advance(10_000);
  assert.ok((await lost) instanceof UnknownOutcomeError);
  await kept;
  assert.deepEqual(server.handled.map(({ msg }) => msg), ["kept"]);
  const [unresolved, ...more] = await first.client.unresolved();
  assert.deepEqual(more, []);
  assert.deepEqual(
    [unresolved?.why, unresolved?.kind, unresolved?.endpoint, unresolved?.traceId, unresolved?.payload],
    ["unknown", "send", "X", "trace", { text: "lost" }],
  );
  first.page.kill();
  const second = open();
  await clock.advance(100);
  assert.equal((await second.client.unresolved()).length, 1);
  await second.client.discard(unresolved!.id);
  assert.deepEqual(await second.client.unresolved(), []);
});

test("another user, another application: another database", async () => {
  const { browser, server, clock, open } = world();
  server.up = false;
  const first = open();
  await clock.advance(100);
  await first.client.send("X", 1).accepted;
  first.page.kill();
  server.up = true;
  open({ user: "ben" });
  open({ app: "Other" });
  await clock.advance(2_000);
  assert.deepEqual(server.handled, []);
  assert.equal((await browser.indexedDB.databases()).length, 3);
});

test("logging out closes the session and wipes everything, in all tabs", async () => {
  const { server, clock, open } = world();
  server.answer = () => undefined;
  const first = open();
  await clock.advance(100);
  const second = open();
  await clock.advance(100);
  const open1 = failure(first.client.request("Slow", 1));
  const open2 = failure(second.client.request("Slow", 2));
  await clock.advance(100);
  const out = second.client.logOut();
  await clock.advance(2_000);
  await out;
  assert.ok((await open1) instanceof ClosedError && (await open2) instanceof ClosedError);
  assert.deepEqual(first.page.socket.closedWith, { code: 4000, reason: "logged out" });
  assert.deepEqual([first, second].map(({ client }) => client.state.value.status), ["closed", "closed"]);
  server.sessions.clear();
  server.handled.length = 0;
  open();
  await clock.advance(2_000);
  assert.deepEqual([server.handled.length, server.sessions.size], [0, 1]);
});

test("closing keeps everything for the next page", async () => {
  const { browser, server, clock, open } = world();
  server.up = false;
  const first = open();
  await clock.advance(100);
  const sending = failure(first.client.send("X", 1));
  await clock.advance(0);
  const closing = first.client.close();
  await clock.advance(4_000);
  await closing;
  assert.ok((await sending) instanceof ClosedError);
  assert.deepEqual(browser.beacons, [], "the session is not closed");
  server.up = true;
  open();
  await clock.advance(2_000);
  assert.deepEqual(server.handled.map(({ msg }) => msg), [1]);
});

/** The disk is full for one kind of write. */
function fill(t: TestContext, method: "add" | "put", store: string): void {
  const before = IDBObjectStore.prototype[method];
  IDBObjectStore.prototype[method] = function (this: IDBObjectStore, ...rest: Parameters<typeof before>) {
    if (this.name === store) throw new DOMException("the disk is full", "QuotaExceededError");
    return before.apply(this, rest);
  };
  t.after(() => {
    IDBObjectStore.prototype[method] = before;
  });
}

test("a message that cannot be stored is not sent", async (t) => {
  const { server, clock, open } = world();
  const { client } = open();
  await clock.advance(100);
  fill(t, "add", "outbox");
  assert.ok((await failure(client.send("X", 1))) instanceof NotStoredError);
  await clock.advance(1_000);
  assert.deepEqual(server.handled, []);
});

test("with a full disk what comes in is handled all the same", async (t) => {
  const { server, clock, open } = world();
  const { client, page } = open();
  const got: unknown[] = [];
  client.terminator("T", (payload) => void got.push(payload));
  await clock.advance(100);
  fill(t, "put", "inbox");
  server.post("SEND", "T", 1);
  await clock.advance(100);
  assert.deepEqual(got, [1]);
  assert.match(String(page.errors[0]), /the disk is full/);
  assert.equal([...server.sessions.values()][0]!.outbox.size, 0);
});

test("a journal that fails is opened again, and nothing is lost", async (t) => {
  const { server, clock, open } = world();
  const { client, page } = open();
  await clock.advance(100);
  const before = IDBObjectStore.prototype.delete;
  let failures = 0;
  IDBObjectStore.prototype.delete = function (this: IDBObjectStore, key) {
    if (failures++ < 2) throw new DOMException("the disk is broken", "UnknownError");
    return before.call(this, key);
  };
  t.after(() => {
    IDBObjectStore.prototype.delete = before;
  });
  const sending = client.send("X", 1);
  await clock.advance(10_000);
  await sending;
  assert.deepEqual(server.handled.map(({ msg }) => msg), [1]);
  assert.match(String(page.errors[0]), /the journal failed/);
});

test("a database that a newer version of the page needs is let go", async () => {
  const { browser, clock, open } = world();
  const { client } = open();
  await clock.advance(100);
  const [{ name }] = (await browser.indexedDB.databases()) as [{ name: string }];
  const upgrade = browser.indexedDB.open(name, 2);
  await new Promise((resolve) => (upgrade.onsuccess = resolve));
  await clock.advance(1_000);
  const { persistence, persistenceReason, status } = client.state.value;
  assert.deepEqual([persistence, status], ["memory", "established"]);
  assert.match(persistenceReason!, /newer version/);
  const second = open();
  await clock.advance(1_000);
  assert.equal(second.client.state.value.persistence, "memory", "an old page does not touch a newer database");
});

test("without IndexedDB or locks everything is in memory, and the state says so", async () => {
  const { browser, clock } = world();
  for (const overrides of [{ indexedDB: undefined }, { locks: undefined }]) {
    const page = new Page(browser, overrides);
    const client = page.connect({ user: "anna" });
    await clock.advance(100);
    const { persistence, persistenceReason, tab, status } = client.state.value;
    assert.deepEqual([persistence, tab, status], ["memory", "alone", "established"]);
    assert.match(persistenceReason!, /IndexedDB/);
  }
});

// ---- tabs ---------------------------------------------------------------------------------------------------------

test("tabs share one session, and each gets the answers to its own requests", async () => {
  const { server, clock, open } = world();
  const tabs = [open(), open(), open()];
  await clock.advance(1_000);
  assert.equal(server.sessions.size, 1);
  assert.deepEqual(tabs.map(({ client }) => client.state.value.tab), ["leader", "follower", "follower"]);
  assert.deepEqual(tabs.map(({ client }) => client.state.value.status), Array(3).fill("established"));
  const answers = tabs.map(({ client }, nth) => client.request("Echo", nth));
  await clock.advance(100);
  assert.deepEqual(await Promise.all(answers), [{ echo: 0 }, { echo: 1 }, { echo: 2 }]);
});

test("topics reach every tab that listens, once", async () => {
  const { server, clock, open } = world();
  const tabs = [open(), open()];
  const heard: unknown[] = [];
  tabs.forEach(({ client }, nth) => client.topic("topic").subscribe((payload) => heard.push([nth, payload])));
  await clock.advance(1_000);
  server.publish("topic", 1);
  await clock.advance(100);
  assert.deepEqual(heard, [[0, 1], [1, 1]]);
});

test("a message goes to one tab that has a handler for it", async () => {
  const { server, clock, open } = world();
  const [, second, third] = [open(), open(), open()];
  const got: unknown[] = [];
  second.client.terminator("T", (payload) => void got.push(["second", payload]));
  third.client.terminator("T", (payload) => void got.push(["third", payload]));
  await clock.advance(1_000);
  server.post("SEND", "T", 1);
  await clock.advance(100);
  assert.deepEqual(got, [["second", 1]]);
});

test("when the leader crashes another tab leads at once, and nothing is lost or doubled", async () => {
  const { server, clock, open } = world();
  const [first, second, third] = [open(), open(), open()];
  await clock.advance(1_000);
  server.answer = () => undefined;
  const request = third.client.request("Slow", "a");
  await clock.advance(100);
  first.page.kill();
  const sending = third.client.send("X", "b");
  await clock.advance(900);
  await sending;
  server.reply(request.id, "answer");
  await clock.advance(1_000);
  assert.equal(await request, "answer");
  assert.equal(second.client.state.value.tab, "leader");
  assert.equal(server.sessions.size, 1);
  assert.deepEqual(server.handled.map(({ msg }) => msg), ["a", "b"]);
});

test("a leader that is frozen is robbed within 1.3 seconds, and does no harm when it wakes up", async () => {
  const { server, clock, open } = world();
  const [first, second] = [open(), open()];
  const got: unknown[] = [];
  for (const [name, { client }] of Object.entries({ first, second })) {
    client.terminator("T", (payload, { redelivered }) => void got.push([name, payload, redelivered]));
  }
  await clock.advance(1_000);
  await first.page.freeze();
  const sending = second.client.send("X", 1);
  await clock.advance(1_300);
  await sending;
  assert.equal(second.client.state.value.tab, "leader");
  server.post("SEND", "T", 1);
  await clock.advance(500);
  first.page.thaw();
  await clock.advance(2_000);
  assert.equal(first.client.state.value.tab, "follower");
  server.post("SEND", "T", 2);
  void first.client.send("X", 2);
  await clock.advance(1_000);
  assert.deepEqual(got, [["second", 1, false], ["second", 2, false]]);
  assert.deepEqual(server.handled.map(({ msg }) => msg), [1, 2]);
});

test("a leader that is told of its freezing lets another tab lead at once", async () => {
  const { server, clock, open } = world();
  const [first, second] = [open(), open()];
  const got: unknown[] = [];
  first.client.terminator("T", (payload) => void got.push(payload));
  await clock.advance(1_000);
  const pending = first.client.request("Echo", "before");
  await first.page.freeze(true);
  const request = second.client.request("Echo", "after");
  await clock.advance(100);
  assert.deepEqual(await request, { echo: "after" });
  assert.equal(second.client.state.value.tab, "leader");
  server.post("SEND", "T", 1);
  await clock.advance(100);
  first.page.thaw();
  await clock.advance(1_000);
  assert.deepEqual([await pending, got], [{ echo: "before" }, [1]]);
});

test("what a tab was given and did not finish goes to another one when it crashes", async () => {
  const { server, clock, open } = world();
  const [, second, third] = [open(), open(), open()];
  const got: unknown[] = [];
  second.client.terminator("T", (payload) => {
    got.push(["second", payload]);
    return new Promise(() => {});
  });
  await clock.advance(1_000);
  third.client.terminator("T", (payload, { redelivered }) => void got.push(["third", payload, redelivered]));
  await clock.advance(100);
  server.post("SEND", "T", 1);
  await clock.advance(100);
  second.page.kill();
  await clock.advance(100);
  assert.deepEqual(got, [["second", 1], ["third", 1, true]]);
});

test("a handler that runs in another tab is left alone by a new leader", async () => {
  const { server, clock, open } = world();
  const [first, second, third] = [open(), open(), open()];
  const got: unknown[] = [];
  let finish = () => {};
  third.client.terminator("T", (payload) => {
    got.push(payload);
    return new Promise<void>((resolve) => (finish = resolve));
  });
  await clock.advance(1_000);
  server.post("SEND", "T", 1);
  await clock.advance(100);
  first.page.kill();
  await clock.advance(1_000);
  assert.equal(second.client.state.value.tab, "leader");
  finish();
  await clock.advance(1_000);
  second.page.kill();
  await clock.advance(1_000);
  assert.deepEqual(got, [1]);
});

test("a promise settles though the leader crashed before it could tell", async () => {
  const { browser, clock, open } = world();
  const [first, second] = [open(), open()];
  await clock.advance(1_000);
  browser.channels.freeze(second.page); // it misses what the leader tells
  const sending = second.client.send("X", 1);
  await clock.advance(100);
  browser.channels.remove(second.page);
  first.page.kill();
  void sending;
  await clock.advance(2_000);
  assert.equal(second.client.state.value.tab, "leader");
  await sending;
});

test("a page in the browser's cache lets others lead, and takes part again when it returns", async () => {
  const { server, clock, open } = world();
  const [first, second] = [open(), open()];
  await clock.advance(1_000);
  first.page.happens("leave");
  await clock.advance(100);
  assert.equal(second.client.state.value.tab, "leader");
  first.page.happens("return");
  await clock.advance(1_000);
  const request = first.client.request("Echo", 1);
  await clock.advance(100);
  assert.deepEqual(await request, { echo: 1 });
  assert.equal(server.sessions.size, 1);
});
