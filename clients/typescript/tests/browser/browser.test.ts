// The built module in a real browser, against real nodes: tabs that reload, crash and freeze, a browser that is killed.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Chromium, type ChromiumTab } from "../kit/chromium.js";
import { seeded } from "../kit/clock.js";
import { Nodes, Proxy } from "../kit/node.js";
import { Site, type Record } from "../kit/site.js";

/** Each is one thing that goes wrong. */
const MISHAPS = Number(process.env["MATSSOCKET_MISHAPS"] ?? 50);
/** Messages each way, per mishap. */
const BATCH = Number(process.env["MATSSOCKET_BATCH"] ?? 20);
const SEED = Number(process.env["MATSSOCKET_SEED"] ?? 1);
const TABS = 3;
const PATIENCE = 30_000;

let nodes: Nodes;
let proxies: Proxy[];
let site: Site;
let chromium: Chromium;

before(async () => {
  nodes = await new Nodes(2).start();
  proxies = await Promise.all([0, 1].map((nth) => new Proxy(() => nodes.ports[nth]!).start()));
  site = await new Site().start();
  chromium = await new Chromium().start();
});

after(async () => {
  await chromium.end();
  await site.end();
  for (const proxy of proxies) proxy.end();
  await nodes.end();
});

let users = 0;
const nextUser = () => `browser${++users}`;
let tabs = 0;

async function open(user: string): Promise<ChromiumTab> {
  const urls = proxies.map(({ url }) => `url=${encodeURIComponent(url)}`).join("&");
  const tab = await chromium.open(`${site.url}/?tab=t${++tabs}&user=${user}&${urls}`);
  await ready(tab);
  return tab;
}

/** Waits until the page's script has run and the session is there. */
async function ready(tab: ChromiumTab): Promise<void> {
  await tab.evaluateSurely(`new Promise((resolve) => {
    const look = () => window.ready ? window.ready.then(resolve) : setTimeout(look, 10);
    look();
  })`);
}

const state = (tab: ChromiumTab) => tab.evaluate("client.state.value");
const numbers = (records: Record[], what: string) => records.filter((record) => record.what === what).map(({ number }) => number as number);

test("tabs share a session, kept in IndexedDB", async () => {
  const user = nextUser();
  const both = [await open(user), await open(user)];
  const states = await Promise.all(both.map(state));
  assert.deepEqual(states.map(({ persistence }) => persistence), ["durable", "durable"]);
  assert.deepEqual(states.map(({ tab }) => tab).sort(), ["follower", "leader"]);
  assert.equal(states[0].sessionId, states[1].sessionId);
  for (const tab of both) await tab.close();
});

test("without a user there is nothing kept, and the state says so", async () => {
  const tab = await chromium.open(`${site.url}/?tab=none&url=${encodeURIComponent(proxies[0]!.url)}`);
  await ready(tab);
  const { persistence, tab: role } = await state(tab);
  assert.deepEqual([persistence, role], ["memory", "alone"]);
  await tab.close();
});

test("a cookie that the pre-connect request sets comes with the handshake, also after a lost line", async () => {
  const user = nextUser();
  // Cookies know no ports, but the browser's site and the server must be of one host.
  const tab = await chromium.open(`${site.url}/?tab=cookie&preconnect&user=${user}&url=${encodeURIComponent(nodes.urls[0]!)}`);
  await ready(tab);
  const authorization = () => tab.evaluate(
    `client.request("Test.replyWithCookieAuthorization", {}).then(({ string }) => string)`,
  );
  assert.equal(await authorization(), `DummyAuth:${user}:-1`);
  await nodes.kill();
  await nodes.start();
  assert.equal(await authorization(), `DummyAuth:${user}:-1`);
  await tab.close();
});

test("a leader that crashes, and one that freezes, is followed by another tab within two seconds", async () => {
  const user = nextUser();
  const times: number[] = [];
  let leader = await open(user);
  let follower = await open(user);
  for (let round = 0; round < 10; round++) {
    if (round % 2) await leader.freeze(true);
    else leader.crash();
    const begun = performance.now();
    await follower.evaluate(`client.request("MatsSocket.matsSocketPing", {})`);
    times.push(performance.now() - begun);
    await leader.close().catch(() => {});
    leader = follower;
    follower = await open(user);
  }
  console.log(`a new leader served after ${times.map((time) => Math.round(time)).join(", ")} ms`);
  assert.ok(Math.max(...times) < 2_000, String(times));
  for (const tab of [leader, follower]) await tab.close();
});

test("a page that comes back from the browser's cache takes part again", async () => {
  const tab = await open(nextUser());
  const { sessionId } = await state(tab);
  await tab.navigate("about:blank");
  await tab.evaluate("history.back()").catch(() => {});
  await ready(tab);
  assert.equal((await state(tab)).sessionId, sessionId);
  await tab.close();
});

test("logging out wipes what was stored", async () => {
  const user = nextUser();
  const both = [await open(user), await open(user)];
  const { sessionId } = await state(both[0]!);
  await both[1]!.evaluate("client.logOut()");
  await both[0]!.evaluate(`new Promise((resolve) => client.state.subscribe(({ status }) => status === "closed" && resolve()))`);
  const again = await open(user);
  assert.notEqual((await state(again)).sessionId, sessionId);
  for (const tab of [...both, again]) await tab.close();
});

test("another user on the same database: nothing is sent, nothing is wiped", async () => {
  const user = nextUser();
  const tab = await open(user);
  const { sessionId } = await state(tab);
  // The application says who uses it, and a token of somebody else is what it has.
  await tab.evaluate("client.close()");
  await tab.call("Page.enable");
  await tab.call("Page.addScriptToEvaluateOnNewDocument", { source: `window.authorization = "DummyAuth:somebody:-1"` });
  await tab.reload();
  const error = await tab.evaluateSurely(`new Promise((resolve) => {
    const look = () => window.client ? client.state.subscribe(({ error }) => error && resolve(error.message)) : setTimeout(look, 10);
    look();
  })`);
  assert.match(error, /does not match/);
  await tab.close();
  const again = await open(user);
  assert.equal((await state(again)).sessionId, sessionId);
  await again.close();
});

test(`${MISHAPS} reloads, crashes, kills and lost lines over ${TABS} tabs: nothing lost, doubled, or out of order`, async () => {
  const begun = performance.now();
  const random = seeded(SEED);
  const user = nextUser();
  site.records.length = 0;
  let alive: ChromiumTab[] = [];
  let number = 0;
  const mishaps: { [what: string]: number } = {};
  const fill = async () => {
    while (alive.length < TABS) alive.push(await open(user));
  };
  const lose = async (tab: ChromiumTab) => {
    alive = alive.filter((other) => other !== tab);
    await tab.close().catch(() => {});
  };
  const mishap = async (): Promise<string> => {
    const tab = alive[Math.floor(random() * alive.length)]!;
    const chance = random();
    if (chance < 0.35) {
      await tab.reload();
      await ready(tab);
      return "reloads";
    }
    if (chance < 0.55) {
      await lose(tab);
      return "closed tabs";
    }
    if (chance < 0.7) {
      tab.crash();
      await lose(tab);
      return "crashed tabs";
    }
    if (chance < 0.78) {
      await chromium.kill();
      await chromium.start();
      alive = [];
      return "killed browsers";
    }
    if (chance < 0.84) {
      await nodes.kill();
      await nodes.start();
      return "killed nodes";
    }
    for (const proxy of proxies) proxy.cut();
    return "lost lines";
  };
  for (let nth = 0; nth < MISHAPS; nth++) {
    await fill();
    for (const tab of alive) {
      const what = random() < 0.8 ? "sendAll" : "requestAll";
      // It may be cut short by what happens next.
      void tab.evaluate(`void ${what}(${number + 1}, ${BATCH})`).catch(() => {});
      number += BATCH;
    }
    // In the midst of it, wherever that is.
    const seen = site.records.length + Math.floor(random() * BATCH * 2);
    await site.until((records) => records.length >= seen, PATIENCE, () => "the tabs record nothing");
    const what = await mishap();
    mishaps[what] = (mishaps[what] ?? 0) + 1;
  }
  await fill();
  await Promise.all(alive.map((tab) => tab.evaluate("void sendAll(0, 0)")));

  const { records } = site;
  const missing = () => {
    const got = new Set(numbers(records, "got"));
    const answered = new Set(numbers(records, "answered"));
    return [
      ...numbers(records, "accepted").filter((one) => !got.has(one)),
      ...numbers(records, "asked").filter((one) => !answered.has(one)),
    ];
  };
  await site.until(() => missing().length === 0, PATIENCE, () => `${missing().length} are lost: ${missing().slice(0, 20)} …`)
    .catch(async (error: Error) => {
      for (const tab of alive) error.message += `\n${await tab.evaluate("inspect()").catch(String)}`;
      throw error;
    });

  const messages = new Map<number, Set<unknown>>();
  const fresh: unknown[] = [];
  for (const { what, number: one, messageId, redelivered } of records) {
    if (what !== "got" && what !== "answered") continue;
    messages.set(one as number, (messages.get(one as number) ?? new Set()).add(messageId));
    if (!redelivered) fresh.push(messageId);
  }
  for (const page of new Set(records.map((record) => record.page))) {
    const order = records.filter((record) => record.page === page && record.what === "got" && !record["redelivered"])
      .map(({ messageId }) => BigInt(/\d+$/.exec(messageId as string)![0]));
    assert.ok(order.every((one, nth) => nth === 0 || one > order[nth - 1]!), `${page} had messages out of order: ${order}`);
  }
  const doubled = [...messages].filter(([, ids]) => ids.size > 1).map(([one]) => one);
  assert.deepEqual(doubled, [], "the server handled these twice");
  assert.equal(new Set(fresh).size, fresh.length, "a handler ran twice, and was not told so");
  assert.deepEqual(records.filter(({ what }) => what === "failed"), []);
  assert.deepEqual([...new Set(records.filter(({ what }) => what === "error").map(({ error }) => error))], []);
  console.log(
    `${numbers(records, "accepted").length} messages accepted and ${numbers(records, "asked").length} requests, `
    + `each handled; ${records.filter(({ redelivered }) => redelivered).length} were left by one page to another; `
    + `${JSON.stringify(mishaps)}, in ${Math.round((performance.now() - begun) / 1_000)} s`,
  );
});
