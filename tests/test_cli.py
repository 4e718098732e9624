"""The command line as its users meet it."""

import csv
import io
import json
import os
import pty
import pwd
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pyarrow.parquet
import pytest
from conftest import DATA, LONG, CommandLine, make_store, wait_for
from model import START, block
from rich.console import Console

from ringserverstats import __version__, settings
from ringserverstats.cli import _COMMANDS, PROGRAM, cli
from ringserverstats.cli.terminal import show, table
from ringserverstats.settings import RENAMED
from ringserverstats.statistics.sizes import human_bytes
from ringserverstats.store.schema import NEWEST

REAL = DATA / "v4.5.3-midnight-paris"
TXLOG = REAL / "txlog-20260630T0000-20260701T0000"


def test_file_without_a_command_is_ingested(run: CommandLine) -> None:
    done = run(TXLOG)
    assert done.returncode == 0
    assert "entries" in done.stdout
    again = json.loads(run("--json", TXLOG).stdout)
    assert (again["entries"], again["known"]) == (0, 4)


def test_database_option_before_or_behind_the_command(run: CommandLine, tmp_path: Path) -> None:
    uri = f"duckdb://{tmp_path}/other.duckdb"
    assert run("--dburi", uri, TXLOG).returncode == 0
    assert (tmp_path / "other.duckdb").exists()
    for args in (("--database", uri, "stats"), ("stats", "--database", uri)):
        rows = json.loads(run(*args, "--format", "json").stdout)
        assert rows[0]["bytes"] == 541184


def test_word_that_is_neither_command_nor_file(run: CommandLine) -> None:
    done = run("inges")
    assert done.returncode == 2
    assert "did you mean 'ingest'?" in done.stderr


def test_standard_input_with_a_name(run: CommandLine) -> None:
    given = {"input": TXLOG.read_text()}
    report = json.loads(run("--json", "--name", TXLOG.name, "-", **given).stdout)
    assert (report["entries"], report["days_guessed"]) == (4, 0)
    run.environment["DATABASE_URI"] += "2.duckdb"
    report = json.loads(run("ingest", "--json", "-", **given).stdout)
    assert (report["entries"], report["days_guessed"]) == (4, 4)


def test_receipt_as_json_has_every_number(run: CommandLine) -> None:
    report = json.loads(run("ingest", "--json", DATA).stdout)
    assert list(report) == [
        "files",
        "entries",
        "connections",
        "transfers",
        "bytes",
        "packets",
        "known",
        "known_elsewhere",
        "in_copies",
        "empty",
        "incomplete",
        "rejected",
        "rejected_before",
        "resolved",
        "days_guessed",
        "misdated",
        "imported",
        "access_lines",
        "other_files",
        "temporary_files",
        "rejects",
        "notes",
    ]
    assert (report["files"], report["access_lines"]) == (38, 224)
    assert report["known_elsewhere"] == 0


def test_rejects_are_reported_on_standard_error(run: CommandLine, tmp_path: Path) -> None:
    log = tmp_path / "bad\x1b[31mlog"
    log.write_text(block().replace("bytes: 1536", "bytes: 1") + block(log_time=START + 99))
    done = run("ingest", log)
    assert done.returncode == 0
    assert "lines 1 to 4: total is 1 but the lines add up to 1536" in done.stderr
    assert "\x1b" not in done.stderr + done.stdout
    assert run("ingest", "--strict", log).returncode == 1


def test_stats_as_json_csv_parquet_and_table(run: CommandLine, tmp_path: Path) -> None:
    run(REAL)
    query = ("stats", "--by", "day,network", "--from", "2026-06", "--to", "2026-07")
    rows = json.loads(run(*query, "--format", "json").stdout)
    assert list(rows[0]) == ["day", "network", "bytes", "packets", "transfers", "clients"]
    assert rows[0] == {
        "day": "2026-06-30",
        "network": "FR",
        "bytes": 300544,
        "packets": 587,
        "transfers": 4,
        "clients": 3,
    }
    table = list(csv.DictReader(io.StringIO(run(*query, "--format", "csv").stdout)))
    assert [{**row, "day": row["day"]} for row in table] == [
        {name: str(value) for name, value in row.items()} for row in rows
    ]
    file = tmp_path / "out.parquet"
    assert run(*query, "--format", "parquet", "-o", file).returncode == 0
    assert pyarrow.parquet.read_table(file).to_pylist() == rows
    shown = run(*query).stdout
    assert "301 kB" in shown
    assert "day: the server's local date" in shown
    text = tmp_path / "out.txt"
    assert run(*query, "-o", text).returncode == 0
    assert text.read_text() == shown


def test_periods(run: CommandLine) -> None:
    run(REAL)

    def transfers(*args: str) -> int:
        rows = json.loads(run("stats", *args, "--format", "json").stdout)
        return sum(row["transfers"] or 0 for row in rows)

    assert transfers() == 16
    assert transfers("--month", "2026-06") == 8
    assert transfers("--year", "2026") == 16
    assert transfers("--from", "2026-07-01") == 8
    assert transfers("--to", "2026-06") == 8
    assert transfers("--direction", "RX") == 6
    assert transfers("--direction", "TX,RX") == 22


def test_empty_answer_says_what_the_store_holds(run: CommandLine) -> None:
    run(REAL)
    done = run("stats", "--by", "day", "--year", "2001")
    assert "The store holds 2026-06-30 to 2026-07-01" in done.stdout
    assert done.returncode == 0


def test_filters_match_without_regard_to_case(run: CommandLine) -> None:
    run(REAL)

    def sizes(*args: str) -> list[int]:
        rows = run("stats", *args, "--measure", "bytes", "--format", "json").stdout
        return [row["bytes"] for row in json.loads(rows)]

    agent = json.loads(run("stats", "--by", "agent", "--format", "json").stdout)[0]["agent"]
    for name, value in (
        ("--network", "FR"),
        ("--station", "CI*"),
        ("--stream", "FR_*"),
        ("--direction", "RX"),
        ("--protocol", "DataLink"),
        ("--agent", agent),
    ):
        assert sizes(name, value) == sizes(name, value.lower()) == sizes(name, value.upper())
        assert sizes(name, value) != [0]
    assert "sent to clients (TX)" in run("stats", "--direction", "tx").stdout
    assert sizes("--by", "network", "--network", "f?,xx") == sizes("--network", "FR")
    assert sizes("--by", "net,sta", "--sta", "ciel") == sizes("--station", "CIEL")
    assert sizes("--by", "software") == sizes("--by", "agent-family")
    assert sizes("--by", "organisation") == sizes("--by", "institution")


def test_what_a_filter_may_have_meant(run: CommandLine) -> None:
    run(REAL)
    done = run("stats", "--network", "FRR,Q-9,--", "--station", "CIEL")
    assert "no network matches 'FRR'. Did you mean FR?" in done.stdout
    assert "no network matches 'Q-9'. The store has FR, G, XP" in done.stdout
    assert "no station" not in done.stdout
    assert "Did you mean FR?" in run("stats", "--network", "FRR", "--format", "csv").stderr
    assert "Did you mean" not in run("stats", "--public", "--network", "FRR").stdout
    for word, meant in (
        ("FR", "--network FR"),
        ("XP2014", "--network XP2014"),
        ("CIEL", "--station CIEL"),
        ("month", "--by month"),
        ("2026-06", "--month 2026-06"),
        ("30d", "--last 30d"),
    ):
        asked = run("stats", word)
        assert asked.returncode == 2
        assert f"unexpected argument {word!r}; did you mean {meant}?" in asked.stderr


def test_users_are_pseudonyms_and_only_for_the_operator(run: CommandLine) -> None:
    logs = sorted((DATA / "v4.5.3-jsonl").glob("txlog*"))
    run(*logs)
    rows = json.loads(run("stats", "--by", "user", "--format", "json").stdout)
    assert all(row["user"] is None or re.fullmatch(r"\w{16,}", row["user"]) for row in rows)
    refused = run("stats", "--by", "user", "--public")
    assert refused.returncode == 2
    assert "only the operator can query single clients. Leave out user" in refused.stderr


def test_sums_of_other_groups_exceed_64_bits(run: CommandLine, log: Callable[..., Path]) -> None:
    size = 2**62
    transfers = (("FR_CIEL_00_HHZ/MSEED", size, 1),)
    run(log("".join(block(agent=agent, transfers=transfers) for agent in "abcd")))
    run.environment["RINGSERVERSTATS_MIN_CLIENTS"] = "0"
    query = ("stats", "--by", "month,agent", "--measure", "bytes", "--top", "1")
    for public in ((), ("--public",)):
        rows = json.loads(run(*query, *public, "--format", "json").stdout)
        assert [row["bytes"] for row in rows] == [size, 3 * size]


def test_files_whose_names_imply_another_format_are_refused(
    run: CommandLine, tmp_path: Path
) -> None:
    run(REAL)
    refused = run("stats", "-o", tmp_path / "x.xlsx")
    assert refused.returncode == 2
    assert "Name it .csv, .json, .parquet or .txt" in refused.stderr
    assert not (tmp_path / "x.xlsx").exists()
    assert run("stats", "-o", tmp_path / "x.dat", "--format", "csv").returncode == 0


def test_missing_files(run: CommandLine) -> None:
    for words in (("nosuch.log",), ("ingest", "nosuch.log"), ("logs/nosuch",)):
        done = run(*words)
        assert done.returncode == 2
        assert "no such file or folder" in done.stderr


def test_tables_fit_the_terminal_and_cut_no_number() -> None:
    def lines(width: int) -> list[str]:
        grid = table([("agent", False), ("bytes", True), ("packets", True)])
        for number in (12_345_678_901, 1):
            grid.add_row("slinktool/4.5 (a long description of an agent)", f"{number:,}", "1,234")
        file = io.StringIO()
        show(grid, Console(file=file, width=width, highlight=False))
        return file.getvalue().splitlines()

    for width in (80, 50, 10):
        shown = lines(width)
        assert shown[0].strip()
        assert shown[-1].strip()
        assert sum("12,345,678,901" in line for line in shown) == 1
        assert width == 10 or max(map(len, shown)) <= width


def test_delete_takes_a_list_of_servers(run: CommandLine) -> None:
    for name in ("a", "b", "c"):
        run("ingest", "--as", name, REAL)
    days = ("--from", "2026", "--to", "2026")
    for names in ("a,nosuch", "a,n*"):
        assert run("delete", "--server", names, *days, "--yes").returncode == 2
    assert json.loads(run("info", "--json").stdout)["entries"] == 30
    done = run("delete", "--server", "a,b,a", *days, "--yes")
    assert done.stdout.count("deleted 10 entries") == 2
    assert json.loads(run("info", "--json").stdout)["entries"] == 10


def test_packets_that_were_not_logged_are_a_lower_bound(
    run: CommandLine, log: Callable[..., Path]
) -> None:
    """ringserver v2012.125 to v2013.284 wrote 0 packets for all that SeedLink sent."""
    for day, packets, protocol in ((30, 0, "SeedLink"), (31, 3, "SeedLink"), (31, 2, "DataLink")):
        text = block(
            log_time=START - 86_400 * (31 - day),
            transfers=(("FR_CIEL_00_HHZ/MSEED", 1536, packets),),
            protocol=protocol,
        )
        run("ingest", log(text, f"txlog-202601{day}T0000-202601{day}T2300"))
    shown = run("stats", "--by", "day", "--measure", "bytes,packets,packets-per-day").stdout
    assert "≥ 0" in shown
    assert "≥ 5" in shown  # the total
    (last,) = (line for line in shown.splitlines() if line.startswith("2026-01-31"))
    assert "≥" not in last
    note = "packets are a lower bound: on 1 day (2026-01-30 to 2026-01-30) logs have bytes without"
    assert note in shown
    assert note in run("stats", "--format", "csv").stderr
    for words in (("--from", "2026-01-31"), ("--protocol", "DataLink"), ("--measure", "bytes")):
        assert "lower bound" not in run("stats", *words).stdout
    assert "≥" not in run("stats", "--by", "day", "--from", "2026-01-31").stdout
    only = run("stats", "--to", "2026-01-30", "--measure", "packets").stdout
    assert "≥ 0" in only
    assert "No entries match" not in only


def test_csv_runs_no_formula(run: CommandLine, tmp_path: Path) -> None:
    log = tmp_path / "txlog"
    agents = ("=1+1", "+1", "-1", "@x", 'quo"te,comma', "<b>&amp;")
    log.write_text("".join(block(agent=agent) for agent in agents))
    run(log)
    done = run("stats", "--by", "agent", "--sort", "agent", "--format", "csv")
    names = {row["agent"] for row in csv.DictReader(io.StringIO(done.stdout))}
    assert names == {"'=1+1", "'+1", "'-1", "'@x", 'quo"te,comma', "<b>&amp;"}


def test_stream_that_is_no_source_identifier_keeps_its_bytes(run: CommandLine) -> None:
    run(DATA / "v4.5.3-text")
    rows = json.loads(run("stats", "--by", "network,stream", "--format", "json").stdout)
    raw = [row for row in rows if row["network"] is None]
    assert [(row["stream"], row["bytes"]) for row in raw] == [("RAW/BINARY", 36)]


def test_info_tells_what_is_in_the_store(run: CommandLine) -> None:
    run("server", "add", "default", "--timezone", "Europe/Paris")
    run(REAL)
    found = json.loads(run("info", "--json").stdout)
    assert (found["entries"], found["transfers"], found["clients"], found["schema"]) == (
        10,
        22,
        5,
        NEWEST,
    )
    assert found["servers"] == [
        {
            "name": "default",
            "timezone": "Europe/Paris",
            "first_day": "2026-06-30",
            "last_day": "2026-07-01",
            "entries": 10,
            "bytes_sent": 942592,
            "bytes_received": 556032,
        }
    ]
    assert "Europe/Paris" in run("info").stdout


def test_servers(run: CommandLine) -> None:
    assert run("server", "add", "node-a", "--timezone", "America/Denver").returncode == 0
    assert run("server", "add", "node-a").returncode == 2
    assert run("server", "add", "bad name").returncode == 2
    assert run("server", "timezone", "node-a", "Mars/Olympus").returncode == 2
    assert run("server", "timezone", "node-a", "../../etc/passwd").returncode == 2
    assert run("server", "rename", "node-a", "rt1").returncode == 0
    assert run("server", "rename", "node-a", "rt2").returncode == 2
    listed = json.loads(run("server", "list", "--json").stdout)
    assert listed == [
        {
            "name": "rt1",
            "timezone": "America/Denver",
            "first_day": None,
            "last_day": None,
            "former_names": ["node-a"],
            "paths": [],
        }
    ]


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["ingest", "no-such-file"], 2, "check the path"),
        (["ingest"], 2, "there is nothing to read"),
        (["ingest", "--as", "../x", "@log"], 2, "invalid server name"),
        (["stats"], 3, "read logs into it with"),
        (["info"], 3, "read logs into it with"),
        (["stats", "--by", "planet"], 2, "unknown dimension 'planet'"),
        (["stats", "--from", "yesterday"], 2, "is not a date. Write 2026, 2026-Q4, 2026-11 or"),
        (["stats", "--month", "october"], 2, "'october' is not a month. Write 2026-11\n"),
        (["stats", "--month", "2026"], 2, "'2026' is not a month. Write 2026-11\n"),
        (["stats", "--month", "2026-13"], 2, "'2026-13' is not a month. Write 2026-11\n"),
        (["stats", "--quarter", "2026-Q5"], 2, "'2026-Q5' is not a quarter. Write 2026-Q4\n"),
        (["stats", "--year", "0000"], 2, "'0000' is not a year. Write 2026\n"),
        (["coverage", "--last", "6M"], 2, "Write 30d (days), 4w (weeks), 6m (months), 4q"),
        (["stats", "--month", "2026-01", "--last", "3d"], 2, "exclude one another"),
        (["stats", "--top", "0"], 2, "Invalid value"),
        (["--database", "mysql://x:secret@h/d", "info"], 2, "cannot be used"),
        (["--database", "postgresql://x:secret@h/d", "info"], 3, "cannot be reached"),
        (["--database", "postgresql://x:secret@h/d", "info"], 3, "a password on the command line"),
        (["--database", "postgresql://x:secret@h/d?secret=1", "info"], 2, "cannot be read"),
        (["--database", "duckdb:///proc/no/store.duckdb", "@log"], 3, "choose another"),
        (["--database", "duckdb:///etc/passwd", "@log"], 3, "cannot be used as a store"),
    ],
)
def test_errors_say_what_to_do_next(
    run: CommandLine, args: list[str], code: int, message: str
) -> None:
    done = run(*(str(TXLOG) if arg == "@log" else arg for arg in args))
    assert (done.returncode, message in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr
    assert "secret@" not in done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RINGSERVERSTATS_SECRET", "tooshort"),
        ("RINGSERVERSTATS_IPV6_PREFIX", "129"),
        ("RINGSERVERSTATS_LOCK_TIMEOUT", "soon"),
        ("RINGSERVERSTATS_MEMORY", "lots"),
        ("RINGSERVERSTATS_KEEP_HOSTS", "perhaps"),
        ("RINGSERVERSTATS_CONFIG", "/no/such/file.toml"),
    ],
)
def test_wrong_setting_is_named_and_not_shown(run: CommandLine, name: str, value: str) -> None:
    run.environment[name] = value
    done = run("ingest", TXLOG)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    if name == "RINGSERVERSTATS_SECRET":
        assert value not in done.stderr


def test_configuration_file_comes_after_the_environment(run: CommandLine, tmp_path: Path) -> None:
    config = tmp_path / "ringserverstats.toml"
    config.write_text(f'database = "duckdb://{tmp_path}/toml.duckdb"\nkeep_hosts = true\n')
    run.environment["RINGSERVERSTATS_CONFIG"] = str(config)
    uri = run.environment.pop("DATABASE_URI")
    run(TXLOG)
    assert (tmp_path / "toml.duckdb").exists()
    run.environment["DATABASE_URI"] = uri
    run(TXLOG)
    assert (tmp_path / "store.duckdb").exists()
    config.write_text("database = [")
    assert run("info").returncode == 2
    config.write_text('planet = "Mars"')
    assert "planet" in run("info").stderr


#: For each old name of a setting a value that is not the default.
OLD_NAMES = {
    "small_counts": ("7", 7),
    "keep_days": ("70", 70),
    "patience": ("7.5", 7.5),
    "reading": ("token", "token"),
    "node": ("EXAMPLE", "EXAMPLE"),
    "wait": ("7.5", 7.5),
}


def test_blanks_and_line_ends_around_a_variable_are_ignored(run: CommandLine) -> None:
    """As in a file of variables that was written on Windows."""
    run.environment["DATABASE_URI"] = f" {run.environment['DATABASE_URI']}\r\n"
    assert run("ingest", TXLOG).returncode == 0
    assert (run.folder / "store.duckdb").exists()
    assert "store.duckdb\r" not in run("info").stdout


def test_each_renamed_setting_is_tested() -> None:
    assert set(OLD_NAMES) == set(RENAMED)


@pytest.mark.parametrize("old", OLD_NAMES)
@pytest.mark.parametrize("is_in_file", [False, True], ids=["environment", "file"])
def test_the_old_name_of_a_setting_works_with_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, is_in_file: bool
) -> None:
    monkeypatch.setattr(settings, "_reported", set())
    text, value = OLD_NAMES[old]
    new, file = RENAMED[old], tmp_path / "ringserverstats.toml"
    monkeypatch.setenv("RINGSERVERSTATS_CONFIG", str(file))
    file.write_text(f"{old} = {json.dumps(value)}\n" if is_in_file else "")
    if not is_in_file:
        monkeypatch.setenv(f"RINGSERVERSTATS_{old.upper()}", text)
    warnings: list[str] = []
    for _ in range(2):
        assert getattr(settings.load(warn=warnings.append), new) == value
    (warning,) = warnings
    assert re.search(rf"{old} is deprecated; use .*{new}$", warning, re.IGNORECASE)


@pytest.mark.parametrize("is_in_file", [False, True], ids=["environment", "file"])
def test_the_new_name_of_a_setting_takes_precedence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_in_file: bool
) -> None:
    monkeypatch.setattr(settings, "_reported", set())
    file = tmp_path / "ringserverstats.toml"
    monkeypatch.setenv("RINGSERVERSTATS_CONFIG", str(file))
    file.write_text("wait = 1\nlock_timeout = 2\n" if is_in_file else "lock_timeout = 3\n")
    if not is_in_file:
        monkeypatch.setenv("RINGSERVERSTATS_WAIT", "1")
        monkeypatch.setenv("RINGSERVERSTATS_LOCK_TIMEOUT", "2")
    warnings: list[str] = []
    assert settings.load(warn=warnings.append).lock_timeout == 2
    assert len(warnings) == 1


def test_the_command_line_and_the_service_warn_of_an_old_name_once(run: CommandLine) -> None:
    run.environment["RINGSERVERSTATS_WAIT"] = "7"
    run.environment["RINGSERVERSTATS_"] = "8"  # no old name
    warning = "RINGSERVERSTATS_WAIT is deprecated; use RINGSERVERSTATS_LOCK_TIMEOUT"
    done = run.process("stats")
    assert done.stderr.count(f"Warning: {warning}\n") == done.stderr.count(warning) == 1
    assert done.stderr.count("deprecated") == 1
    code = "from ringserverstats import web; web.app; web._create_app.cache_clear(); web.app"
    done = subprocess.run(
        [sys.executable, "-c", code], env=run.environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(warning) == 1


def test_serve_takes_the_store_of_the_command_line(
    run: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import uvicorn

    stores: list[str] = []
    monkeypatch.setattr(
        uvicorn,
        "run",
        lambda *_, **__: stores.append(settings.load(warn=stores.append).database),
    )
    run.environment["RINGSERVERSTATS_DATABASE"] = f"duckdb://{tmp_path}/other.duckdb"
    uri = f"duckdb://{tmp_path}/named.duckdb"
    assert run("serve", "--database", uri).returncode == 0
    assert stores == [uri]


def test_compressed_and_folder_of_other_files(run: CommandLine, tmp_path: Path) -> None:
    folder = tmp_path / "logs" / "deep"
    folder.mkdir(parents=True)
    (folder / TXLOG.name).write_bytes(TXLOG.read_bytes())
    (folder / "README").write_text("no log")
    report = json.loads(run("ingest", "--json", tmp_path / "logs").stdout)
    assert (report["files"], report["entries"], report["other_files"]) == (1, 4, 1)


def test_start_up_imports_nothing_heavy(run: CommandLine) -> None:
    """Help must appear at once: NumPy, PyArrow and DuckDB take longer to import than all else."""
    code = (
        "import sys; from ringserverstats.cli import cli; cli(standalone_mode=False);"
        " print(sorted({'numpy', 'pyarrow', 'duckdb', 'psycopg', 'starlette'} & set(sys.modules)))"
    )
    for args in (["--version"], ["--help"], ["stats", "--help"]):
        process = subprocess.run(
            [sys.executable, "-c", code, *args],
            env=run.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert process.stdout.endswith("[]\n"), args
    assert __version__ in run.process("--version").stdout


@pytest.mark.parametrize("command", [(), *((name,) for name in _COMMANDS), ("server", "add")])
def test_help_has_examples(run: CommandLine, command: tuple[str, ...]) -> None:
    shown = run(*command, "--help").stdout
    assert "Examples:" in shown
    assert "ringserverstats" in shown.split("Examples:")[1]


def _commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    """Yield all commands below ``command`` with their paths."""
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=PROGRAM)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield f"{path} {name}", below
            yield from _commands(below, f"{path} {name}")


def test_help_begins_with_a_short_imperative() -> None:
    helps = {path: command.get_short_help_str(200) for path, command in _commands(cli, PROGRAM)}
    assert len(helps) > 30
    assert {path: text for path, text in helps.items() if len(text) >= 60} == {}
    assert {
        path: text for path, text in helps.items() if not re.match(r"[A-Z]\w+ .*\.$", text)
    } == {}


def test_no_colour_and_no_bar_where_there_is_no_terminal(run: CommandLine) -> None:
    done = run("ingest", REAL)
    assert "\x1b" not in done.stdout + done.stderr
    assert "\x1b" not in run("stats", "--by", "day").stdout


def test_progress_and_colour_on_a_terminal(run: CommandLine, tmp_path: Path) -> None:
    log = tmp_path / "txlog"
    log.write_text("".join(block(log_time=START + n // 9, agent=f"a{n}") for n in range(9_000)))

    def on_terminal(*args: str, **extra: str) -> str:
        leader, follower = pty.openpty()
        environment = {**run.environment, "TERM": "xterm-256color", "COLUMNS": "120", **extra}
        process = subprocess.Popen(
            [sys.executable, "-m", "ringserverstats", *args],
            env=environment,
            stdin=follower,
            stdout=follower,
            stderr=follower,
        )
        os.close(follower)
        text = b""
        while True:
            try:
                text += os.read(leader, 65_536)
            except OSError:
                break
        process.wait()
        os.close(leader)
        return text.decode()

    assert "lines" in on_terminal("ingest", str(log))
    assert "copied 9" in on_terminal("copy", "--to", f"duckdb://{tmp_path}/copy.duckdb")
    assert "\x1b[1m" in on_terminal("stats", "--by", "agent", "--top", "3")
    assert "\x1b[3" not in on_terminal("stats", "--by", "agent", "--top", "3", NO_COLOR="1")


@pytest.mark.of_duckdb
def test_a_log_that_takes_long_is_stopped_at_once(run: CommandLine, tmp_path: Path) -> None:
    """Each run of one format costs its time; the thread that reads is not waited for."""
    log = tmp_path / "txlog"
    log.write_bytes(b"x\n{}\n" * 100_000)
    process = run.popen("ingest", log, batch=1_000_000, chunk=1 << 20)  # for some ten minutes
    try:
        wait_for((run.folder / "store.duckdb").exists)
        time.sleep(1)  # by when it mostly reads
        process.send_signal(signal.SIGINT)
        assert process.wait(LONG) == 130
    finally:
        process.kill()


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (1234567, "1.23 MB"),
        (99_960, "100 kB"),
        (999_600, "1.00 MB"),
        (11 * 10**12, "11.0 TB"),
        (2**63 - 1, "9.22 EB"),
    ],
)
def test_sizes_for_people(count: int, text: str) -> None:
    assert human_bytes(count) == text


@pytest.mark.parametrize(
    ("command", "code", "result"),
    [
        (("stats", "--year", "9999"), 0, "No entries"),
        (("stats", "--to", "9999-12"), 0, "541 kB"),
        (("stats", "--to", "9999-12", "--by", "network"), 0, "541 kB"),
        (("stats", "--month", "2026-06-30"), 2, "Write 2026-11"),
        (("stats", "--direction", "t"), 2, "Known: TX, RX"),
        (("stats", "--direction", "?X"), 0, "sent and received"),
        (("stats", "--from", "2030"), 0, "No entries"),
        (("stats", "--from", "2030", "--format", "json"), 0, '"bytes": null, "packets": null'),
        (("ingest", "--name", "txlog-00010101T0000-00010102T0000", TXLOG), 2, "no interval"),
        (("ingest", "--name", TXLOG.name, TXLOG, TXLOG), 2, "one log"),
        (("ingest", "--name", TXLOG.name, REAL), 2, "one log"),
        (("ingest", "--strict", DATA.parents[1] / "docs"), 1, "no usage logs found"),
        (("stats", "--by", "mont"), 2, "Did you mean 'month'?"),
        (("stats", "--by", "month,", "--by", "network"), 0, "month     network"),
        (("stats", "--by", "month,", "network"), 2, "Lists have no blanks"),
        (("stats", "--direction", "TX", "--direction", "RX"), 0, "sent and received"),
        (("--database", "duckdb://x.duckdb", "info"), 2, "three slashes"),
        (("--database", "duckdb:x.duckdb", "info"), 2, "three slashes"),
        (("a" * 5000,), 2, "neither a command"),
        (("--database", "duckdb:////nowhere/x", "info"), 3, "there is no store /nowhere/x"),
        (("--database", f"{TXLOG}/x.duckdb", TXLOG), 3, "cannot be made"),
        (("--database", "/proc/x.duckdb", TXLOG), 3, "cannot be made"),
        (("server", "rename", "a", "b", "--database", "no.duckdb"), 3, "there is no store"),
    ],
)
def test_what_users_do(
    run: CommandLine, command: tuple[object, ...], code: int, result: str
) -> None:
    run(TXLOG)
    answer = run(*command)
    assert answer.returncode == code, answer.stderr
    assert result in answer.stdout + answer.stderr
    assert "Traceback" not in answer.stderr


def test_answer_that_cannot_be_written(run: CommandLine) -> None:
    run(TXLOG)
    with open("/dev/full", "w") as full:
        answer = run.process("stats", capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert answer.returncode == 2
    assert "No space left" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_what_is_committed_counts_though_the_file_cannot_grow(run: CommandLine) -> None:
    run(TXLOG)
    size = run.store.size()

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    done = run.process("token", "add", "one", preexec_fn=limit)
    assert done.returncode == 0, done.stderr
    assert "one" in run("token", "list").stdout


def test_a_word_in_the_path_is_no_lock(run: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "clock").mkdir()
    path = tmp_path / "clock" / "junk.duckdb"
    path.write_text("no database " * 1000)
    run.environment["RINGSERVERSTATS_LOCK_TIMEOUT"] = str(LONG)
    begin = time.monotonic()
    answer = run("--database", path, "info")
    assert answer.returncode == 3
    assert time.monotonic() - begin < LONG


def test_module_is_a_program_too(run: CommandLine) -> None:
    assert run.process("--version").stdout.startswith("ringserverstats, version")


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("st", {"plain,stats"}),
        ("stats --by month,ne", {"plain,month,network"}),
        ("stats --by month,month", set()),
        ("stats --measure bytes-", {"plain,bytes-per-day"}),
        ("server mer", {"plain,merge"}),
        ("coverage --format j", {"plain,json"}),
        ("/var/lo", {"file,/var/lo"}),
        ("ingest /var/lo", {"file,/var/lo"}),
    ],
)
def test_completion_knows_commands_options_and_lists(
    run: CommandLine, line: str, found: set[str]
) -> None:
    words = f"ringserverstats {line}"
    run.environment |= {
        "_RINGSERVERSTATS_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    assert found <= set(run().stdout.split())


def test_completion_of_each_shell(run: CommandLine) -> None:
    for shell in ("bash", "zsh", "fish"):
        script = run("completion", shell)
        assert script.returncode == 0
        assert "_RINGSERVERSTATS_COMPLETE" in script.stdout
    script = run("completion", "bash").stdout
    bash = subprocess.run(
        ["bash", "-c", f"{script}\ncomplete -p ringserverstats"], capture_output=True, text=True
    )
    assert "_ringserverstats_completion" in bash.stdout
    assert run("completion", "tcsh").returncode == 2


def test_sql_behind_an_answer_gives_the_same_answer(run: CommandLine) -> None:
    import duckdb

    run(REAL)
    query = ("stats", "--by", "day,network", "--network", "F?", "--measure", "bytes,clients")
    lines = run(*query, "--sql").stdout.splitlines()
    sql = lines[0].rstrip(";")
    values = [line.split(": ", 1)[1].strip("'") for line in lines[1:]]
    assert values == ["F_"]
    with duckdb.connect(run.folder / "store.duckdb", read_only=True) as connection:
        rows = connection.execute(sql, values).fetchall()
    result = json.loads(run(*query, "--format", "json").stdout)
    assert [list(row.values()) for row in result] == [list(map(_plain, row)) for row in rows]


def _plain(value: object) -> object:
    return value if isinstance(value, str) else int(str(value))


def test_a_server_that_is_not_there_is_an_error(run: CommandLine) -> None:
    run("--as", "node-a", REAL)
    run("server", "rename", "node-a", "rt1")
    for command in ("stats", "coverage", "rejects"):
        for name, hint in (
            ("rt1,nodeb", "no server 'nodeb' (known: rt1)"),
            ("node-a", "'rt1' now"),
        ):
            done = run(command, "--server", name)
            assert done.returncode == 2
            assert hint in done.stderr
        assert run(command, "--server", "nothing*").returncode == 0


def test_format_follows_the_name_of_the_output(run: CommandLine, tmp_path: Path) -> None:
    run(REAL)
    for name, begin in (("a.csv", b'"day"'), ("a.JSON", b"[\n{"), ("a.parquet", b"PAR1")):
        run("stats", "--by", "day", "-o", tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(begin)
    run("stats", "--by", "day", "-o", tmp_path / "b.csv", "--format", "table")
    assert "day: the server" in (tmp_path / "b.csv").read_text()


def test_gaps_and_rejects_are_reported_on_standard_error(run: CommandLine) -> None:
    run(REAL)
    done = run("stats", "--to", "2026-07-03", "--format", "csv")
    place = "ringserverstats coverage --to 2026-07-03"
    assert f"Note: server days: 2 missing of 4: {place}" in done.stderr
    assert "server days" not in done.stdout
    log = run.folder / "txlog-20260701T0000-20260702T0000"
    log.write_text("stray\nstray\n")
    run(log)
    shown = run("stats", "--by", "direction", "--direction", "TX,RX").stdout
    assert "rejected: 1 entry (2 lines): ringserverstats rejects" in shown


def test_service_and_removal_of_servers(run: CommandLine) -> None:
    run("--as", "a", REAL)
    run("server", "add", "b")
    assert run("coverage", "--strict", "--to", "2026-07-01", "--last", "3d").returncode == 2
    asked = ("coverage", "--strict", "--from", "2026-06-30", "--to", "2026-07-01")
    assert run(*asked).returncode == 1  # b is expected to have logs
    assert run("server", "service", "b", "--from", "2026-08-01").returncode == 0
    assert run(*asked).returncode == 0
    assert "2026-08-01 to ..." in run("server", "list").stdout
    wrong = ("server", "service", "b", "--from", "2026-08", "--to", "2026-07")
    assert run(*wrong).returncode == 2
    assert run("server", "remove", "b").returncode == 0
    refused = run("server", "remove", "a")
    assert (refused.returncode, "ringserverstats delete" in refused.stderr) == (2, True)


def test_an_answer_is_not_written_over_a_store(run: CommandLine) -> None:
    run(REAL)
    path = run.folder / "store.duckdb"
    done = run("stats", "--format", "csv", "-o", path)
    assert (done.returncode, "is a DuckDB file" in done.stderr) == (2, True)
    assert run("audit").returncode == 0


def test_completion_of_server_names(run: CommandLine) -> None:
    run("--as", "node-a", REAL)
    for line in ("stats --server no", "server rename no", "coverage --server no"):
        words = f"ringserverstats {line}"
        run.environment |= {
            "_RINGSERVERSTATS_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        }
        done = run()
        assert done.stdout == "plain,node-a\n"
        assert done.stderr == ""


def test_a_correction_of_nothing_does_not_disturb_a_reading(run: CommandLine) -> None:
    run("--as", "a", REAL)
    store = make_store(run.folder / "store.duckdb", secret=None, secrets=run.folder / "config")
    server = store.open(create=True).servers[0]
    run("server", "add", "b")
    assert run("delete", "--server", "b", "--from", "2000", "--to", "2001", "--yes").returncode == 0
    assert run("server", "remove", "b").returncode == 0
    assert store.add_server("a", "UTC") == server


def test_a_user_without_a_home_folder_learns_what_to_set(
    run: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither HOME nor an entry of passwd, as in containers: no folder `~` is made."""
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    monkeypatch.chdir(tmp_path)
    del run.environment["HOME"]
    for name in ("DATABASE_URI", "RINGSERVERSTATS_CONFIG_FOLDER"):
        value = run.environment.pop(name)
        refused = run("ingest", REAL)
        assert refused.returncode == 2
        assert "this user has no home folder. Set HOME" in refused.stderr
        run.environment[name] = value
    assert not (tmp_path / "~").exists()
    assert run("ingest", REAL).returncode == 0


def test_a_damaged_write_ahead_log_is_named(run: CommandLine) -> None:
    assert run("ingest", REAL).returncode == 0
    path = run.folder / "store.duckdb"
    code = (
        "import duckdb, os, sys; c = duckdb.connect(sys.argv[1]);"
        " c.execute('PRAGMA disable_checkpoint_on_shutdown');"
        " c.execute('CREATE TABLE more AS SELECT range AS n FROM range(10000)'); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, path], check=True)
    log = Path(f"{path}.wal")
    content = bytearray(log.read_bytes())
    content[200:700] = b"\xff" * 500
    log.write_bytes(content)
    for command in (("info",), ("ingest", REAL)):
        refused = run(*command)
        assert refused.returncode == 3
        assert f"the write-ahead log {log} is damaged" in refused.stderr
