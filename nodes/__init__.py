"""The nodes, one class each; ids never change, inputs are only appended."""

from __future__ import annotations

from .cache import OpenT2VApplyStepCache, OpenT2VLoadCacheProfile, OpenT2VStepCache
from .calibrate_cache import OpenT2VCalibrateCache
from .compare_cache import OpenT2VCompareCache
from .compare_clips import OpenT2VCompareClips
from .content import OpenT2VContentCheck
from .continuing import OpenT2VContinue
from .continuity import OpenT2VMeasureVideo
from .doctor import OpenT2VInspectFile
from .encode_video import OpenT2VEncodeVideo
from .finishing import (
    OpenT2VCaption,
    OpenT2VColourMatch,
    OpenT2VDeflicker,
    OpenT2VFrameRate,
    OpenT2VLoop,
    OpenT2VWatermark,
)
from .guidance import OpenT2VGuidance
from .join_clips import OpenT2VJoinClips
from .joining import OpenT2VJoinFiles
from .keyframes import OpenT2VKeyframes
from .language import speak
from .latent import OpenT2VEmptyLatent
from .load import OpenT2VLoadModel
from .load_files import OpenT2VLoadDiffusionModel, OpenT2VLoadVAE
from .load_text import OpenT2VLoadTextEncoder
from .load_video import OpenT2VLoadVideo
from .lora import OpenT2VLoadLora, OpenT2VLoraStack
from .picture import OpenT2VImageToVideo
from .prompt import OpenT2VEncodePrompt
from .prompt_builder import OpenT2VPromptBuilder
from .references import OpenT2VReferences
from .rows import OpenT2VRows
from .sample import OpenT2VSampler
from .sound import OpenT2VEncodeAudio
from .storyboard import OpenT2VStoryboard
from .stream import OpenT2VDecodeToVideo, OpenT2VFinishFrames
from .sweep_cache import OpenT2VSweepCache
from .train import OpenT2VTrainLora
from .upscale import OpenT2VUpscaleLatent
from .video import OpenT2VDecode, OpenT2VSaveVideo
from .windows import OpenT2VWindows

NODE_CLASS_MAPPINGS = {
    "OpenT2VLoadModel": OpenT2VLoadModel,
    "OpenT2VEncodePrompt": OpenT2VEncodePrompt,
    "OpenT2VEmptyLatent": OpenT2VEmptyLatent,
    "OpenT2VSampler": OpenT2VSampler,
    "OpenT2VDecode": OpenT2VDecode,
    "OpenT2VSaveVideo": OpenT2VSaveVideo,
    "OpenT2VLoadDiffusionModel": OpenT2VLoadDiffusionModel,
    "OpenT2VLoadTextEncoder": OpenT2VLoadTextEncoder,
    "OpenT2VLoadVAE": OpenT2VLoadVAE,
    "OpenT2VInspectFile": OpenT2VInspectFile,
    "OpenT2VImageToVideo": OpenT2VImageToVideo,
    "OpenT2VEncodeVideo": OpenT2VEncodeVideo,
    "OpenT2VLoadVideo": OpenT2VLoadVideo,
    "OpenT2VDecodeToVideo": OpenT2VDecodeToVideo,
    "OpenT2VFinishFrames": OpenT2VFinishFrames,
    "OpenT2VColourMatch": OpenT2VColourMatch,
    "OpenT2VDeflicker": OpenT2VDeflicker,
    "OpenT2VFrameRate": OpenT2VFrameRate,
    "OpenT2VCaption": OpenT2VCaption,
    "OpenT2VWatermark": OpenT2VWatermark,
    "OpenT2VLoop": OpenT2VLoop,
    "OpenT2VJoinClips": OpenT2VJoinClips,
    "OpenT2VContentCheck": OpenT2VContentCheck,
    "OpenT2VStepCache": OpenT2VStepCache,
    "OpenT2VApplyStepCache": OpenT2VApplyStepCache,
    "OpenT2VGuidance": OpenT2VGuidance,
    "OpenT2VCalibrateCache": OpenT2VCalibrateCache,
    "OpenT2VLoadCacheProfile": OpenT2VLoadCacheProfile,
    "OpenT2VCompareCache": OpenT2VCompareCache,
    "OpenT2VSweepCache": OpenT2VSweepCache,
    "OpenT2VLoadLora": OpenT2VLoadLora,
    "OpenT2VLoraStack": OpenT2VLoraStack,
    "OpenT2VEncodeAudio": OpenT2VEncodeAudio,
    "OpenT2VWindows": OpenT2VWindows,
    "OpenT2VContinue": OpenT2VContinue,
    "OpenT2VReferences": OpenT2VReferences,
    "OpenT2VJoinFiles": OpenT2VJoinFiles,
    "OpenT2VMeasureVideo": OpenT2VMeasureVideo,
    "OpenT2VRows": OpenT2VRows,
    "OpenT2VCompareClips": OpenT2VCompareClips,
    "OpenT2VTrainLora": OpenT2VTrainLora,
    "OpenT2VUpscaleLatent": OpenT2VUpscaleLatent,
    "OpenT2VPromptBuilder": OpenT2VPromptBuilder,
    "OpenT2VStoryboard": OpenT2VStoryboard,
    "OpenT2VKeyframes": OpenT2VKeyframes,
}

for _node in NODE_CLASS_MAPPINGS.values():
    speak(_node)

NODE_DISPLAY_NAME_MAPPINGS = {
    "OpenT2VLoadModel": "Load Video Model",
    "OpenT2VEncodePrompt": "Encode Video Prompt",
    "OpenT2VEmptyLatent": "Empty Video Latent",
    "OpenT2VSampler": "Video Sampler",
    "OpenT2VDecode": "Decode Video",
    "OpenT2VSaveVideo": "Save Video File",
    "OpenT2VLoadDiffusionModel": "Load Video Diffusion Model",
    "OpenT2VLoadTextEncoder": "Load Video Text Encoder",
    "OpenT2VLoadVAE": "Load Video VAE",
    "OpenT2VInspectFile": "Inspect Model File",
    "OpenT2VImageToVideo": "Image to Video",
    "OpenT2VEncodeVideo": "Video to Video Latent",
    "OpenT2VLoadVideo": "Load Video Frames",
    "OpenT2VDecodeToVideo": "Decode to Video File",
    "OpenT2VFinishFrames": "Finish Frames",
    "OpenT2VColourMatch": "Match Colours",
    "OpenT2VDeflicker": "Deflicker",
    "OpenT2VFrameRate": "Change Frame Rate",
    "OpenT2VCaption": "Burn In Captions",
    "OpenT2VWatermark": "Watermark",
    "OpenT2VLoop": "Make a Loop",
    "OpenT2VJoinClips": "Join Clips",
    "OpenT2VContentCheck": "Content Check",
    "OpenT2VStepCache": "Step Cache",
    "OpenT2VApplyStepCache": "Apply Step Cache",
    "OpenT2VGuidance": "Video Guidance",
    "OpenT2VCalibrateCache": "Calibrate Step Cache",
    "OpenT2VLoadCacheProfile": "Load Cache Profile",
    "OpenT2VCompareCache": "Compare Step Cache",
    "OpenT2VSweepCache": "Sweep Step Cache",
    "OpenT2VLoadLora": "Load Video LoRA",
    "OpenT2VLoraStack": "Stack Video LoRAs",
    "OpenT2VEncodeAudio": "Encode Sound",
    "OpenT2VWindows": "Video Windows",
    "OpenT2VContinue": "Continue Video",
    "OpenT2VReferences": "Video References",
    "OpenT2VJoinFiles": "Join Video Files",
    "OpenT2VMeasureVideo": "Measure Long Video",
    "OpenT2VRows": "Prompt Rows",
    "OpenT2VCompareClips": "Compare Clips",
    "OpenT2VTrainLora": "Train Video LoRA",
    "OpenT2VUpscaleLatent": "Upscale Video Latent",
    "OpenT2VPromptBuilder": "Prompt Builder",
    "OpenT2VStoryboard": "Storyboard",
    "OpenT2VKeyframes": "Keyframes",
}

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
