"""What README and manual say is what the program does, and they say all of it."""

import html
import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import click
import pytest
from conftest import make_store, rest_in_soak

import examples
import generate
from ringserverstats.cli import PROGRAM, cli
from ringserverstats.logs import reasons
from ringserverstats.settings import Settings
from ringserverstats.statistics.dimensions import DIMENSIONS, FILTERS, MEASURES
from ringserverstats.store.audit import _CHECKS
from ringserverstats.store.rollups import ROLLUPS

ROOT = Path(__file__).parents[1]

PAGES = {path: path.read_text() for path in examples.PAGES}
MANUAL = {path.stem: text for path, text in PAGES.items() if path.parent.name == "docs"}


def test_pages_that_come_from_the_code_are_as_it_is() -> None:
    for path, text in generate.pages().items():
        assert path.read_text() == text, f"{path.name}: run make docs"


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> examples.Homes:
    homes = examples.Homes(tmp_path_factory.mktemp("homes"))
    homes.prepare()
    return homes


_WITH_EXAMPLES = sorted(examples.with_examples(), key=lambda path: path.stem != "README")


@pytest.mark.parametrize("path", rest_in_soak(_WITH_EXAMPLES), ids=lambda path: path.stem)
def test_examples_print_what_they_show(path: Path, homes: examples.Homes) -> None:
    home = homes.make(path.stem, is_read=examples.is_read_first(PAGES[path]))
    assert examples.run_page(PAGES[path], home, homes) == PAGES[path], "run: make docs"


def test_there_are_examples_and_a_wrong_one_is_found(homes: examples.Homes) -> None:
    assert sum(len(examples.examples(text)) for text in PAGES.values()) >= 15
    wrong = "```console\n$ echo right\nwrong\n```\n"
    home = homes.make("wrong", is_read=False)
    assert examples.run_page(wrong, home, homes) == wrong.replace("wrong", "right")


def _recipes() -> list[str]:
    """Commands of the program in blocks that are not run: they name places of their reader."""
    found = []
    for text in PAGES.values():
        for block in re.findall(r"```(?:sh|text)\n(.*?)```", text, re.S):
            for line in block.splitlines():
                if line.startswith("docker build") or "--entrypoint" in line:
                    continue  # there our name is the image's
                found += re.findall(r"(?:^|\s)ringserverstats ([^|>&;\s][^|>&;]*)", line)
    return found


@pytest.mark.parametrize("recipe", sorted(set(_recipes())))
def test_recipes_have_commands_and_options_that_are_there(recipe: str) -> None:
    args = [word for word in shlex.split(recipe) if word != "2"]
    command: click.Command = cli
    context = click.Context(cli, info_name=PROGRAM)
    while isinstance(command, click.Group):
        found = command.get_command(context, args[0])
        if found is None:
            assert args[0].startswith("/"), recipe
            return
        command, args = found, args[1:]
    for parameter in command.params:
        if isinstance(parameter.type, click.Path):
            parameter.type.exists = False
    command.make_context(command.name, args)


def test_every_command_is_in_the_manual_with_an_example() -> None:
    for name in cli.list_commands(click.Context(cli)):
        assert f"## ringserverstats {name}\n" in MANUAL["commands"]
    for path, text in generate._helps(96):
        assert "Examples:" in text, path
        assert f'.SH "{path.upper()}"' in (ROOT / "docs" / "ringserverstats.1").read_text()


def test_every_setting_is_in_the_manual() -> None:
    page, _, renamed = MANUAL["settings"].partition("## Renamed settings")
    documented = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert renamed
    assert sorted(documented) == sorted(Settings.__struct_fields__)


def test_every_statistic_is_in_the_manual_with_its_sql() -> None:
    page = MANUAL["statistics"]
    for name in (*DIMENSIONS, *MEASURES):
        assert f"| `{name}` |" in page
    for name in FILTERS:
        assert f"| `--{name}` |" in page
    for one in DIMENSIONS.values():
        assert one.key_sql(resolved=True) in html.unescape(page)


def test_every_table_and_column_is_in_the_manual(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store.duckdb")
    store.open(create=True)
    rows = store.ask(
        "SELECT table_name AS t, column_name AS c FROM information_schema.columns"
        " WHERE table_schema = 'main'",
        [],
    ).to_pylist()
    assert len(rows) > 60
    views = {rollup.table for rollup in ROLLUPS}
    views |= {row["t"] for row in rows if row["t"].endswith(("_transfer", "_station", "_entry"))}
    views |= {"entry_total"}  # they have columns of tables
    sections = re.split(r"^## ", MANUAL["tables"], flags=re.M)
    assert all(f"`{view}`" in sections[-1] for view in views)
    rows = [row for row in rows if row["t"] not in views]
    for row in rows:
        own = [one for one in sections if f"`{row['t']}`" in one]
        assert any(f"`{row['c']}`" in one for one in own), row


def test_every_reason_and_problem_is_in_the_manual() -> None:
    page = MANUAL["errors"]
    result = [
        value for name, value in vars(reasons).items() if name.isupper() and isinstance(value, str)
    ]
    for reason in result:
        assert reason in page, reason
    for _, problem, _ in _CHECKS:
        words = ("refers to a server that", "refers to a row that", "does not refer to it")
        near = next((word for word in words if word in problem), problem)
        assert near in page, problem


class _Resources(HTMLParser):
    """What a browser would fetch by itself for a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in ("script", "img", "iframe", "source", "embed"):
            self.found.append(given.get("src") or "")
        if tag == "link" and given.get("rel") not in ("canonical", "prev", "next", "edit"):
            self.found.append(given.get("href") or "")
        self.found += re.findall(r"url\(([^)]*)\)", given.get("style") or "")


def test_manual_builds_and_needs_nothing_from_outside(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", tmp_path / "site"],
        cwd=ROOT,
        env={"NO_MKDOCS_2_WARNING": "1", "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    pages = list((tmp_path / "site").glob("*.html"))
    assert {path.stem for path in pages} >= set(MANUAL)
    for path in pages:
        resources = _Resources()
        resources.feed(path.read_text())
        assert resources.found
        assert [one for one in resources.found if re.match(r"\w+:|//", one)] == [], path.name
    for path in (tmp_path / "site").rglob("*.css"):
        assert re.findall(r"(?:url\(|@import )[\"']?(?:https?:)?//", path.read_text()) == []


def test_links_between_pages_lead_somewhere() -> None:
    for path, text in PAGES.items():
        for target in re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", text):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_man_page_has_only_the_macros_that_it_means() -> None:
    page = (ROOT / "docs" / "ringserverstats.1").read_text()
    macros = re.findall(r"^[.'](\w*)", page, re.M)
    assert set(macros) == {"TH", "SH", "nf", "fi"}
    assert macros.count("nf") == macros.count("fi")
    assert re.findall(r"\\(?![-e&])", page) == []
