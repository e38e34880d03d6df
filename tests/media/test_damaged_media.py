"""Damaged copies of video files end in frames or in a sentence of ours, and the process lives on.

Tests: media/reader.py, media/film.py, media/reader_sound.py, media/animation.py
90 copies; `DAMAGED_MEDIA=2000` for the whole.
"""

from __future__ import annotations

import errno
import os
import re
from collections import Counter

from opent2v.tests.media import damage

COUNT = int(os.environ.get("DAMAGED_MEDIA", "90"))
# Words of FFmpeg, Pillow, NumPy and Python, none of which a user can do anything with.
RAW = re.compile(
    r"Errno|errno|Traceback|Exception|\w(Error|Warning)\b|avcodec|avformat|\bav[._]|libav|FFmpeg|PIL|\bnumpy|\btorch\b|"
    r"Invalid data|End of file|Unknown error|Generic error|Internal bug|patches welcome|not found\b|out of range|"
    r"object at 0x|NoneType|\bbroken data|truncated|"
    + "|".join(re.escape(os.strerror(number)) for number in errno.errorcode)
)


def test_damaged_copies_end_in_frames_or_a_sentence(tmp_path):
    damage.wholes(tmp_path)
    outcomes: Counter[str] = Counter()
    faults = []
    for reading in damage.readings(tmp_path, COUNT):
        outcomes[reading.outcome] += 1
        raw = [text for text in reading.texts if RAW.search(text)]
        if reading.outcome not in ("frames", "refused") or raw:
            faults.append((reading.seed, reading.name, reading.outcome, raw or reading.texts))
    print(dict(outcomes))
    assert not faults, "\n".join(" ".join(map(str, fault)) for fault in faults)
    assert sum(outcomes.values()) == COUNT
    assert outcomes["frames"] > COUNT / 3 and outcomes["refused"] > COUNT / 20
