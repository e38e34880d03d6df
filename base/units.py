"""Numbers in words."""

from __future__ import annotations


def bytes_text(count: float) -> str:
    """
    >>> bytes_text(3 * 2**20), bytes_text(2**30)
    ('3.0 MiB', '1.0 GiB')
    """
    return f"{count / 2**30:.1f} GiB" if count >= 2**29 else f"{count / 2**20:.1f} MiB"
