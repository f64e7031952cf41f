// The demo page: a person sends, breaks things, and watches that nothing is lost or doubled.
// Once loaded it needs no particular node: what it asks over HTTP it asks of any node that is up.

import { MatsSocketClient } from "./client.js";

const POLL_EVERY = 2_000; // ms between looks at the nodes
const LOG_LENGTH = 400, LIST_LENGTH = 2_000;
const STATES = {
  idle: "not connected", connecting: "connecting", established: "connected",
  waiting: "line lost, coming back", disconnected: "taken over elsewhere", closed: "session closed",
};

const $ = (id) => document.getElementById(id);
let client = null;
let nodes = [];
let outOfOrder = 0, requestNumber = 0, pushNumber = 0, envelopeCount = 0, retryAt = 0, stateReason = "";
const runs = new Map(); // text of a push -> its progress
const received = []; // what the list shows as arrived, for whoever drives the page

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
  function rank(node) { return (node.up ? 1 : 0) + (node === here && client?.state === "established" ? 1 : 0); }
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

const currentNode = () => client && nodes.find(({ url }) => url === client.url);
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
  if (client?.state === "waiting" || client?.state === "disconnected") return client.connect();
  await refreshNodes();
  if (client && client.state !== "closed") return; // pressed twice
  // The node that served the page comes first, so that what a person sees is what they expect.
  const urls = [...nodes].sort((a, b) => (b.http === location.origin) - (a.http === location.origin)).map(({ url }) => url);
  client = new MatsSocketClient("DemoPage", "1", urls, { shuffle: false });
  outOfOrder = 0;
  client.setAuthorization(() => `Demo:${user}`);
  client.addEventListener("state", ({ detail }) => stateChanged(detail));
  client.addEventListener("welcome", ({ detail }) => {
    addEvent(`${detail.resumed ? "Back, same session," : "Connected, new session,"} on ${via()}`);
  });
  client.addEventListener("envelope", ({ detail }) => logEnvelope(detail));
  client.addEventListener("pong", ({ detail }) => { $("status-latency").textContent = `${detail.millis} ms`; });
  client.addEventListener("problem", ({ detail }) => complain(detail.message));
  client.addEventListener("topic", ({ detail }) => {
    if (detail.outcome === "SUB_NO_AUTH") complain(`You may not listen to "${detail.topic}".`);
    if (detail.outcome === "SUB_LOST") addEvent("Some lines of the chat went by while you were away");
  });
  client.terminator("Demo.pushed", pushed);
  client.subscribe("Demo.chat", ({ user: who, text, node }) => {
    addMessage({ kind: "chat", number: "chat", text: `${who}: ${text}`, node });
  });
  client.connect();
}

function stateChanged({ state, reason, retryIn }) {
  stateReason = reason ?? "";
  retryAt = Date.now() + (retryIn ?? 0);
  if (state === "waiting" && client.sessionId && !client.lossShown) addEvent(reason[0].toUpperCase() + reason.slice(1));
  client.lossShown = state === "waiting" || state === "connecting";
  if (state === "established") complain("");
  if (state === "closed") {
    addEvent(`Session closed: ${reason}`);
    if (/^\d/.test(reason)) complain(`The server ended the session (${reason}). Press Connect to begin a new one.`);
  }
  if (state === "disconnected") complain("Another window took over this session. Press Connect to take it back.");
  showStatus();
  showNodes();
}

// ---- sending ------------------------------------------------------------------------------------

async function request(endpointId, payload, question) {
  const number = ++requestNumber;
  const line = addLine({ out: true, number: `→ ${number}`, text: question, about: ["waiting to be taken"] });
  try {
    const onReceived = () => line.about(["taken by ", nodeBadge(via()), ", the answer is on its way"]);
    const { msg, millis } = await client.request(endpointId, payload, { onReceived });
    line.about([`answered after ${millis < 1_000 ? `${millis} ms` : `${(millis / 1_000).toFixed(1)} s`}`]);
    addMessage({ kind: "reply", number: `← ${number}`, text: msg?.text, node: msg?.node });
  } catch (error) {
    line.about([inWords(error)], true);
  }
}

async function send(endpointId, payload, text, done) {
  const line = addLine({ out: true, number: "→", text, about: ["waiting to be taken"] });
  try {
    await client.send(endpointId, payload);
    line.about(["taken by ", nodeBadge(via()), done]);
  } catch (error) {
    line.about([inWords(error)], true);
  }
}

function inWords({ kind, message, msg }) {
  switch (kind) {
    case "NACK": return `refused: ${message}`;
    case "REJECT": return `rejected: ${msg?.text ?? message}`;
    case "RETRY": return `given up after ten attempts: ${message}`;
    case "TIMEOUT": return `${message}; it may still be handled`;
    default: return message;
  }
}

// ---- pushes -------------------------------------------------------------------------------------

function startPush(text, seconds, count) {
  const run = { text: `${text} (push ${++pushNumber})`, count, last: 0, arrived: 0, faults: 0, squares: [] };
  runs.set(run.text, run);
  run.element = element("div", "run");
  run.label = element("span");
  const squares = element("div", "squares");
  squares.setAttribute("aria-hidden", "true");
  run.squares = Array.from({ length: count }, () => squares.appendChild(element("i")));
  run.element.append(run.label, squares);
  $("runs").prepend(run.element);
  while ($("runs").children.length > 3) $("runs").lastChild.remove();
  showRun(run);
  send("Demo.pushLater", { text: run.text, millis: seconds * 1_000, count },
    `Push "${run.text}", ${count} × in ${seconds} s`, ", you may break things now");
}

function pushed({ text, number, node }) {
  const run = runs.get(text) ?? { text, last: 0, arrived: 0, faults: 0, squares: [] };
  runs.set(text, run);
  const fault = number !== run.last + 1;
  if (fault) {
    outOfOrder++;
    run.faults++;
  }
  run.last = Math.max(run.last, number);
  run.arrived++;
  const square = run.squares[number - 1];
  if (square) {
    square.dataset.node = nodes.findIndex(({ name }) => name === via());
    square.classList.toggle("fault", fault);
  }
  addMessage({ kind: "push", number: `#${number}`, text, node, fault: fault && "out of order" });
  showRun(run);
  showCounters();
  if ($("cut-next").checked && number === Math.ceil((run.count ?? 1) / 2)) {
    $("cut-next").checked = false;
    client.cut(pause());
  }
}

function showRun(run) {
  if (!run.label) return;
  const verdict = run.faults ? `, ${run.faults} out of order` : run.arrived ? ", each once and in order" : "";
  run.label.textContent = `${run.text}: ${run.arrived} of ${run.count}${verdict}`;
}

const pause = () => seconds("cut-seconds") * 1_000;
const seconds = (id) => Math.max(0, Number($(id).value) || 0);

// ---- what is seen -------------------------------------------------------------------------------

function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

function complain(message) {
  $("notice").textContent = message;
  $("notice").hidden = !message;
}

function addEvent(text) { addLine({ event: true, number: "", text }); }

function addMessage({ kind, number, text, node, fault }) {
  received.push({ kind, number, text, node, via: via() });
  const about = ["made on ", nodeBadge(node), ", came by ", nodeBadge(via()), ...(fault ? [`, ${fault}`] : [])];
  addLine({ number, text: text ?? "(no text)", about, fault });
}

function addLine({ out, event, number, text, about, fault }) {
  const list = $("messages");
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 60;
  const line = element("li", event ? "event" : out ? "out" : "in");
  const details = element("span", "about");
  const time = element("time", "", new Date().toLocaleTimeString([], { hour12: false }));
  line.append(element("span", "number", number), element("span", "text", text), details, time);
  const setAbout = (parts, bad) => {
    details.replaceChildren(...parts);
    line.classList.toggle("fault", Boolean(bad));
  };
  setAbout(about ?? [], fault);
  list.append(line);
  list.hidden = false;
  $("messages-empty").hidden = true;
  if (list.children.length > LIST_LENGTH) list.firstChild.remove();
  if (atEnd) list.scrollTop = list.scrollHeight;
  return { about: setAbout };
}

function logEnvelope({ direction, envelope, again }) {
  const { t } = envelope;
  const line = element("li", `${direction}${again ? " again" : ""}${/^P[IO]NG$/.test(t) ? " ping" : ""}`);
  const mark = direction === "out" ? (again ? "→ again" : "→") : (again ? "← duplicate" : "←");
  line.textContent = `${new Date().toISOString().slice(11, 23)} ${mark} ${JSON.stringify(envelope)}`;
  $("log").prepend(line);
  if ($("log").children.length > LOG_LENGTH) $("log").lastChild.remove();
  $("log-count").textContent = `${++envelopeCount} envelope${envelopeCount === 1 ? "" : "s"}`;
  showCounters();
}

function counters() {
  const none = { sent: 0, resent: 0, received: 0, duplicates: 0, reconnects: 0 };
  return { ...none, ...client?.counters, outOfOrder, waiting: client?.outboxSize ?? 0 };
}

function showCounters() {
  const now = counters();
  $("count-sent").textContent = now.sent;
  $("count-resent").textContent = now.resent;
  $("count-received").textContent = now.received;
  $("count-duplicates").textContent = now.duplicates;
  $("count-out-of-order").textContent = now.outOfOrder;
  $("count-out-of-order").classList.toggle("bad", now.outOfOrder > 0);
  $("status-reconnects").textContent = now.reconnects;
}

function showStatus() {
  const state = client?.state ?? "idle";
  const open = !["idle", "closed"].includes(state);
  $("status-state").textContent = STATES[state];
  $("status-state").dataset.state = state;
  $("status-session").textContent = $("status-session").title = client?.sessionId ?? "none";
  $("status-node").replaceChildren(state === "established" ? nodeBadge(via()) : "none");
  if (state !== "established") $("status-latency").textContent = "–";
  $("user").disabled = open;
  $("connect").hidden = ["connecting", "established"].includes(state);
  $("connect").textContent = state === "waiting" ? "Try now" : "Connect";
  $("disconnect").hidden = !open;
  for (const id of ["echo-send", "slow-send", "push-send", "chat-send"]) $(id).disabled = !open;
  $("send-hint").hidden = open;
  $("cut").disabled = state !== "established";
  showDetail();
  showCounters();
}

/** The line under the state; a countdown while waiting. */
function showDetail() {
  const left = Math.ceil((retryAt - Date.now()) / 1_000);
  const queued = client?.outboxSize ? ` ${client.outboxSize} waiting to be sent.` : "";
  const texts = {
    idle: "", disconnected: "", closed: stateReason,
    connecting: `trying ${via()}.${queued}`,
    established: `as ${$("user").value}`,
    waiting: `${stateReason}; trying ${via()} ${left > 0 ? `in ${left} s` : "now"}.${queued}`,
  };
  const text = texts[client?.state ?? "idle"];
  if ($("status-detail").textContent !== text) $("status-detail").textContent = text;
}

let shownNodes = "";
function showNodes() {
  const here = client?.state === "established" ? currentNode() : null;
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
onSubmit("echo-form", () => request("Demo.echo", { text: $("echo-text").value }, `Echo: ${$("echo-text").value}`));
onSubmit("slow-form", () => request("Demo.slow",
  { text: $("slow-text").value, millis: seconds("slow-seconds") * 1_000 }, `Slow, ${seconds("slow-seconds")} s: ${$("slow-text").value}`));
onSubmit("push-form", () => startPush($("push-text").value.trim() || "News",
  seconds("push-seconds"), Math.min(500, Math.max(1, Math.trunc(seconds("push-count"))))));
onSubmit("chat-form", () => {
  send("Demo.say", { text: $("chat-text").value }, `Say: ${$("chat-text").value}`, "");
  $("chat-text").value = "";
});
$("push-seconds").addEventListener("input", () => { $("push-send").textContent = `Push me in ${seconds("push-seconds")} s`; });
$("disconnect").addEventListener("click", () => client.close("you logged out"));
$("cut").addEventListener("click", () => client.cut(pause()));
$("stop-node").addEventListener("click", stopNode);
$("clear").addEventListener("click", () => {
  $("messages").replaceChildren();
  $("runs").replaceChildren();
  $("messages").hidden = true;
  $("messages-empty").hidden = false;
});
$("log-pings").addEventListener("change", ({ target }) => $("log").classList.toggle("with-pings", target.checked));
addEventListener("online", () => { if (client?.state === "waiting") client.connect(); });
addEventListener("pagehide", () => { if (client?.sessionId) client.leave(); });
setInterval(showDetail, 500);
(async function poll() {
  if (!document.hidden) await refreshNodes();
  setTimeout(poll, POLL_EVERY);
})();
showStatus();

/** For tests in a browser: what a person sees, as data. */
window.matsDemo = {
  get client() { return client; },
  get counters() { return counters(); },
  get nodes() { return nodes; },
  get currentNode() { return client?.state === "established" ? via() : null; },
  get received() { return received; },
  get runs() { return [...runs.values()].map(({ text, count, arrived, faults }) => ({ text, count, arrived, faults })); },
};
