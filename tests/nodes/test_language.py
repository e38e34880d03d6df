"""Nodes speak the host's language: remarks, reports and errors; files and prompts stay as they are."""

from __future__ import annotations

import inspect
import json
import logging
import re

import pytest

from opent2v.host import InputRefused, embedded
from opent2v.nodes import NODE_CLASS_MAPPINGS
from opent2v.nodes.language import speak
from opent2v.nodes.remarks import KEY, REPORT, with_remarks
from opent2v.tests.nodes.calls import call

SENTENCE, CHINESE = "The prompt is empty: the video will show anything.", "提示词为空：视频会随意生成。"


@pytest.fixture
def chinese():
    embedded.speak("zh")
    yield
    embedded.speak("en")


def node() -> type:
    class Node:
        FUNCTION = "run"
        RETURN_NAMES = ("file", "report")

        def run(self, fails: str = ""):
            if fails:
                raise InputRefused("steps", fails) if fails.startswith("steps") else ValueError(fails)
            return with_remarks((SENTENCE, SENTENCE), [SENTENCE])

        @classmethod
        def VALIDATE_INPUTS(cls, prefix: str | None = None) -> bool | str:
            return SENTENCE if prefix else True

    speak(Node)
    return Node


def test_remarks_and_reports_are_translated_and_files_are_not(chinese):
    result = node()().run()
    assert result["ui"]["opent2v_remarks"] == [CHINESE]
    assert result["result"] == (SENTENCE, CHINESE)


def test_english_stays_as_it_is():
    assert node()().run()["ui"]["opent2v_remarks"] == [SENTENCE]
    with pytest.raises(ValueError, match=r"^Use fewer steps\.$"):
        node()().run("Use fewer steps.")


def test_an_error_keeps_its_kind_and_its_english_line_in_the_log(chinese, caplog):
    with caplog.at_level(logging.ERROR), pytest.raises(ValueError, match=r"^请减少步数。$"):
        node()().run("Use fewer steps.")
    assert "Use fewer steps." in caplog.text
    with pytest.raises(ValueError, match=r"^\[Errno 5\]$"):
        node()().run("[Errno 5]")


def test_a_refused_input_is_still_named_first(chinese):
    sentence = "steps is 0; at least 1 is needed (0 in the node means the model's own)."
    with pytest.raises(InputRefused, match=r"^steps: steps 为 0"):
        node()().run(sentence)


def test_the_check_before_a_run_speaks_too_and_says_which_inputs_it_takes(chinese):
    assert node().VALIDATE_INPUTS("x") == CHINESE
    assert node().VALIDATE_INPUTS() is True
    # ComfyUI asks like this, in execution.py.
    assert inspect.getfullargspec(node().VALIDATE_INPUTS).args == ["cls", "prefix"]


def test_every_node_speaks():
    for node_class in NODE_CLASS_MAPPINGS.values():
        assert hasattr(getattr(node_class, node_class.FUNCTION), "__wrapped__")


# Words that Chinese users of these models write in Latin letters, and names of inputs and choices.
LATIN = {"cfg", "shift", "latent", "token", "fps", "rank", "diffusers", "easycache", "quickstart"}
WORD = re.compile(r"""(?<![A-Za-z0-9_./\\'"%-])[a-z]{2,}(?![A-Za-z0-9_./\\'"%=-])""")


def left_in_english(text: str) -> set[str]:
    return set(WORD.findall(text)) - LATIN


def test_words_left_in_english_are_seen():
    assert left_in_english("第 9 帧中的last 5 帧，cfg 1, unfinished") == {"last", "unfinished"}
    assert not left_in_english("opent2v-quickstart-outline.safetensors：rank 24，cfg 1")


def test_a_whole_run_says_no_word_in_english(chinese):
    """Loader, LoRA, cached sampler, tables of two tools and the doctor, on the bundled model."""
    (model, clip, vae, *_), loading = call("OpenT2VLoadModel", model="opent2v-quickstart")
    lora = "opent2v-quickstart-outline.safetensors"
    (with_lora, *_), changed = call("OpenT2VLoadLora", model=model, lora=lora)
    _, card = call("OpenT2VInspectFile", file=lora)
    positive, negative = call("OpenT2VEncodePrompt", clip=clip, positive="", negative="")[0]
    latent = call("OpenT2VEmptyLatent", model=model, width=32, height=32, frames=5)[0][0]
    cache = call("OpenT2VStepCache", policy="easycache")[0][0]
    run = {"model": with_lora, "positive": positive, "negative": negative, "latent": latent, "steps": 16, "seed": 1}
    (plain, *_), _ = call("OpenT2VSampler", **run)
    (cached, *_), sampled = call("OpenT2VSampler", **run, step_cache=cache)
    clips = [call("OpenT2VDecode", vae=vae, latent=each)[0][0] for each in (cached, plain)]
    (table, *_), compared = call("OpenT2VCompareCache", images=clips[0], reference_images=clips[1], latent=cached,
                                 reference_latent=plain)  # fmt: skip
    measured = call("OpenT2VMeasureVideo", images=clips[0], joints="2", fps=16.0)[1]
    said = [line for ui in (loading, changed, card, sampled, compared, measured) for line in ui[KEY]]
    assert len(said) > 15 and "运动" in table
    assert {line: words for line in [*said, table] if (words := left_in_english(line))} == {}
    drawn = [json.loads(entry) for ui in (sampled, compared, measured) for entry in ui[REPORT]]
    cells = [cell for entry in drawn for row in entry.get("table", ()) for cell in row]
    assert cells and {cell for cell in cells if left_in_english(cell)} == set()
