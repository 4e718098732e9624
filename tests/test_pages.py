"""The pages in a real browser: each control, shared links, downloads, and nothing from outside."""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import (
    CITY,
    DATA,
    REGISTRY,
    CommandLine,
    make_store,
    read_into,
    rest_in_soak,
    sample_logs,
)
from playwright.sync_api import Browser, Page, expect, sync_playwright
from servers import MUST
from service import add_token, served

from ringserverstats.enrich.geoip import GeoIP
from ringserverstats.statistics.sizes import human_bytes

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None and not MUST, reason="needs Chromium (Debian: apt-get install chromium)"
)
#: Days of the sample.
FIRST, LAST = "2026-09-01", "2026-09-20"


#: Console messages about a page that does not exist, and an invalid token.
EXPECTED = ("status of 404 (Not Found)", "status of 403 (Forbidden)")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str, CommandLine]]:
    """The address of a service, an operator's token, and the command line on its store."""
    folder = tmp_path_factory.mktemp("pages")
    run = CommandLine(folder)
    run.environment["RINGSERVERSTATS_SECRET"] = bytes(range(32)).hex()
    run.environment["RINGSERVERSTATS_TITLE"] = "Observatory <b>X</b>"
    store = make_store(folder / "store.duckdb", memory="1GB")
    read_into(store, sample_logs(folder / "logs", days=20))
    geoip = GeoIP(CITY, None, precision=5)
    for name in ("v4.5.3-midnight-paris", "v4.5.3-text"):
        read_into(store, DATA / name, server=name[7:], geoip=geoip)
    store.set_registry(REGISTRY)
    token = add_token(store, "operator")
    with served(run, folder=folder) as url:
        yield url, token, run


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"] if os.geteuid() == 0 else []
        )
        yield made
        made.close()


@pytest.fixture
def open_page(browser: Browser, site: tuple) -> Iterator[Callable[..., Page]]:
    """Opens a page; at the end nothing may have gone wrong in any, nor come from elsewhere."""
    url = site[0]
    problems: list[str] = []
    contexts = []

    def make(path: str = "/", *, width: int = 1280, signed: bool = False, **given: object) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 900}, **given)
        contexts.append(context)
        if signed:
            cookie = {"name": "ringserverstats", "value": site[1], "url": url}
            context.add_cookies([cookie])
        page = context.new_page()
        page.on("console", lambda message: problems.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "request",
            lambda one: None if one.url.startswith(url) else problems.append(one.url),
        )
        page.goto(url + path)
        return page

    yield make
    for context in contexts:
        context.close()
    assert [one for one in problems if not one.endswith(EXPECTED)] == []


def words_of(page: Page) -> str:
    return page.url.partition("?")[2]


def tile(page: Page, name: str) -> str:
    return (
        page.locator(".tile", has=page.get_by_text(name, exact=True)).locator(".value").inner_text()
    )


def asked(run: CommandLine, *options: str) -> list[dict]:
    return json.loads(run("stats", *options, "--format", "json").stdout)


def test_its_figures_are_those_of_the_command(open_page: Callable[..., Page], site: tuple) -> None:
    page = open_page(f"/?from={FIRST}&to={LAST}")
    total = asked(site[2], "--from", FIRST, "--to", LAST)[0]
    assert tile(page, "sent") == human_bytes(total["bytes"])
    assert tile(page, "clients") == f"{total['clients']:,}"
    assert tile(page, "connections") == f"{total['connections']:,}"
    by_network = asked(site[2], "--by", "network", "--from", FIRST, "--to", LAST)
    rows = page.locator("section[aria-labelledby=h-networks] tbody tr")
    shown = [row.locator("td").all_inner_texts() for row in rows.all()]
    assert [(row[0].removesuffix("\xa0→"), row[-2], row[-1]) for row in shown] == [
        (row["network"], human_bytes(row["bytes"]), f"{row['clients']:,}") for row in by_network
    ]
    command = page.locator("section[aria-labelledby=h-networks] code").text_content()
    assert asked(site[2], *command.split()[2:])[0]["bytes"] == by_network[0]["bytes"]


def test_filters_periods_and_orders_are_in_the_address(open_page: Callable[..., Page]) -> None:
    page = open_page(f"/?from={FIRST}&to={LAST}")
    everything = tile(page, "sent")
    page.locator("section[aria-labelledby=h-networks] tbody a").first.click()
    assert "network=FR" in words_of(page)
    only_fr = tile(page, "sent")
    assert only_fr != everything
    page.locator("[name=server]").select_option("node-b")
    page.wait_for_url("**server=node-b**")
    assert "network=FR" in words_of(page)
    page.locator("[name=station]").fill("F0*")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**station=F0**")
    page.get_by_title("Remove this filter").first.click()
    page.go_back()
    page.go_back()
    page.go_back()
    assert tile(page, "sent") == only_fr
    page.get_by_role("link", name="protocol").click()
    assert "split=protocol" in words_of(page)
    expect(page.get_by_label("Colours")).to_contain_text("SeedLink")
    page.get_by_role("link", name="week", exact=True).click()
    assert "step=week" in words_of(page)
    page.get_by_title("Sort by clients").first.click()
    assert "sort-networks=clients" in words_of(page)
    page.get_by_text("do not compare").click()
    assert "compare=no" in words_of(page)
    page.get_by_role("link", name="7 days").click()
    assert "last=7d" in words_of(page)
    expect(page.get_by_text("(7 days")).to_be_visible()


def test_an_empty_period_says_what_there_is(open_page: Callable[..., Page]) -> None:
    page = open_page("/?from=2020-01-01&to=2020-01-02")
    expect(page.get_by_text("No entries in this period")).to_be_visible()
    page.get_by_role("link", name=re.compile("^20.* to 20")).click()
    assert tile(page, "sent") != "0 B"


@pytest.mark.soak
def test_a_shared_link_shows_the_same(open_page: Callable[..., Page]) -> None:
    path = f"/?from={FIRST}&to={LAST}&network=G&split=country&step=week&sort-stations=packets"
    one, other = open_page(path), open_page(path)
    assert one.locator("main").inner_text() == other.locator("main").inner_text()


def test_values_are_shown_under_the_pointer(open_page: Callable[..., Page]) -> None:
    page = open_page(f"/?from={FIRST}&to={LAST}")
    bar = page.locator(".chart .wide .bars_marks path").nth(3)
    bar.hover()
    expect(page.locator("#tip")).to_be_visible()
    assert re.match(r"2026-09-\d\d: \w+ [\d.]+ [kMGT]?B, in all", page.locator("#tip").inner_text())


def test_it_works_without_javascript(open_page: Callable[..., Page], site: tuple) -> None:
    page = open_page(f"/?from={FIRST}&to={LAST}", java_script_enabled=False)
    total = asked(site[2], "--from", FIRST, "--to", LAST)[0]
    assert tile(page, "sent") == human_bytes(total["bytes"])
    assert page.locator("figure.chart svg").count() >= 4
    page.locator("[name=network]").fill("G")
    page.get_by_role("button", name="Show").click()
    assert "network=G" in words_of(page)


def test_charts_and_tables_are_files_too(open_page: Callable[..., Page], tmp_path: Path) -> None:
    page = open_page("/?from=2026-01-01&to=2026-11")
    for name in ("activity", "map", "hours", "networks", "stations"):
        section = page.locator(f"section[aria-labelledby=h-{name}]")
        for format_, begin in (("SVG", b"<svg"), ("PNG", b"\x89PNG")):
            with page.expect_download() as download:
                section.get_by_role("link", name=format_).click()
            assert f"{name}-2026-01-01-2026-11-30" in download.value.suggested_filename
            download.value.save_as(tmp_path / "file")
            assert (tmp_path / "file").read_bytes().startswith(begin)
            assert (tmp_path / "file").stat().st_size > 2000


def test_a_table_is_a_csv_file(open_page: Callable[..., Page], tmp_path: Path, site: tuple) -> None:
    page = open_page(f"/?from={FIRST}&to={LAST}")
    with page.expect_download() as download:
        page.locator("section[aria-labelledby=h-countries]").get_by_role("link", name="CSV").click()
    download.value.save_as(tmp_path / "countries.csv")
    completed = site[2](
        "stats",
        "--by",
        "country,country-name",
        "--from",
        FIRST,
        "--to",
        LAST,
        "--measure",
        "bytes,clients",
        "--format",
        "csv",
    )
    assert (tmp_path / "countries.csv").read_text() == completed.stdout


def test_days_without_a_log_are_not_zero(open_page: Callable[..., Page]) -> None:
    page = open_page("/?from=2026-06-25&to=2026-07-05&server=midnight-paris")
    holes = page.locator(".chart .wide .gaps_marks path").all()
    labels = [hole.get_attribute("aria-label") for hole in holes]
    assert "2026-06-26: no log" in labels
    assert not [label for label in labels if label.startswith("2026-06-30")]
    expect(page.locator("section[aria-labelledby=h-coverage]")).to_contain_text("missing")


def test_a_network_and_a_station_have_pages_of_their_own(open_page: Callable[..., Page]) -> None:
    page = open_page(f"/network/FR?from={FIRST}&to={LAST}")
    expect(page.get_by_role("heading", name="Network FR")).to_be_visible()
    expect(page.locator(".about").first).to_contain_text("RESIF & other")
    assert (
        page.get_by_role("link", name=re.compile("doi:")).get_attribute("href").endswith("RESIF.FR")
    )
    page.locator("section[aria-labelledby=h-stations] .page-link").first.click()
    assert re.search(r"/station/FR/F\w+", page.url)
    assert tile(page, "stations") == "1"
    page.emulate_media(media="print")
    expect(page.locator(".filters")).to_be_hidden()
    expect(page.locator(".tiles")).to_be_visible()
    assert len(page.pdf()) > 10_000


def test_signing_in_shows_clients_and_signing_out_hides_them(
    open_page: Callable[..., Page], site: tuple
) -> None:
    page = open_page(f"/?from={FIRST}&to={LAST}")
    assert page.locator("#h-clients").count() == 0
    page.get_by_role("link", name="Sign in").click()
    page.locator("[name=token]").fill("rss_wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("unknown")
    page.locator("[name=token]").fill(site[1])
    page.get_by_role("button", name="Sign in").click()
    page.goto(f"{site[0]}/?from={FIRST}&to={LAST}")
    pseudonym = page.locator("section[aria-labelledby=h-clients] tbody a").first
    known = {
        row["client"] for row in asked(site[2], "--by", "client", "--from", FIRST, "--to", LAST)
    }
    assert pseudonym.inner_text() in known
    page.get_by_role("link", name=re.compile(r"All \d+ rows")).last.click()
    assert page.locator("tbody tr").count() > 10
    page.get_by_role("button", name="Sign out").click()
    page.goto(f"{site[0]}/?from={FIRST}&to={LAST}")
    assert page.locator("#h-clients").count() == 0


def test_what_was_fed_in_has_a_view_of_its_own(open_page: Callable[..., Page]) -> None:
    page = open_page("/?from=2026-06-29&to=2026-07-01")
    page.locator("[name=direction]").select_option("RX")
    page.wait_for_url("**direction=RX**")
    assert tile(page, "received") != "0 B"
    expect(page.locator("section[aria-labelledby=h-coverage]")).to_contain_text("received")


def test_live_statistics_are_refreshed(open_page: Callable[..., Page]) -> None:
    page = open_page(f"/?from={FIRST}&to={LAST}")
    page.clock.install()
    page.reload()
    page.locator("#live").check()
    with page.expect_request(lambda one: one.resource_type == "fetch"):
        page.clock.run_for(31_000)


DASHBOARD = f"/?from={FIRST}&to={LAST}"
_WIDE, _NARROW = (1280, "light"), (360, "dark")
VIEWS = rest_in_soak(
    [
        *((DASHBOARD, *_WIDE), (DASHBOARD, *_NARROW), ("/docs", *_WIDE), ("/sign-in", *_NARROW)),
        *(("/tables/stations", *_NARROW), ("/nothing", *_WIDE)),
        *(("/docs", *_NARROW), ("/sign-in", *_WIDE), ("/tables/stations", *_WIDE)),
        ("/nothing", *_NARROW),
    ],
    keep=6,
)


@pytest.mark.parametrize("path, width, scheme", VIEWS)
def test_pages_can_be_used_by_all(
    open_page: Callable[..., Page], path: str, width: int, scheme: str
) -> None:
    page = open_page("/sign-in", width=width, color_scheme=scheme, signed=True)
    page.goto(page.url.replace("/sign-in", path))
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = Axe().run(page)
    serious = [
        (one["id"], one["nodes"][0]["html"][:200])
        for one in found.response["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []


def test_a_title_is_only_text(open_page: Callable[..., Page]) -> None:
    page = open_page("/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Observatory <b>X</b>")


def test_the_first_load_is_small(open_page: Callable[..., Page], site: tuple) -> None:
    page = open_page("/sign-in")
    sizes: list[int] = []
    page.on("requestfinished", lambda one: sizes.append(one.sizes()["responseBodySize"]))
    page.goto(f"{site[0]}/?from={FIRST}&to={LAST}")
    page.wait_for_load_state("networkidle")
    assert 0 < sum(sizes) < 1_500_000
