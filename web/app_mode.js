// The page's app mode hides the graph, and with it what nodes say. After a run it gets a button that opens all their reports.

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { showReport } from "./report_panel.js";
import { words } from "./words.js";

const FORM = "[data-testid=linear-widgets]"; // what only app mode shows
const ENDS = ["execution_success", "execution_error"];
const LOOK = 500; // milliseconds between two looks whether app mode is left

export const STYLE = `
.opent2v-reports { position: fixed; left: 72px; bottom: 16px; z-index: 900; padding: 6px 14px; border-radius: 8px; cursor: pointer;
  border: 1px solid var(--border-color, #4e4e4e); background: var(--comfy-input-bg, #222); color: var(--input-text, #ddd);
  font: 14px sans-serif; }
`;

function allNodes(graph) {
  return (graph?.nodes ?? []).flatMap((node) => [node, ...allNodes(node.subgraph)]);
}

// Each node's report below its title.
function reports() {
  return allNodes(app.rootGraph ?? app.graph).flatMap(({ title, widgets }) => {
    const report = widgets?.find(({ report }) => report)?.report() ?? [];
    return report.length ? [{ text: title, isTitle: true }, ...report] : [];
  });
}

let button;

function update() {
  const report = document.querySelector(FORM) ? reports() : [];
  button?.remove();
  if (!report.length) return;
  button = document.createElement("button");
  button.className = "opent2v-reports";
  button.textContent = words().reports;
  button.addEventListener("click", () => showReport(words().reports, report));
  document.body.append(button);
  const watch = setInterval(() => {
    if (document.querySelector(FORM)) return;
    clearInterval(watch);
    button.remove();
  }, LOOK);
}

// After the last of what the run's nodes say.
for (const end of ENDS) api.addEventListener(end, () => setTimeout(update, LOOK));
