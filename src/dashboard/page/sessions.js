// All sessions of the cluster, page by page.

import { get } from "./api.js";
import { ago, button, h, link, put, table, whole } from "./dom.js";

const PAGE = 50;

export function sessions(place, shared) {
  // What was asked for before is kept while another page is shown.
  const asked = (shared.sessions ??= { user_id: "", app_name: "", connected: false, newest_first: true, after: [] });
  const count = h("p", { class: "note", role: "status" });
  const list = table({
    caption: "Sessions",
    key: (session) => session.session_id,
    empty: "No session is like that.",
    columns: [
      { title: "Session", fixed: (session) => link(session.session_id, "sessions", session.session_id) },
      { title: "User", value: (it) => it.user_id, cell: (it) => it.user_id },
      { title: "App", value: (it) => it.app_name, cell: (it) => `${it.app_name} ${it.app_version}` },
      { title: "Node", value: (it) => it.node ?? "", cell: (it) => it.node ?? "not connected" },
      { title: "Opened", value: (it) => it.created, cell: (it) => ago(it.created) },
      { title: "Alive", value: (it) => it.alive, cell: (it) => ago(it.alive) },
    ],
  });
  const first = button("First page", () => go(() => (asked.after = [])));
  const before = button("Page before", () => go(() => asked.after.pop()));
  const next = button("Next page", () => go(() => asked.after.push(following)));
  let following = null;
  let countedAt = 0;
  // An answer to what was asked before this last changed is not shown.
  let asking = 0;

  function go(change) {
    change();
    asking += 1;
    countedAt = 0;
    // Where these lead is not known until the page is there.
    before.disabled = next.disabled = true;
    shared.refresh();
  }

  const field = (label, input) => h("label", {}, h("span", {}, label), input);
  const text = (name) => h("input", { name, value: asked[name], autocomplete: "off", spellcheck: "false", maxlength: 255 });
  const order = h("select", { name: "newest_first" },
    h("option", { value: "true", selected: asked.newest_first }, "newest first"),
    h("option", { value: "", selected: !asked.newest_first }, "oldest first"));
  const form = h("form", {
    class: "filters", role: "search",
    onsubmit: (event) => event.preventDefault(),
    onchange: () => {
      const given = new FormData(form);
      go(() => Object.assign(asked, {
        user_id: given.get("user_id").trim(), app_name: given.get("app_name").trim(),
        connected: given.has("connected"), newest_first: given.get("newest_first") === "true", after: [],
      }));
    },
  },
    field("User", text("user_id")), field("App", text("app_name")), field("Order", order),
    h("label", { class: "check" }, h("input", { type: "checkbox", name: "connected", checked: asked.connected }), "only connected"));
  place.append(h("h1", {}, "Sessions"), form, count, list.element, h("div", { class: "actions paging" }, first, before, next));
  return {
    async update() {
      const { after, ...filter } = asked;
      const mine = asking;
      const page = await get("sessions", { ...filter, after: after.at(-1), limit: PAGE });
      if (mine !== asking) return;
      following = page.next;
      list.show(page.sessions);
      first.disabled = before.disabled = after.length === 0;
      next.disabled = following === null;
      // Counting reads all sessions.
      if (Date.now() - countedAt < 15_000) return;
      countedAt = Date.now();
      const { count: total } = await get("sessions/count", filter);
      if (mine !== asking) return;
      put(count, `${whole(total)} ${total === 1 ? "session" : "sessions"}; page ${after.length + 1}. A click on a title sorts this page.`);
    },
  };
}
