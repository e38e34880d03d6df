// Draws a report: remarks (base/remarks.py) as text, verdicts in their colours, tables, and plans of step caches as strips
// of cells. Each remark is { text } with any of { verdict }, { table, verdicts }, { plans: [{ label, steps }] }.

import { words } from "./words.js";

// The namespace of SVG, as the page's own parser has it: scanners take its written name for an address of the network.
const parsed = document.createElement("template");
parsed.innerHTML = "<svg></svg>";
const SVG = parsed.content.firstChild.namespaceURI;

export const textOf = (report) => report.map(({ text }) => text).join("\n");

function element(name, className, ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

function drawing(name, attributes, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const isComputed = (letter) => letter === "C";

function strip({ label, steps }) {
  const say = words();
  const letters = [...steps];
  const cells = letters.map((letter, index) => {
    const kind = isComputed(letter) ? "computed" : "reused";
    const title = drawing("title", {}, say.step(index + 1, say[kind]));
    return drawing("rect", { x: 10 * index + 1, y: 0, width: 8, height: 10, class: kind }, title);
  });
  const about = say.steps(letters.filter(isComputed).length, letters.length);
  const picture = drawing(
    "svg",
    {
      viewBox: `0 0 ${10 * letters.length} 10`,
      preserveAspectRatio: "none",
      role: "img",
      "aria-label": `${label} ${about}`.trim(),
      style: `max-width: ${16 * letters.length}px`,
    },
    ...cells,
  );
  const name = label ? [element("span", "name", label)] : [];
  return element("div", "strip", ...name, picture);
}

function legend() {
  const say = words();
  const key = (kind) => {
    const cell = drawing("rect", { x: 1, y: 0, width: 8, height: 10, class: kind });
    return element("span", "", drawing("svg", { viewBox: "0 0 10 10", "aria-hidden": "true" }, cell), say[kind]);
  };
  return element("div", "legend", key("computed"), key("reused"));
}

function table({ table: [head, ...rows], verdicts }) {
  const cell = (name, text) => element(name, "", text);
  const line = (cells, index) => {
    const [first, ...others] = cells;
    const row = element("tr", verdicts[index] ?? "", cell("th", first), ...others.map((text) => cell("td", text)));
    row.firstChild.scope = "row";
    if (verdicts[index]) row.lastChild.title = words()[verdicts[index]];
    return row;
  };
  const headings = head.map((text) => {
    const heading = cell("th", text);
    heading.scope = "col";
    return heading;
  });
  const body = element("tbody", "", ...rows.map(line));
  const whole = element("table", "", element("thead", "", element("tr", "", ...headings)), body);
  const frame = element("div", "scroller", whole);
  frame.tabIndex = 0; // a wide one is scrolled by keys too
  return frame;
}

function remark(entry) {
  const { text, verdict, isTitle } = entry;
  if (isTitle) return [element("h3", "", text)];
  if (entry.table) return [table(entry)];
  // A line that is nothing but the plan, with its name before it, is its strip.
  const isPlan = entry.plans?.length === 1 && text.endsWith(entry.plans[0].steps);
  const line = element("p", verdict ?? "", text);
  if (verdict) line.title = words()[verdict];
  return [...(isPlan ? [] : [line]), ...(entry.plans ?? []).map(strip)];
}

// Elements that show a report; what the cells of strips mean stands below the last of them.
export function draw(report) {
  const last = report.findLastIndex(({ plans }) => plans);
  return report.flatMap((entry, index) => (index === last ? [...remark(entry), legend()] : remark(entry)));
}

// Lines that `draw` takes in a column of this width.
export function lineCount(report, wrapped) {
  const count = ({ text, table, plans }) => {
    if (table) return table.length + 1; // and a bar to scroll by
    const isPlan = plans?.length === 1 && text.endsWith(plans[0].steps);
    return (isPlan ? 0 : wrapped(text)) + (plans?.length ?? 0);
  };
  const lines = report.reduce((sum, entry) => sum + count(entry), 0);
  return lines + (report.some(({ plans }) => plans) ? 1 : 0);
}

// Colours are mixed from the page's own text colour, so that they are dark on a light theme and light on a dark one.
export const STYLE = `
.opent2v-report p { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
.opent2v-report { --fits: color-mix(in srgb, var(--ink) 55%, #008030); --look: color-mix(in srgb, var(--ink) 60%, #b06000);
  --refused: color-mix(in srgb, var(--ink) 55%, #e01010); --ink: var(--input-text, #ddd); color: var(--ink); }
.opent2v-report h3 { margin: 8px 0 2px; font-size: 1em; font-weight: bold; }
.opent2v-report .fits { color: var(--fits); }
.opent2v-report .look { color: var(--look); }
.opent2v-report .refused { color: var(--refused); }
.opent2v-report p.fits::before { content: "✓ "; }
.opent2v-report p.look::before { content: "! "; font-weight: bold; }
.opent2v-report p.refused::before { content: "✕ "; }
.opent2v-report .scroller { overflow-x: auto; scrollbar-width: thin; }
.opent2v-report table { border-collapse: collapse; font: inherit; line-height: inherit; color: inherit; }
.opent2v-report :is(th, td) { padding: 0 8px 0 0; text-align: right; white-space: nowrap; font-weight: normal; }
.opent2v-report :is(th:first-child, td:last-child, th:last-child) { text-align: left; }
.opent2v-report thead th { font-weight: bold; }
.opent2v-report .strip { display: flex; align-items: center; gap: 6px; height: 1lh; }
.opent2v-report .strip .name { flex: 0 0 auto; min-width: min(11em, 40%); max-width: 50%; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.opent2v-report .strip svg { flex: 1; min-width: 0; height: 0.8em; }
.opent2v-report rect.computed { fill: var(--fits); }
.opent2v-report rect.reused { fill: color-mix(in srgb, var(--fits) 30%, transparent); }
.opent2v-report .legend { display: flex; gap: 12px; height: 1lh; }
.opent2v-report .legend svg { width: 0.8em; height: 0.8em; margin-right: 4px; vertical-align: -0.05em; }
`;
