from typing import Any

PROGRESS_BAR_ENABLED: bool

def __getattr__(name: str) -> Any: ...
