// Shows the page that the address names, and keeps it current.

import { get } from "./api.js";
import { h, put, tame } from "./dom.js";
import { History } from "./history.js";
import { deadLetter, deadLetters } from "./dead_letters.js";
import { overview } from "./overview.js";
import { services } from "./services.js";
import { session } from "./session.js";
import { sessions } from "./sessions.js";
import { topic, topics } from "./topics.js";

/** How often the page asks for news, in milliseconds. */
const INTERVAL = 2000;

/** The pages: each is given its place, the rest of the address, and what all share; it returns how it is updated. */
const PAGES = {
  overview: { title: "Overview", open: overview },
  sessions: { title: "Sessions", open: sessions, detail: session },
  services: { title: "Services", open: services },
  "dead-letters": { title: "Dead letters", open: deadLetters, detail: deadLetter },
  topics: { title: "Topics", open: topics, detail: topic },
};

const main = document.getElementById("main");
const trouble = document.getElementById("trouble");
const shared = { history: new History(), node: null };
let current = { update: async () => {} };

function parts() {
  try {
    return location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
  } catch {
    return [];
  }
}

function open(isFirst) {
  const [name, detail] = parts();
  const page = Object.hasOwn(PAGES, name) ? PAGES[name] : undefined;
  if (!page) {
    location.replace("#/overview");
    return;
  }
  document.title = `${page.title} – ${shared.node?.metrics.app ?? "matssocket"}`;
  for (const entry of document.querySelectorAll("nav a")) {
    if (entry.hash === `#/${name}`) entry.setAttribute("aria-current", "page");
    else entry.removeAttribute("aria-current");
  }
  const place = h("div", { class: "page" });
  main.replaceChildren(place);
  const show = detail && page.detail ? page.detail : page.open;
  const opened = (current = show(place, shared, detail));
  if (!isFirst) main.focus({ preventScroll: true });
  window.scrollTo(0, 0);
  refresh(opened);
}

/** Updates a page, one update at a time: an answer to what was asked earlier must not replace a later one. */
async function refresh(page) {
  page.isWanted = true;
  if (page.isBusy) return;
  page.isBusy = true;
  while (page.isWanted && page === current) {
    page.isWanted = false;
    await attempt(() => page.update(), () => page === current);
  }
  page.isBusy = false;
}

/** Does something, and shows the trouble with it if that still matters then. */
async function attempt(work, matters) {
  try {
    await work();
    if (matters()) trouble.hidden = true;
  } catch (error) {
    if (!matters()) return;
    put(trouble, error.status === 404 ? error.message : `${error.message} Trying again.`);
    trouble.hidden = false;
  }
}

async function look() {
  const node = await get("node");
  shared.node = node;
  shared.history.add(node);
  put(document.getElementById("app"), node.metrics.app);
  const rights = node.read_only ? ", who may only look" : "";
  put(document.getElementById("who"), `${tame(node.operator)}${rights} · ${tame(node.metrics.node)}`);
}

async function turn() {
  if (!document.hidden) {
    // The figures go on while another page is shown, so that the plots have no gaps.
    await attempt(look, () => true);
    await refresh(current);
  }
  setTimeout(turn, INTERVAL);
}

shared.refresh = () => refresh(current);
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // its fragment would be taken for a page
  main.focus();
});
window.addEventListener("hashchange", () => open(false));
await look().catch(() => {});
open(true);
turn();
