"""Parse the names in a LoRA file: the layer, the role of the tensor, and the naming convention."""

from __future__ import annotations

import re

from ...base.keys import unwrapped

# (kind, role) of a tensor. Roles of kind "" occur with every kind.
Role = tuple[str, str]

_ADAPTER = r"(?:\.(?!weight$|bias$)[^.]+)?"  # peft inserts the adapter's name: ".lora_A.default.weight"
_ENDS: tuple[tuple[str, Role], ...] = (
    (r"\.lora_down\.weight", ("lora", "down")),
    (r"\.lora_up\.weight", ("lora", "up")),
    (r"\.lora_mid\.weight", ("lora", "mid")),
    (rf"\.lora_A{_ADAPTER}(?:\.weight)?", ("lora", "down")),
    (rf"\.lora_B{_ADAPTER}(?:\.weight)?", ("lora", "up")),
    (rf"\.lora_B{_ADAPTER}\.bias", ("lora", "up_bias")),
    (rf"\.lora_magnitude_vector{_ADAPTER}(?:\.weight)?", ("", "dora")),
    (r"[._]lora\.down\.weight", ("lora", "down")),
    (r"[._]lora\.up\.weight", ("lora", "up")),
    (r"\.lora_linear_layer\.down\.weight", ("lora", "down")),
    (r"\.lora_linear_layer\.up\.weight", ("lora", "up")),
    (r"\.alpha", ("", "alpha")),
    (r"\.dora_scale", ("", "dora")),
    (r"\.hada_(w[12]_[ab]|t[12])", ("loha", "")),
    (r"\.lokr_(w[12](?:_[ab])?|t2)", ("lokr", "")),
    (r"\.([ab][12])\.weight", ("glora", "")),
    (r"\.oft_blocks", ("oft", "blocks")),
    (r"\.rescale", ("oft", "rescale")),
    (r"\.diff", ("diff", "diff")),
    (r"\.w_norm", ("diff", "diff")),
    (r"\.(?:diff_b|b_norm)", ("diff", "diff_b")),
    (r"\.diff_m", ("diff", "diff_m")),
)
_ALTERNATIVES = "|".join("(" + re.sub(r"\((?!\?)", "(?:", end) + ")" for end, _ in _ENDS)
# Most positions in a key cannot start a suffix, so its first characters are tested before all alternatives.
_END = re.compile(rf"(?=[._](?:lora|alpha|dora|hada|lokr|oft|rescale|diff|[ab][12]\.|[wb]_norm))(?:{_ALTERNATIVES})$")
# LyCORIS' factors and GLoRA's: the key itself states the role.
_OWN_ROLE = re.compile(r"(?:hada_|lokr_)?(w[12](?:_[ab])?|t[12]|[ab][12])(?:\.weight)?$")

# Prefixes before the transformer's own names. They are removed one after the other, the longest first.
PREFIXES = (
    "base_model.model.",
    "model.diffusion_model.",
    "diffusion_model.",
    "transformer.",
    "transformer_1.",
    "transformer_2.",
    "unet.",
    "dit.",
    "model.",
    "module.",
    "net.",
    "generator.",
    "generator_ema.",
    "pipe.",
    "dit2.",
)
# Prefixes of names in which underscores replace points.
FLAT_PREFIXES = (
    "lora_unet__",
    "lora_unet_",
    "lora_transformer_",
    "lycoris_",
    "Hunyuan_video_I2V_lora_",  # Tencent's own trainer
    "Hunyuan_video_lora_",
)
# DiffSynth calls the second expert dit2.
_LOW = ("transformer_2.", "dit2.")
TEXT_PREFIXES = re.compile(
    r"(?:lora_te(?P<flat>\d?)_|(?:base_model\.model\.)?(?:text_encoders?|te|cond_stage_model)(?:_?(?P<number>\d))?\.)"
)


def parse(key: str) -> tuple[str, Role] | None:
    """(the layer's name with its prefix, the tensor's role); None for a name that no format has."""
    match = _END.search(key)
    if match is None or match.start() == 0:
        return None
    assert match.lastindex is not None
    kind, role = _ENDS[match.lastindex - 1][1]
    if not role:
        named_role = _OWN_ROLE.search(key)
        assert named_role is not None
        role = named_role.group(1)
    stem = unwrapped(key[: match.start()] + ".").removesuffix(".")
    if is_flat(stem):
        stem = stem.replace("_orig_mod_", "")
    # Old diffusers files have the attention's processor in the name.
    return stem.replace(".processor.", "."), (kind, role)


def is_text_encoder(stem: str) -> bool:
    """Whether a layer is a text encoder's."""
    return TEXT_PREFIXES.match(stem) is not None


def is_flat(stem: str) -> bool:
    """Whether underscores replace the points of a layer's name."""
    return stem.startswith(FLAT_PREFIXES) or stem.startswith("lora_te")


def expert(stem: str) -> str:
    """ "high" or "low" where a layer's name says which of two experts it is for, else ""."""
    bare = _bare(stem)
    return "low" if bare.startswith(_LOW) else "high" if bare.startswith("transformer_1.") else ""


def is_of_a_pair(stem: str) -> bool:
    """Whether a layer's name is that of a pipeline with two experts."""
    return _bare(stem).startswith(("transformer_1.", "transformer_2."))


def _bare(stem: str) -> str:
    return stem.removeprefix("diffusion_model.").removeprefix("pipe.")


def forms(stem: str, slots: tuple[str, ...] = ()) -> list[str]:
    """Possible names of a layer in the model, the likeliest first; in flat names, points for underscores.

    Args:
        slots: of text encoders, for a text encoder's layer.
    """
    text = TEXT_PREFIXES.match(stem)
    if text is not None:
        bare, number = stem[text.end() :], text["flat"] or text["number"] or "1"
        named = sorted(slots, key=lambda slot: slot != ("text_encoder" if number == "1" else f"text_encoder_{number}"))
        # transformers 5 has removed the level "text_model" from CLIP.
        inner = bare.removeprefix("transformer.").removeprefix("text_model.").removeprefix("text_model_")
        parts = dict.fromkeys([bare, inner, f"text_model.{inner}"])
        names = [f"{slot}.{part}" for slot in named for part in parts] + [stem]
    elif stem.startswith(FLAT_PREFIXES):
        names = [stem.removeprefix(next(prefix for prefix in FLAT_PREFIXES if stem.startswith(prefix)))]
        # "lora_unet_transformer_blocks" names a layer; "lora_transformer_" can also precede the original's names.
        names += [stem.removeprefix("lora_")] if stem.startswith("lora_transformer_") else []
    else:
        names, bare = [stem], stem
        while prefix := next((p for p in PREFIXES if bare.startswith(p)), ""):
            bare = bare[len(prefix) :]
            names.insert(0, bare)
    return [form.replace("_", ".") for form in names] if is_flat(stem) else names
