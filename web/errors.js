// Shows why a node of this pack refused an input before anything ran (host/refused.py): with the input marked and the
// sentence in view. Left alone, the page marks the node only, or shows the sentence after a click.

import { api } from "../../scripts/api.js";
import { nodeAt } from "./subgraphs.js";

const REFUSED = /\bInputRefused$/;
const OF_INPUT = "exception_during_inner_validation"; // the kind of error whose input the page marks and whose text it shows
const OF_NODE = "exception_during_validation";

function unfold(id, name) {
  const node = nodeAt(id);
  if (node?.widgets?.find((widget) => widget.name === name)?.options?.advanced) node.showAdvanced = true;
}

function pointOut(nodes) {
  for (const [id, { class_type, errors }] of Object.entries(nodes ?? {})) {
    if (!class_type?.startsWith("OpenT2V")) continue;
    for (const error of errors ?? []) {
      const { exception_type, input_name } = error.extra_info ?? {};
      if (REFUSED.test(exception_type)) {
        const [name] = error.details.match(/^[a-z]\w*(?=: | is | ['"])/) ?? [];
        error.type = name ? OF_INPUT : OF_NODE;
        error.extra_info = { ...error.extra_info, input_name: name };
        error.details = error.details.replace(`${name}: `, ""); // the page names the input itself
        unfold(id, name);
      } else if (error.type === "custom_validation_failed") {
        error.type = OF_INPUT;
        error.details = error.details.replace(`${input_name} - `, "");
      }
    }
  }
}

const { queuePrompt } = api;
api.queuePrompt = async function (...args) {
  try {
    const answer = await queuePrompt.apply(this, args);
    pointOut(answer?.node_errors); // another part of the graph may run
    return answer;
  } catch (error) {
    pointOut(error?.response?.node_errors);
    throw error;
  }
};
