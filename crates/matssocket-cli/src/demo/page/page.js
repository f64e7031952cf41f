// The demo page: a person sends, breaks things, reloads, and watches that nothing is lost or doubled.
// Once loaded it needs no particular node: what it asks over HTTP it asks of any node that is up.

import { connect } from "./matssocket/client.js";
import { BreakableWebSocket, cutLine } from "./line.js";
import { Transcript } from "./transcript.js";
import { element, showRecord } from "./records.js";

const POLL_EVERY = 2_000; // ms between looks at the nodes
const LOG_LENGTH = 400;
const GIVEN_UP_AFTER = 2_000; // ms; to store a message takes a few
const STATES = {
  idle: "not connected", connecting: "connecting", established: "connected",
  waiting: "line lost, coming back", disconnected: "taken over elsewhere", closed: "session closed",
};

const $ = (id) => document.getElementById(id);
let client = null;
let transcript = null;
let nodes = [];
let envelopeCount = 0, lossShown = false;
const counts = { sent: 0, resent: 0, received: 0, duplicates: 0, reconnects: 0 };
const seen = new Set(); // ids of what this page has received

// ---- nodes --------------------------------------------------------------------------------------

/** A node on "this machine" is, seen from a browser elsewhere, on the machine the page came from. */
function reachable(address) {
  const url = new URL(address);
  const local = ["127.0.0.1", "localhost", "[::1]", "0.0.0.0"].includes(url.hostname);
  if (local && location.hostname) url.hostname = location.hostname;
  return url.href.replace(/\/$/, "");
}

async function ask(base, path, options = {}) {
  const response = await fetch(base + path, { cache: "no-store", signal: AbortSignal.timeout(3_000), ...options });
  if (!response.ok) throw new Error((await response.text()).slice(0, 200) || `status ${response.status}`);
  return response;
}

async function refreshNodes() {
  const here = currentNode();
  const asked = nodes.length ? [...nodes].sort((a, b) => rank(b) - rank(a)) : [{ http: location.origin }];
  function rank(node) { return (node.up ? 1 : 0) + (node === here && state().status === "established" ? 1 : 0); }
  for (const { http } of asked) {
    try {
      const answer = await (await ask(http, "/demo/nodes")).json();
      nodes = answer.nodes.map((node) => ({ ...node, url: reachable(node.url), http: reachable(node.http) }));
      showNodes();
      return;
    } catch { /* the next one may know */ }
  }
  if (!nodes.length) {
    const url = `${location.origin.replace(/^http/, "ws")}/matssocket`;
    nodes = [{ name: location.host || "this node", url, http: location.origin, up: true }];
  } else {
    nodes = nodes.map((node) => ({ ...node, up: false }));
  }
  showNodes();
}

const state = () => client?.state.value ?? { status: "idle" };
const currentNode = () => nodes.find(({ url }) => url === state().url);
const via = () => currentNode()?.name ?? "unknown";

function nodeBadge(name) {
  const badge = element("span", "node", name ?? "unknown");
  badge.dataset.node = nodes.findIndex((node) => node.name === name);
  return badge;
}

async function stopNode() {
  const node = currentNode();
  if (!node) return;
  $("stop-node").disabled = true;
  addEvent(`Stopping ${node.name}`);
  try {
    await ask(node.http, "/demo/stop-node", { method: "POST" });
  } catch (error) {
    // A node on its way out may well not finish its answer; the list of nodes tells the truth.
    await refreshNodes();
    if (nodes.find(({ name }) => name === node.name)?.up) complain(`${node.name} did not stop: ${error.message}`);
  }
  await refreshNodes();
}

async function startNode(name) {
  const other = nodes.find(({ up }) => up);
  if (!other) return complain("No node is left that could start it. Start the program again.");
  try {
    await ask(other.http, `/demo/start-node?name=${encodeURIComponent(name)}`, { method: "POST" });
    addEvent(`${name} was started again`);
  } catch (error) {
    complain(`${name} did not start: ${error.message}`);
  }
  await refreshNodes();
}

// ---- session ------------------------------------------------------------------------------------

async function logIn(user) {
  complain("");
  if (client && state().status !== "closed") return client.reconnect();
  $("connect").disabled = true;
  await leave();
  await refreshNodes();
  if (client) return; // pressed twice
  // The node that served the page comes first: its URL also names the database in the browser.
  const urls = [...nodes].sort((a, b) => (b.http === location.origin) - (a.http === location.origin)).map(({ url }) => url);
  transcript = new Transcript(user);
  transcript.addEventListener("change", ({ detail }) => show(detail));
  transcript.all.forEach(show);
  client = connect(urls, {
    app: "DemoPage", version: "1", user, shuffle: false, authorize: `Demo:${user}`, WebSocket: BreakableWebSocket,
  });
  client.terminator("Demo.pushed", pushed);
  client.onLateReply(({ requestId, payload }) => answered(requestId, payload));
  client.on("envelope", logEnvelope);
  client.on("session", ({ resumed }) => sessionBegan(resumed));
  client.on("sessionClosed", ({ reason }) => addEvent(`The session was closed: ${reason}`));
  client.on("pong", (millis) => { $("status-latency").textContent = `${Math.round(millis)} ms`; });
  client.on("error", (error) => complain(error.message ?? String(error)));
  client.on("topic", ({ topic, outcome }) => {
    if (outcome === "denied") complain(`You may not listen to "${topic}".`);
    if (outcome === "lost") addEvent("Some lines of the chat went by while you were away");
  });
  const lastLine = transcript.all.findLast(({ kind }) => kind === "chat");
  client.topic("Demo.chat", { after: lastLine?.id }).subscribe(heard);
  client.state.subscribe(stateChanged);
  client.outstanding.subscribe(showStatus);
  setTimeout(giveUp, GIVEN_UP_AFTER);
  sessionStorage.setItem("user", user);
  localStorage.setItem("matssocket-demo/user", user);
}

async function logOut() {
  sessionStorage.removeItem("user");
  await client.logOut();
  await leave();
  showStatus();
  showNodes();
}

/** Ends the client that there was, if any. What it has not sent yet stays in the browser, unless its user has logged out. */
async function leave() {
  const leaving = client;
  client = null;
  await leaving?.close();
  transcript?.close();
  transcript = null;
  clear();
}

function sessionBegan(resumed) {
  if (lossShown || resumed) counts.reconnects++;
  lossShown = false;
  if (isSpeaker()) addEvent(`${resumed ? "Back, same session," : "Connected, new session,"} on ${via()}`);
}

/** Of several tabs, the one that holds the line says what becomes of it. */
const isSpeaker = () => state().tab !== "follower";

function stateChanged({ status, reason, sessionId, error }) {
  if (status === "waiting" && sessionId && !lossShown) {
    lossShown = true;
    if (isSpeaker() && reason) addEvent(reason[0].toUpperCase() + reason.slice(1));
  }
  if (status === "established") complain("");
  if (status === "closed" && error) complain(`${error.message}. Press Connect to begin again.`);
  if (status === "disconnected") complain("Another window took over this session. Press Connect to take it back.");
  showStatus();
  showNodes();
}

// ---- sending ------------------------------------------------------------------------------------

/** Sends, and keeps a record of the message's way; the envelopes tell the rest of it. */
function post(kind, endpoint, payload, text) {
  const sending = kind === "request" ? client.request(endpoint, payload) : client.send(endpoint, payload);
  const { id } = sending;
  transcript.put(id, { kind, text, stored: client.state.value.persistence === "durable" ? undefined : null });
  const failed = (error) => transcript.putOnce(id, { failed: inWords(error) });
  sending.accepted.then(() => transcript.putOnce(id, { stored: Date.now() }), failed);
  sending.catch(failed);
}

/** What an earlier page was still storing when it was reloaded was never accepted. */
function giveUp() {
  const since = Date.now() - GIVEN_UP_AFTER;
  for (const { id, at, stored } of records("send", "request")) {
    if (stored === undefined && at < since) transcript.putOnce(id, { failed: "the page went away before it was stored" });
  }
}

function inWords({ code, message, payload }) {
  switch (code) {
    case "refused": return `refused: ${message}`;
    case "rejected": return `rejected: ${payload?.text ?? message}`;
    case "timeout": return `${message}; it may still be handled`;
    default: return message;
  }
}

function answered(id, payload) {
  transcript.putOnce(id, { answered: Date.now(), answer: payload?.text, answeredBy: payload?.node });
}

// ---- receiving ----------------------------------------------------------------------------------

function heard({ user, text, node }, { messageId }) {
  const known = transcript.get(messageId);
  // Another tab may have kept it already; twice in one page would be a fault.
  transcript.put(messageId, { kind: "chat", text: `${user}: ${text}`, node, via: known?.via ?? via(), fault: twice(messageId) });
}

const shownHere = new Set();
function twice(id) {
  if (shownHere.has(id)) return "came twice";
  shownHere.add(id);
  return undefined;
}

function startPush(text, seconds, count) {
  const number = transcript.all.filter(({ kind }) => kind === "run").length + 1;
  const name = `${text} (push ${number})`;
  transcript.put(`run ${name}`, { kind: "run", text: name, count, arrived: [], faults: 0 });
  post("send", "Demo.pushLater", { text: name, millis: seconds * 1_000, count }, `Push "${name}", ${count} × in ${seconds} s`);
}

function pushed({ text, number, node }, { messageId, redelivered }) {
  if (redelivered && transcript.get(messageId)) return; // the last page had shown it, and was gone before it could say so
  const run = transcript.get(`run ${text}`) ?? { kind: "run", text, count: number, arrived: [], faults: 0 };
  const inOrder = number === run.arrived.length + 1;
  transcript.put(messageId, { kind: "push", number, text, node, via: via(), fault: inOrder ? undefined : "out of order" });
  transcript.put(`run ${text}`, { ...run, arrived: [...run.arrived, via()], faults: run.faults + !inOrder });
  showCounters();
  if ($("cut-next").checked && number === Math.ceil(run.count / 2)) {
    $("cut-next").checked = false;
    cutLine(pause());
  }
}

const pause = () => seconds("cut-seconds") * 1_000;
const seconds = (id) => Math.max(0, Number($(id).value) || 0);

// ---- what goes over the wire --------------------------------------------------------------------

const idsOf = ({ cmid, smid, ids }) => ids ?? [cmid ?? smid];

function logEnvelope({ direction, envelope }) {
  const again = direction === "out" ? sent(envelope) : received(envelope);
  const { t } = envelope;
  const line = element("li", `${direction}${again ? " again" : ""}${/^P[IO]NG$/.test(t) ? " ping" : ""}`);
  const mark = direction === "out" ? (again ? "→ again" : "→") : (again ? "← duplicate" : "←");
  line.textContent = `${new Date().toISOString().slice(11, 23)} ${mark} ${JSON.stringify(envelope)}`;
  $("log").prepend(line);
  if ($("log").children.length > LOG_LENGTH) $("log").lastChild.remove();
  $("log-count").textContent = `${++envelopeCount} envelope${envelopeCount === 1 ? "" : "s"}`;
  showCounters();
}

/** Gives whether it was sent before. */
function sent({ t, cmid }) {
  if (t !== "SEND" && t !== "REQUEST") return false;
  const record = transcript.get(cmid);
  const again = record?.sent !== undefined;
  counts.sent++;
  if (again) {
    counts.resent++;
    transcript.put(cmid, { again: (record.again ?? 0) + 1 });
  }
  // It is stored before it is sent, but the promise says so a moment later.
  transcript.putOnce(cmid, { stored: Date.now(), sent: Date.now() });
  return again;
}

/** Gives whether it came before. */
function received(envelope) {
  const { t, cmid, smid, msg } = envelope;
  if (t === "ACK" || t === "RESOLVE" || t === "REJECT") {
    for (const id of t === "ACK" ? idsOf(envelope) : [cmid]) transcript.putOnce(id, { taken: Date.now(), takenBy: via() });
  }
  if (t === "RESOLVE" || t === "REJECT") answered(cmid, msg);
  if (smid === undefined || !["SEND", "REQUEST", "PUB", "RESOLVE", "REJECT"].includes(t)) return false;
  counts.received++;
  const again = seen.has(smid);
  seen.add(smid);
  if (again) counts.duplicates++;
  return again;
}

// ---- what is seen -------------------------------------------------------------------------------

function complain(message) {
  $("notice").textContent = message;
  $("notice").hidden = !message;
}

function addEvent(text) { transcript?.put(`event ${crypto.randomUUID()}`, { kind: "event", text }); }

const indexOf = (name) => nodes.findIndex((node) => node.name === name);

function show(record) {
  $("messages-empty").hidden = true;
  $("messages").hidden = false;
  showRecord(record, { messages: $("messages"), runs: $("runs"), badge: nodeBadge, indexOf });
}

function clear() {
  for (const id of ["messages", "runs"]) $(id).replaceChildren();
  $("messages").hidden = true;
  $("messages-empty").hidden = false;
}

const records = (...kinds) => (transcript?.all ?? []).filter(({ kind }) => kinds.includes(kind));
const waiting = () => records("send", "request").filter(({ taken, failed }) => !taken && !failed).length;

function counters() {
  const outOfOrder = records("chat", "push").filter(({ fault }) => fault).length;
  return { ...counts, outOfOrder, waiting: waiting() };
}

let countersDue = false;
/** Once per frame: a push of hundreds changes them hundreds of times. */
function showCounters() {
  if (countersDue) return;
  countersDue = true;
  requestAnimationFrame(() => {
    countersDue = false;
    const now = counters();
    $("count-sent").textContent = now.sent;
    $("count-resent").textContent = now.resent;
    $("count-received").textContent = now.received;
    $("count-duplicates").textContent = now.duplicates;
    $("count-out-of-order").textContent = now.outOfOrder;
    $("count-out-of-order").classList.toggle("bad", now.outOfOrder > 0);
    $("status-reconnects").textContent = now.reconnects;
  });
}

function showStatus() {
  const { status, sessionId } = state();
  const open = client !== null && status !== "closed";
  $("status-state").textContent = STATES[status];
  $("status-state").dataset.state = status;
  $("status-session").textContent = $("status-session").title = sessionId ?? "none";
  $("status-node").replaceChildren(status === "established" ? nodeBadge(via()) : "none");
  if (status !== "established") $("status-latency").textContent = "–";
  $("user").disabled = open;
  $("connect").disabled = false;
  $("connect").hidden = client !== null && ["idle", "connecting", "established"].includes(status);
  $("connect").textContent = status === "waiting" ? "Try now" : "Connect";
  $("disconnect").hidden = !open;
  for (const id of ["echo-send", "slow-send", "push-send", "chat-send"]) $(id).disabled = !open;
  $("send-hint").hidden = open;
  $("cut").disabled = status !== "established";
  showDetail();
  showCounters();
}

/** The line under the state; a countdown while waiting. */
function showDetail() {
  const { status, reason = "", retryAt = 0, persistence, tab } = state();
  const left = Math.ceil((retryAt - Date.now()) / 1_000);
  const count = waiting();
  const queued = count ? ` ${count} waiting to be taken.` : "";
  const kept = persistence === "durable" ? "kept in this browser" : "kept in memory only";
  const through = tab === "follower" ? ", through another tab" : "";
  const texts = {
    idle: "", disconnected: "", closed: reason,
    connecting: `trying ${via()}.${queued}`,
    established: `as ${$("user").value}${through}; what you send is ${kept}.`,
    waiting: `${reason}; trying ${via()} ${left > 0 ? `in ${left} s` : "now"}.${queued}`,
  };
  if ($("status-detail").textContent !== texts[status]) $("status-detail").textContent = texts[status];
}

let shownNodes = "";
function showNodes() {
  const here = state().status === "established" ? currentNode() : null;
  const others = nodes.some((node) => node.up && node !== here);
  $("stop-node").disabled = !here || !others;
  $("stop-hint").textContent = here && !others
    ? "This is the last node that is up. Start another one before you stop it." : "";
  const picture = JSON.stringify([nodes, here?.name]);
  if (picture === shownNodes) return; // leaves focus where it is
  shownNodes = picture;
  $("nodes").replaceChildren(...nodes.map((node) => {
    const item = element("li");
    const where = !node.up ? "stopped" : node === here ? "up, you are here" : "up";
    item.append(nodeBadge(node.name), element("span", "where", `${where}, ${new URL(node.http).host}`));
    if (!node.up) {
      const button = element("button", "start-node", "Start it again");
      button.type = "button";
      button.dataset.name = node.name;
      button.setAttribute("aria-label", `Start ${node.name} again`);
      button.disabled = !nodes.some(({ up }) => up);
      button.addEventListener("click", () => {
        button.disabled = true;
        startNode(node.name);
      });
      item.append(button);
    }
    return item;
  }));
  showStatus();
}

// ---- wiring -------------------------------------------------------------------------------------

function onSubmit(id, action) {
  $(id).addEventListener("submit", (event) => {
    event.preventDefault();
    action();
  });
}

onSubmit("connect-form", () => logIn($("user").value.trim() || "anna"));
onSubmit("echo-form", () => post("request", "Demo.echo", { text: $("echo-text").value }, `Echo: ${$("echo-text").value}`));
onSubmit("slow-form", () => post("request", "Demo.slow",
  { text: $("slow-text").value, millis: seconds("slow-seconds") * 1_000 }, `Slow, ${seconds("slow-seconds")} s: ${$("slow-text").value}`));
onSubmit("push-form", () => startPush($("push-text").value.trim() || "News",
  seconds("push-seconds"), Math.min(500, Math.max(1, Math.trunc(seconds("push-count"))))));
onSubmit("chat-form", () => {
  post("send", "Demo.say", { text: $("chat-text").value }, `Say: ${$("chat-text").value}`);
  $("chat-text").value = "";
});
$("push-seconds").addEventListener("input", () => { $("push-send").textContent = `Push me in ${seconds("push-seconds")} s`; });
$("disconnect").addEventListener("click", logOut);
$("cut").addEventListener("click", () => cutLine(pause()));
$("stop-node").addEventListener("click", stopNode);
$("reload").addEventListener("click", () => location.reload());
$("clear").addEventListener("click", () => {
  transcript?.clear();
  clear();
});
$("log-pings").addEventListener("change", ({ target }) => $("log").classList.toggle("with-pings", target.checked));
setInterval(showDetail, 500);
(async function poll() {
  if (!document.hidden) await refreshNodes();
  setTimeout(poll, POLL_EVERY);
})();
showStatus();

// A page that was reloaded goes on as who it was; a new tab waits for its user to say so.
$("user").value = sessionStorage.getItem("user") ?? localStorage.getItem("matssocket-demo/user") ?? "anna";
if (sessionStorage.getItem("user")) {
  await logIn(sessionStorage.getItem("user"));
  addEvent("This page was loaded again");
}

/** For tests in a browser: what a person sees, as data. */
window.matsDemo = {
  get client() { return client; },
  get counters() { return counters(); },
  get nodes() { return nodes; },
  get currentNode() { return state().status === "established" ? via() : null; },
  get sent() { return records("send", "request"); },
  get received() { return records("chat", "push"); },
  get runs() {
    return records("run").map(({ text, count, arrived, faults }) => ({ text, count, arrived: arrived.length, faults }));
  },
};
