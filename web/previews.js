// Shows what a save node of this pack has saved: the page decides by the node's type of media and keeps it, while a
// node may save a video in one run and a picture in the next.

import { app } from "../../scripts/app.js";

const VIDEO = /\.(mp4|webm|mov|mkv)$/i;
const GIF = /\.gif$/i;
// What the page adds to a node to show a video, a picture, or one that moves.
const SHOWING = ["video-preview", "$$canvas-image-preview", "$$comfy_animation_preview"];

function forget(node) {
  for (const widget of (node.widgets ?? []).filter(({ name }) => SHOWING.includes(name))) {
    widget.onRemove?.();
    node.widgets.splice(node.widgets.indexOf(widget), 1);
  }
  node.imgs = node.videoContainer = undefined;
}

app.registerExtension({
  name: "OpenT2V.Previews",
  nodeCreated(node) {
    if (!node.comfyClass?.startsWith("OpenT2V")) return;
    let saved = "";
    const { onExecuted, onDrawForeground } = node;
    node.onExecuted = function (output) {
      onExecuted?.call(this, output);
      if (!output?.images && !output?.video) return; // nothing was saved in this run
      const [file] = output.images ?? [];
      const type = VIDEO.test(file?.filename) ? "video" : "image";
      if (!file || type !== this.previewMediaType) forget(this);
      if (file) output.images = [file]; // of a sequence the first picture, not thousands
      this.previewMediaType = type;
      saved = file?.filename ?? "";
    };
    // The classic page draws a GIF's first picture only, unless told that it moves; told while the run ends, it would
    // take the file for a video.
    node.onDrawForeground = function (...args) {
      if (GIF.test(saved)) this.animatedImages = true;
      return onDrawForeground?.apply(this, args);
    };
  },
});
