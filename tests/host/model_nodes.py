"""What each core node that takes a MODEL and gives one does to ours; docs/interoperates.md says the same.

The outcomes, in a sampler:
    same: it changes the video, and as on core's MODEL of the same weights.
    nothing: it changes neither.
    refused: ours says by name that it cannot; what core's does is no matter.
    levels: it sets the noise levels as on core's; the timestep that the model is told stays its own.
    rounding: it changes both within the precision that it asks for.
    own: it changes both, each in its own way.
    alone: core's node fails on core's own MODEL; ours runs.
    fails: core's node fails on both, with the same words.
"""

from __future__ import annotations

# (KSampler, Video Sampler) -> nodes.
OUTCOMES: dict[tuple[str, str], str] = {
    ("same", "same"): """
        APG, CFGNorm, CFGOverride, CFGZeroStar, ContextWindowsManual, DifferentialDiffusion, Epsilon Scaling, FreSca,
        LTXVContextWindows, LatentApplyOperationCFG, LazyCache, LoraLoader, LoraLoaderBypass,
        LoraLoaderBypassModelOnly, LoraLoaderModelOnly, LoraModelLoader, Mahiro, ModelMergeAuraflow,
        ModelMergeBlocks, ModelMergeCosmos14B, ModelMergeCosmos7B, ModelMergeCosmosPredict2_14B,
        ModelMergeCosmosPredict2_2B, ModelMergeFlux1, ModelMergeKrea2, ModelMergeLTXV, ModelMergeMochiPreview,
        ModelMergeQwenImage, ModelMergeSD1, ModelMergeSD2, ModelMergeSD35_Large, ModelMergeSD3_2B, ModelMergeSDXL,
        ModelMergeSimple, ModelMergeWAN2_1, PerpNeg, RescaleCFG, TCFG, TemporalScoreRescaling,
        VideoLinearCFGGuidance, VideoTriangleCFGGuidance, WanContextWindowsManual
    """,
    ("same", "nothing"): "MiniMaxH3SigmaShift, ModelNoiseScale, ModelSamplingSD3",
    ("levels", "nothing"): "ModelSamplingAuraFlow, ModelSamplingFlux, ModelSamplingLTXV",
    ("rounding", "rounding"): "ModelComputeDtype",
    ("own", "own"): "EasyCache, ModelMergeAdd, ModelMergeSubtract",
    ("nothing", "nothing"): """
        ChromaRadianceOptions, ModelAttentionBackend, MultiGPU_WorkUnits, SelectModelDevice,
        UNetCrossAttentionMultiply, UNetSelfAttentionMultiply, UNetTemporalAttentionMultiply, WanAnimate2Cache,
        wanBlockSwap
    """,
    ("refused", "refused"): """
        FluxKVCache, HyperTile, LTXVModalityGuidance, LTXVSpatioTemporalGuidance, ModelSamplingContinuousEDM,
        ModelSamplingContinuousV, ModelSamplingDiscrete, ModelSamplingStableCascade, NAGuidance, PatchModelAddDownscale,
        PerturbedAttentionGuidance, ScaleROPE, SelfAttentionGuidance, SkipLayerGuidanceDiT,
        SkipLayerGuidanceDiTSimple, SkipLayerGuidanceSD3, TomePatchModel
    """,
    ("alone", "alone"): "RenormCFG",
    ("fails", "fails"): "FreeU, FreeU_V2",
    ("nothing", "fails"): "HiDreamO1PatchSeamSmoothing",
}
ROWS = {name.strip(): both for both, names in OUTCOMES.items() for name in names.split(",")}

# Not walked, with the reason.
ELSEWHERE = {
    "TorchCompileModel": "test_torch_compile_model",
    "ARVideoI2V": "for core's sampler of causal Wan, which is another model",
    "LTXVReferenceAudio": "reads an audio VAE of LTX-2",
    "TrainLoraNode": "trains; older cores, 0.8 among them, give the MODEL with what it learnt",
    "TripoSplatSamplingPreview": "reads a VAE of TripoSplat",
    "WanUni3CControlnetApply": "a ControlNet beside core's own Wan; it says itself that ours is none",
    # The rest read a file made for core's own network and ask for patches in it: refused, as any patch is.
    "AnimaLLLiteApply": "patch",
    "HypernetworkLoader": "patch",
    "QwenImageDiffsynthControlnet": "patch",
    "SUPIRApply": "patch",
    "USOStyleReference": "patch",
    "WanInfiniteTalkToVideo": "patch",
    "ZImageFunControlnet": "patch",
}
