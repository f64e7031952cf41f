// The built module under Node, against real nodes. Nothing waits for a time: what has to happen is waited for.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { WebSocket } from "ws";
import type * as Module from "../../src/index.js";
import type { Client, ConnectOptions } from "../../src/api.js";
import { Nodes, Proxy } from "../kit/node.js";
import { collect, reaches } from "../kit/watch.js";

const { connect, ClosedError, RefusedError, RejectedError }: typeof Module =
  await import(new URL("../../../dist/matssocket.js", import.meta.url).href);

let nodes: Nodes;
let users = 0;
before(async () => {
  nodes = await new Nodes(2).start();
});
after(() => nodes.end());

function client(urls = nodes.urls, options: Partial<ConnectOptions> = {}): Client {
  const authorize = `DummyAuth:user${++users}:-1`;
  return connect(urls, { app: "Tests", version: "1", authorize, WebSocket, ...options });
}

const failure = (promise: Promise<unknown>): Promise<any> => promise.then(
  (value) => assert.fail(`it did not fail, but gave ${JSON.stringify(value)}`),
  (error: unknown) => error,
);

const ascending = (numbers: number[]) => [...numbers].sort((a, b) => a - b);
const upTo = (count: number) => Array.from({ length: count }, (_, nth) => nth);

test("requests, at once and through a service, and their failures", async () => {
  await using one = client();
  const atOnce = await one.request("MatsSocket.matsSocketPing", { payload: "p", number: 1 });
  assert.deepEqual([atOnce.payload, Math.round(atOnce.number * 100)], ["p", 272]);
  const { string } = await one.request("Test.simpleMats", { string: "a" });
  assert.equal(string, "a:FromSimpleMats");
  const rejected = await failure(one.request("Test.rejectInIncomingHandler", {}));
  assert.ok(rejected instanceof RejectedError);
  assert.equal(rejected.payload.number1, 3);
  assert.ok((await failure(one.request("Test.denyInIncomingHandler", {}))) instanceof RefusedError);
  assert.ok((await failure(one.request("Test.none", {}))) instanceof RefusedError);
  assert.ok((await failure(one.send("Test.none", {}))) instanceof RefusedError);
});

test("debug options give the message's way", async () => {
  await using one = client(nodes.urls, { authorize: "DummyAuth:enableAllDebugOptions:-1", debug: 3 });
  const { debug } = await one.request("Test.simpleMats", { string: "a" }).reply;
  assert.ok(typeof debug?.["cmrts"] === "number" && typeof debug["mscnn"] === "string", JSON.stringify(debug));
});

test("the server's messages and requests, and the answers to those", async () => {
  await using one = client();
  const { got, enough } = collect(one, "ClientSide.terminator");
  one.endpoint("ClientSide.endpoint", (data: { string: string }) => ({ ...data, string: `${data.string}!` }));
  await one.send("Test.server.send.matsStage", { number: 1 });
  await enough(1);
  await one.send("Test.server.request.direct", { string: "a", number: 2 });
  await enough(2);
  assert.deepEqual(got, [1, 2]);
});

test("topics, over both nodes", async () => {
  const [first, second] = [client([nodes.urls[0]!]), client([nodes.urls[1]!])];
  const heard = [first, second].map((one) => new Promise<unknown>((resolve) => {
    one.topic("Test.topic").subscribe(resolve);
  }));
  await Promise.all([first, second].map((one) => new Promise((resolve) => one.on("topic", resolve))));
  await first.send("Test.publish", "Test.topic");
  for (const message of await Promise.all(heard)) assert.equal((message as { sleepTime: number }).sleepTime, 42);
  await Promise.all([first.close(), second.close()]);
});

test("the server asks for a fresh authorization, and has it before the answer", async () => {
  let asked = 0;
  await using one = client(nodes.urls, { authorize: () => `DummyAuth:renewed:${Date.now() + 100_000 + asked++}` });
  const received = new Promise((resolve) => one.terminator("Client.renewAuth_terminator", resolve));
  await one.send("Test.renewAuth", {});
  assert.match(String(await received), /^DummyAuth:renewed:/);
  assert.equal(asked, 2);
});

test("a value that expires while messages are under way is replaced, and nothing is refused", async () => {
  let asked = 0;
  await using one = client(nodes.urls, { authorize: () => `DummyAuth:expiring:${Date.now() + 150 + 0 * asked++}` });
  const end = Date.now() + 1_500;
  for (let nth = 0; Date.now() < end; nth++) {
    const { number } = await one.request("Test.matsSocketPing", { number: nth });
    assert.equal(Math.round(number / Math.E), nth);
  }
  assert.ok(asked >= 2, `authorize was asked ${asked} times`);
});

test("a user who is refused", async () => {
  const one = client(nodes.urls, { authorize: "DummyAuth:fail_initialAuthentication:-1" });
  const { error } = await reaches(one, ({ status }) => status === "closed");
  assert.equal(error?.code, "unauthorized");
  await one.close();
});

test("the server closes the session", async () => {
  const one = client();
  const closed = new Promise<{ closeCode: number | undefined }>((resolve) => one.on("sessionClosed", resolve));
  await one.send("Test.closeThisSession", {});
  assert.equal((await closed).closeCode, 4000);
  assert.ok((await failure(one.send("Test.server.send.thread", {}))) instanceof ClosedError);
  one.reconnect();
  await one.request("MatsSocket.matsSocketPing", {});
  await one.close();
});

test("large messages, many at a time", async () => {
  await using one = client();
  const string = "x".repeat(300_000);
  const answers = await Promise.all(upTo(20).map((number) => one.request("Test.resolveInIncomingHandler", { number, string })));
  assert.deepEqual(answers.map(({ number }) => number), upTo(20));
  assert.ok(answers.every((answer) => answer.string.length > 300_000));
});

test("30 lost lines: 600 messages each way, each once", async () => {
  const proxy = await new Proxy(() => nodes.ports[0]!).start();
  const one = client([proxy.url]);
  const { got, enough } = collect(one, "ClientSide.terminator");
  let reconnects = 0;
  one.on("session", ({ resumed }) => (reconnects += Number(resumed)));
  const sendings: Promise<unknown>[] = [];
  for (let batch = 0; batch < 30; batch++) {
    for (let nth = 0; nth < 20; nth++) {
      const number = batch * 20 + nth;
      sendings.push(number % 3 ? one.send("Test.server.send.thread", { number })
        : one.request("Test.simpleMats", { number }).then((answer) => {
          assert.equal(answer.number, number);
          return one.send("Test.server.send.matsStage", { number });
        }));
    }
    await reaches(one, ({ status }) => status === "established");
    await sendings[batch * 20 + (batch % 20)];
    proxy.cut();
    await reaches(one, ({ status }) => status !== "established");
  }
  await Promise.all(sendings);
  await enough(600);
  await one.request("Test.simpleMats", {});
  assert.deepEqual(ascending(got), upTo(600));
  assert.ok(reconnects >= 30, `${reconnects} reconnects`);
  await one.close();
  proxy.end();
});

test("a node that is killed and starts again on its database: nothing is lost, nothing twice", async () => {
  const mine = await new Nodes(2).start();
  const one = client(mine.urls);
  const { got, enough } = collect(one, "ClientSide.terminator");
  const sendings: Promise<unknown>[] = [];
  for (let round = 0; round < 4; round++) {
    for (let nth = 0; nth < 50; nth++) sendings.push(one.send("Test.server.send.matsStage", { number: round * 50 + nth }));
    await sendings[round * 50 + 10];
    await mine.kill();
    await reaches(one, ({ status }) => status !== "established");
    await mine.start();
  }
  await Promise.all(sendings);
  await enough(200);
  assert.deepEqual(ascending(got), upTo(200));
  await one.close();
  await mine.end();
});

test("a node that stops sends its clients elsewhere", async () => {
  const [first, second] = [await new Nodes(1).start(), await new Nodes(1).start()];
  const one = client([...first.urls, ...second.urls], { shuffle: false });
  const established = await reaches(one, ({ status }) => status === "established");
  assert.equal(established.url, first.urls[0]);
  const lost = new Promise((resolve) => one.on("sessionClosed", resolve));
  await first.kill("SIGTERM");
  // The other one has another database, so the session is not there.
  await lost;
  const { url } = await reaches(one, ({ status }) => status === "established");
  assert.equal(url, second.urls[0]);
  await one.close();
  await Promise.all([first.end(), second.end()]);
});

test("a captive portal that answers everything with a page, and a proxy without a node, are outlasted", async () => {
  const proxy = await new Proxy(() => nodes.ports[0]!).start();
  const html = "<html>Please log in</html>";
  const one = client([proxy.url]);
  await reaches(one, ({ status }) => status === "established");
  for (const head of ["200 OK", "503 Service Unavailable"]) {
    proxy.answer = `HTTP/1.1 ${head}\r\nContent-Type: text/html\r\nContent-Length: ${html.length}\r\n\r\n${html}`;
    proxy.cut();
    const sending = one.send("Test.server.send.thread", {});
    await reaches(one, ({ status }) => status === "waiting");
    await reaches(one, ({ status }) => status === "connecting");
    await reaches(one, ({ status }) => status === "waiting");
    proxy.answer = undefined;
    one.reconnect();
    await sending;
  }
  await one.close();
  proxy.end();
});

test("close tells the server, also where the line is lost", async () => {
  const proxy = await new Proxy(() => nodes.ports[0]!).start();
  const one = client([proxy.url]);
  const { sessionId } = await reaches(one, ({ status }) => status === "established");
  assert.ok(sessionId);
  await one.close();
  const again = client([proxy.url]);
  await reaches(again, ({ status }) => status === "established");
  proxy.accepting = false;
  proxy.cut();
  await reaches(again, ({ status }) => status !== "established");
  const request = failure(again.request("MatsSocket.matsSocketPing", {}));
  await again.close();
  assert.ok((await request) instanceof ClosedError);
  proxy.end();
});
