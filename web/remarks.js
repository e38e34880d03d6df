// Shows what a node of this pack said about its last run (nodes/remarks.py) below its widgets. The text belongs to the
// run, not to the workflow: it is neither saved nor sent, and gone when the graph is loaded again.

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

const KEY = "opent2v_remarks";
const FONT = "11px sans-serif";
const LINE = 15; // pixels, as all lengths here
const MAX_LINES = 5; // longer text scrolls
const PADDING = 8;

const STYLE = `
.opent2v-remarks {
  font: ${FONT}; line-height: ${LINE}px; max-height: ${MAX_LINES * LINE + 2 * PADDING}px; overflow-y: auto;
  box-sizing: border-box; color: var(--input-text, #ddd); opacity: 0.8;
  white-space: pre-wrap; overflow-wrap: anywhere; user-select: text;
}
.opent2v-remarks:not(:empty) { padding: ${PADDING}px; }`;

// Counted rather than asked of the element, which has no size yet when its node is laid out first.
const pen = document.createElement("canvas").getContext("2d");

function lineCount(text, width) {
  pen.font = FONT;
  const count = (line) => Math.max(1, Math.ceil(pen.measureText(line).width / width));
  return text.split("\n").reduce((sum, line) => sum + count(line), 0);
}

// Added while the node is made: the newer page (Nodes 2.0) overlooks widgets that come later.
function addRemarks(node) {
  const element = document.createElement("div");
  element.className = "opent2v-remarks";
  const height = () => {
    if (!element.textContent) return 0;
    const width = node.size[0] - 2 * PADDING - 20; // a line ends before the word that no longer fits
    return Math.min(lineCount(element.textContent, width), MAX_LINES) * LINE + 2 * PADDING;
  };
  const widget = node.addDOMWidget(KEY, KEY, element, {
    serialize: false, // keeps it out of the prompt
    hideOnZoom: false,
    margin: 0,
    getMinHeight: height,
    getMaxHeight: height,
    getValue: () => element.textContent,
    setValue: (text) => {
      element.textContent = text;
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
    // Nodes 2.0 takes what a node saved for a picture unless told.
    if (node.comfyClass === "OpenT2VSaveVideo") node.previewMediaType = "video";
    const widget = addRemarks(node);
    const before = node.onExecuted;
    node.onExecuted = function (output) {
      before?.call(this, output);
      if (!output?.[KEY]) return; // no output: the host had the result already, and the text still holds
      widget.value = output[KEY].join("\n");
      node.setDirtyCanvas(true, true);
    };
  },
});
