"""Prompt Builder, its words and wildcards. Tests: nodes/prompt_builder.py, nodes/phrases.py"""

from __future__ import annotations

import json
import random

import pytest

from opent2v.families import families
from opent2v.host import InputRefused, embedded
from opent2v.nodes.phrases import GROUPS, PhraseError, advice, composed, drawn, word_count, words
from opent2v.nodes.prompt_builder import OpenT2VPromptBuilder
from opent2v.tests.nodes.calls import call, remarks
from opent2v.training import captions


@pytest.fixture(autouse=True)
def folder(tmp_path):
    (tmp_path / "input" / "prompts").mkdir(parents=True)
    embedded.configure(output=tmp_path / "output", input=tmp_path / "input")
    return tmp_path / "input" / "prompts"


FOX = {"subject": "a red fox", "action": "runs through deep snow", "environment": "in a birch forest"}


def test_parts_become_sentences_tags_and_chinese():
    inputs = {**FOX, "camera": "tracking shot", "light": "golden hour"}
    (prompt,), ui = call("OpenT2VPromptBuilder", **inputs)
    assert prompt == (
        "A red fox runs through deep snow in a birch forest. Tracking shot that follows the subject. "
        "Warm golden hour light with long shadows."
    )
    assert remarks(ui) == prompt
    (tags,), _ = call("OpenT2VPromptBuilder", **inputs, form="tags")
    assert tags.startswith("a red fox, runs through deep snow, in a birch forest, Tracking shot")
    chinese = {"subject": "一只狐狸", "action": "在深雪中奔跑", "environment": "白桦林里"}
    (prompt,), _ = call("OpenT2VPromptBuilder", **chinese, camera="tracking shot", language="中文")
    assert prompt == "一只狐狸在深雪中奔跑，白桦林里。跟拍镜头，跟随主体。"


def test_what_a_model_likes_is_said_and_done():
    (prompt,), ui = call("OpenT2VPromptBuilder", **FOX, model="Wan")
    assert "60 to 110 suit this model" in remarks(ui) and "80 to 100 words" in remarks(ui)
    parts = {"subject": "a green triangle", "action": "growing", "environment": "on a sky blue background"}
    (prompt,), ui = call("OpenT2VPromptBuilder", **parts, camera="orbit", model="OpenT2V quickstart")
    assert prompt == "a green triangle growing on a sky blue background"
    assert "Style, camera and light are left out" in remarks(ui)


def test_advice_is_of_real_families_and_has_its_source():
    assert set(advice()) - {"quickstart"} <= set(families())
    assert all({"form", "least", "most", "en", "zh", "source"} <= set(entry) for entry in advice().values())
    for key, entry in advice().items():
        for example in entry.get("examples", ()):
            assert set(example) == {"name", "prompt", "works", "why"} and {*example["why"]} == {"en", "zh"}, key
            if example["works"]:
                assert word_count(example["prompt"]) >= entry["least"] or key in ("wan", "hunyuan_video"), key


def test_the_quickstarts_examples_are_in_its_world_and_out_of_it():
    works, fails = advice()["quickstart"]["examples"]
    spoken = {word for phrases in captions.WORDS["en"].values() for phrase in phrases for word in phrase.split()}
    assert works["works"] and set(works["prompt"].split()) - spoken <= {"a", "on", "background"}
    assert not fails["works"] and {"cat", "piano"} <= set(fails["prompt"].split()) - spoken


@pytest.mark.parametrize(
    ("page", "said", "failing"),
    [("en", "Works: Two anthropomorphic", "Does not work: cats boxing."), ("zh", "官方示例", "无效：cats boxing。")],
)
@pytest.mark.parametrize("language", ["English", "中文"])
def test_examples_and_their_source_are_told_in_the_readers_language(page, said, failing, language):
    embedded.speak(page)
    try:
        _, ui = call("OpenT2VPromptBuilder", **FOX, model="Wan", language=language)
    finally:
        embedded.speak("en")
    assert said in remarks(ui) and failing in remarks(ui)
    assert "github.com/Wan-Video/Wan2.2, README" in remarks(ui).splitlines()[-1]


def test_every_word_has_both_languages():
    for group in GROUPS:
        for name, texts in words(group).items():
            assert set(texts) == {"en", "zh"} and all(texts.values()), name
            assert not texts["en"].endswith(".") and any("\u4e00" <= sign <= "\u9fff" for sign in texts["zh"])


def test_wildcards_are_drawn_by_the_seed():
    text = {"subject": "a {red|blue|green|white} {fox|{big|small} cat}"}
    prompts = [call("OpenT2VPromptBuilder", **text, action="", environment="", seed=seed)[0][0] for seed in range(40)]
    assert prompts[7] == call("OpenT2VPromptBuilder", **text, action="", environment="", seed=7)[0][0]
    assert len({*prompts}) > 6 and all("{" not in prompt and "|" not in prompt for prompt in prompts)
    assert {"A white fox.", "A red big cat.", "A blue small cat."} & {*prompts}


def test_wildcards_from_files(folder):
    (folder / "animals.txt").write_text("# mine\nfox\n{old|young} 猫咪在草地\n", encoding="gbk")
    (folder / "more").mkdir()
    (folder / "more" / "colours.txt").write_text("red\n")
    drawings = {drawn("a __more/colours__ __animals__", random.Random(seed)) for seed in range(30)}
    assert drawings == {"a red fox", "a red old 猫咪在草地", "a red young 猫咪在草地"}


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        ("no", None, "The wildcard __no__ needs the file"),
        ("a", "# nothing\n", "has no lines"),
        ("a", "__a__ again\n", "hold each other without an end"),
        ("../a", None, "leads out of"),
    ],
)
def test_wildcards_that_cannot_be_drawn(folder, name, lines, message):
    if lines is not None:
        (folder / f"{name}.txt").write_text(lines)
    with pytest.raises(PhraseError, match=message):
        drawn(f"a __{name}__", random.Random(0))


def test_braces_without_a_choice_and_single_underscores_stay():
    assert drawn("a {x} b_c_d {}", random.Random(0)) == "a {x} b_c_d {}"


def test_words_of_the_users_own(folder):
    mine = {"camera": {"whip pan": {"en": "Fast whip pan", "zh": "快速甩镜"}}, "style": {"mine": "in my style"}}
    (folder / "words.json").write_text(json.dumps(mine), encoding="utf-8")
    assert OpenT2VPromptBuilder.INPUT_TYPES()["required"]["camera"][0][:2] == ["none", "whip pan"]
    (prompt,), _ = call("OpenT2VPromptBuilder", **FOX, camera="whip pan", style="mine", language="中文")
    assert prompt.endswith("快速甩镜。in my style。")


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"camera": {"x": 1}}', '{"camera": {"x": {"fr": "a"}}}', '{"colour": {}}']
)
def test_a_file_of_words_that_cannot_be_used(folder, text):
    (folder / "words.json").write_text(text)
    assert OpenT2VPromptBuilder.INPUT_TYPES()["required"]["style"][0] == ["none"]
    with pytest.raises(InputRefused, match=r"words.json (cannot be used|has the group)"):
        OpenT2VPromptBuilder.VALIDATE_INPUTS(style="anime")


def test_what_is_refused_before_a_run():
    with pytest.raises(InputRefused, match="There is no style 'gone'; expected one of cinematic film"):
        OpenT2VPromptBuilder.VALIDATE_INPUTS(style="gone")
    assert OpenT2VPromptBuilder.VALIDATE_INPUTS(style=None, camera="none", light="neon") is True
    with pytest.raises(ValueError, match="Every part is empty"):
        call("OpenT2VPromptBuilder")


def test_a_changed_file_is_drawn_from_again(folder):
    inputs = {**FOX, "subject": "a __animals__", "style": "none", "camera": "none", "light": "none"}
    (folder / "animals.txt").write_text("fox\n")
    before = OpenT2VPromptBuilder.IS_CHANGED(**inputs)
    (folder / "animals.txt").write_text("wolf\n")
    assert before != OpenT2VPromptBuilder.IS_CHANGED(**inputs)


def test_counting_words_in_both_languages():
    assert word_count("a red fox's den, 35mm") == 5 and word_count("一只狐狸在奔跑") == 5
    assert composed({"subject": "a cat."}, "en", "sentences") == "A cat."


def test_a_preset_is_saved_listed_and_fills_what_is_empty(folder):
    inputs = {**FOX, "subject": "a {red|red} fox", "camera": "orbit", "light": "neon", "style": "none"}
    (prompt,), ui = call("OpenT2VPromptBuilder", **inputs, save_as=" my fox 狐狸 ")
    assert remarks(ui).endswith("Saved as preset 'my fox 狐狸'; press R to see it in the list.")
    saved = json.loads((folder / "presets" / "my fox 狐狸.json").read_text(encoding="utf-8"))
    assert saved == {**FOX, "subject": "a {red|red} fox", "camera": "orbit", "light": "neon"}
    assert OpenT2VPromptBuilder.INPUT_TYPES()["optional"]["preset"][0][:2] == ["none", "my fox 狐狸"]
    assert call("OpenT2VPromptBuilder", preset="my fox 狐狸")[0] == (prompt,)
    (other,), _ = call("OpenT2VPromptBuilder", preset="my fox 狐狸", subject="a wolf", light="moonlight")
    assert other.startswith("A wolf runs through deep snow") and "orbit" in other.lower() and "Neon" not in other
    call("OpenT2VPromptBuilder", **inputs, save_as="my fox 狐狸")  # the same once more
    with pytest.raises(PhraseError, match=r"There is a preset 'my fox 狐狸' with other parts already\. Save under"):
        call("OpenT2VPromptBuilder", subject="a cat", save_as="my fox 狐狸")
    assert json.loads((folder / "presets" / "my fox 狐狸.json").read_text(encoding="utf-8")) == saved


def test_the_makers_examples_are_presets():
    names = OpenT2VPromptBuilder.INPUT_TYPES()["optional"]["preset"][0]
    assert "Wan: boxing cats" in names and not any("bare" in name for name in names)
    (prompt,), _ = call("OpenT2VPromptBuilder", preset="Wan: boxing cats", camera="orbit", model="Wan")
    assert prompt.startswith("Two anthropomorphic cats in comfy boxing gear")
    assert all(OpenT2VPromptBuilder.VALIDATE_INPUTS(preset=name) for name in names)


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", "a\\b", "x" * 81, "con:", "a."])
def test_a_presets_name_stays_in_its_folder(folder, name):
    with pytest.raises(PhraseError, match="A preset cannot be called"):
        call("OpenT2VPromptBuilder", **FOX, save_as=name)
    assert not (folder / "presets").exists()
    with pytest.raises(InputRefused, match="There is no preset"):
        OpenT2VPromptBuilder.VALIDATE_INPUTS(preset=name)


@pytest.mark.parametrize("text", ["{", "[]", '{"subject": 1}', '{"colour": "red"}'])
def test_a_presets_file_that_cannot_be_used(folder, text):
    (folder / "presets").mkdir()
    (folder / "presets" / "mine.json").write_text(text)
    with pytest.raises(InputRefused, match=r"The preset .*mine\.json cannot be used: "):
        OpenT2VPromptBuilder.VALIDATE_INPUTS(preset="mine")


def test_a_preset_with_words_that_are_gone_and_a_run_that_is_only_looked_at(folder):
    (folder / "presets").mkdir()
    (folder / "presets" / "mine.json").write_text('{"subject": "a fox", "camera": "gone"}')
    with pytest.raises(PhraseError, match="There is no camera 'gone'; expected one of static"):
        call("OpenT2VPromptBuilder", preset="mine")
    inputs = {**FOX, "style": "none", "camera": "none", "light": "none", "save_as": "looked"}
    assert OpenT2VPromptBuilder.IS_CHANGED(**inputs).startswith("A red fox")
    assert not (folder / "presets" / "looked.json").exists()
