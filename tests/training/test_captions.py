"""Captions and the tokenizer: nothing that can be said is unknown or cut off."""

from __future__ import annotations

import pytest

from opent2v.training import captions, world
from opent2v.training.world import Dice, Scene

KEYS = {
    "shape": world.SHAPES,
    "colour": tuple(world.COLOURS),
    "motion": world.MOTIONS,
    "background": tuple(world.BACKGROUNDS),
}


@pytest.fixture(scope="module")
def tokenizer():
    return captions.tokenizer()


def sentences(language: str) -> list[str]:
    """Every phrase in every template, the others at their longest; then with every flaw."""
    said = captions.WORDS[language]
    longest = {key: max((p for v in values for p in said[v]), key=len) for key, values in KEYS.items()}
    found = []
    for template in captions.TEMPLATES[language]:
        found += [
            template.format(**{**longest, key: phrase})
            for key, values in KEYS.items()
            for value in values
            for phrase in said[value]
        ]
    flaws = [phrase for flaw in world.FLAWS for phrase in said[flaw]]
    spoiled = [
        template.format(flaw=flaw, caption=text)
        for template in captions.FLAW_TEMPLATES[language]
        for flaw in flaws
        for text in found[:: len(KEYS)]
    ]
    return found + spoiled


@pytest.mark.parametrize("language", captions.LANGUAGES)
def test_no_caption_has_an_unknown_word_or_is_cut(tokenizer, language):
    texts = [*sentences(language), captions.NEGATIVE[language]]
    dice = Dice(0)
    scenes = world.scenes()
    for n in range(500):
        flaw = dice.pick(world.FLAWS) if n % 3 == 0 else None
        texts.append(captions.caption(dice.pick(scenes), dice, language, flaw))
    encoded = tokenizer(texts).input_ids
    assert [t for t, ids in zip(texts, encoded, strict=True) if tokenizer.unk_token_id in ids] == []
    assert max(len(ids) for ids in encoded) <= captions.MAX_TOKENS
    assert all(ids[-1] == tokenizer.eos_token_id for ids in encoded)


def test_special_ids_are_t5s(tokenizer):
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id) == (0, 1, 2)
    assert tokenizer.model_max_length == captions.MAX_TOKENS


def test_the_vocabulary_never_changes_its_order(tokenizer):
    # An id is a row of the trained text encoder.
    assert len(tokenizer) == 158
    assert tokenizer.convert_tokens_to_ids(["a", "red", "star", "红", "圆"]) == [6, 57, 75, 142, 108]


def test_english_comes_back_as_said(tokenizer):
    text = captions.plain(Scene("circle", "red", "left", "sky-blue"))
    assert text == "a red circle moving left on a sky-blue background"
    ids = tokenizer(text).input_ids
    assert tokenizer.decode(ids, skip_special_tokens=True).replace(" - ", "-") == text


def test_chinese_is_read_by_the_character(tokenizer):
    text = captions.plain(Scene("square", "blue", "growing", "black"), "zh")
    assert text == "一个蓝色的正方形在黑色背景上变大"
    ids = tokenizer(text).input_ids
    assert tokenizer.convert_ids_to_tokens(ids) == [*text, captions.END]
    assert tokenizer.decode(ids, skip_special_tokens=True).replace(" ", "") == text


def test_case_and_width_of_the_characters_do_not_matter(tokenizer):
    assert tokenizer("A RED Circle, blurry").input_ids == tokenizer("a red circle, blurry").input_ids
    assert tokenizer("模糊，噪点").input_ids == tokenizer("模糊,噪点").input_ids


def test_a_word_of_another_world_is_unknown(tokenizer):
    assert tokenizer.convert_ids_to_tokens(tokenizer("a red elephant").input_ids) == ["a", "red", "<unk>", "</s>"]


@pytest.mark.parametrize("language", captions.LANGUAGES)
def test_plain_captions_tell_all_scenes_apart(tokenizer, language):
    scenes = world.scenes()
    assert len({tuple(tokenizer(captions.plain(s, language)).input_ids) for s in scenes}) == len(scenes)


def test_a_seed_fixes_the_caption_and_flaws_are_named():
    scene = Scene("star", "white", "rotating", "beige")
    assert captions.caption(scene, Dice(1), "en") == captions.caption(scene, Dice(1), "en")
    assert len({captions.caption(scene, Dice(n), "en") for n in range(50)}) > 20
    for seed in range(10):
        text = captions.caption(scene, Dice(seed), "en", "noisy")
        assert "noisy" in text or "grainy" in text
