"""The only door to the program the pack runs in: ComfyUI, or the small embedded host of the scripts and tests.

`host` is the side that fits this process; `contract.py` says what it offers. Inside ComfyUI, `folder_paths` is imported
long before any pack.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from .contract import Host
from .refused import InputRefused
from .tags import PROMPT_FAMILY

if TYPE_CHECKING:
    # The type checker reports a side that lacks a function of the contract, or takes other arguments.
    from . import comfyui, embedded

    _comfyui: Host[comfyui.Model, comfyui.Clip, comfyui.Vae, comfyui.Vae] = comfyui
    _embedded: Host[embedded.Model, embedded.Clip, embedded.Vae, embedded.AudioVae] = embedded

host: Host[Any, Any, Any, Any]
if "folder_paths" in sys.modules:
    from . import comfyui as host
else:
    from . import embedded as host

__all__ = ["PROMPT_FAMILY", "Host", "InputRefused", "host"]
