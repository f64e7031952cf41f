// One line for each record of the transcript; it changes in place when the record does.

/** Where a message of ours has been, in order; an answer is only awaited by requests. */
const STEPS = [
  { field: "stored", done: "stored here", due: "being stored" },
  { field: "sent", done: "sent", due: "waits for a line" },
  { field: "taken", done: "taken by", node: "takenBy", due: "on its way" },
  { field: "answered", done: "answered by", node: "answeredBy", due: "the answer is awaited", requestsOnly: true },
];
const LINES = 600;
const lines = new WeakMap(); // list -> record id -> line

export function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

/** Shows a record, or what has changed of it. */
export function showRecord(record, { messages, runs, badge, indexOf }) {
  if (record.kind === "run") {
    place(runs, record, runOf(record, indexOf), true);
    while (runs.children.length > 3) runs.lastChild.remove();
    return;
  }
  const atEnd = messages.scrollHeight - messages.scrollTop - messages.clientHeight < 60;
  place(messages, record, lineOf(record, badge), false);
  if (messages.children.length > LINES) messages.firstChild.remove();
  if (atEnd) messages.scrollTop = messages.scrollHeight;
}

function place(list, { id }, line, first) {
  if (!lines.has(list)) lines.set(list, new Map());
  const before = lines.get(list).get(id);
  if (before?.parentNode === list) before.replaceWith(line);
  else if (first) list.prepend(line);
  else list.append(line);
  lines.get(list).set(id, line);
}

function lineOf(record, badge) {
  const { kind, at, text, number, fault, failed } = record;
  const own = kind === "send" || kind === "request";
  const line = element("li", own ? "out" : kind === "event" ? "event" : "in");
  line.classList.toggle("fault", Boolean(fault || failed));
  const mark = own ? "→" : kind === "push" ? `#${number}` : kind === "chat" ? "chat" : "";
  const time = element("time", "", new Date(at).toLocaleTimeString([], { hour12: false }));
  line.append(element("span", "number", mark), element("span", "text", text ?? "(no text)"), about(record, badge), time);
  if (own) line.append(wayOf(record, badge));
  return line;
}

function about({ kind, node, via, fault, again, answer }, badge) {
  const span = element("span", "about");
  if (kind === "chat" || kind === "push") span.append("made on ", badge(node), ", came by ", badge(via));
  if (again) span.append(`sent ${again + 1} times`);
  if (answer !== undefined) span.append(`${again ? ", " : ""}“${answer}”`);
  if (fault) span.append(`, ${fault}`);
  return span;
}

/** The message's way, step by step, with the time from the click. */
function wayOf(record, badge) {
  const way = element("ol", "way");
  const steps = STEPS.filter(({ field, requestsOnly }) =>
    (!requestsOnly || record.kind === "request") && record[field] !== null);
  let reached = true;
  for (const { field, done, due, node } of steps) {
    const when = record[field];
    const step = element("li", when ? "done" : reached && !record.failed ? "due" : "open");
    step.append(when ? done : due);
    if (when && node) step.append(" ", badge(record[node]));
    if (when) step.append(element("small", "", inWords(when - record.at)));
    way.append(step);
    reached = Boolean(when);
  }
  if (record.failed) way.append(element("li", "failed", record.failed));
  return way;
}

const inWords = (millis) => (millis < 1_000 ? `${millis} ms` : `${(millis / 1_000).toFixed(1)} s`);

function runOf({ text, count, arrived, faults }, indexOf) {
  const run = element("div", "run");
  const verdict = faults ? `, ${faults} out of order` : arrived.length ? ", each once and in order" : "";
  const squares = element("div", "squares");
  squares.setAttribute("aria-hidden", "true");
  for (let nth = 0; nth < Math.max(count, arrived.length); nth++) {
    const square = squares.appendChild(element("i"));
    if (nth < arrived.length) square.dataset.node = indexOf(arrived[nth]);
  }
  run.append(element("span", "", `${text}: ${arrived.length} of ${count}${verdict}`), squares);
  return run;
}
