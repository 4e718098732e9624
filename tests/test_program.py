"""As a process of its own each command says and does what it does within the tests.

These run it within their own process where they can (`CommandLine`), which takes a third of the
time.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import DATA, SECRET, CommandLine, dump, rest_in_soak

from ringserverstats.cli import _COMMANDS

REAL = DATA / "v4.5.3-midnight-paris"
TEXT = DATA / "v4.5.3-text"
DAY = ("--from", "2026-06-30", "--to", "2026-06-30")
CLOCK = re.compile(r"\d\d:\d\d:\d\d")
POOL = "ARROW_DEFAULT_MEMORY_POOL"
ADDRESS = "216.160.83.56"
#: In this order, on one store; `FOLDER` is where that is, `-` is `ADDRESS`.
COMMANDS: tuple[tuple[object, ...], ...] = (
    ("info",),  # of no store yet
    ("ingest", TEXT, REAL),
    ("stats", "--by", "month,network"),
    ("stats", "--by", "planet"),
    ("token", "list"),
    ("server", "add", "b", "--timezone", "Europe/Paris"),
    ("clients", "check-rules", TEXT),
    ("networks", "refresh", DATA / "networks" / "fdsn.json"),
    ("export", "eida", "--month", "2026-11", "--node", "N"),
    ("coverage", "--month", "2026-06"),
    ("rejects",),
    ("audit",),
    ("verify", REAL),
    ("backup", "FOLDER/backup.duckdb"),
    ("delete", "--server", "default", *DAY, "--yes"),
    ("restore", "--yes", "FOLDER/backup.duckdb"),
    ("copy", "--to", "duckdb://FOLDER/copy.duckdb"),
    ("forget", "-"),
    ("prune", "--keep", "1mo", "--yes"),
    ("migrate",),
    ("import-0.17",),
    ("completion", "bash"),
    ("--help",),
    ("inges",),
)


def test_each_command_is_here() -> None:
    served = {"serve"}  # which tests/test_service.py starts
    assert {words[0] for words in COMMANDS} >= set(_COMMANDS) - served


#: Of `COMMANDS`, those that read standard input, write files, answer, and fail.
SOME = ("ingest", "stats", "forget", "backup", "inges")


@pytest.mark.parametrize("commands", rest_in_soak([SOME, None]))
def test_each_command_says_and_does_the_same_as_a_process(
    tmp_path: Path, commands: tuple[str, ...] | None
) -> None:
    here, away = (
        CommandLine(tmp_path / name, {"RINGSERVERSTATS_SECRET": SECRET.hex()})
        for name in ("here", "away")
    )
    for one in (here, away):
        one.folder.mkdir()
    for words in COMMANDS:
        if commands and words[0] not in commands:
            continue
        given = {"input": f"{ADDRESS}\n"} if words[-1] == "-" else {}
        result = []
        for one, run in ((here, here), (away, away.process)):
            folder = str(one.folder)
            done = run(*(str(word).replace("FOLDER", folder) for word in words), **given)
            said = (CLOCK.sub("", text.replace(folder, "")) for text in (done.stdout, done.stderr))
            result.append((done.returncode, *said))
        assert result[0] == result[1], words
    left = dump(here.store), dump(away.store)
    for table in (
        "entry_ledger",
        "stream",
        "log_interval",
    ):  # whoever was forgotten has ids made of nothing
        assert left[0][table] == left[1][table]


@pytest.mark.parametrize(
    ("result", "pool"), [({}, "system"), ({POOL: "mimalloc"}, "mimalloc")], ids=["not", "result"]
)
def test_columns_share_one_heap_unless_set_otherwise(result: dict[str, str], pool: str) -> None:
    """Of the GNU C library, which this is run with."""
    others = {name: value for name, value in os.environ.items() if name != POOL}
    script = (
        "from ringserverstats import memory; memory.share();"
        " import pyarrow; print(pyarrow.default_memory_pool().backend_name)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=others | result,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == pool
