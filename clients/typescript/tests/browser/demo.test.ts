// The demo page in a real browser: what it invites people to break, broken by a script.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Chromium, type ChromiumTab } from "../kit/chromium.js";
import { Demo } from "../kit/node.js";

let demo: Demo;
let chromium: Chromium;

before(async () => {
  demo = await new Demo().start();
  chromium = await new Chromium().start();
});

after(async () => {
  await chromium.end();
  await demo.end();
});

/** Waits until an expression of the page holds. */
const until = (tab: ChromiumTab, condition: string) => tab.evaluateSurely(`new Promise((resolve, reject) => {
  const end = Date.now() + 30_000;
  const look = () => {
    if (window.matsDemo && (${condition})) resolve();
    else if (Date.now() > end) reject(new Error(${JSON.stringify(condition)} + " never held: " + document.body.innerText));
    else setTimeout(look, 10);
  };
  look();
})`);
const press = (tab: ChromiumTab, id: string) => tab.evaluate(`document.getElementById("${id}").click()`);
const fill = (tab: ChromiumTab, values: { [id: string]: string | number }) => tab.evaluate(Object.entries(values)
  .map(([id, value]) => `document.getElementById("${id}").value = ${JSON.stringify(value)}`).join(";"));

async function say(tab: ChromiumTab, line: string): Promise<void> {
  await fill(tab, { "chat-text": line });
  await press(tab, "chat-send");
}

async function open(): Promise<ChromiumTab> {
  const tab = await chromium.open(demo.urls[0]!);
  await until(tab, "matsDemo.nodes.length === 2");
  await press(tab, "connect");
  await until(tab, "matsDemo.currentNode");
  return tab;
}

const stored = (tab: ChromiumTab) => until(tab, "matsDemo.sent.every(({ stored }) => stored)");
const lines = (tab: ChromiumTab): Promise<string[]> =>
  tab.evaluate(`matsDemo.received.filter(({ kind }) => kind === "chat").map(({ text }) => text)`);

test("a chat goes on through a stopped node, reloads and cut lines: each line once, and its way is seen", async () => {
  const tab = await open();
  await say(tab, "one");
  await until(tab, "matsDemo.received.length === 1");
  await fill(tab, { "slow-seconds": 1, "push-seconds": 1, "push-count": 30 });
  await press(tab, "slow-send");
  await press(tab, "push-send");
  await press(tab, "stop-node");
  await say(tab, "two");
  await stored(tab);
  await tab.reload();
  await until(tab, `matsDemo.currentNode === "node-B"`);
  await say(tab, "three");
  await until(tab, "matsDemo.received.length === 33");

  await fill(tab, { "cut-seconds": 2 });
  await press(tab, "cut");
  await say(tab, "four");
  await stored(tab);
  await tab.reload();
  await until(tab, `matsDemo.sent.some(({ stored, sent }) => stored && !sent)`);
  assert.equal((await lines(tab)).length, 3, "the line is still cut");
  await until(tab, "matsDemo.received.length === 34");
  assert.deepEqual(await lines(tab), ["one", "two", "three", "four"].map((line) => `anna: ${line}`));
  assert.deepEqual(await tab.evaluate("matsDemo.runs"), [{ text: "News (push 1)", count: 30, arrived: 30, faults: 0 }]);
  assert.equal(await tab.evaluate("matsDemo.counters.outOfOrder"), 0);

  await until(tab, `matsDemo.sent.every(({ kind, taken, answered }) => taken && (kind === "send" || answered))`);
  const ways: string[] = await tab.evaluate(`[...document.querySelectorAll(".way")].map(({ textContent }) => textContent)`);
  assert.equal(ways.length, 6);
  for (const way of ways) assert.match(way, /stored here.*sent.*taken by.*node-[AB]/s);
  assert.equal(ways.filter((way) => /answered by.*node-[AB]/s.test(way)).length, 1);
  await tab.close();
});

test("all tabs of a user show the same, and a log-out ends it in all of them", async () => {
  const both = [await open(), await open()] as const;
  const count = (await lines(both[0])).length;
  await say(both[1], "from the second tab");
  for (const tab of both) {
    await until(tab, `matsDemo.received.some(({ text }) => text === "anna: from the second tab")`);
    assert.equal((await lines(tab)).length, count + 1);
    assert.equal(await tab.evaluate("matsDemo.counters.outOfOrder"), 0);
  }
  await press(both[0], "disconnect");
  for (const tab of both) await until(tab, "matsDemo.currentNode === null");
  await press(both[1], "connect");
  await until(both[1], "matsDemo.currentNode");
  for (const tab of both) await tab.close();
});
