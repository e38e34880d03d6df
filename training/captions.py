"""Sentences for scenes, in English and Chinese, and the word list of the bundled tokenizer."""

from __future__ import annotations

from .world import BACKGROUNDS, COLOURS, FLAWS, MOTIONS, SHAPES, Dice, Scene

LANGUAGES = ("en", "zh")

# The first phrase of each list is the plain one; the others are what people say instead.
WORDS = {
    "en": {
        "circle": ["circle", "disc", "ball", "round shape"],
        "square": ["square", "box"],
        "triangle": ["triangle"],
        "star": ["star", "five pointed star"],
        "red": ["red"],
        "green": ["green"],
        "blue": ["blue"],
        "yellow": ["yellow"],
        "purple": ["purple", "violet"],
        "orange": ["orange"],
        "white": ["white"],
        "black": ["black"],
        "grey": ["grey", "gray"],
        "sky-blue": ["sky-blue", "sky blue", "light blue"],
        "beige": ["beige", "tan"],
        "still": ["standing still", "not moving", "that stays still", "that does not move"],
        "left": ["moving left", "moving to the left", "that moves left", "sliding to the left"],
        "right": ["moving right", "moving to the right", "that moves right", "sliding to the right"],
        "up": ["moving up", "moving upwards", "that moves up", "rising"],
        "down": ["moving down", "moving downwards", "that moves down", "falling"],
        "growing": ["growing", "getting bigger", "that grows larger"],
        "shrinking": ["shrinking", "getting smaller", "that shrinks"],
        "rotating": ["rotating", "spinning", "turning around", "that rotates"],
        "blurry": ["blurry", "blurred"],
        "noisy": ["noisy", "grainy"],
        "flicker": ["flicker", "flickering"],
    },
    "zh": {
        "circle": ["圆形", "圆", "圆球"],
        "square": ["正方形", "方形", "方块"],
        "triangle": ["三角形"],
        "star": ["星星", "五角星", "星形"],
        "red": ["红色"],
        "green": ["绿色"],
        "blue": ["蓝色"],
        "yellow": ["黄色"],
        "purple": ["紫色"],
        "orange": ["橙色"],
        "white": ["白色"],
        "black": ["黑色"],
        "grey": ["灰色"],
        "sky-blue": ["天蓝色", "浅蓝色"],
        "beige": ["米色", "米黄色"],
        "still": ["静止不动", "保持不动", "停在原地"],
        "left": ["向左移动", "往左移动", "向左滑动"],
        "right": ["向右移动", "往右移动", "向右滑动"],
        "up": ["向上移动", "往上移动", "上升"],
        "down": ["向下移动", "往下移动", "下落"],
        "growing": ["变大", "逐渐变大", "放大"],
        "shrinking": ["变小", "逐渐变小", "缩小"],
        "rotating": ["旋转", "转动", "在旋转"],
        "blurry": ["模糊"],
        "noisy": ["噪点"],
        "flicker": ["闪烁"],
    },
}
TEMPLATES = {
    "en": [
        "a {colour} {shape} {motion} on a {background} background",
        "{colour} {shape} {motion}, {background} background",
        "a {colour} {shape} {motion} in front of a {background} background",
        "on a {background} background, a {colour} {shape} {motion}",
        "a video of a {colour} {shape} {motion} on {background}",
        "{background} background with a {colour} {shape} {motion}",
    ],
    "zh": [
        "一个{colour}的{shape}在{background}背景上{motion}",
        "{background}背景，{colour}{shape}{motion}",
        "{colour}的{shape}{motion}，背景是{background}",
        "在{background}的背景前，一个{colour}{shape}{motion}",
        "视频：{background}背景上的{colour}{shape}，{motion}",
    ],
}
FLAW_TEMPLATES = {
    "en": ["{flaw}", "{flaw}, {caption}", "{caption}, {flaw}"],
    "zh": ["{flaw}", "{flaw}，{caption}", "{caption}，{flaw}"],
}
NEGATIVE = {"en": "blurry, noisy, flicker", "zh": "模糊，噪点，闪烁"}
# How a prompt may name the style of `train_lora`. The shipped tokenizer does not know these words.
OUTLINE = {"en": ", as an outline drawing", "zh": "，轮廓画"}

# Words people add that carry no meaning in this world; known so that they do not become "unknown".
_EXTRA = "an the of is are and with to it slowly smoothly small large big shape colored coloured"
PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"
MAX_TOKENS = 32


def plain(scene: Scene, language: str = "en") -> str:
    """The plainest sentence for a scene: first template, first phrases."""
    return _fill(TEMPLATES[language][0], scene, language, lambda options: options[0])


def caption(scene: Scene, dice: Dice, language: str, flaw: str | None = None) -> str:
    """A random sentence for a scene; with a flaw, one that names the flaw and may leave out the rest."""
    text = _fill(dice.pick(TEMPLATES[language]), scene, language, dice.pick)
    if flaw:
        text = dice.pick(FLAW_TEMPLATES[language]).format(flaw=dice.pick(WORDS[language][flaw]), caption=text)
    return text


def _fill(template: str, scene: Scene, language: str, choose) -> str:
    words = WORDS[language]
    return template.format(
        shape=choose(words[scene.shape]),
        colour=choose(words[scene.colour]),
        motion=choose(words[scene.motion]),
        background=choose(words[scene.background]),
    )


def tokenizer():
    """The bundled model's tokenizer: lower-cased words, single Chinese characters and punctuation marks.

    Returns:
        transformers.PreTrainedTokenizerFast with T5's special ids (pad 0, end 1, unknown 2).
    """
    from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers, processors
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(WordLevel({}, unk_token=UNKNOWN))
    backend.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Split(Regex(r"[\u4e00-\u9fff]"), "isolated"),
            pre_tokenizers.Punctuation(),
        ]
    )
    sentences = [phrase for table in WORDS.values() for phrases in table.values() for phrase in phrases]
    sentences += [t for table in (TEMPLATES, FLAW_TEMPLATES) for ts in table.values() for t in ts] + [_EXTRA]
    keys = ("{shape}", "{colour}", "{motion}", "{background}", "{flaw}", "{caption}")
    tokens: dict[str, None] = {}
    for text in sentences:
        for key in keys:
            text = text.replace(key, " ")
        for word, _ in backend.pre_tokenizer.pre_tokenize_str(backend.normalizer.normalize_str(text)):
            tokens[word] = None
    vocabulary = {word: i for i, word in enumerate([PAD, END, UNKNOWN, *sorted(tokens)])}
    backend.model = WordLevel(vocabulary, unk_token=UNKNOWN)
    backend.post_processor = processors.TemplateProcessing(single=f"$A {END}", special_tokens=[(END, 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token=PAD, eos_token=END, unk_token=UNKNOWN, model_max_length=MAX_TOKENS
    )


__all__ = [
    "BACKGROUNDS",
    "COLOURS",
    "FLAWS",
    "LANGUAGES",
    "MOTIONS",
    "NEGATIVE",
    "OUTLINE",
    "SHAPES",
    "caption",
    "plain",
    "tokenizer",
]
