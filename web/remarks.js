// Shows what a node of this pack said about its last run (nodes/remarks.py) below its widgets, and opens the whole report
// over the graph. It belongs to the run, not to the workflow: it is neither saved nor sent, and gone when the graph is
// loaded again.

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { STYLE as APP_STYLE } from "./app_mode.js";
import { STYLE as REPORT_STYLE, draw, lineCount, textOf } from "./report.js";
import { STYLE as PANEL_STYLE, showReport } from "./report_panel.js";
import { nodeAt } from "./subgraphs.js";
import { words } from "./words.js";

const KEY = "opent2v_remarks";
const REPORT = "opent2v_report";
const FONT = "11px sans-serif";
const LINE = 15; // pixels, as all lengths here
const MAX_LINES = 5; // a node grows no further for them: longer text takes what room is there, then scrolls
const PADDING = 8;
const HANDLE = 22; // right of the text, where the handle lies

// The text lies over its place without a size of its own, so that it asks for no more room than the place does.
const STYLE = `
.opent2v-remarks { position: relative; box-sizing: border-box; }
.opent2v-remarks > div {
  position: absolute; inset: 0; overflow-y: auto; box-sizing: border-box;
  padding: ${PADDING}px ${PADDING + HANDLE}px ${PADDING}px ${PADDING}px; border-radius: 6px;
  font: ${FONT}; line-height: ${LINE}px; background: var(--comfy-input-bg, #222);
  user-select: text; cursor: pointer;
}
.opent2v-remarks > div:empty, .opent2v-remarks > div:empty + button { display: none; }
.opent2v-remarks > button {
  position: absolute; top: 4px; right: 4px; width: ${HANDLE}px; height: ${HANDLE}px; padding: 0; border: none;
  border-radius: 4px; background: var(--comfy-input-bg, #222); color: var(--input-text, #ddd); font: 15px/1 sans-serif;
  cursor: pointer;
}
.opent2v-remarks > button:is(:hover, :focus-visible) { outline: 1px solid currentColor; }`;

// Counted rather than asked of the element, which has no size yet when its node is laid out first.
const pen = document.createElement("canvas").getContext("2d");

function wrappedLines(text, width) {
  pen.font = FONT;
  const count = (line) => Math.max(1, Math.ceil(pen.measureText(line).width / width));
  return text.split("\n").reduce((sum, line) => sum + count(line), 0);
}

// The page's own gestures on a node (drag, menu keys) do not begin on its report.
function kept(element) {
  for (const kind of ["keydown", "pointerdown", "mousedown"]) {
    element.addEventListener(kind, (event) => event.stopPropagation());
  }
}

// Added while the node is made: the newer page (Nodes 2.0) overlooks widgets that come later.
function addRemarks(node) {
  let report = [];
  const place = document.createElement("div");
  const text = place.appendChild(document.createElement("div"));
  const handle = place.appendChild(document.createElement("button"));
  place.className = "opent2v-remarks";
  text.className = "opent2v-report";
  handle.textContent = "⤢";
  const open = () => showReport(node.title, report);
  handle.addEventListener("click", open);
  text.addEventListener("click", () => getSelection().isCollapsed && open());
  kept(handle);
  const height = (most) => {
    if (!report.length) return 0;
    // A line ends before the word that no longer fits.
    const width = node.size[0] - 2 * PADDING - HANDLE - 20;
    return Math.min(lineCount(report, (line) => wrappedLines(line, width)), most) * LINE + 2 * PADDING;
  };
  const show = (shown) => {
    report = shown;
    text.replaceChildren(...draw(report));
    handle.title = words().whole;
    handle.setAttribute("aria-label", `${node.title}: ${words().whole}`);
    place.style.minHeight = `${height(MAX_LINES)}px`;
  };
  const widget = node.addDOMWidget(KEY, KEY, place, {
    serialize: false, // keeps it out of the prompt
    hideInPanel: true, // and out of the page's list of parameters
    hideOnZoom: false,
    margin: 0,
    getMinHeight: () => height(MAX_LINES),
    getMaxHeight: () => height(Infinity),
    getValue: () => textOf(report),
    setValue: (value) => show(value ? [{ text: value }] : []),
  });
  widget.serialize = false; // keeps it out of the saved workflow
  widget.report = () => report;
  widget.showReport = (shown) => {
    show(shown);
    node.setDirtyCanvas(true, true);
    // The classic page makes a node larger while it draws it, and draws it so only the next time.
    requestAnimationFrame(() => node.setDirtyCanvas(true, true));
  };
  return widget;
}

const plain = (lines) => lines.map((text) => ({ text }));

function widgetOf(id) {
  return nodeAt(id)?.widgets?.find(({ name }) => name === KEY);
}

app.registerExtension({
  name: "OpenT2V.Remarks",
  init() {
    const style = document.createElement("style");
    style.textContent = STYLE + REPORT_STYLE + PANEL_STYLE + APP_STYLE;
    document.head.append(style);
    // What a node says before it is done (host.say).
    api.addEventListener(KEY, ({ detail }) => {
      widgetOf(detail.node)?.showReport(detail.report ?? plain(detail.remarks));
    });
    // Why a node refused to run, until the next run.
    api.addEventListener("execution_error", ({ detail }) => {
      const text = detail.exception_message?.trim();
      if (text) widgetOf(detail.node_id)?.showReport([{ text, verdict: "refused" }]);
    });
  },
  nodeCreated(node) {
    if (!node.comfyClass?.startsWith("OpenT2V")) return;
    const widget = addRemarks(node);
    const before = node.onExecuted;
    node.onExecuted = function (output) {
      before?.call(this, output);
      if (!output?.[KEY]) return; // no output: the host had the result already, and the text still holds
      widget.showReport(output[REPORT]?.map((entry) => JSON.parse(entry)) ?? plain(output[KEY]));
    };
  },
});
