"""What ComfyUI's page restores from a dropped file, told from its sources (frontend 1.27.10 and 1.35.9 read alike)."""

from __future__ import annotations

import json
import struct

from opent2v.tests.media.clips import boxes


def page_metadata(path):
    """{"prompt": ..., "workflow": ...}, as far as the page finds them."""
    readers = {".mp4": _isobmff, ".mov": _isobmff, ".webm": _webm, ".webp": _webp, ".png": _png}
    reader = readers.get(path.suffix)
    return {} if reader is None else reader(path.read_bytes())


def _isobmff(data):
    """src/scripts/metadata/isobmff.ts: moov/udta/meta/{keys,ilst} in the first 64 MiB."""

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


def _webm(data):
    """src/scripts/metadata/ebml.ts: SimpleTags in the first 2 MiB; the end of the JSON by counting braces."""

    def size(position):
        length = next(n for n in range(1, 9) if data[position] & (0x80 >> (n - 1)))
        value = data[position] & (0xFF >> length)
        for byte in data[position + 1 : position + length]:
            value = value << 8 | byte
        return value, length

    def element(name, start, end):
        position = data.index(name, start, end)
        value, length = size(position + 2)
        return data[position + 2 + length : position + 2 + length + value]

    data, position, found = data[: 2 * 1024 * 1024], 0, {}
    while (position := data.find(b"\x67\xc8", position)) >= 0:
        try:
            value, length = size(position + 2)
            start = position + 2 + length
            name, text = (element(one, start, start + value) for one in (b"\x45\xa3", b"\x44\x87"))
        except (ValueError, StopIteration, IndexError):  # the same two bytes in the middle of a picture
            position += 1
            continue
        if name in (b"PROMPT", b"WORKFLOW"):
            text, depth = text[text.index(b"{") :].decode(), 0
            for end, letter in enumerate(text):
                depth += {"{": 1, "}": -1}.get(letter, 0)
                if not depth:
                    found[name.decode().lower()] = json.loads(text[: end + 1])
                    break
        position = start + value
    return found


def _webp(data):
    """src/scripts/pnginfo.ts: EXIF texts "key:value"; chunks are taken to follow each other without padding."""
    assert data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    position, found = 12, {}
    while position < len(data):
        length = struct.unpack_from("<I", data, position + 4)[0]
        if data[position : position + 4] == b"EXIF":
            exif = data[position + 8 : position + 8 + length]
            assert exif[:2] == b"II"
            directory = struct.unpack_from("<I", exif, 4)[0]
            for n in range(struct.unpack_from("<H", exif, directory)[0]):
                _, kind, count, offset = struct.unpack_from("<HHII", exif, directory + 2 + 12 * n)
                if kind == 2:
                    key, _, value = exif[offset : offset + count - 1].decode().partition(":")
                    found[key] = value
            break
        position += 8 + length
    return {key: json.loads(found[key]) for key in ("prompt", "workflow") if key in found}


def _png(data):
    """src/scripts/metadata/png.ts: everything behind the key of tEXt and iTXt is the text."""
    position, found = 8, {}
    while position < len(data):
        length = struct.unpack_from(">I", data, position)[0]
        if data[position + 4 : position + 8] in (b"tEXt", b"iTXt"):
            key, _, value = data[position + 8 : position + 8 + length].partition(b"\0")
            found[key.decode("latin-1")] = value.decode()
        position += 12 + length
    return {key: json.loads(found[key]) for key in ("prompt", "workflow") if key in found}
