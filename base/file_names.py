"""What the names of model and LoRA files tell where neither tensors nor metadata do."""

from __future__ import annotations

import re

# Words of checkpoints and LoRAs that were distilled to few steps; "lighting" is a common slip for "lightning".
_DISTILLED = re.compile(
    r"lightx2v|lightn?ing|lightspeed|causvid|accvid|distil|cfg[ _-]?step|fast[ _-]?(?:wan|video|hunyuan)|dmd"
    r"|self[ _-]?forcing|fusioni?x|rapid|turbo|(?<![a-z])rcm(?![a-z])|(?<![0-9])[1-8][ _-]?steps?(?![a-z])",
    re.IGNORECASE,
)
_NOISE = re.compile(r"(?<![a-z])(high|low)[ _-]?noise", re.IGNORECASE)
_EXPERT = re.compile(r"(?<![a-z])(high|low)(?![a-z])", re.IGNORECASE)
_PAIR = re.compile(r"(?<![0-9])2[._]2(?![0-9])|a14b|wan[ _-]?22(?=14b|5b|[^0-9]|$)", re.IGNORECASE)
# Between words that run together: "t2vHighV20", "T2VHigh".
_SEAMS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def is_distilled(name: str) -> bool:
    """Whether a name says that a model samples in few steps.

    >>> is_distilled("Wan2_1-T2V-14B_CausVid_fp8"), is_distilled("wan2.1_t2v_14B_fp16")
    (True, False)
    """
    return _DISTILLED.search(name) is not None


def is_of_two_experts(name: str) -> bool:
    """Whether a name is one of Wan 2.2, whose 14B models are two experts.

    >>> is_of_two_experts("smoothMixWan2214BI2V"), is_of_two_experts("Wan2_1-T2V-14B")
    (True, False)
    """
    return _PAIR.search(name) is not None


def expert_in(name: str) -> str:
    """ "high" or "low" where a name tells which of two experts a file is or is for, else "".

    >>> expert_in("smoothMixWan2214BI2V_t2vHighV20"), expert_in("wan2.1_t2v_high_quality")
    ('high', '')
    """
    words = _SEAMS.sub(" ", name)
    stated = _NOISE.search(words) or (_EXPERT.search(words) if is_of_two_experts(name) else None)
    return stated[1].lower() if stated else ""


_SWAPPED = {"high": "low", "low": "high"}


def partners_of(name: str) -> tuple[str, ...]:
    """The names that the other file of a pair for two experts may have, the likeliest first.

    Every place where the name says high or low may be the one that tells; in a folder of the side's name all are.

    >>> partners_of("Wan2.2-Lightning_T2V-A14B-4steps-lora_HIGH_fp16")
    ('Wan2.2-Lightning_T2V-A14B-4steps-lora_LOW_fp16',)
    """
    side = expert_in(name)
    places = list(re.finditer(side, name, re.IGNORECASE)) if side else []

    def swapped(chosen: list[re.Match[str]]) -> str:
        new = name
        for place in reversed(chosen):
            word, partner = place[0], _SWAPPED[place[0].lower()]
            partner = partner.upper() if word.isupper() else partner.capitalize() if word[0].isupper() else partner
            new = new[: place.start()] + partner + new[place.end() :]
        return new

    return tuple(dict.fromkeys([*(swapped([place]) for place in reversed(places)), swapped(places)])) if places else ()


# Of the shards of one model: "model-00001-of-00006.safetensors".
SHARD = re.compile(r"-(?P<number>\d+)-of-(?P<count>\d+)(?!\d)")


def is_shard(name: str) -> bool:
    """Whether a file is one of several that make one model, by its name.

    >>> is_shard("model-00001-of-00006.safetensors"), is_shard("model-00001-of-00001.safetensors")
    (True, False)
    """
    shard = SHARD.search(name)
    return shard is not None and int(shard["count"]) > 1
