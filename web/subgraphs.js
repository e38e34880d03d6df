// Nodes by the ids that runs use: "8:4" is node 4 inside the subgraph that is node 8.

import { app } from "../../scripts/app.js";

export function nodeAt(id) {
  let graph = app.rootGraph ?? app.graph;
  let node;
  for (const part of String(id).split(":")) {
    node = graph?.getNodeById(Number(part));
    graph = node?.subgraph;
  }
  return node;
}
