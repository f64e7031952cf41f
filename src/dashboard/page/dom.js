// Builds the page. Whatever comes from elsewhere becomes text, never markup.

/** An element. Attributes that begin with "on" are listeners; those that are false or undefined are left out. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== undefined && child !== null));
  return element;
}

/** Text of clients and others, in which characters that are not seen, or that rearrange others, are shown as escapes. */
export function tame(text) {
  return String(text).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (char) => `\\u{${char.codePointAt(0).toString(16)}}`);
}

/** The same, where line breaks and tabs are layout. */
export const tameLines = (text) => String(text).split(/(\n|\t)/).map((it) => (it === "\n" || it === "\t" ? it : tame(it))).join("");

const WHOLE = new Intl.NumberFormat("en");
const SHORT = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const CLOCK = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

export const whole = (number) => WHOLE.format(number);
/** A figure with three digits. */
export const short = (number) => (number >= 1000 ? WHOLE.format(Math.round(number)) : SHORT.format(number));

export function bytes(number) {
  if (number < 1024) return `${number} B`;
  return number < 1024 ** 2 ? `${short(number / 1024)} KiB` : `${short(number / 1024 ** 2)} MiB`;
}

/** A span of time given in milliseconds. */
export function span(ms) {
  const seconds = Math.round(Math.abs(ms) / 1000);
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.floor(seconds / 3600)} h` : `${Math.floor(seconds / 86_400)} d`;
}

/** How long ago a time was, with the time itself for whoever points at it. */
export function ago(ms, now = Date.now()) {
  const text = ms > now + 500 ? `in ${span(ms - now)}` : `${span(now - ms)} ago`;
  return h("time", { datetime: new Date(ms).toISOString(), title: CLOCK.format(ms) }, text);
}

export const clock = (ms) => CLOCK.format(ms);

export const button = (text, onclick, attributes = {}) => h("button", { type: "button", onclick, ...attributes }, text);

/** Says something that has been done, or why it has not. */
export function say(text, isBad = false) {
  const place = document.getElementById("said");
  place.classList.toggle("bad", isBad);
  place.textContent = text;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => (place.textContent = ""), isBad ? 15_000 : 6_000);
}

/** Asks before something is done. Resolves to what was typed for the field (or ""), or to null: do not. */
export function ask({ title, text, action, field, value = "" }) {
  return new Promise((resolve) => {
    const input = field && h("input", { id: "ask-field", value, maxlength: 200, autocomplete: "off" });
    const dialog = h("dialog", { "aria-labelledby": "ask-title", "aria-describedby": "ask-text" },
      h("form", {
        onsubmit: (event) => {
          event.preventDefault();
          dialog.close("yes");
        },
      },
        h("h2", { id: "ask-title" }, title),
        h("p", { id: "ask-text" }, text),
        field && h("label", { for: "ask-field" }, field),
        input,
        h("div", { class: "actions" },
          button("Cancel", () => dialog.close("")),
          h("button", { type: "submit", class: "danger" }, action))));
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes" ? input?.value ?? "" : null);
    });
    document.body.append(dialog);
    dialog.showModal();
    (input ?? dialog.querySelector("button")).focus();
  });
}

/**
 * A table whose rows are kept where they are shown again, so that neither focus nor selection is lost.
 * Columns: `title`; `cell(row)`, its text or element; `value(row)`, by which it is sorted; `number`: aligned to the right;
 * `fixed`: an element that is made once for each row.
 */
export function table({ caption, columns, key, empty = "None." }) {
  const body = h("tbody", { role: "rowgroup" });
  const kept = new Map();
  let shown = [];
  let order = null;
  const heads = columns.map((column) => {
    const head = h("th", { scope: "col", role: "columnheader", class: column.number && "number" });
    if (!column.value) head.append(column.head ?? column.title);
    else head.append(button(column.title, () => sortBy(column, head)));
    return head;
  });
  const none = h("p", { class: "none" }, empty);
  const grid = h("table", { role: "table" },
    h("caption", {}, caption), h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, heads)), body);
  const element = h("div", { class: "table" }, grid, none);

  function sortBy(column, head) {
    const isDown = order?.column === column ? !order.isDown : !!column.number;
    order = { column, isDown };
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", isDown ? "descending" : "ascending");
    show(shown);
  }

  function sorted(rows) {
    if (!order) return rows;
    const { column: { value }, isDown } = order;
    const compare = (a, b) => (typeof a === "number" ? a - b : String(a).localeCompare(String(b)));
    return [...rows].sort((a, b) => (isDown ? -1 : 1) * compare(value(a), value(b)));
  }

  function cellOf(column) {
    return h("td", { role: "cell", "data-label": column.title, class: column.number && "number" });
  }

  function show(rows) {
    shown = rows;
    const now = new Set();
    let place = body.firstElementChild;
    for (const row of sorted(rows)) {
      const id = key(row);
      now.add(id);
      let line = kept.get(id);
      if (!line) {
        const cells = columns.map(cellOf);
        line = h("tr", { role: "row" }, cells);
        columns.forEach((column, index) => column.fixed && cells[index].append(column.fixed(row)));
        kept.set(id, line);
      }
      columns.forEach((column, index) => column.cell && put(line.children[index], column.cell(row)));
      if (line === place) place = place.nextElementSibling;
      else body.insertBefore(line, place);
    }
    for (const [id, line] of kept) {
      if (now.has(id)) continue;
      line.remove();
      kept.delete(id);
    }
    none.hidden = rows.length > 0;
    grid.hidden = rows.length === 0;
  }
  return { element, show };
}

/** Shows text or an element in a place, unless it is shown there already. */
export function put(place, content) {
  const isText = !(content instanceof Node);
  const text = isText ? tame(content) : content.textContent;
  if (place.textContent === text && (isText || place.childElementCount > 0)) return;
  place.replaceChildren(isText ? text : content);
}

/** Names with their values; those that are undefined are left out. */
export function facts(pairs) {
  const rows = pairs.filter(([, value]) => value !== undefined && value !== null);
  return h("dl", { class: "facts" }, rows.map(([name, value]) =>
    h("div", {}, h("dt", {}, name), h("dd", {}, value instanceof Node ? value : tame(value)))));
}

/** A link to a page of the dashboard. */
export const link = (text, ...path) => h("a", { href: "#/" + path.map(encodeURIComponent).join("/") }, tame(text));
