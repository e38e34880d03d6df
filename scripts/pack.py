"""Mounts this folder as an importable package, whatever the folder is called.

ComfyUI loads a pack by its path, so the rooms import each other relatively and the root is never on `sys.path` (its
`nodes` would shadow ComfyUI's). Scripts and tests mount the root under a name of their own instead, without running the
root `__init__.py`.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent


def mount(name: str = "opent2v", root: Path = ROOT) -> ModuleType:
    """Make `import <name>.nodes`, `<name>.host`, ... find the rooms of this pack, or of another checkout of it.

    Mounting twice under one name gives the same module.

    Raises:
        ImportError: another package of that name is already imported.
    """
    mounted = sys.modules.get(name)
    if mounted is not None:
        if list(getattr(mounted, "__path__", [])) == [str(root)]:
            return mounted
        raise ImportError(
            f"cannot mount {root} as {name!r}: a module of that name is imported already ({mounted!r}); use another"
        )
    spec = ModuleSpec(name, None, is_package=True)
    spec.submodule_search_locations = [str(root)]
    package = module_from_spec(spec)
    sys.modules[name] = package
    return package


def hide_scripts() -> None:
    """Take the folders of scripts off `sys.path`, where they would shadow modules of the same names: Python's `test`.

    Python puts a script's own folder there; the scripts in `bench/` and `make/` put this one there.
    """
    scripts = ROOT / "scripts"
    sys.path[:] = [entry for entry in sys.path if not Path(entry or ".").resolve().is_relative_to(scripts)]
