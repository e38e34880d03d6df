# What the pack uses of ComfyUI, for the type checker alone: classes that stand in annotations and below our own, and
# functions whose types are worth checking. Everything else is Any.
from typing import Any

def __getattr__(name: str) -> Any: ...
