"""ComfyUI's page in a Chromium, for the scripts that record what it saves and sends."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def opened_page(url: str, browser_path: str, ready: str) -> Iterator[Any]:
    """The page of a running ComfyUI, a playwright page.

    Args:
        ready: a JavaScript expression that is true once all nodes are there.
    """
    from playwright.sync_api import sync_playwright  # pyright: ignore[reportMissingImports]

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(url, timeout=120_000)
        page.wait_for_function(ready, timeout=120_000)
        page.wait_for_timeout(3000)
        yield page
        browser.close()


def arguments(description: str) -> argparse.Namespace:
    """`url` and `browser` of the command line."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="of a running ComfyUI")
    parser.add_argument("browser", help="path of a Chromium")
    return parser.parse_args()
