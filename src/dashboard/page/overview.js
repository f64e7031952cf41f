// The cluster, and how this node is doing.

import { get } from "./api.js";
import { ago, h, put, short, table, whole } from "./dom.js";
import { plot } from "./plot.js";

/** Services that every node has, or that belong to an endpoint, are named like this. */
export const isBuiltIn = (service) => service.startsWith("MatsSocket.");

function nodesTable() {
  return table({
    caption: "Nodes",
    key: (node) => node.name,
    empty: "No node is known.",
    columns: [
      { title: "Node", value: (node) => node.name, cell: (node) => node.name },
      { title: "State", cell: (node) => h("span", { class: `state ${node.lives ? "good" : "bad"}` }, node.lives ? "up" : "gone") },
      { title: "Sessions", number: true, value: (node) => node.sessions, cell: (node) => whole(node.sessions) },
      { title: "Lease", cell: (node) => h("span", {}, node.lives ? "runs out " : "ran out ", ago(node.lease_until)) },
      { title: "Services", cell: (node) => node.services?.filter((name) => !isBuiltIn(name)).join(", ") ?? "not known" },
    ],
  });
}

function plots() {
  return [
    plot({
      title: "Throughput, per second",
      series: [{ name: "handler calls", value: (it) => it.calls }, { name: "commits", value: (it) => it.commits }],
    }),
    plot({
      title: "Latency, mean",
      unit: "ms",
      series: [{ name: "handler", value: (it) => it.handler }, { name: "commit", value: (it) => it.commit }],
    }),
    plot({
      title: "Waiting",
      series: [{ name: "in mailboxes", value: (it) => it.mailboxes }, { name: "in the store", value: (it) => it.store }],
    }),
    plot({
      title: "Sessions and handlers",
      series: [{ name: "sessions connected", value: (it) => it.sessions }, { name: "handlers running", value: (it) => it.handlers }],
    }),
  ];
}

export function overview(place, shared) {
  const tiles = h("div", { class: "tiles" });
  const nodes = nodesTable();
  const drawn = plots();
  const unserved = h("div", { hidden: true, class: "banner bad" });
  const here = h("p", { class: "note" });
  place.append(h("h1", {}, "Overview"), tiles, unserved, nodes.element,
    h("h2", {}, "This node"), here, h("div", { class: "plots" }, drawn.map((it) => it.element)));
  const tile = (title) => {
    const value = h("dd", {}, "–");
    tiles.append(h("dl", { class: "panel tile" }, h("div", {}, h("dt", {}, title), value)));
    return (text, isBad = false) => {
      put(value, text);
      value.classList.toggle("bad", isBad);
    };
  };
  const shows = {
    nodes: tile("Nodes up"), sessions: tile("Sessions connected"), stored: tile("Sessions stored"),
    calls: tile("Calls per second, here"), ready: tile("This node"), dead: tile("New dead letters, here"),
  };
  return {
    async update() {
      const [{ nodes: known, unserved: waiting }, { count }] = await Promise.all([get("nodes"), counted(shared)]);
      const living = known.filter((node) => node.lives);
      shows.nodes(`${living.length} of ${known.length}`, living.length < known.length);
      shows.sessions(whole(living.reduce((total, node) => total + node.sessions, 0)));
      shows.stored(whole(count));
      nodes.show(known);
      unserved.hidden = waiting.length === 0;
      put(unserved, `No node has these services, for which messages wait: ${waiting.map((it) => `${it.service} (${whole(it.messages)})`).join(", ")}.`);
      const { node, history } = shared;
      if (!node) return;
      const { metrics } = node;
      shows.calls(history.last?.calls === undefined ? "–" : short(history.last.calls));
      shows.ready(metrics.ready ? "ready" : "not ready", !metrics.ready);
      shows.dead(whole(metrics.dead_letters), metrics.dead_letters > 0);
      put(here, `${metrics.node}, matssocket ${node.version}. The plots show what this page has seen of it since it was opened.`);
      for (const it of drawn) it.show(history.samples);
    },
  };
}

/** The number of stored sessions. Counting reads all of them, so it is done every ten seconds at most. */
async function counted(shared) {
  const { counted: last } = shared;
  if (last && Date.now() - last.at < 10_000) return last;
  return (shared.counted = { ...(await get("sessions/count")), at: Date.now() });
}
