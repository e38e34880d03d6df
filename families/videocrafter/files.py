"""VideoCrafter2 in single files: the original (lvdm's names, also all in one) and diffusers' names; the SD VAE in both.

Source of the original names: AILab-CVC/VideoCrafter @11bcd76, lvdm/modules/networks/openaimodel3d.py and ae_modules.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ...base import FamilyError, Recognised, Shapes, Variant
from ...base.keys import Rule, rename, squeeze_last
from ...base.recognise import layers, without_prefix
from ...base.tensors import PROJECTIONS, Tensors

Describe = Callable[[Mapping[str, Any], float], Variant]

# Names in the original's residual blocks -> diffusers'.
_RESNET = {
    "in_layers.0": "norm1", "in_layers.2": "conv1", "emb_layers.1": "time_emb_proj", "out_layers.0": "norm2",
    "out_layers.3": "conv2", "skip_connection": "conv_shortcut",
}  # fmt: skip
_FIRST = "^init_attn.0"
_MLPS = {"time_embed": "time_embedding", "fps_embedding": "fps_embedding"}


def unet_rules(per_level: int, levels: int) -> tuple[Rule, ...]:
    """From the original's flat lists of blocks to diffusers' levels with `per_level` residual blocks each."""
    # on the way down a level has its blocks and a downsampler; on the way up it has one block more
    group = per_level + 1
    rules = [rename(f"^{old}.{a}", f"{new}.linear_{b}") for old, new in _MLPS.items() for a, b in ((0, 1), (2, 2))]
    rules += [rename(f"{_FIRST}.{name}", f"transformer_in.{name}", split=squeeze_last) for name in _PROJECTIONS]
    rules += [rename(_FIRST, "transformer_in"), rename("^input_blocks.0.0", "conv_in")]
    for i in range(1, group * levels):
        level, n = divmod(i - 1, group)
        rules.append(rename(f"^input_blocks.{i}.0.op", f"down_blocks.{level}.downsamplers.0.conv"))
        rules += _block(f"^input_blocks.{i}", 0, f"down_blocks.{level}", n)
    for i in range(group * levels):
        level, n = divmod(i, group)
        rules.append(rename(f"^output_blocks.{i}.{{}}.conv", f"up_blocks.{level}.upsamplers.0.conv"))
        rules += _block(f"^output_blocks.{i}", 0, f"up_blocks.{level}", n)
    rules += [*_block("^middle_block", 0, "mid_block", 0), *_block("^middle_block", 3, "mid_block", 1)[:2]]
    rules += [rename(old, new) for old, new in _RESNET.items()]
    return *rules, rename("^out.0", "conv_norm_out"), rename("^out.2", "conv_out")


_PROJECTIONS = ("proj_in", "proj_out")


def _block(source: str, first: int, target: str, n: int) -> list[Rule]:
    """A residual block with its temporal convolution (so spelt by its makers), then attention in space and in time."""
    return [
        rename(f"{source}.{first}.temopral_conv", f"{target}.temp_convs.{n}"),
        rename(f"{source}.{first}", f"{target}.resnets.{n}"),
        rename(f"{source}.{first + 1}", f"{target}.attentions.{n}"),
        rename(f"{source}.{first + 2}", f"{target}.temp_attentions.{n}"),
    ]


def vae_rules(levels: int) -> tuple[Rule, ...]:
    """From Stable Diffusion's own names; its decoder counts the levels from the end."""
    return (
        rename("^loss"),
        rename("^model_ema"),
        rename("^encoder.down.{}", "encoder.down_blocks.{}"),
        *(rename(f"^decoder.up.{n}", f"decoder.up_blocks.{levels - 1 - n}") for n in range(levels)),
        rename("downsample.conv", "downsamplers.0.conv"),
        rename("upsample.conv", "upsamplers.0.conv"),
        rename("mid.block_1", "mid_block.resnets.0"),
        rename("mid.block_2", "mid_block.resnets.1"),
        *(
            rename(f"mid.attn_1.{old}", f"mid_block.attentions.0.{new}", split=_as_linear)
            for old, new in (("q", "to_q"), ("k", "to_k"), ("v", "to_v"), ("proj_out", "to_out.0"))
        ),
        rename("mid.attn_1.norm", "mid_block.attentions.0.group_norm"),
        rename("block.{}", "resnets.{}"),
        rename("nin_shortcut", "conv_shortcut"),
        rename("norm_out", "conv_norm_out"),
    )


def _as_linear(tensor: Any) -> tuple[Any]:
    """A convolution over one pixel [out, in, 1, 1] as a linear layer [out, in]; vectors stay."""
    return (tensor.flatten(1) if tensor.ndim == 4 else tensor,)


# Names of the VAE's attention before diffusers 0.18.
OLDER_ATTENTION = tuple(
    rename(f"mid_block.attentions.0.{old}", f"mid_block.attentions.0.{new}", split=_as_linear)
    for old, new in (("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("proj_attn", "to_out.0"))
)


def recognise(shapes: Shapes, name: str, describe: Describe) -> Recognised | str:
    try:
        return _part(shapes, name, describe)
    except KeyError as error:
        return f"{error} is missing"


def _part(shapes: Shapes, name: str, describe: Describe) -> Recognised | str:
    if stripped := without_prefix(shapes, "input_blocks.0.0.weight"):
        return _original(*stripped, describe)
    if stripped := without_prefix(shapes, "transformer_in.proj_in.weight"):
        return _diffusers(*stripped, name, describe)
    for marker, first in (("decoder.mid.attn_1.q.weight", "down"), ("decoder.mid_block.resnets.0.norm1.weight", "")):
        if marker in shapes and "decoder.conv_in.weight" in shapes and "encoder.conv_in.weight" in shapes:
            return _vae(shapes, name, first == "down", describe)
    return "'input_blocks.0.0.weight' with 'temopral_conv' is missing"


def _original(prefix: str, inner: Shapes, describe: Describe) -> Recognised | str:
    segments = {segment for key in inner for segment in key.split(".")}
    if "relative_position_k" in segments:
        raise FamilyError(
            "This is VideoCrafter1 (its attention over time has relative positions). Not supported; use VideoCrafter2, "
            "which is better at the same size."
        )
    reads_pictures = inner["input_blocks.0.0.weight"][1] != inner.get("out.2.weight", (4,))[0]
    if "to_k_ip" in segments or ("init_attn" in segments and reads_pictures):
        raise FamilyError(
            "This is an image-to-video model of the VideoCrafter family (VideoCrafter1 I2V, DynamiCrafter). Not "
            "supported; to start from a picture use Wan 2.2 TI2V 5B, LTX-Video or CogVideoX 5B I2V."
        )
    if "temopral_conv" not in segments or "init_attn" not in segments:
        return "'temopral_conv' with 'init_attn' is missing"
    per_level = next((n for n in range(1, 99) if f"input_blocks.{n}.0.op.weight" in inner), 1) - 1
    levels = layers(inner, "input_blocks") // (per_level + 1)
    stages = [f"input_blocks.{1 + n * (per_level + 1)}" for n in range(levels)]
    config = _config(
        inner,
        per_level,
        [(inner[f"{stage}.0.out_layers.0.weight"][0], f"{stage}.1.norm.weight" in inner) for stage in stages],
        inner["middle_block.1.transformer_blocks.0.attn2.to_k.weight"][1],
        inner["init_attn.0.transformer_blocks.0.attn1.to_q.weight"][0],
    )
    rules = unet_rules(per_level, levels)
    return _recognised("original", config, rules, prefix, inner, describe)


def _diffusers(prefix: str, inner: Shapes, name: str, describe: Describe) -> Recognised | str:
    if "fps_embedding.linear_1.weight" not in inner and not is_named(name):
        return (
            "'fps_embedding.linear_1.weight' is missing, and without it ModelScope's and Zeroscope's files look the "
            "same (put videocrafter into the file's name if it is one)"
        )
    per_level, levels = layers(inner, "down_blocks.0.resnets"), layers(inner, "down_blocks")
    stages = [f"down_blocks.{n}" for n in range(levels)]
    config = _config(
        inner,
        per_level,
        [(inner[f"{s}.resnets.0.norm2.weight"][0], f"{s}.attentions.0.norm.weight" in inner) for s in stages],
        inner["mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"][1],
        inner["transformer_in.transformer_blocks.0.attn1.to_q.weight"][0],
    )
    return _recognised("diffusers", config, (), prefix, inner, describe)


def is_named(name: str) -> bool:
    """Whether the name of a file or folder says VideoCrafter; its tensors may not show it."""
    return "videocrafter" in name.lower()


def _config(
    inner: Shapes, per_level: int, levels: list[tuple[int, bool]], context: int, first_heads: int
) -> dict[str, Any]:
    """
    Args:
        levels: (width, has attention) of each.
        first_heads: width of the first attention, which always has 8 heads.
    """
    ends = ("input_blocks.0.0.weight", "out.2.weight"), ("conv_in.weight", "conv_out.weight")
    first, last = (inner[n] for n in (ends[0] if ends[0][0] in inner else ends[1]))
    down = ["CrossAttnDownBlock3D" if attends else "DownBlock3D" for _, attends in levels]
    return {
        "in_channels": first[1],
        "out_channels": last[0],
        "down_block_types": down,
        "up_block_types": [kind.replace("Down", "Up") for kind in reversed(down)],
        "block_out_channels": [width for width, _ in levels],
        "layers_per_block": per_level,
        "cross_attention_dim": context,
        "attention_head_dim": first_heads // 8,
    }


def _recognised(
    layout: str, config: dict[str, Any], rules: tuple[Rule, ...], prefix: str, inner: Shapes, describe: Describe
) -> Recognised:
    variant = describe(config, SCALE)
    assert variant.family.files is not None and variant.family.files.inspect is not None
    variant = variant.family.files.inspect(variant, inner)
    return Recognised("transformer", layout, "UNet3DConditionModel", config, variant, rules, prefix, variant.remark)


def tensors(variant: Variant, config: Mapping[str, Any]) -> Shapes:
    """See `Recognition.tensors`."""
    widths, context, network = config["block_out_channels"], config["cross_attention_dim"], Tensors()
    first, time = widths[0], 4 * widths[0]
    attends = [kind.startswith("CrossAttn") for kind in config["down_block_types"]]

    def attention(name: str, width: int, inner: int, read: int) -> None:
        block = f"{name}.transformer_blocks.0"
        network.norm(f"{name}.norm", width)
        network.linear(f"{name}.proj_in", inner, width)
        network.norms(block, ("norm1", "norm2", "norm3"), inner, bias=True)
        for layer, into in (("attn1", inner), ("attn2", read)):
            network.linear(f"{block}.{layer}.to_q", inner, inner, bias=False)
            network.linears(f"{block}.{layer}", PROJECTIONS[1:3], inner, into, bias=False)
            network.linear(f"{block}.{layer}.to_out.0", inner, inner)
        network.linear(f"{block}.ff.net.0.proj", 8 * inner, inner)
        network.linear(f"{block}.ff.net.2", inner, 4 * inner)
        network.linear(f"{name}.proj_out", width, inner)

    def resnet(level: str, n: int, into: int, out: int) -> None:
        block, temporal = f"{level}.resnets.{n}", f"{level}.temp_convs.{n}"
        network.norm(f"{block}.norm1", into)
        network.linear(f"{block}.conv1", out, into, 3, 3)
        network.linear(f"{block}.time_emb_proj", out, time)
        network.norm(f"{block}.norm2", out)
        network.linear(f"{block}.conv2", out, out, 3, 3)
        if into != out:
            network.linear(f"{block}.conv_shortcut", out, into, 1, 1)
        for conv, place in (("conv1", 2), ("conv2", 3), ("conv3", 3), ("conv4", 3)):
            network.norm(f"{temporal}.{conv}.0", out)
            network.linear(f"{temporal}.{conv}.{place}", out, out, 3, 1, 1)

    def attentions(level: str, n: int, width: int) -> None:
        attention(f"{level}.attentions.{n}", width, width, context)
        attention(f"{level}.temp_attentions.{n}", width, width, width)

    network.linear("conv_in", first, config["in_channels"], 3, 3)
    for name in ("time_embedding", *(["fps_embedding"] if variant.facts["has_rate"] else [])):
        network.linear(f"{name}.linear_1", time, first)
        network.linear(f"{name}.linear_2", time, time)
    inner = 8 * config["attention_head_dim"]
    attention("transformer_in", first, inner, inner)
    last, skips = len(widths) - 1, [first]
    for level, width in enumerate(widths):
        for n in range(config["layers_per_block"]):
            resnet(f"down_blocks.{level}", n, skips[-1], width)
            skips.append(width)
            if attends[level]:
                attentions(f"down_blocks.{level}", n, width)
        if level < last:
            network.linear(f"down_blocks.{level}.downsamplers.0.conv", width, width, 3, 3)
            skips.append(width)
    for n in range(2):
        resnet("mid_block", n, widths[-1], widths[-1])
    attentions("mid_block", 0, widths[-1])
    before = widths[-1]
    for level, width in enumerate(reversed(widths)):
        for n in range(config["layers_per_block"] + 1):
            resnet(f"up_blocks.{level}", n, before + skips.pop(), width)
            before = width
            if attends[last - level]:
                attentions(f"up_blocks.{level}", n, width)
        if level < last:
            network.linear(f"up_blocks.{level}.upsamplers.0.conv", width, width, 3, 3)
    network.norm("conv_norm_out", first)
    network.linear("conv_out", config["out_channels"], first, 3, 3)
    return network


# Scaling factor of Stable Diffusion 1 and 2's latents; files do not state it.
SCALE = 0.18215


def _vae(inner: Shapes, name: str, is_original: bool, describe: Describe) -> Recognised | str:
    channels = inner["decoder.conv_in.weight"][1]
    if channels != 4 or len(inner["decoder.conv_in.weight"]) != 4:
        return f"the VAE has {channels} latent channels; VideoCrafter2's, that of Stable Diffusion 1, has 4"
    if "xl" in name.lower():
        return "by its name this is the VAE of SDXL, whose latents mean something else"
    down, block = ("encoder.down", "block") if is_original else ("encoder.down_blocks", "resnets")
    levels = layers(inner, down)
    config = {
        "block_out_channels": [inner[f"{down}.{n}.{block}.0.conv1.weight"][0] for n in range(levels)],
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "layers_per_block": layers(inner, f"{down}.0.{block}"),
        "latent_channels": channels,
    }
    rules = vae_rules(levels) if is_original else OLDER_ATTENTION
    return Recognised(
        "vae", "original" if is_original else "diffusers", "AutoencoderKL", config, describe(ANY, SCALE), rules
    )


# Config of the published UNet, for a VAE file: the VAE's facts do not depend on the UNet.
ANY = {
    "in_channels": 4, "out_channels": 4, "block_out_channels": [320, 640, 1280, 1280], "cross_attention_dim": 1024,
}  # fmt: skip
