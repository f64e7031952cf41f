// Browser clients of released versions against today's nodes: open pages keep the client that they have loaded while the
// servers are upgraded, and an application may serve its own copy for years. So these files stay as they were released.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { WebSocket } from "ws";
import type * as Module from "../../src/index.js";
import { Nodes, Proxy } from "../kit/node.js";
import { collect, reaches } from "../kit/watch.js";

const RELEASED = new URL("../../../../../tests/upgrade/released/", import.meta.url);
const TOPIC = "Test.topic";

/** A released file as a module. (As a file, Node would take it for CommonJS, since no package.json says otherwise.) */
function load(name: string): Promise<typeof Module> {
  return import(`data:text/javascript;base64,${readFileSync(new URL(name, RELEASED), "base64")}`);
}

const released = readdirSync(RELEASED).filter((name) => /^client-.*\.js$/.test(name));

let nodes: Nodes;
before(async () => {
  nodes = await new Nodes(2).start();
});
after(() => nodes.end());

test("there are released clients", () => assert.notEqual(released.length, 0));

for (const name of released) {
  test(`${name}: everything that a page uses, and a lost line between two nodes`, { timeout: 60_000 }, async () => {
    const { connect, RejectedError } = await load(name);
    // Each line leads to the other node.
    let lines = 0;
    const proxy = await new Proxy(() => nodes.ports[lines++ % 2]!).start();
    const options = { app: "Tests", version: "1", authorize: `DummyAuth:${name}:-1`, WebSocket };
    const [page, other] = [connect([proxy.url], options), connect(nodes.urls, options)];

    const { string } = await page.request("Test.simpleMats", { string: "a" });
    assert.equal(string, "a:FromSimpleMats");
    await assert.rejects(page.request("Test.rejectInIncomingHandler", {}).then(), RejectedError);

    const { got, enough } = collect(page, "ClientSide.terminator");
    await page.send("Test.server.send.matsStage", { number: 1 });
    await enough(1);
    page.endpoint("ClientSide.endpoint", (data: { string: string }) => ({ ...data, string: `${data.string}!` }));
    await page.send("Test.server.request.direct", { string: "a", number: 2 });
    await enough(2);

    let heard = 0;
    let hears = () => {};
    const subscribed = new Promise((resolve) => page.on("topic", resolve));
    page.topic(TOPIC).subscribe(() => {
      heard++;
      hears();
    });
    await subscribed;
    const first = new Promise<void>((resolve) => (hears = resolve));
    await other.send("Test.publish", TOPIC);
    await first;

    // The line is lost. What is asked, sent and published meanwhile arrives when there is another one.
    const { sessionId } = page.state.value;
    proxy.accepting = false;
    proxy.cut();
    await reaches(page, ({ status }) => status !== "established");
    const asked = page.request("Test.simpleMats", { string: "b" });
    const sent = page.send("Test.server.send.thread", { number: 3 });
    const second = new Promise<void>((resolve) => (hears = resolve));
    await other.send("Test.publish", TOPIC);
    proxy.accepting = true;
    page.reconnect();
    const resumed = await reaches(page, ({ status }) => status === "established");
    assert.equal(resumed.sessionId, sessionId);
    assert.equal((await asked).string, "b:FromSimpleMats");
    await Promise.all([sent, enough(3), second]);

    // Nothing comes twice: what the server sends before an answer has been handled by now.
    await page.request("Test.simpleMats", {});
    assert.deepEqual([got, heard], [[1, 2, 3], 2]);
    await Promise.all([page.close(), other.close()]);
    proxy.end();
  });
}
