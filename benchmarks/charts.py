"""Charts drawn by the server as SVG, against charts drawn by Vega in the browser.

A page with a month of eight networks, a map with 200 places and a week of hours, under the policy
that our pages have. Needs npm and Chromium; for the browser's way, in the folder `benchmarks/made`:
npm install esbuild vega vega-lite vega-interpreter
"""

import functools
import gzip
import http.server
import json
import math
import shutil
import statistics
import subprocess
import threading
import time
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from ringserverstats.statistics.charts import (
    HALF,
    WIDE,
    MapPoint,
    Series,
    activity,
    coloured,
    hours,
    svg,
    world_map,
)
from ringserverstats.web.application import CONTENT_SECURITY_POLICY

HERE = Path(__file__).parent
MADE = HERE / "made" / "charts"
TIMES = 30
LOADED = "addEventListener('load', () => { window.drawn = performance.now(); });"


def specs() -> dict[str, dict]:
    """The charts of a page."""
    names = [*"ABCDEFG", "other"]
    days = [f"2026-10-{day:02}" for day in range(1, 32)]
    amounts = {
        (day, name): round(1e10 * (2 + math.sin(n * 3 + d)))
        for d, day in enumerate(days)
        for n, name in enumerate(names)
    }
    series = Series(days, names, amounts, {days[9]: "no log"})
    map_points = [
        MapPoint(n * 53 % 340 - 170, n * 37 % 120 - 50, 10**9 * n, f"place {n}")
        for n in range(1, 201)
    ]
    week = {(day, hour): 10**9 * (day * hour + 1) for day in range(1, 8) for hour in range(24)}
    return {
        "activity": activity(series, coloured(names, names), width=WIDE),
        "map": world_map(map_points, width=HALF),
        "hours": hours(week, width=HALF),
    }


def size(data: bytes) -> str:
    """Plain and packed."""
    return f"{len(data) / 1000:.0f} kB, packed {len(gzip.compress(data, 6)) / 1000:.0f} kB"


class _Handler(http.server.SimpleHTTPRequestHandler):
    def end_headers(self) -> None:
        self.send_header("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        super().end_headers()

    def log_message(self, *_: object) -> None:
        pass


def shown_after(browser: Browser, url: str) -> float:
    """Median of milliseconds until all is drawn, with nothing in the browser's cache."""
    found = []
    for _ in range(10):
        with browser.new_context() as context:
            page = context.new_page()
            page.goto(url)
            while page.evaluate("window.drawn") is None:
                time.sleep(0.01)
            found.append(page.evaluate("window.drawn"))
    return statistics.median(found)


def main() -> None:
    """Measure both ways in one run."""
    MADE.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name, spec in specs().items():
        begin = time.perf_counter()
        drawn.append(svg(spec))
        first = time.perf_counter() - begin
        times = []
        for _ in range(TIMES):
            begin = time.perf_counter()
            svg(spec)
            times.append(time.perf_counter() - begin)
        median = statistics.median(times)
        print(
            f"{name}: first {first:.2f} s, then {1000 * median:.0f} ms; {size(drawn[-1].encode())}"
        )
        (MADE / f"{name}.json").write_text(json.dumps(spec))
    head = '<!doctype html><html lang="en"><meta charset="utf-8"><title>charts</title>'
    head += '<link rel="icon" href="data:,">'  # else the browser asks for one
    (MADE / "loaded.js").write_text(LOADED)
    (MADE / "svg.html").write_text(f'{head}<script src="loaded.js"></script>{"".join(drawn)}')
    places = "".join(f'<div id="{name}"></div>' for name in specs())
    (MADE / "vega.html").write_text(f'{head}{places}<script type="module" src="vega.js"></script>')
    shutil.copy(HERE / "charts.mjs", MADE.parent / "charts.mjs")
    subprocess.run(
        ["npx", "esbuild", "charts.mjs", "--bundle", "--minify", "--format=esm",
         "--outfile=charts/vega.js", "--log-level=error"],
        cwd=MADE.parent,
        check=True,
    )  # fmt: skip
    texts = b"".join((MADE / f"{name}.json").read_bytes() for name in specs())
    print(f"SVG in the page: {size((MADE / 'svg.html').read_bytes())}")
    print(f"Vega and specifications: {size((MADE / 'vega.js').read_bytes() + texts)}")
    handler = functools.partial(_Handler, directory=MADE)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        one, other = (shown_after(browser, f"{url}/{name}.html") for name in ("svg", "vega"))
        browser.close()
    server.shutdown()
    print(f"drawn after: SVG {one:.0f} ms, Vega {other:.0f} ms: {other / one:.1f} times")


if __name__ == "__main__":
    main()
