"""Mounting the pack."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest


def test_rooms_are_found_under_the_mounted_name_and_the_root_module_does_not_run():
    import pack

    try:
        mounted = pack.mount("opent2v_again")
        from opent2v_again.headless import graph

        assert graph.__name__ == "opent2v_again.headless.graph"
        assert not hasattr(mounted, "WEB_DIRECTORY")
        assert pack.mount("opent2v_again") is mounted
    finally:
        for name in [name for name in sys.modules if name.startswith("opent2v_again")]:
            del sys.modules[name]


def test_a_name_that_is_taken_is_refused(monkeypatch):
    import pack

    monkeypatch.setitem(sys.modules, "taken", ModuleType("taken"))
    with pytest.raises(ImportError, match=r"cannot mount .* as 'taken': a module of that name is imported already"):
        pack.mount("taken")


def test_the_scripts_folder_can_be_hidden(monkeypatch):
    import pack

    monkeypatch.setattr(sys, "path", [str(pack.ROOT / "scripts"), str(pack.ROOT), "/elsewhere"])
    pack.hide_scripts()
    assert sys.path == [str(pack.ROOT), "/elsewhere"]
