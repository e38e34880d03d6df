"""OpenT2V: every open text-to-video model through one vocabulary of native ComfyUI nodes."""

from .host import host
from .nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
from .nodes.lora_for_host import read_for_host

host.install(read_for_host)

WEB_DIRECTORY = "./web"

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS", "WEB_DIRECTORY"]
