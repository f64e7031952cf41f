// A line plot of the last minutes, drawn as SVG.

import { h, short } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";
const [HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [150, 44, 8, 8, 20];
/** Until the plot is laid out. */
const WIDTH = 420;
/** How many minutes are shown: the least of these that holds all samples. */
const MINUTES = [1, 2, 5, 10];

function svg(tag, attributes, text) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

/** A round number at or above this one, for the end of an axis. */
function round(number) {
  const size = 10 ** Math.floor(Math.log10(number));
  return [1, 2, 5, 10].map((step) => step * size).find((step) => step >= number);
}

/** Series: `name`, `value(sample)`. At most two. */
export function plot({ title, unit = "", series, least = 1 }) {
  const drawing = svg("svg", { height: HEIGHT, role: "img", "aria-label": title });
  const latest = series.map(() => h("b", {}, "–"));
  const legend = h("p", { class: "legend" }, series.map(({ name }, index) =>
    h("span", { class: `series${index}` }, h("i", { "aria-hidden": "true" }), `${name} `, latest[index])));
  const element = h("figure", { class: "panel" }, h("figcaption", {}, title), drawing, legend);

  function show(samples) {
    // In pixels, so that texts are as large as they should be.
    const width = Math.max(240, drawing.clientWidth || WIDTH);
    drawing.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    const end = samples.at(-1)?.at ?? Date.now();
    const minutes = MINUTES.find((it) => end - (samples[0]?.at ?? end) <= it * 60_000) ?? MINUTES.at(-1);
    const span = minutes * 60_000;
    const shown = samples.filter((sample) => sample.at >= end - span);
    const top = round(Math.max(least, ...shown.flatMap((sample) => series.map(({ value }) => value(sample) ?? 0))));
    const x = (at) => LEFT + (width - LEFT - RIGHT) * (1 - (end - at) / span);
    const y = (value) => HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value / top);
    const parts = [];
    for (const part of [0, 0.5, 1]) {
      const at = y(part * top);
      parts.push(svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: at, y2: at }));
      parts.push(svg("text", { x: LEFT - 6, y: at + 4, "text-anchor": "end" }, short(part * top)));
    }
    parts.push(svg("text", { x: LEFT, y: HEIGHT - 4 }, `${minutes} min ago`));
    parts.push(svg("text", { x: width - RIGHT, y: HEIGHT - 4, "text-anchor": "end" }, "now"));
    series.forEach(({ value }, index) => {
      const known = shown.filter((sample) => value(sample) !== undefined);
      const points = known.map((sample) => `${x(sample.at).toFixed(1)},${y(value(sample)).toFixed(1)}`);
      parts.push(svg("polyline", { class: `line series${index}`, points: points.join(" ") }));
      const last = samples.length > 0 ? value(samples.at(-1)) : undefined;
      latest[index].textContent = last === undefined ? "–" : `${short(last)}${unit && " " + unit}`;
    });
    drawing.replaceChildren(...parts);
    drawing.setAttribute("aria-label", `${title}: ${series.map(({ name }, index) => `${name} ${latest[index].textContent}`).join(", ")}`);
  }
  show([]);
  return { element, show };
}
