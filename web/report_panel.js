// A node's whole report over the graph, in a window of its own: read by mouse and keyboard, copied as text, closed by
// Escape.

import { draw, textOf } from "./report.js";
import { words } from "./words.js";

export const STYLE = `
.opent2v-panel { box-sizing: border-box; width: min(960px, 96vw); max-height: 90vh; padding: 0; border-radius: 8px;
  border: 1px solid var(--border-color, #4e4e4e); background: var(--comfy-input-bg, #222); overflow: hidden;
  font: 14px/1.5 sans-serif; color: var(--input-text, #ddd); }
.opent2v-panel[open] { display: flex; flex-direction: column; }
.opent2v-panel::backdrop { background: #0008; }
.opent2v-panel header { display: flex; flex-wrap: wrap; align-items: center; gap: 8px; padding: 8px 12px; }
.opent2v-panel h2 { flex: 1 1 8em; margin: 0; font-size: 15px; overflow-wrap: anywhere; }
.opent2v-panel button { font: inherit; color: inherit; background: none; border: 1px solid currentColor; border-radius: 6px;
  padding: 2px 10px; cursor: pointer; }
.opent2v-panel > div { overflow-y: auto; padding: 0 12px 12px; user-select: text; }
.opent2v-panel p { margin: 0 0 4px; }
.opent2v-panel .scroller { margin: 4px 0 8px; }
.opent2v-panel :is(th, td) { padding: 2px 14px 2px 0; border-bottom: 1px solid color-mix(in srgb, currentColor 25%, transparent); }
`;

// The page's own keys (delete a node, copy it) must not see what is pressed here.
const HERE = ["keydown", "keyup", "copy", "paste", "cut", "wheel", "pointerdown"];

async function copy(text, body, button) {
  const say = words();
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = say.copied;
  } catch {
    getSelection().selectAllChildren(body); // a page that is not served as secure may not write there
    button.textContent = say.selected;
  }
}

export function showReport(title, report) {
  const say = words();
  const panel = document.createElement("dialog");
  panel.className = "opent2v-panel opent2v-report";
  const heading = document.createElement("h2");
  heading.textContent = title;
  panel.setAttribute("aria-label", `${title}: ${say.whole}`);
  const body = document.createElement("div");
  body.tabIndex = 0; // a long one is scrolled by keys too
  body.append(...draw(report));
  const button = (text, onClick) => {
    const made = document.createElement("button");
    made.textContent = text;
    made.addEventListener("click", () => onClick(made));
    return made;
  };
  const header = document.createElement("header");
  header.append(
    heading,
    button(say.copy, (pressed) => copy(textOf(report), body, pressed)),
    button(say.close, () => panel.close()),
  );
  panel.append(header, body);
  for (const kind of HERE) panel.addEventListener(kind, (event) => event.stopPropagation());
  panel.addEventListener("click", (event) => event.target === panel && panel.close()); // beside the panel
  panel.addEventListener("close", () => panel.remove());
  document.body.append(panel);
  panel.showModal();
  body.focus();
}
