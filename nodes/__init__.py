"""What a user sees: one class per node; ids never change, inputs are only appended."""

from __future__ import annotations

from .load import OpenT2VLoadModel
from .prompt import OpenT2VEncodePrompt
from .sample import OpenT2VEmptyLatent, OpenT2VSampler
from .video import OpenT2VDecode, OpenT2VSaveVideo

NODE_CLASS_MAPPINGS = {
    "OpenT2VLoadModel": OpenT2VLoadModel,
    "OpenT2VEncodePrompt": OpenT2VEncodePrompt,
    "OpenT2VEmptyLatent": OpenT2VEmptyLatent,
    "OpenT2VSampler": OpenT2VSampler,
    "OpenT2VDecode": OpenT2VDecode,
    "OpenT2VSaveVideo": OpenT2VSaveVideo,
}

NODE_DISPLAY_NAME_MAPPINGS = {
    "OpenT2VLoadModel": "Load Video Model",
    "OpenT2VEncodePrompt": "Encode Video Prompt",
    "OpenT2VEmptyLatent": "Empty Video Latent",
    "OpenT2VSampler": "Video Sampler",
    "OpenT2VDecode": "Decode Video",
    "OpenT2VSaveVideo": "Save Video File",
}

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
