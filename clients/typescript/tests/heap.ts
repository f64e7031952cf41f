// How much memory a client holds while it works: node --expose-gc .build/tests/heap.js [MINUTES]
// Requests, messages both ways and publications against a real node, with a line lost every few seconds.

import { WebSocket } from "ws";
import type * as Module from "../src/index.js";
import { Nodes, Proxy } from "./kit/node.js";

const { connect }: typeof Module = await import(new URL("../../dist/matssocket.js", import.meta.url).href);
const collect = (globalThis as { gc?: () => void }).gc;
if (!collect) throw new Error("run it with --expose-gc");

const minutes = Number(process.argv[2] ?? 60);
const nodes = await new Nodes(1).start();
const proxy = await new Proxy(() => nodes.ports[0]!).start();
const client = connect(proxy.url, { app: "Tests", version: "1", authorize: "DummyAuth:heap:-1", WebSocket });
let received = 0;
client.terminator("ClientSide.terminator", () => void received++);
client.topic("Test.topic").subscribe(() => void received++);

const heap = () => {
  collect();
  return process.memoryUsage().heapUsed;
};
const begun = Date.now();
const until = begun + minutes * 60_000;
const figures: number[] = [];
let [sent, lines, nextFigure, nextCut] = [0, 0, begun + 5_000, begun + 3_000];
while (Date.now() < until) {
  await Promise.all(Array.from({ length: 50 }, (_, number) => [
    client.request("Test.resolveInIncomingHandler", { number }),
    client.send("Test.server.send.thread", { number }),
  ]).flat().concat(client.send("Test.publish", "Test.topic")));
  sent += 101;
  if (Date.now() >= nextCut) {
    proxy.cut();
    lines++;
    nextCut += 3_000;
  }
  if (Date.now() >= nextFigure) {
    figures.push(heap());
    nextFigure += (until - begun) / 12;
  }
}
const mebibytes = (bytes: number) => (bytes / 2 ** 20).toFixed(1);
console.log(`${sent} messages sent, ${received} received, ${lines} lines lost in ${minutes} minutes`);
console.log(`heap: ${figures.map(mebibytes).join(", ")} MiB`);
await client.close();
proxy.end();
await nodes.end();
