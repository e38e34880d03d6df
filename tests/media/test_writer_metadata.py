"""The texts inside the file, read as ComfyUI's page and as PyAV read them."""

import json

import av
import pytest

from opent2v.tests.media.clips import RED, boxes, save, solid


def page_metadata(path):
    """What ComfyUI's page restores (frontend 1.27, src/scripts/metadata/isobmff.ts): moov/udta/meta/{keys,ilst}."""
    data = path.read_bytes()

    def content(kind, start, end):
        return next((box[1], box[2]) for box in boxes(data, start, end) if box[0] == kind)

    start, end = content("meta", *content("udta", *content("moov", 0, len(data))))
    start += 4  # version
    position, keys_end = content("keys", start, end)
    position, keys = position + 8, []
    while position < keys_end:
        size = int.from_bytes(data[position : position + 4], "big")
        keys.append(data[position + 8 : position + size].decode())
        position += size
    values = {}
    for kind, item_start, item_end in boxes(data, *content("ilst", start, end)):
        value_start, value_end = content("data", item_start, item_end)
        values[keys[int.from_bytes(kind.encode("latin-1"), "big") - 1]] = data[value_start + 8 : value_end].decode()
    return {key: json.loads(values[key]) for key in ("prompt", "workflow") if key in values}


def test_the_page_restores_prompt_and_workflow(tmp_path):
    prompt = {"3": {"class_type": "OpenT2VSampler", "inputs": {"text": '一个红色的圆 🎬 "quoted" \\ \n'}}}
    workflow = {"nodes": [{"id": 3, "title": "x" * 1_000_000}], "links": []}
    texts = {"prompt": json.dumps(prompt, ensure_ascii=False), "workflow": json.dumps(workflow)}
    path = save(tmp_path, solid(RED), metadata=texts)
    assert page_metadata(path) == {"prompt": prompt, "workflow": workflow}
    with av.open(str(path)) as container:
        assert {key: container.metadata[key] for key in texts} == texts


def test_odd_texts_do_not_stop_the_video(tmp_path):
    texts = {"lone": "a\ud800b", "pair": "\ud83c\udfac", "nul": "a\0b", "empty": "", "ключ 🗝": "välue"}
    with av.open(str(save(tmp_path, solid(RED), metadata=texts))) as container:
        found = container.metadata
        assert (found["lone"], found["pair"], found["nul"]) == ("a\ufffdb", "🎬", "a\ufffdb")
        assert found["ключ 🗝"] == "välue"
    with pytest.raises(ValueError, match=r"metadata holds dict; expected texts \(use json\.dumps"):
        save(tmp_path, solid(RED), metadata={"prompt": {}})
