// Words of the reports that the page adds itself, in the page's language.

import { app } from "../../scripts/app.js";

const WORDS = {
  en: {
    whole: "Whole report",
    reports: "Reports of this run",
    copy: "Copy as text",
    copied: "Copied",
    selected: "Selected: copy it with Ctrl+C",
    close: "Close",
    fits: "fits",
    look: "look at this",
    refused: "refused",
    computed: "computed",
    reused: "reused",
    steps: (computed, all) => `${computed} of ${all} steps computed`,
    step: (number, kind) => `step ${number}: ${kind}`,
  },
  zh: {
    whole: "完整报告",
    reports: "本次运行的报告",
    copy: "复制为文本",
    copied: "已复制",
    selected: "已选中：按 Ctrl+C 复制",
    close: "关闭",
    fits: "合适",
    look: "请留意",
    refused: "拒绝",
    computed: "已计算",
    reused: "已复用",
    steps: (computed, all) => `${all} 步中计算了 ${computed} 步`,
    step: (number, kind) => `第 ${number} 步：${kind}`,
  },
};

export function words() {
  const locale = String(app.extensionManager?.setting?.get("Comfy.Locale") ?? "en");
  return WORDS[locale.split("-")[0]] ?? WORDS.en;
}
