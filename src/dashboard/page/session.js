// One session.

import { CallError, get, post } from "./api.js";
import { ago, ask, button, clock, facts, h, link, say, table, tame, whole } from "./dom.js";

/** Asks, then changes something, and says what came of it. */
export async function change(question, call, done) {
  const typed = await ask(question);
  if (typed === null) return false;
  try {
    say(done(await call(typed)));
    return true;
  } catch (error) {
    if (!(error instanceof CallError)) throw error;
    say(error.message, true);
    return false;
  }
}

function envelopes() {
  return table({
    caption: "Last envelopes, newest first",
    key: (envelope) => envelope.key,
    empty: "None.",
    columns: [
      { title: "Time", cell: (it) => clock(it.at) },
      { title: "Way", cell: (it) => (it.incoming ? "from the client" : "to the client") },
      { title: "Type", cell: (it) => it.message_type },
      { title: "Endpoint", cell: (it) => it.endpoint ?? "–" },
      { title: "Message id", cell: (it) => it.id ?? "–" },
    ],
  });
}

export function session(place, shared, id) {
  const about = h("div", { class: "panel" });
  const last = envelopes();
  const elsewhere = h("p", { class: "note", hidden: true });
  let user = "";
  const mayChange = !shared.node?.read_only;
  const close = button("Close this session…", async () => {
    const question = {
      title: "Close this session?", action: "Close it", field: "Reason, for the log and the client", value: "closed by the operator",
      text: "Its messages are deleted, and its client is told. It may open a new one.",
    };
    if (await change(question, (reason) => post("sessions/close", { session_id: id, reason }), () => "The session is closed.")) {
      location.hash = "#/sessions";
    }
  }, { class: "danger" });
  const revoke = button("Revoke the user's authorization…", () => change({
    title: `Revoke the authorization of ${tame(user)}?`, action: "Revoke it",
    text: "In all sessions of the user, no messages are handled or delivered until the user has logged in again.",
  }, () => post("sessions/revoke", { user_id: user }), () => "The authorization is revoked."), { class: "danger" });
  const closeAll = button("Close all sessions of the user…", () => change({
    title: `Close all sessions of ${tame(user)}?`, action: "Close them", field: "Reason, for the log and the clients",
    value: "closed by the operator", text: "Their messages are deleted, and their clients are told. They may open new ones.",
  }, (reason) => post("sessions/close", { user_id: user, reason }), ({ closed }) => `${whole(closed)} sessions are closed.`), { class: "danger" });
  const actions = h("div", { class: "actions" }, close, revoke, closeAll);
  actions.hidden = !mayChange;
  place.append(h("p", { class: "back" }, link("All sessions", "sessions")), h("h1", { class: "foreign" }, `Session ${tame(id)}`),
    about, actions, elsewhere, last.element);
  return {
    async update() {
      const { session: stored, live } = await get("session", { session_id: id });
      user = stored.user_id;
      about.replaceChildren(facts([
        ["User", stored.user_id],
        ["App", `${stored.app_name} ${stored.app_version}`],
        ["Client", stored.client],
        ["Node", stored.node ?? "not connected"],
        ["Address", live?.remote],
        ["Opened", ago(stored.created)],
        ["Alive", ago(stored.alive)],
        ["Authorization found valid", live && ago(live.authenticated)],
        ["Handlers running", live && whole(live.handlers)],
        ["Sent, not acknowledged", live && whole(live.unacknowledged)],
        ["Topics", live && (live.topics.join(", ") || "none")],
      ]));
      const isElsewhere = !live && stored.node;
      elsewhere.hidden = !isElsewhere;
      elsewhere.textContent = `Its last envelopes are shown by the dashboard of its node, ${tame(stored.node)}.`;
      last.element.hidden = !live;
      const recent = (live?.recent ?? []).map((envelope, index) => ({ ...envelope, key: `${envelope.at} ${index}` }));
      last.show(recent.reverse());
    },
  };
}
