"""Runs inside ComfyUI's Python: the cases of core's models that make picture and sound."""

from __future__ import annotations

import sys
from pathlib import Path

import boot

only = set(sys.argv[2:])
boot.start(Path(sys.argv[1]))

import cases_joint  # noqa: E402, F401

if only:  # cases by name, while one works on them
    boot.CASES = {name: one for name, one in boot.CASES.items() if name.split()[-1] in only}
boot.run()
