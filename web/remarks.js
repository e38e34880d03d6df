// Shows what a node of this pack said about its last run (nodes/remarks.py) below its widgets. The text belongs to the
// run, not to the workflow: it is neither saved nor sent, and gone when the graph is loaded again.

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

const KEY = "opent2v_remarks";
const FONT = "11px sans-serif";
const LINE = 15; // pixels, as all lengths here
const MAX_LINES = 5; // a node grows no further for them: longer text takes what room is there, then scrolls
const PADDING = 8;

// The text lies over its place without a size of its own, so that it asks for no more room than the place does.
const STYLE = `
.opent2v-remarks { position: relative; box-sizing: border-box; }
.opent2v-remarks > div {
  position: absolute; inset: 0; overflow-y: auto; box-sizing: border-box; padding: ${PADDING}px;
  font: ${FONT}; line-height: ${LINE}px; color: var(--input-text, #ddd); opacity: 0.8;
  white-space: pre-wrap; overflow-wrap: anywhere; user-select: text;
}
.opent2v-remarks > div:empty { display: none; }`;

// Counted rather than asked of the element, which has no size yet when its node is laid out first.
const pen = document.createElement("canvas").getContext("2d");

function lineCount(text, width) {
  pen.font = FONT;
  const count = (line) => Math.max(1, Math.ceil(pen.measureText(line).width / width));
  return text.split("\n").reduce((sum, line) => sum + count(line), 0);
}

// Added while the node is made: the newer page (Nodes 2.0) overlooks widgets that come later.
function addRemarks(node) {
  const place = document.createElement("div");
  const text = place.appendChild(document.createElement("div"));
  place.className = "opent2v-remarks";
  const height = (most) => {
    if (!text.textContent) return 0;
    const width = node.size[0] - 2 * PADDING - 20; // a line ends before the word that no longer fits
    return Math.min(lineCount(text.textContent, width), most) * LINE + 2 * PADDING;
  };
  const widget = node.addDOMWidget(KEY, KEY, place, {
    serialize: false, // keeps it out of the prompt
    hideInPanel: true, // and out of the page's list of parameters
    hideOnZoom: false,
    margin: 0,
    getMinHeight: () => height(MAX_LINES),
    getMaxHeight: () => height(Infinity),
    getValue: () => text.textContent,
    setValue: (value) => {
      text.textContent = value;
      place.style.minHeight = `${height(MAX_LINES)}px`;
    },
  });
  widget.serialize = false; // keeps it out of the saved workflow
  return widget;
}

app.registerExtension({
  name: "OpenT2V.Remarks",
  init() {
    const style = document.createElement("style");
    style.textContent = STYLE;
    document.head.append(style);
    // What a node says before it is done (host.say).
    api.addEventListener(KEY, ({ detail }) => {
      const node = app.graph.getNodeById(Number(detail.node));
      const widget = node?.widgets?.find((one) => one.name === KEY);
      if (!widget) return; // in a subgraph: the result comes all the same
      widget.value = detail.remarks.join("\n");
      node.setDirtyCanvas(true, true);
    });
  },
  nodeCreated(node) {
    if (!node.comfyClass?.startsWith("OpenT2V")) return;
    const widget = addRemarks(node);
    const before = node.onExecuted;
    node.onExecuted = function (output) {
      before?.call(this, output);
      if (!output?.[KEY]) return; // no output: the host had the result already, and the text still holds
      widget.value = output[KEY].join("\n");
      node.setDirtyCanvas(true, true);
      // The classic page makes a node larger while it draws it, and draws it so only the next time.
      requestAnimationFrame(() => node.setDirtyCanvas(true, true));
    };
  },
});
