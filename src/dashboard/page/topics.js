// Topics: who listens, and what was said.

import { get } from "./api.js";
import { ago, button, bytes, clock, h, link, put, short, table, tameLines, whole } from "./dom.js";

export function topics(place, shared) {
  const here = h("p", { class: "note" });
  const list = table({
    caption: "Topics",
    key: (it) => it.topic,
    empty: "No session on this node subscribes to a topic.",
    columns: [
      { title: "Topic", fixed: (it) => link(it.topic, "topics", it.topic) },
      { title: "Subscribers", number: true, value: (it) => it.subscribers, cell: (it) => whole(it.subscribers) },
      { title: "Publications", number: true, value: (it) => it.publications, cell: (it) => whole(it.publications) },
      { title: "Per minute", number: true, value: (it) => it.rate ?? -1, cell: (it) => (it.rate === undefined ? "–" : short(it.rate)) },
    ],
  });
  const name = h("input", { name: "topic", autocomplete: "off", spellcheck: "false", maxlength: 255, required: true });
  const form = h("form", {
    class: "filters",
    onsubmit: (event) => {
      event.preventDefault();
      location.hash = `#/topics/${encodeURIComponent(name.value)}`;
    },
  }, h("label", {}, h("span", {}, "Another topic's history"), name), h("button", { type: "submit" }, "Show"));
  place.append(h("h1", {}, "Topics"), here, list.element, form);
  // The rate is that of the last minute, as far as this page has seen it.
  const seen = [];
  return {
    async update() {
      const { topics: found } = await get("topics", { limit: 500 });
      const now = Date.now();
      seen.push({ now, counts: new Map(found.map((it) => [it.topic, it.publications])) });
      while (seen.length > 1 && now - seen[0].now > 60_000) seen.shift();
      const { now: since, counts } = seen[0];
      list.show(found.map((it) => {
        const before = counts.get(it.topic);
        const isKnown = now > since && before !== undefined && before <= it.publications;
        return { ...it, rate: isKnown ? ((it.publications - before) / (now - since)) * 60_000 : undefined };
      }));
      put(here, `The 500 topics with the most subscribers on ${shared.node?.metrics.node ?? "this node"}. Publications are counted from when the first of them subscribed.`);
    },
  };
}

const PERIODS = [["the last 10 minutes", 600_000], ["the last hour", 3_600_000], ["the last day", 86_400_000], ["all that is kept", 0]];

export function topic(place, shared, name) {
  const after = [];
  let following = null;
  // An answer to what was asked before this last changed is not shown.
  let asking = 0;
  const period = h("select", { onchange: () => go(() => (after.length = 0)) },
    PERIODS.map(([title, ms]) => h("option", { value: ms, selected: ms === 3_600_000 }, title)));
  const list = table({
    caption: "Publications, oldest first",
    key: (it) => it.number,
    empty: "Nothing was published then.",
    columns: [
      { title: "Time", cell: (it) => h("span", { title: clock(it.published) }, ago(it.published)) },
      { title: "Trace id", cell: (it) => it.trace_id },
      { title: "Size", number: true, cell: (it) => bytes(new Blob([it.payload]).size) },
      { title: "Payload", fixed: (it) => h("details", {}, h("summary", {}, tameLines(it.payload.slice(0, 80))), h("pre", { tabindex: "0" }, tameLines(it.payload))) },
    ],
  });
  const first = button("First page", () => go(() => (after.length = 0)));
  const next = button("Next page", () => go(() => after.push(following)));
  function go(change) {
    change();
    asking += 1;
    next.disabled = true; // where it leads is not known yet
    shared.refresh();
  }
  place.append(h("p", { class: "back" }, link("All topics", "topics")), h("h1", { class: "foreign" }, tameLines(name)),
    h("div", { class: "filters" }, h("label", {}, h("span", {}, "Period"), period)),
    list.element, h("div", { class: "actions paging" }, first, next));
  return {
    async update() {
      const ms = Number(period.value);
      const mine = asking;
      const page = await get("topic", { topic: name, since: ms ? Date.now() - ms : undefined, after: after.at(-1) });
      if (mine !== asking) return;
      following = page.next;
      list.show(page.publications);
      first.disabled = after.length === 0;
      next.disabled = following === null;
    },
  };
}
