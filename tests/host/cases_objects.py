"""Inside ComfyUI's Python: VAE, CLIP and CLIP_VISION beside the host's own, every family's VAE in every node."""

from __future__ import annotations

import types

import comfy.clip_vision
import comfy.sd
import comfy.sd1_clip
import original
import torch
from boot import call, case, largest

from opent2v.host import comfyui as real
from opent2v.host import embedded
from opent2v.loaders.single import load_vae, open_file
from opent2v.tests.tiny import cogvideox as tiny_cogvideox
from opent2v.tests.tiny import hunyuan_video as tiny_hunyuan
from opent2v.tests.tiny import ltx_video as tiny_ltx_video
from opent2v.tests.tiny import mochi as tiny_mochi
from opent2v.tests.tiny import open_sora as tiny_open_sora
from opent2v.tests.tiny import videocrafter as tiny_videocrafter
from opent2v.tests.tiny import wan as tiny
from opent2v.tests.tiny import wan_variants as tiny_wan

FOLDERS = {
    "wan 2.1": tiny.folder(),
    "wan 2.2": tiny.folder("ti2v"),
    "ltx-video": tiny_ltx_video.folder("0.9.5"),
    "cogvideox": tiny_cogvideox.folder("2b"),
    "hunyuan-video": tiny_hunyuan.folder(),
    "mochi": tiny_mochi.folder(),
    "open-sora": tiny_open_sora.folder(),
}


def part_of(family: str):
    if family == "videocrafter":
        return load_vae(open_file(tiny_videocrafter.file()), torch.float32)
    return tiny.parts(FOLDERS[family])[2]


def image_encoder():
    return tiny.pipeline(tiny_wan.folder("i2v")).image_encoder


def public(thing: object) -> set[str]:
    return {name for name in dir(thing) if not name.startswith("_")}


def lacking(ours: object, theirs: object) -> list[str]:
    """Attributes and methods that theirs has and ours has not."""
    return sorted((set(vars(theirs)) | public(theirs)) - set(vars(ours)) - set(dir(ours)))


def methods(cls: type) -> set[str]:
    """What a class of the host defines itself, without torch's."""
    return {name for name, one in vars(cls).items() if isinstance(one, types.FunctionType) and not name.startswith("_")}


def plain(thing: object) -> dict:
    return {name: value for name, value in vars(thing).items() if value is None or isinstance(value, bool | int | str)}


@case
def names():
    _, weights = original.vae()
    cores = comfy.sd.VAE(sd=weights)
    ours = real.vae(tiny.parts(tiny.folder())[2])
    cores_clip = comfy.sd.CLIP(
        types.SimpleNamespace(params={}, clip=comfy.sd1_clip.SD1ClipModel, tokenizer=comfy.sd1_clip.SD1Tokenizer)
    )
    our_clip = real.clip(tiny.parts(tiny.folder())[1])
    vision = real.clip_vision(image_encoder())
    found = {
        "VAE": lacking(ours, cores),
        "VAE patcher": lacking(ours.patcher, cores.patcher),
        "CLIP": lacking(our_clip, cores_clip),
        "CLIP patcher": lacking(our_clip.patcher, cores_clip.patcher),
        "text encoder": sorted(methods(comfy.sd1_clip.SD1ClipModel) - {"forward"} - public(our_clip.cond_stage_model)),
        "tokenizer": sorted(methods(comfy.sd1_clip.SD1Tokenizer) - public(our_clip.tokenizer)),
    }
    mine, own = plain(ours), plain(cores)
    return {
        "lacking": found,
        "CLIP_VISION": type(vision) is comfy.clip_vision.ClipVisionModel,
        "VAE values": {name: [mine.get(name), value] for name, value in own.items() if mine.get(name) != value},
        "compute dtype": str(our_clip.patcher.object_patches.get("manual_cast_dtype")),
        "image size": vision.image_size,
    }


@case
def an_unset_part_is_seen():
    """The comparison above sees an attribute and a method that are gone."""
    part = tiny.parts(tiny.folder())[2]
    ours, whole = real.vae(part), real.vae(part)
    del ours.crop_input
    return lacking(ours, whole)


@case
def replaced():
    """What compiling nodes of other packs do."""
    vae = real.vae(tiny.parts(tiny.folder())[2])
    compiled = torch.nn.Identity()
    vae.first_stage_model = compiled
    return vae.first_stage_model is compiled


@case
def vision_outputs():
    """The image encoder's outputs against transformers' on the same weights."""
    encoder = image_encoder()
    image = torch.rand(2, 40, 48, 3)
    ours = call("CLIPVisionEncode", clip_vision=real.clip_vision(encoder), image=image, crop="center")
    cores = embedded.clip_vision(encoder).encode_image(image, True)
    return {
        "penultimate": largest(ours["penultimate_hidden_states"], cores.penultimate_hidden_states),
        "last": largest(ours["last_hidden_state"], cores.last_hidden_state),
        "shared": all(
            ours_one.data_ptr() == one.data_ptr()
            for ours_one, one in zip(
                real.clip_vision(encoder).model.vision_model.encoder.layers[0].mlp.parameters(),
                _mlp(encoder).parameters(),
                strict=True,
            )
        ),
    }


def _mlp(encoder):
    return getattr(encoder, "vision_model", encoder).encoder.layers[0].mlp


@case
def vaes():
    """Core's VAE nodes and ours with every family's VAE, against the embedded host."""
    found = {}
    for family in (*FOLDERS, "videocrafter"):
        part = part_of(family)
        ours, reference = real.vae(part), embedded.vae(part)
        geometry = part.variant.geometry
        frames, side = geometry.temporal * geometry.group + 1, geometry.spatial * max(4, geometry.patch)
        generator = torch.Generator().manual_seed(1)
        images = torch.rand(frames, side, side, 3, generator=generator)
        count = geometry.group + 1
        latent = torch.randn(1, geometry.channels, count, 4, 4, generator=generator)
        whole = {"tile_size": 512, "overlap": 64, "temporal_size": 64, "temporal_overlap": 8}
        with torch.inference_mode():
            decoded, encoded = embedded.decode(reference, latent), embedded.encode(reference, images)
            streamed = torch.cat(list(real.decode_stream(ours, latent)))
        found[family] = {
            "range": [decoded.min().item() >= 0, decoded.max().item() <= 1, decoded.std().item() > 0.01],
            "Decode Video": largest(call("OpenT2VDecode", vae=ours, latent={"samples": latent})[0], decoded),
            "VAEDecode": largest(call("VAEDecode", vae=ours, samples={"samples": latent}), decoded),
            "VAEDecodeTiled": largest(call("VAEDecodeTiled", vae=ours, samples={"samples": latent}, **whole), decoded),
            "stream": largest(streamed, decoded),
            "Encode Video": largest(call("OpenT2VEncodeVideo", vae=ours, images=images)[0]["samples"], encoded),
            "VAEEncode": largest(call("VAEEncode", vae=ours, pixels=images)["samples"], encoded),
            "VAEEncodeTiled": largest(call("VAEEncodeTiled", vae=ours, pixels=images, **whole)["samples"], encoded),
        }
    return found
