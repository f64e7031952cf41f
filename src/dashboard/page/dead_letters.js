// Messages that were given up.

import { get, post } from "./api.js";
import { ago, bytes, button, clock, facts, h, link, table, tameLines, whole } from "./dom.js";
import { change } from "./session.js";

const PAGE = 50;
/** Most that one call redrives or drops. */
const PART = 500;

const REDRIVE = { title: "Redrive", action: "Redrive", name: "dead-letters/redrive", done: "redriven", text: "They are delivered once more, as if they were new." };
const DROP = { title: "Drop", action: "Drop", name: "dead-letters/drop", done: "dropped", text: "They are deleted, and cannot be brought back." };

function result({ done }, answers) {
  const count = answers.reduce((total, answer) => total + answer[done].length, 0);
  const left = answers.flatMap((answer) => answer.left);
  const why = left.length === 0 ? "" : `; ${whole(left.length)} are left (${left[0].id}: ${left[0].why})`;
  return `${whole(count)} dead letters are ${done}${why}.`;
}

/** All ids there are now: a redriven message may die again meanwhile. */
async function all() {
  const ids = [];
  for (let after = 0; after !== null;) {
    const page = await get("dead-letters", { after, limit: 1000 });
    ids.push(...page.dead_letters.map((letter) => letter.id));
    after = page.next;
  }
  return ids;
}

async function inParts(name, ids) {
  const answers = [];
  for (let at = 0; at < ids.length; at += PART) answers.push(await post(name, { ids: ids.slice(at, at + PART) }));
  return answers;
}

export function deadLetters(place, shared) {
  const chosen = new Set();
  const after = [];
  let [following, shown] = [null, []];
  // An answer to what was asked before this last changed is not shown.
  let asking = 0;
  const whether = (id) => h("input", {
    type: "checkbox", "aria-label": `Choose dead letter ${id}`, "data-id": id,
    onchange: (event) => {
      if (event.target.checked) chosen.add(id);
      else chosen.delete(id);
      mark();
    },
  });
  const every = h("input", {
    type: "checkbox", "aria-label": "Choose all of this page",
    onchange: () => {
      for (const { id } of shown) every.checked ? chosen.add(id) : chosen.delete(id);
      mark();
    },
  });
  const list = table({
    caption: "Dead letters, oldest first",
    key: (letter) => letter.id,
    empty: "There are none.",
    columns: [
      { title: "Choose", head: every, fixed: (it) => whether(it.id) },
      { title: "Id", fixed: (it) => link(it.id, "dead-letters", it.id) },
      { title: "Died", value: (it) => it.died, cell: (it) => ago(it.died) },
      { title: "From", value: (it) => it.origin, cell: (it) => it.origin },
      { title: "Endpoint", value: (it) => it.endpoint ?? "", cell: (it) => it.endpoint ?? "–" },
      { title: "Trace id", value: (it) => it.trace_id, cell: (it) => it.trace_id },
      { title: "Tries", number: true, value: (it) => it.deliveries, cell: (it) => whole(it.deliveries) },
      { title: "Size", number: true, value: (it) => it.payload_bytes ?? 0, cell: (it) => bytes(it.payload_bytes ?? 0) },
      { title: "Reason", cell: (it) => it.reason },
    ],
  });
  const act = (what, ids, which) => async () => {
    const question = { ...what, title: `${what.title} ${which()}?` };
    await change(question, async () => inParts(what.name, await ids()), (answers) => result(what, answers));
    chosen.clear();
    shared.refresh();
  };
  const these = () => [...chosen];
  const how = () => `${whole(chosen.size)} dead letters`;
  const some = [button("Redrive chosen…", act(REDRIVE, these, how)), button("Drop chosen…", act(DROP, these, how), { class: "danger" })];
  const actions = h("div", { class: "actions" }, some,
    button("Redrive all…", act(REDRIVE, all, () => "all dead letters")),
    button("Drop all…", act(DROP, all, () => "all dead letters"), { class: "danger" }));
  actions.hidden = !!shared.node?.read_only;
  const turn = (step) => () => {
    step();
    asking += 1;
    chosen.clear();
    next.disabled = true; // where it leads is not known yet
    shared.refresh();
  };
  const first = button("First page", turn(() => (after.length = 0)));
  const next = button("Next page", turn(() => after.push(following)));
  place.append(h("h1", {}, "Dead letters"),
    h("p", { class: "note" }, "Messages that a client did not acknowledge, or that a service failed to handle, too often."),
    actions, list.element, h("div", { class: "actions paging" }, first, next));

  function mark() {
    for (const box of list.element.querySelectorAll("tbody input")) box.checked = chosen.has(Number(box.dataset.id));
    every.checked = shown.length > 0 && shown.every(({ id }) => chosen.has(id));
    for (const it of some) it.disabled = chosen.size === 0;
  }
  return {
    async update() {
      const mine = asking;
      const page = await get("dead-letters", { after: after.at(-1), limit: PAGE });
      if (mine !== asking) return;
      shown = page.dead_letters;
      following = page.next;
      list.show(shown);
      first.disabled = after.length === 0;
      next.disabled = following === null || shown.length === 0;
      mark();
    },
  };
}

function pretty(payload) {
  try {
    return JSON.stringify(JSON.parse(payload), null, 2);
  } catch {
    return payload;
  }
}

export function deadLetter(place, shared, id) {
  const about = h("div", { class: "panel" });
  const payload = h("pre", { class: "panel", tabindex: "0", "aria-label": "Payload" });
  const act = (what, kind) => button(`${what.title} it…`, async () => {
    const question = { ...what, title: `${what.title} dead letter ${id}?` };
    const call = () => post(what.name, { ids: [Number(id)] });
    if (await change(question, call, (answer) => result(what, [answer]))) location.hash = "#/dead-letters";
  }, { class: kind });
  const actions = h("div", { class: "actions" }, act(REDRIVE), act(DROP, "danger"));
  actions.hidden = !!shared.node?.read_only;
  place.append(h("p", { class: "back" }, link("All dead letters", "dead-letters")), h("h1", {}, `Dead letter ${Number(id)}`),
    about, actions, h("h2", {}, "Payload"), payload);
  let isShown = false;
  return {
    async update() {
      if (isShown) return;
      const letter = await get("dead-letter", { id });
      isShown = true;
      about.replaceChildren(facts([
        ["Reason", letter.reason], ["From", letter.origin], ["Endpoint", letter.endpoint], ["Session", link(letter.session_id, "sessions", letter.session_id)],
        ["Trace id", letter.trace_id], ["Tries", whole(letter.deliveries)], ["Died", clock(letter.died)], ["Size", bytes(letter.payload_bytes ?? 0)],
      ]));
      payload.textContent = letter.payload === null ? "It has none." : tameLines(pretty(letter.payload));
    },
  };
}
