"""The texts inside the file, read as ComfyUI's page, as PyAV and as Pillow read them."""

from __future__ import annotations

import json
import zlib

import av
import pytest
import torch
from PIL import Image

from opent2v.media import xmp
from opent2v.media.formats import FORMATS, available
from opent2v.tests.media.clips import RED, boxes, save, solid
from opent2v.tests.media.pages import page_metadata

PROMPT = {"3": {"class_type": "OpenT2VSampler", "inputs": {"text": '一个红色的圆 🎬 "quoted" \\ \n :-{ }}'}}}
WORKFLOW = {"nodes": [{"id": 3, "title": "x" * 1_000_000}], "links": []}


def first(path):
    return min(path.iterdir()) if path.is_dir() else path


@pytest.mark.parametrize("key", [key for key in available() if FORMATS[key].page_reads])
@pytest.mark.parametrize("provenance", [True, False])
def test_the_page_restores_prompt_and_workflow(tmp_path, key, provenance):
    texts = {"prompt": json.dumps(PROMPT), "workflow": json.dumps(WORKFLOW), "opent2v": '{"seeds": [7]}'}
    path = save(tmp_path, solid(RED, 2, 64, 64), format=key, metadata=texts, provenance=provenance)
    assert page_metadata(first(path)) == {"prompt": PROMPT, "workflow": WORKFLOW}


def test_texts_in_the_graphs_own_script(tmp_path):
    """Not only ASCII, where the container is UTF-8."""
    texts = {"prompt": json.dumps(PROMPT, ensure_ascii=False), "workflow": json.dumps(WORKFLOW)}
    for key in ("mp4 h264", "mov prores 4444", "webm vp9", "webp"):
        path = save(tmp_path, solid(RED, 2, 64, 64), format=key, metadata=texts)
        assert page_metadata(path) == {"prompt": PROMPT, "workflow": WORKFLOW}, key
    with av.open(str(save(tmp_path, solid(RED), metadata=texts))) as container:
        assert {key: container.metadata[key] for key in texts} == texts


@pytest.mark.parametrize("key", ["mkv ffv1", "gif"])
def test_what_the_page_does_not_read_is_there_all_the_same(tmp_path, key):
    path = save(tmp_path, solid(RED, 2), format=key, metadata={"prompt": json.dumps(PROMPT)})
    assert page_metadata(path) == {}
    with av.open(str(path)) as container:
        tags = container.metadata
    text = tags["PROMPT"] if key == "mkv ffv1" else tags["comment"].removeprefix("prompt:")
    assert json.loads(text) == PROMPT


def test_odd_texts_do_not_stop_the_video(tmp_path):
    texts = {"lone": "a\ud800b", "pair": "\ud83c\udfac", "nul": "a\0b", "empty": "", "ключ 🗝": "välue"}
    for key in available():
        assert save(tmp_path, solid(RED, 2, 64, 64), format=key, metadata=texts | {"k" * 300: "long key"})
    with av.open(str(save(tmp_path, solid(RED), metadata=texts))) as container:
        found = container.metadata
        assert (found["lone"], found["pair"], found["nul"]) == ("a\ufffdb", "🎬", "a\ufffdb")
        assert found["ключ 🗝"] == "välue"
    picture = first(save(tmp_path, solid(RED), format="png sequence", metadata=texts))
    with Image.open(picture) as opened:
        opened.load()
        assert (opened.info["lone"], opened.info["empty"]) == ("a\ufffdb", "")
    with pytest.raises(ValueError, match=r"metadata holds dict; expected texts \(use json\.dumps"):
        save(tmp_path, solid(RED), metadata={"prompt": {}})


def test_png_chunks_are_whole_and_only_the_first_file_carries_the_graph(tmp_path):
    path = save(tmp_path, torch.rand(3, 8, 8, 3), format="png sequence", metadata={"prompt": "{}"}, stem="clip")
    names = sorted(one.name for one in path.iterdir())
    assert path.name == "clip_00001" and names == ["clip_000001.png", "clip_000002.png", "clip_000003.png"]
    for number, name in enumerate(names):
        data, position, kinds = (path / name).read_bytes(), 8, []
        while position < len(data):
            length = int.from_bytes(data[position : position + 4], "big")
            chunk = data[position + 4 : position + 8 + length]
            assert zlib.crc32(chunk) == int.from_bytes(data[position + 8 + length : position + 12 + length], "big")
            kinds.append(chunk[:4])
            position += 12 + length
        assert kinds[0] == b"IHDR" and kinds[-1] == b"IEND"
        assert (b"tEXt" in kinds) == (number == 0) and b"iTXt" in kinds


def test_folders_of_pictures_are_numbered_and_never_mixed(tmp_path):
    (tmp_path / "clip_00004").mkdir()
    (tmp_path / "clip_00004" / "mine.txt").write_text("mine")
    for number in (5, 6):
        assert save(tmp_path, solid(RED, 2), format="png sequence").name == f"clip_0000{number}"
    assert save(tmp_path, solid(RED, 2)).name == "clip_00007.mp4"
    assert [one.name for one in (tmp_path / "clip_00004").iterdir()] == ["mine.txt"]


# --- the mark ---


def mark(path):
    """The XMP packet of a file, found where its format keeps it."""
    path = first(path)
    if path.suffix in (".mp4", ".mov"):
        with av.open(str(path), options={"export_xmp": "1"}) as container:
            return container.metadata.get("xmp", "").encode()
    if path.suffix == ".gif":
        with Image.open(path) as picture:
            name, start = picture.info.get("extension", (b"", 0))
        return path.read_bytes()[start:].partition(b"\x01\xff\xfe")[0] if name == b"XMP DataXMP" else b""
    if path.suffix in (".webp", ".png"):
        with Image.open(path) as picture:
            picture.load()
            xml = picture.info.get("xmp", picture.info.get("XML:com.adobe.xmp", b""))
        return xml if isinstance(xml, bytes) else xml.encode()
    with av.open(str(path)) as container:
        return container.metadata.get("DIGITAL_SOURCE_TYPE", "").encode()


@pytest.mark.parametrize("key", available())
def test_the_mark_is_read_back_and_can_be_switched_off(tmp_path, key):
    clip = torch.rand(3, 64, 64, 3, generator=torch.Generator().manual_seed(0))
    marked, plain = (save(tmp_path, clip, format=key, provenance=on) for on in (True, False))
    found = mark(marked)
    assert xmp.DIGITAL_SOURCE_TYPE.encode() in found
    if FORMATS[key].container not in ("webm", "matroska"):
        assert found.strip() == xmp.PACKET.strip()
    assert mark(plain) == b""
    assert b"trainedAlgorithmicMedia" not in first(plain).read_bytes()
    if key != "mp4 h265":  # x265 with several threads does not give the same bytes twice
        assert pictures(marked) == pictures(plain)


def pictures(path):
    """Every frame's bytes, as a decoder gives them."""
    if path.is_dir() or path.suffix == ".webp":
        found = []
        for one in sorted(path.iterdir()) if path.is_dir() else [path]:
            with Image.open(one) as opened:
                for n in range(opened.n_frames if path.suffix else 1):
                    opened.seek(n)
                    found.append(opened.convert("RGB").tobytes())
        return found
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24").tobytes() for frame in container.decode(video=0)]


def test_the_mark_lies_behind_the_pictures_of_an_mp4(tmp_path):
    path = save(tmp_path, solid(RED))
    assert [kind for kind, _, _ in boxes(path.read_bytes())] == ["ftyp", "moov", "free", "mdat", "uuid"]


def test_the_mark_is_well_formed():
    from xml.etree import ElementTree

    text = xmp.PACKET.decode()
    assert text.startswith('<?xpacket begin="\ufeff"') and text.endswith('<?xpacket end="r"?>')
    root = ElementTree.fromstring(text[text.index("<x:xmpmeta") : text.index("<?xpacket end")])
    tags = {one.tag: one.text for one in root.iter()}
    assert tags["{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"] == xmp.DIGITAL_SOURCE_TYPE
