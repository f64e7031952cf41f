// The client in memory: promises, handlers, topics and events, against a small server.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { ConnectionState, Initiation } from "../../src/api.js";
import * as errors from "../../src/errors.js";
import { settle } from "../kit/clock.js";
import { Browser, Page } from "../kit/page.js";
import { FakeServer } from "../kit/server.js";

function world() {
  const browser = new Browser();
  const server = new FakeServer();
  browser.onSocket = server.connect;
  const page = new Page(browser);
  const { clock } = browser;
  return { browser, server, page, clock };
}

/** What a promise comes to, for what has to fail. */
const failure = (promise: Promise<unknown>): Promise<any> => promise.then(
  (value) => assert.fail(`it did not fail, but gave ${JSON.stringify(value)}`),
  (error: unknown) => error,
);

test("a request is accepted, received and answered", async () => {
  const { page, clock } = world();
  const client = page.connect();
  const figures: Initiation[] = [];
  client.on("initiation", (initiation) => figures.push(initiation));
  const request = client.request("Echo", { a: 1 }, { traceId: "trace" });
  await request.accepted;
  assert.equal(client.outstanding.value, 1);
  await clock.advance(0);
  assert.deepEqual(await request, { echo: { a: 1 } });
  const { payload, traceId } = await request.reply;
  assert.deepEqual([payload, traceId], [{ echo: { a: 1 } }, "trace"]);
  await request.received;
  assert.equal(client.outstanding.value, 0);
  assert.deepEqual(figures.map(({ id, kind, endpoint }) => [id, kind, endpoint]), [[request.id, "request", "Echo"]]);
});

test("an answer that comes later", async () => {
  const { page, server, clock } = world();
  server.answer = () => undefined;
  const client = page.connect();
  const request = client.request("Slow", 1);
  let settled = false;
  void request.finally(() => (settled = true));
  await request.received.constructor; // nothing yet
  await clock.advance(100);
  await request.received;
  assert.equal(settled, false);
  server.reply(request.id, "done");
  await clock.advance(100);
  assert.equal(await request, "done");
});

test("each failure has its type", async () => {
  const { page, server, clock } = world();
  const client = page.connect({ maxMessageBytes: 200, maxOutstanding: 3 });
  server.answer = ({ cmid, eid }) => {
    if (eid === "Refuse") return { t: "NACK", cmid: cmid!, desc: "no" };
    if (eid === "Reject") return { t: "REJECT", cmid: cmid!, tid: "t", desc: "why", msg: { code: 7 } };
    return { t: "ACK", cmid: cmid! };
  };
  const refused = failure(client.request("Refuse", 1));
  const rejected = failure(client.request("Reject", 1));
  await clock.advance(100);
  assert.ok((await refused) instanceof errors.RefusedError);
  assert.deepEqual([(await rejected).code, (await rejected).payload, (await rejected).message], ["rejected", { code: 7 }, "why"]);
  const late = failure(client.request("Silent", 1, { timeout: 500 }));
  await clock.advance(501);
  assert.ok((await late) instanceof errors.TimeoutError);
  assert.ok((await failure(client.send("T", "x".repeat(200)))) instanceof errors.LimitError);
  const kept = [1, 2, 3].map((nth) => failure(client.request("Silent", nth)));
  assert.ok((await failure(client.request("Silent", 4))) instanceof errors.LimitError);
  const closing = client.close();
  await clock.advance(100);
  await closing;
  for (const error of await Promise.all(kept)) assert.ok(error instanceof errors.ClosedError);
  assert.ok((await failure(client.send("T", 1))) instanceof errors.ClosedError);
});

test("a signal takes a request back", async () => {
  const { page, server, clock } = world();
  server.up = false;
  const client = page.connect();
  const controller = new AbortController();
  const request = failure(client.request("Echo", 1, { signal: controller.signal }));
  const gone = failure(client.request("Echo", 2, { signal: AbortSignal.abort(new Error("before")) }));
  await clock.advance(1_000);
  controller.abort(new Error("taken back"));
  assert.deepEqual([(await request).message, (await gone).message], ["taken back", "before"]);
  server.up = true;
  await clock.advance(20_000);
  assert.deepEqual(server.handled, [], "it was taken back before it left");
});

test("lost lines lose nothing, double nothing, and keep the order", async () => {
  const { page, server, clock } = world();
  const client = page.connect();
  const sent: Promise<void>[] = [];
  const got: number[] = [];
  client.terminator("T", (number: number) => void got.push(number));
  await clock.advance(100);
  for (let nth = 0; nth < 100; nth++) {
    sent.push(client.send("X", nth));
    if (nth % 2) server.post("SEND", "T", nth);
    if (nth % 10 === 9) {
      await settle();
      server.cut();
      await clock.advance(20_000);
    }
  }
  await clock.advance(60_000);
  await Promise.all(sent);
  assert.deepEqual(server.handled.map(({ msg }) => msg), Array.from({ length: 100 }, (_, nth) => nth));
  assert.deepEqual(got, Array.from({ length: 50 }, (_, nth) => 2 * nth + 1));
  assert.equal([...server.sessions.values()][0]?.inbox.size, 0, "the server may forget everything");
});

test("the server's requests are answered by endpoints", async () => {
  const { page, server, clock } = world();
  const client = page.connect();
  client.endpoint("Double", async (number: number) => number * 2);
  client.endpoint("Reject", () => {
    throw new errors.RejectedError("no", { code: 1 });
  });
  client.endpoint("Fail", () => {
    throw new Error("broken");
  });
  await clock.advance(100);
  for (const eid of ["Double", "Reject", "Fail"]) server.post("REQUEST", eid, 21);
  await clock.advance(100);
  assert.deepEqual(server.replies.map(({ t, msg }) => [t, msg]), [["RESOLVE", 42], ["REJECT", { code: 1 }], ["REJECT", "broken"]]);
  assert.deepEqual(page.errors.map(String), ["Error: broken"]);
});

test("messages of one terminator are handled one after the other", async () => {
  const { page, server, clock } = world();
  const client = page.connect();
  const log: string[] = [];
  const waiting: (() => void)[] = [];
  client.terminator("T", async (name: string) => {
    log.push(`${name} begins`);
    await new Promise<void>((resolve) => waiting.push(resolve));
    log.push(`${name} ends`);
  });
  await clock.advance(100);
  server.post("SEND", "T", "a");
  server.post("SEND", "T", "b");
  await clock.advance(100);
  waiting.shift()!();
  await settle();
  assert.deepEqual(log, ["a begins", "a ends", "b begins"]);
});

test("topics: listeners, loops, and the end of both", async () => {
  const { page, server, clock } = world();
  const client = page.connect();
  const heard: number[] = [];
  const end = client.topic<number>("prices").subscribe((price) => heard.push(price));
  const looped: number[] = [];
  const loop = (async () => {
    for await (const price of client.topic<number>("prices")) {
      looped.push(price);
      if (price === 2) break;
    }
  })();
  const outcomes: unknown[] = [];
  client.on("topic", (outcome) => outcomes.push(outcome));
  await clock.advance(100);
  assert.deepEqual(outcomes, [{ topic: "prices", outcome: "subscribed" }]);
  for (const price of [1, 2, 3]) server.publish("prices", price);
  await clock.advance(100);
  await loop;
  end();
  await clock.advance(100);
  server.publish("prices", 4);
  await clock.advance(100);
  assert.deepEqual([heard, looped], [[1, 2, 3], [1, 2]]);
  assert.equal([...server.sessions.values()][0]!.topics.size, 0);
});

test("a topic that is not allowed ends the loop", async () => {
  const { page, clock, server } = world();
  const client = page.connect();
  await clock.advance(100);
  const loop = failure((async () => {
    for await (const _ of client.topic("secret")) assert.fail("nothing comes");
  })());
  await clock.advance(10);
  page.socket.say({ t: "SUB_NO_AUTH", eid: "secret" });
  assert.ok((await loop) instanceof errors.UnauthorizedError);
  assert.ok(server);
});

test("a loop that is too slow fails rather than miss something", async () => {
  const { page, clock } = world();
  const client = page.connect();
  const iterator = client.topic("fast")[Symbol.asyncIterator]();
  await clock.advance(100);
  for (let nth = 0; nth < 10_001; nth++) page.socket.say({ t: "PUB", eid: "fast", smid: `s${nth}`, msg: nth });
  for (let nth = 0; nth < 10_001; nth++) assert.equal((await iterator.next()).value, nth);
  assert.ok((await failure(iterator.next())) instanceof errors.LimitError);
});

test("the state tells what happens, and when the next attempt is made", async () => {
  const { browser, page, server, clock } = world();
  browser.random = () => 0.5;
  const client = page.connect();
  const states: ConnectionState[] = [];
  client.state.subscribe((state) => states.push(state));
  await clock.advance(10_000);
  server.up = false;
  server.cut();
  await settle();
  const { status, retryAt, persistence, tab } = client.state.value;
  assert.deepEqual([status, retryAt! - page.environment.wall(), persistence, tab], ["waiting", 250, "memory", "alone"]);
  assert.deepEqual(states.map((state) => state.status), ["idle", "idle", "connecting", "established", "waiting"]);
});

test("PINGs give the round trip", async () => {
  const { page, clock } = world();
  const client = page.connect();
  await clock.advance(4_000);
  assert.equal(client.roundTrip.value, 0);
});

test("every envelope can be seen, without authorization values", async () => {
  const { page, clock } = world();
  const client = page.connect({ authorize: "secret" });
  const seen: unknown[] = [];
  client.on("envelope", ({ direction, envelope }) => seen.push([direction, envelope.t, envelope.auth]));
  await clock.advance(100);
  assert.deepEqual(seen, [["out", "HELLO", undefined], ["in", "WELCOME", undefined]]);
});

test("authorize is asked first, and when the server wants more", async () => {
  const { page, clock } = world();
  const needs: string[] = [];
  const client = page.connect({ authorize: async (need) => `token${needs.push(need)}` });
  await clock.advance(100);
  page.socket.say({ t: "REAUTH" });
  await clock.advance(100);
  page.socket.say({ t: "REQUEST", eid: "MatsSocket.renewAuth", smid: "s1", tid: "t" });
  await clock.advance(2_000);
  client.setAuthorization("given");
  await clock.advance(100);
  assert.deepEqual(needs, ["first", "requested", "requested"]);
  const values = page.socket.envelopes.flatMap(({ t, auth }) => (auth ? [[t, auth]] : []));
  assert.deepEqual(values, [["HELLO", "token1"], ["AUTH", "token2"], ["AUTH", "token3"], ["AUTH", "given"]]);
  const types = page.socket.envelopes.map(({ t }) => t);
  assert.ok(types.lastIndexOf("RESOLVE") > types.indexOf("AUTH"), "the answer comes after the value");
});

test("an authorization that is refused for good is told by type", async () => {
  const { page, browser, clock } = world();
  browser.onSocket = (socket) => setImmediate(() => {
    socket.accept();
    socket.end(1008, "no such user");
  });
  const client = page.connect();
  const request = failure(client.request("Echo", 1));
  await clock.advance(1_000);
  assert.ok((await request) instanceof errors.UnauthorizedError);
  assert.ok(client.state.value.error instanceof errors.UnauthorizedError);
});

test("close: over the line, and for a page that goes away by HTTP", async () => {
  const { page, browser, clock } = world();
  const client = page.connect();
  await clock.advance(100);
  page.happens("leave");
  assert.deepEqual(browser.beacons, [
    "http://one/matssocket/close_session?session_id=S1", "http://two/matssocket/close_session?session_id=S1",
  ]);
  page.happens("return");
  await clock.advance(100);
  assert.equal(client.state.value.status, "established");
  const closing = client.close();
  await clock.advance(100);
  await closing;
  assert.deepEqual(page.socket.closedWith, { code: 4000, reason: "closed by the application" });
  assert.equal(client.state.value.status, "closed");
});

test("the pre-connect step comes before each connection, and is told to the server", async () => {
  const { page, clock } = world();
  const seen: unknown[] = [];
  page.connect({ preconnect: async (url, authorization) => void seen.push([url, authorization]) });
  await clock.advance(100);
  assert.deepEqual(seen, [["ws://one/matssocket", "token"]]);
  assert.equal(page.socket.url, "ws://one/matssocket?preconnect=true");
});

test("a pre-connect step that fails is tried again", async () => {
  const { browser, clock } = world();
  const fetched: unknown[] = [];
  const page = new Page(browser, {
    fetch: async (url, init) => {
      fetched.push([url, init.headers, init.credentials]);
      return fetched.length > 1 ? { ok: true, status: 204 } : { ok: false, status: 401 };
    },
  });
  const client = page.connect({ preconnect: true });
  await clock.advance(1_000);
  assert.deepEqual(fetched, [
    ["http://one/matssocket", { Authorization: "token" }, "include"],
    ["http://two/matssocket", { Authorization: "token" }, "include"],
  ]);
  assert.equal(client.state.value.status, "established");
});

test("requestReplyTo: the answer goes to a handler, with what was given along", async () => {
  const { page, server, clock } = world();
  server.answer = () => undefined;
  const client = page.connect();
  const replies: unknown[] = [];
  client.replyTerminator("Replies", ({ payload, correlation, resolved, requestId }) => {
    replies.push([payload, correlation, resolved, requestId]);
  });
  const sending = client.requestReplyTo("Slow", 1, "Replies", { row: 3 });
  await clock.advance(100);
  await sending;
  server.reply(sending.id, "answer");
  await clock.advance(100);
  assert.deepEqual(replies, [["answer", { row: 3 }, true, sending.id]]);
});

test("errors of listeners and handlers do not reach the client", async () => {
  const { page, server, clock } = world();
  const client = page.connect();
  client.terminator("T", () => {
    throw new Error("handler");
  });
  client.topic("topic").subscribe(() => {
    throw new Error("listener");
  });
  await clock.advance(100);
  const before = console.error;
  console.error = () => {};
  server.publish("topic", 1);
  server.post("SEND", "T", 1);
  await clock.advance(100);
  console.error = before;
  assert.deepEqual(page.errors.map(String), ["Error: handler"]);
  const request = client.request("Echo", 1);
  await clock.advance(100);
  assert.deepEqual(await request, { echo: 1 });
});

test("a clock that jumps tells of a sleep: the line is checked", async () => {
  const { page, clock } = world();
  const client = page.connect();
  await clock.advance(4_000);
  clock.wallLead += 3_600_000;
  void client.send("X", 1);
  await clock.advance(0);
  assert.ok(page.socket.of("PING").length >= 2);
});

test("a new page goes on with a topic after the message that the last one kept", async () => {
  const { browser, page, server, clock } = world();
  let kept = "";
  page.connect().topic("chat").subscribe((_, { messageId }) => (kept = messageId));
  await clock.advance(100);
  server.publish("chat", 1);
  await clock.advance(100);
  page.kill();
  for (const line of [2, 3]) server.publish("chat", line);
  const next = new Page(browser);
  const got: unknown[] = [];
  next.connect().topic("chat", { after: kept }).subscribe((line) => got.push(line));
  await clock.advance(100);
  server.publish("chat", 4);
  await clock.advance(100);
  assert.deepEqual(got, [2, 3, 4]);
});
