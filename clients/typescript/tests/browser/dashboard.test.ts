// The server's dashboard in a real browser. With MATSSOCKET_SCREENSHOTS, a directory, every page is photographed as well.

import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Chromium, type ChromiumTab } from "../kit/chromium.js";
import { Watched } from "../kit/node.js";

const SCREENSHOTS = process.env["MATSSOCKET_SCREENSHOTS"];
const PAGES = ["overview", "sessions", "services", "dead-letters", "topics", "topics/prices"];

let watched: Watched;
let chromium: Chromium;

before(async () => {
  watched = await new Watched().start(...(SCREENSHOTS ? ["--traffic"] : []));
  chromium = await new Chromium().start();
});

after(async () => {
  await chromium.end();
  await watched.end();
});

/** Waits until an expression of the page holds. */
const until = (tab: ChromiumTab, condition: string) => tab.evaluateSurely(`new Promise((resolve, reject) => {
  const end = Date.now() + 20_000;
  const look = () => {
    let holds = false;
    try { holds = ${condition}; } catch {}
    if (holds) resolve();
    else if (Date.now() > end) reject(new Error(${JSON.stringify(condition)} + " never held: " + document.body.innerText));
    else setTimeout(look, 10);
  };
  look();
})`);

/** Opens a page of the dashboard, logged in. */
async function open(page: string, { phone = false, dark = false } = {}): Promise<ChromiumTab> {
  const tab = await chromium.open("about:blank");
  await tab.call("Page.enable");
  await tab.call("Page.addScriptToEvaluateOnNewDocument", {
    source: `window.refused = []; document.addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) => refused.push(violatedDirective + " " + blockedURI));`,
  });
  const [width, height] = phone ? [390, 844] : [1280, 800];
  await tab.call("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 1, mobile: phone });
  await tab.call("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: dark ? "dark" : "light" }] });
  await tab.navigate(`${watched.url.replace("//", "//operator:tests@")}#/${page}`);
  await loaded(tab);
  return tab;
}

const loaded = (tab: ChromiumTab) =>
  until(tab, `document.querySelector("main h1") && document.getElementById("who").textContent && [...document.querySelectorAll(".table")].every((it) => it.hidden || it.querySelector("tbody tr"))`);

const press = (tab: ChromiumTab, text: string, within = "main") =>
  tab.evaluate(`[...document.querySelectorAll("${within} button")].find((it) => it.textContent === ${JSON.stringify(text)}).click()`);

/** Answers the question that a dialog asks. */
async function confirm(tab: ChromiumTab, action: string): Promise<void> {
  await until(tab, `document.querySelector("dialog[open]")`);
  await press(tab, action, "dialog");
}

const said = (tab: ChromiumTab, text: string) => until(tab, `document.getElementById("said").textContent.includes(${JSON.stringify(text)})`);

async function key(tab: ChromiumTab, name: string, code: number): Promise<void> {
  const press = { key: name, code: name, windowsVirtualKeyCode: code, ...(name === "Enter" ? { text: "\r" } : {}) };
  await tab.call("Input.dispatchKeyEvent", { type: "keyDown", ...press });
  await tab.call("Input.dispatchKeyEvent", { type: "keyUp", ...press });
}

/** Nothing foreign became markup, nothing was refused by the policy, and nothing came from elsewhere. */
async function harmless(tab: ChromiumTab): Promise<void> {
  assert.notEqual(await tab.evaluate("document.title"), "harmed");
  assert.deepEqual(await tab.evaluate("refused"), []);
  assert.equal(await tab.evaluate(`document.querySelectorAll("main img, main script, main b:not(.legend b)").length`), 0);
  const origins: string[] = await tab.evaluate(`performance.getEntriesByType("resource").map(({ name }) => new URL(name).origin)`);
  assert.deepEqual(origins.filter((origin) => !watched.url.startsWith(origin)), []);
}

test("the overview shows the nodes, what no node can do, and plots that move", async () => {
  const tab = await open("overview");
  await until(tab, `document.querySelectorAll("tbody tr").length === 2`);
  const text: string = await tab.evaluate("document.querySelector('main').innerText");
  for (const part of ["2 of 2", "122", "Packing (1)", "north-", "south-", "Billing"]) {
    assert.ok(text.includes(part), `${part} is not in: ${text}`);
  }
  await until(tab, `document.querySelector("polyline").getAttribute("points").split(" ").length >= 2`);
  await harmless(tab);
  await tab.close();
});

test("sessions are filtered and paged, and one is closed by keyboard", async () => {
  const tab = await open("sessions");
  await until(tab, `document.querySelectorAll("tbody tr").length === 50`);
  await until(tab, `document.querySelector("[role=status].note").textContent.startsWith("122 sessions; page 1")`);
  await press(tab, "Next page");
  await until(tab, `document.querySelector(".note").textContent.includes("page 2")`);
  await press(tab, "Next page");
  await until(tab, `document.querySelectorAll("tbody tr").length === 22`);
  await press(tab, "Page before");
  await until(tab, `document.querySelectorAll("tbody tr").length === 50`);
  await tab.evaluate(`(() => { const user = document.querySelector("[name=user_id]"); user.value = "user003"; user.dispatchEvent(new Event("change", { bubbles: true })); })()`);
  await until(tab, `document.querySelectorAll("tbody tr").length === 2`);
  await until(tab, `document.querySelector(".note").textContent.startsWith("2 sessions")`);

  await tab.evaluate(`document.querySelector("tbody a").focus()`);
  await key(tab, "Enter", 13);
  await until(tab, `document.querySelector("dl.facts")?.textContent.includes("user003")`);
  assert.equal(await tab.evaluate("document.activeElement.id"), "main");
  await until(tab, `[...document.querySelectorAll("tbody tr")].some((it) => it.textContent.includes("HELLO"))`);
  await tab.evaluate(`[...document.querySelectorAll("main button")][0].focus()`);
  await key(tab, "Enter", 13);
  await until(tab, `document.querySelector("dialog[open]") && document.activeElement.id === "ask-field"`);
  await key(tab, "Escape", 27);
  await until(tab, `!document.querySelector("dialog") && document.activeElement.textContent.startsWith("Close this session")`);
  await key(tab, "Enter", 13);
  await until(tab, `document.querySelector("dialog[open]")`);
  await key(tab, "Enter", 13);
  await said(tab, "The session is closed.");
  await until(tab, `document.querySelector("main h1").textContent === "Sessions" && document.querySelectorAll("tbody tr").length === 1`);
  await harmless(tab);
  await tab.close();
});

test("foreign text is text, wherever it is shown", async () => {
  const tab = await open("sessions");
  await tab.evaluate(`(() => { const user = document.querySelector("[name=app_name]"); user.value = "Shop"; user.dispatchEvent(new Event("change", { bubbles: true })); })()`);
  await until(tab, `document.querySelector("main").textContent.includes("<img src=x onerror") && document.querySelector("main").textContent.includes("\\\\u{202e}gnp")`);
  await tab.evaluate(`[...document.querySelectorAll("tbody tr")].find((it) => it.textContent.includes("<img")).querySelector("a").click()`);
  await until(tab, `document.querySelector("dl.facts")?.textContent.includes("<b>news</b>")`);
  await press(tab, "Revoke the user's authorization…");
  await until(tab, `document.querySelector("dialog h2").textContent.includes("<img src=x")`);
  await confirm(tab, "Revoke it");
  await said(tab, "revoked");
  for (const page of ["topics", "topics/prices", "topics/%3Cb%3Enews%3C%2Fb%3E", "dead-letters"]) {
    await tab.evaluate(`void (location.hash = "#/${page}")`);
    await until(tab, `document.querySelector("main h1") && document.querySelector(".table")`);
    await harmless(tab);
  }
  await until(tab, `document.querySelectorAll("tbody tr").length === 50`);
  await tab.evaluate(`document.querySelector("tbody a").click()`);
  await until(tab, `document.querySelector("pre").textContent.includes("</pre><script>")`);
  await harmless(tab);
  await tab.close();
});

/** Texts of the page whose contrast with what is behind them is less than WCAG's level AA asks for. */
const FAINT = `(() => {
  const parse = (color) => (color.match(/[\\d.]+/g) ?? []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((it) => it / 255).map((it) => (it <= 0.04045 ? it / 12.92 : ((it + 0.055) / 1.055) ** 2.4))
    .reduce((sum, it, index) => sum + it * [0.2126, 0.7152, 0.0722][index], 0);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const faint = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility() || element.closest("button:disabled")) continue;
    const style = getComputedStyle(element);
    const [a, b] = [light(parse(element.closest("svg") ? style.fill : style.color)), light(ground(element))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) faint.push(contrast.toFixed(2) + " " + walker.currentNode.data);
  }
  return faint;
})()`;

for (const phone of [false, true]) {
  for (const dark of [false, true]) {
    const name = `${phone ? "phone" : "desk"}-${dark ? "dark" : "light"}`;
    test(`every page can be read and fits: ${name}`, async () => {
      const tab = await open("overview", { phone, dark });
      if (SCREENSHOTS) await new Promise((resolve) => setTimeout(resolve, 40_000)); // so that the plots have something to show
      const session = await tab.evaluate(`fetch(location.origin + location.pathname + "api/sessions?user_id=anna").then((it) => it.json()).then((it) => it.sessions[0].session_id)`);
      const letters = await tab.evaluate(`fetch(location.origin + location.pathname + "api/dead-letters").then((it) => it.json()).then((it) => it.dead_letters)`);
      const details = [`sessions/${session}`, ...letters.slice(0, 1).map(({ id }: { id: number }) => `dead-letters/${id}`)];
      for (const page of [...PAGES, ...details]) {
        await tab.evaluate(`void (location.hash = "#/${page}")`);
        await until(tab, `document.querySelector("main h1") && document.querySelector(".table, pre")`);
        await until(tab, `document.querySelector("tbody tr, .none:not([hidden]), pre")`);
        assert.deepEqual(await tab.evaluate(FAINT), [], `${page}, ${name}`);
        const [wide, room] = await tab.evaluate("[document.documentElement.scrollWidth, innerWidth]");
        assert.ok(wide <= room, `${page} is ${wide} wide in ${room}, ${name}`);
        if (SCREENSHOTS) await photograph(tab, `${page.replace(/\/.*/, page.includes("/") ? "-one" : "")}-${name}`);
      }
      await tab.close();
    });
  }
}

test("dead letters are dropped and redriven, one by one and all at once", async () => {
  const tab = await open("dead-letters");
  await until(tab, `document.querySelectorAll("tbody tr").length === 50`);
  await tab.evaluate(`[...document.querySelectorAll("tbody input")].slice(0, 2).forEach((it) => it.click())`);
  await press(tab, "Drop chosen…");
  await confirm(tab, "Drop");
  await said(tab, "2 dead letters are dropped.");
  await until(tab, `!document.querySelector("tbody [data-id='1']")`);
  await tab.evaluate(`document.querySelector("tbody a").click()`);
  await until(tab, `document.querySelector("pre").textContent.includes("number")`);
  await press(tab, "Redrive it…");
  await confirm(tab, "Redrive");
  await said(tab, "1 dead letters are redriven.");
  await until(tab, `document.querySelectorAll("tbody tr").length === 50`);
  await press(tab, "Next page");
  await until(tab, `document.querySelectorAll("tbody tr").length === 8`);
  await press(tab, "First page");
  await press(tab, "Drop all…");
  await confirm(tab, "Drop");
  await said(tab, "58 dead letters are dropped.");
  await until(tab, `document.querySelector(".none").checkVisibility()`);
  await harmless(tab);
  await tab.close();
});

test("whoever may only look is offered nothing else", async () => {
  const tab = await chromium.open(watched.url.replace("/admin/", "/guests/") + "#/dead-letters");
  await until(tab, `document.getElementById("who").textContent.startsWith("guest, who may only look")`);
  assert.equal(await tab.evaluate(`document.querySelector("main .actions").checkVisibility()`), false);
  await tab.close();
});

async function photograph(tab: ChromiumTab, name: string): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 2_500));
  const { data } = await tab.call("Page.captureScreenshot", { format: "png" });
  mkdirSync(SCREENSHOTS!, { recursive: true });
  writeFileSync(join(SCREENSHOTS!, `${name}.png`), Buffer.from(data as string, "base64"));
}
