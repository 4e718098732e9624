"""Take the pictures of the dashboard for the README and the manual, light and dark.

It serves the store that ``make demo`` writes to Chromium (Debian: chromium).
"""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
PAGE = "/?from=2026-09-01&to=2026-10-31"
#: Each picture: its name, its colours, and its size in pixels.
PICTURES = (
    ("dashboard", "light", 1280, 900),
    ("dashboard-dark", "dark", 1280, 900),
)


@contextmanager
def service() -> Iterator[str]:
    """Run the web service on the demo's store and yield its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = Path(sys.executable).parent / "ringserverstats"
    store = f"duckdb://{ROOT / 'demo' / 'statistics.duckdb'}"
    process = subprocess.Popen(
        [program, "serve", "--port", str(port)],
        env={
            **os.environ,
            "DATABASE_URI": store,
            "RINGSERVERSTATS_CONFIG_FOLDER": str(ROOT / "demo" / "config"),
        },
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(f"{url}/readyz")
        yield url
    finally:
        process.terminate()
        process.wait()


def _wait(url: str) -> None:
    for _ in range(100):
        try:
            urllib.request.urlopen(url)  # noqa: S310 - our own service
        except URLError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit(f"{url} does not answer")


def main() -> None:
    """Write the pictures."""
    IMAGES.mkdir(exist_ok=True)
    with service() as url, sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=arguments
        )
        for name, colours, width, height in PICTURES:
            page = browser.new_page(
                viewport={"width": width, "height": height}, color_scheme=colours
            )
            page.goto(url + PAGE)
            page.screenshot(path=IMAGES / f"{name}.png")
        browser.close()


if __name__ == "__main__":
    main()
