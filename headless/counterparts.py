"""Which node of this pack does what one of ComfyUI or of another pack does, for the errors about foreign nodes."""

from __future__ import annotations

# Our node -> theirs: ComfyUI's, WanVideoWrapper's, HunyuanVideoWrapper's, GGUF's and Video Helper Suite's.
_SIMILAR: dict[str, tuple[str, ...]] = {
    "OpenT2VLoadDiffusionModel": (
        "UNETLoader",
        "CheckpointLoaderSimple",
        "UnetLoaderGGUF",
        "WanVideoModelLoader",
        "HyVideoModelLoader",
    ),
    "OpenT2VLoadTextEncoder": (
        "CLIPLoader",
        "DualCLIPLoader",
        "CLIPLoaderGGUF",
        "DualCLIPLoaderGGUF",
        "LoadWanVideoT5TextEncoder",
        "DownloadAndLoadHyVideoTextEncoder",
    ),
    "OpenT2VLoadVAE": ("VAELoader", "WanVideoVAELoader", "HyVideoVAELoader"),
    "OpenT2VEncodePrompt": ("CLIPTextEncode", "WanVideoTextEncode", "HyVideoTextEncode"),
    "OpenT2VEmptyLatent": (
        "EmptyLatentImage",
        "EmptyHunyuanLatentVideo",
        "EmptyLTXVLatentVideo",
        "EmptyMochiLatentVideo",
        "Wan22ImageToVideoLatent",
        "WanVideoEmptyEmbeds",
    ),
    "OpenT2VImageToVideo": ("WanImageToVideo", "LTXVImgToVideo", "WanFirstLastFrameToVideo"),
    "OpenT2VSampler": (
        "KSampler",
        "KSamplerAdvanced",
        "SamplerCustom",
        "SamplerCustomAdvanced",
        "WanVideoSampler",
        "HyVideoSampler",
    ),
    "OpenT2VDecode": ("VAEDecode", "VAEDecodeTiled", "WanVideoDecode", "HyVideoDecode"),
    "OpenT2VEncodeVideo": ("VAEEncode", "WanVideoEncode", "HyVideoEncode"),
    "OpenT2VSaveVideo": (
        "SaveVideo",
        "CreateVideo",
        "SaveWEBM",
        "SaveAnimatedWEBP",
        "SaveAnimatedPNG",
        "VHS_VideoCombine",
    ),
    "OpenT2VLoadVideo": ("LoadVideo", "GetVideoComponents", "VHS_LoadVideo", "VHS_LoadVideoPath"),
    "OpenT2VLoadLora": ("LoraLoader", "LoraLoaderModelOnly", "WanVideoLoraSelect", "HyVideoLoraSelect"),
    "OpenT2VStepCache": ("EasyCache", "LazyCache", "WanVideoTeaCache", "HyVideoTeaCache"),
    "OpenT2VColourMatch": ("ColorTransfer", "ColorMatch"),
    "OpenT2VFrameRate": ("RIFE VFI", "FILM VFI"),
}
COUNTERPARTS = {theirs: ours for ours, kinds in _SIMILAR.items() for theirs in kinds}
