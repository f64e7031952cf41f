// The React hooks, in a DOM without a browser, on a client against a small server.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Window } from "happy-dom";
import { act, createElement, StrictMode } from "react";
import type { TabClient } from "../../src/client.js";
import { useConnection, useRequest, useTopic } from "../../src/react.js";
import { Browser, Page } from "../kit/page.js";
import { FakeServer } from "../kit/server.js";

const window = new Window();
Object.assign(globalThis, { window, document: window.document, IS_REACT_ACT_ENVIRONMENT: true });
if (!("navigator" in globalThis)) Object.assign(globalThis, { navigator: window.navigator }); // Node before 21 has none
// It looks for a DOM when it is loaded.
const { createRoot } = await import("react-dom/client");

/** A component on a page of its own, as React's strict mode runs it: each effect twice. */
async function world(Component: (props: { client: TabClient }) => string) {
  const browser = new Browser();
  const server = new FakeServer();
  browser.onSocket = server.connect;
  const client = new Page(browser).connect();
  const container = window.document.createElement("div");
  const root = createRoot(container as unknown as Element);
  const advance = (millis: number) => act(() => browser.clock.advance(millis));
  const show = (component = Component) => act(async () => {
    root.render(createElement(StrictMode, null, createElement(component, { client })));
  });
  const hide = () => act(async () => root.render(null));
  await show();
  return { browser, server, client, advance, show, hide, text: () => container.textContent };
}

test("useConnection shows the state and the figures as they change", async () => {
  const { server, client, advance, text } = await world(({ client }) => {
    const { status, connected, outstanding, roundTrip } = useConnection(client);
    return `${status} ${connected} ${outstanding} ${typeof roundTrip}`;
  });
  await advance(100);
  assert.equal(text(), "established true 0 undefined");
  server.answer = () => undefined;
  await act(async () => void client.request("Slow", 1).catch(() => {}));
  await advance(100);
  assert.equal(text(), "established true 1 undefined");
  await advance(60_000);
  assert.equal(text(), "established true 1 number");
  await act(async () => {
    server.up = false;
    server.cut();
  });
  assert.match(text(), /^(waiting|connecting) false 1/);
  await act(() => client.close());
  assert.match(text(), /^closed false 0/);
});

test("useRequest makes one request, shows its answer, and makes it again when it is told to", async () => {
  let reload = () => {};
  const { server, advance, show, text } = await world(({ client }) => {
    const result = useRequest(client, "Orders.list", { user: "anna" });
    reload = result.reload;
    return JSON.stringify([result.data, result.pending]);
  });
  assert.equal(text(), "[null,true]");
  let count = 0;
  server.answer = ({ cmid }) => ({ t: "RESOLVE", cmid: cmid!, tid: "t", msg: ++count });
  await advance(100);
  assert.equal(text(), "[1,false]");
  await show();
  await advance(100);
  assert.equal(server.handled.length, 1, "another render with an equal payload asks nothing");
  assert.deepEqual(server.handled[0]?.msg, { user: "anna" });
  await act(async () => reload());
  assert.equal(text(), "[1,true]", "the old answer stays until the new one is there");
  await advance(100);
  assert.equal(text(), "[2,false]");
});

test("useRequest forgets the answer to another payload, and shows an error", async () => {
  const asking = (item: string) => ({ client }: { client: TabClient }) => {
    const { data, error, pending } = useRequest(client, "Stock", item);
    return JSON.stringify([data, (error as { code?: string } | undefined)?.code, pending]);
  };
  let item = "apples";
  const Component = (props: { client: TabClient }) => asking(item)(props);
  const { server, advance, show, text } = await world(Component);
  server.answer = ({ cmid, msg }) => msg === "pears"
    ? { t: "REJECT", cmid: cmid!, tid: "t", desc: "none", msg: null }
    : { t: "RESOLVE", cmid: cmid!, tid: "t", msg };
  await advance(100);
  assert.equal(text(), '["apples",null,false]');
  item = "pears";
  await show();
  assert.equal(text(), "[null,null,true]");
  await advance(100);
  assert.equal(text(), '[null,"rejected",false]');
});

test("useRequest waits until it is enabled, and takes its request back when the component goes", async () => {
  let enabled = false;
  const Component = ({ client }: { client: TabClient }) => {
    const { data, pending } = useRequest(client, "Slow", 1, { enabled });
    return `${data} ${pending}`;
  };
  const { server, client, advance, show, hide, text } = await world(Component);
  await advance(100);
  assert.equal(text(), "undefined false");
  assert.equal(server.handled.length, 0);
  server.answer = () => undefined;
  enabled = true;
  await show();
  await advance(100);
  assert.equal(text(), "undefined true");
  assert.equal(client.outstanding.value, 1);
  await hide();
  assert.equal(client.outstanding.value, 0);
});

test("useTopic listens while the component is there, and calls the newest listener", async () => {
  const heard: string[] = [];
  let name = "first";
  const Component = ({ client }: { client: TabClient }) => {
    const mine = name;
    const { latest, denied } = useTopic(client, "prices", (price) => heard.push(`${mine} ${price}`));
    return `${latest} ${denied}`;
  };
  const { server, advance, show, hide, text } = await world(Component);
  await advance(100);
  assert.equal(text(), "undefined false");
  server.publish("prices", 7);
  await advance(100);
  assert.equal(text(), "7 false");
  name = "second";
  await show();
  server.publish("prices", 8);
  await advance(100);
  assert.equal(text(), "8 false");
  await hide();
  await advance(100);
  assert.deepEqual([...server.sessions.values()].map(({ topics }) => topics.size), [0], "the subscription ended");
  server.publish("prices", 9);
  await advance(100);
  assert.deepEqual(heard, ["first 7", "second 8"]);
});

test("useTopic says when the topic is not for this user", async () => {
  const { server, advance, text } = await world(({ client }) => String(useTopic(client, "secret").denied));
  server.denied.add("secret");
  await advance(100);
  assert.equal(text(), "true");
});
