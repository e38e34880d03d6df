// Leaves the page's language where the server finds it (host/comfyui/place.py). ComfyUI's own setting is stored only once
// somebody has changed it; until then the page follows the browser.

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

const KEY = "OpenT2V.Language";

app.registerExtension({
  name: "OpenT2V.Language",
  async setup() {
    const language = app.ui.settings.getSettingValue("Comfy.Locale") ?? navigator.language;
    if ((await api.getSetting(KEY)) !== language) await api.storeSetting(KEY, language);
  },
});
