"""Workflow files run without a page, on either host.

The scripts that use it do not ship; this does, so that the pack can be checked just as users have it installed.
"""

from __future__ import annotations

from .outcome import Outcome
from .overrides import keep_prompts, load_changed

__all__ = ["Outcome", "keep_prompts", "load_changed"]
