// Services and endpoints.

import { get } from "./api.js";
import { h, put, short, table, whole } from "./dom.js";
import { calls } from "./history.js";
import { isBuiltIn } from "./overview.js";

const figure = (title, value) => ({ title, number: true, value: (it) => value(it) ?? -1, cell: (it) => (value(it) === undefined ? "–" : whole(value(it))) });

const SERVICES = [
  { title: "Service", value: (it) => it.name, cell: (it) => it.name },
  { title: "Nodes", number: true, value: (it) => it.nodes, cell: (it) => h("span", { class: it.nodes === 0 && "bad" }, it.nodes === 0 ? "none" : whole(it.nodes)) },
  { title: "Running", number: true, value: (it) => it.running ?? -1, cell: (it) => (it.running === undefined ? "–" : `${whole(it.running)} of ${it.max_running ?? "∞"}`) },
  figure("Waiting", (it) => it.waiting),
  figure("Attempts", (it) => it.attempts),
  { title: "Failed", number: true, value: (it) => it.failed ?? -1, cell: (it) => h("span", { class: it.failed > 0 && "bad" }, it.failed === undefined ? "–" : whole(it.failed)) },
  figure("Timed out", (it) => it.timed_out),
  figure("Given back", (it) => it.given_back),
];

const ENDPOINTS = [
  { title: "Endpoint", value: (it) => it.name, cell: (it) => it.name },
  figure("Calls", (it) => it.calls),
  figure("Resolved", (it) => it.resolved),
  figure("Done", (it) => it.done),
  figure("Forwarded", (it) => it.forwarded),
  figure("Rejected", (it) => it.rejected),
  figure("Denied", (it) => it.denied),
  figure("Retried", (it) => it.retried),
  { title: "Failed", number: true, value: (it) => it.failed, cell: (it) => h("span", { class: it.failed > 0 && "bad" }, whole(it.failed)) },
  { title: "Mean", number: true, value: (it) => it.mean ?? -1, cell: (it) => (it.mean === undefined ? "–" : `${short(it.mean)} ms`) },
];

/** Services that this node has, that other nodes have, and that nobody has. */
function merged(metrics, nodes, unserved) {
  const all = new Map();
  const entry = (name) => all.get(name) ?? all.set(name, { name, nodes: 0 }).get(name);
  for (const node of nodes.filter((it) => it.lives)) {
    for (const name of node.services ?? []) if (!isBuiltIn(name)) entry(name).nodes += 1;
  }
  for (const [name, figures] of Object.entries(metrics.services)) if (!isBuiltIn(name)) Object.assign(entry(name), figures);
  for (const { service, messages } of unserved) if (!all.has(service)) Object.assign(entry(service), { waiting: messages });
  return [...all.values()];
}

export function services(place, shared) {
  const here = h("p", { class: "note" });
  const list = table({ caption: "Services", key: (it) => it.name, empty: "No node has a service.", columns: SERVICES });
  const endpoints = table({ caption: "Endpoints and terminators", key: (it) => it.name, empty: "This node has no endpoint.", columns: ENDPOINTS });
  place.append(h("h1", {}, "Services"), here, list.element, endpoints.element);
  return {
    async update() {
      const { nodes, unserved } = await get("nodes");
      if (!shared.node) return;
      const { metrics } = shared.node;
      put(here, `Figures are those of ${metrics.node} since its start; a service of other nodes has none here. Work for a service that no node has waits in the store.`);
      list.show(merged(metrics, nodes, unserved));
      endpoints.show(Object.entries(metrics.endpoints).map(([name, it]) => {
        const ended = calls(it);
        return { name, ...it, calls: ended, mean: ended > 0 ? it.handling.sum_us / ended / 1000 : undefined };
      }));
    },
  };
}
