from collections.abc import Callable
from typing import Any

load_lora: Callable[..., Any]
model_lora_keys_clip: Callable[..., Any]
model_lora_keys_unet: Callable[..., Any]

def __getattr__(name: str) -> Any: ...
