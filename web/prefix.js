// Fills in %date:yyyy-MM-dd% and %Node.widget% in the names of files, as the page does for ComfyUI's own save nodes.

import { app } from "../../scripts/app.js";

app.registerExtension({
  name: "OpenT2V.Prefix",
  nodeCreated(node) {
    if (!node.comfyClass?.startsWith("OpenT2V")) return;
    const widget = node.widgets?.find(({ name }) => name === "filename_prefix");
    if (!widget) return;
    // Asked for at each run: the page offers it to packs there, and importing its module makes the page complain.
    widget.serializeValue = () =>
      window.comfyAPI?.utils?.applyTextReplacements?.(app, widget.value) ?? widget.value;
  },
});
