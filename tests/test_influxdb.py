"""InfluxDB has of each day what the store has: always, whatever is changed, stopped or killed."""

import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import httpx
import pyarrow as pa
import pytest
from conftest import (
    CITY,
    DATA,
    SECRET,
    CommandLine,
    empty,
    execute,
    held_open,
    read_into,
    wait_for,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from influx import Influxd, Recording, VictoriaMetrics, recording
from model import START, block
from service import client_of, settings_of

from ringserverstats.errors import ExportError, StoreError, UsageError
from ringserverstats.exports.influxdb import client as influxdb
from ringserverstats.exports.influxdb import points
from ringserverstats.exports.influxdb.client import open_influxdb
from ringserverstats.exports.influxdb.exporter import InfluxExporter
from ringserverstats.exports.influxdb.points import FIELDS, TAGS, PointOptions, points_of
from ringserverstats.settings import Secret
from ringserverstats.statistics.publish import Policy
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.run import run_query
from ringserverstats.store.base import Store

REAL = DATA / "v4.5.3-midnight-paris"
TEXT = DATA / "v4.5.3-text"
DAY = date(2026, 1, 31)
LONG = 400
RULES = '[[rule]]\nname = "mirrors"\nclass = "mirror"\nagents = ["*"]\n'
STRANGE = ["a b", "a,b", "a=b", "a\\b", "a\\", 'a"b', "ä☃", "a\\,b", "a\\ =,b", "#a", "a/b", "'a'"]


@pytest.fixture(scope="module")
def influxd() -> Iterator[Influxd]:
    server = Influxd()
    yield server
    server.remove()


@pytest.fixture
def db(influxd: Influxd, request: pytest.FixtureRequest) -> str:
    """A database of its own for each test."""
    name = re.sub(r"\W", "_", request.node.name)
    influxd.ask("", f'CREATE DATABASE "{name}"')
    return name


@pytest.fixture
def run(run: CommandLine, influxd: Influxd, db: str) -> CommandLine:
    run.environment["RINGSERVERSTATS_SECRET"] = SECRET.hex()
    run.environment["INFLUX_URL"] = f"{influxd.url}?db={db}"
    run.environment["RINGSERVERSTATS_GEOIP_CITY"] = str(CITY)
    return run


def exporter_of(
    url: str, store: Store, options: PointOptions | None = None, **given: object
) -> InfluxExporter:
    """An exporter to which all days of ``store`` have to go."""
    exporter = InfluxExporter(
        open_influxdb(url, given.pop("token", None), **given), options or PointOptions()
    )
    exporter.register(store, is_new=True)
    return exporter


def there(influxd: Influxd, db: str, *, of: str = points.MEASUREMENT) -> list[tuple]:
    """All points, as sorted tuples of time, tags and fields; the database tells only non-empty."""
    names = ["time", *sorted(TAGS.values()), *FIELDS]
    rows = influxd.ask(db, f'SELECT * FROM "{of}"')
    return sorted(tuple(str(row.get(name) or "") for name in names) for row in rows)


def wanted(store: Store) -> list[tuple]:
    """The same as the store has it, by the day."""
    query = Query(dimensions=("day", *TAGS), measures=FIELDS, filters={"direction": ("TX", "RX")})
    if store.kept_since is None:
        query = replace(query, dimensions=("day", "hour", *TAGS))
    rows = run_query(store, query).to_pylist()
    found: dict[tuple, list[int]] = {}
    tags = {tag: name for name, tag in TAGS.items()}
    for row in rows:
        time = f"{row['day']}T{row.get('hour') or '00'}:00:00Z"
        own = (_as_written(row[tags[tag]]) for tag in sorted(tags))
        amounts = found.setdefault((time, *own), [0, 0, 0])
        for place, name in enumerate(FIELDS):
            amounts[place] += row[name]
    return sorted((*key, *map(str, amounts)) for key, amounts in found.items())


def _as_written(value: str | None) -> str:
    return re.sub(r"[\\\x00-\x1f\x7f]", "/", value or "")


@pytest.mark.of_both
def test_points_are_what_the_store_has(run: CommandLine, influxd: Influxd, db: str) -> None:
    result = run("ingest", DATA)
    assert result.returncode == 0, result.stderr
    assert f"database {db}: 7 days" in result.stderr
    assert there(influxd, db) == wanted(run.store) != []
    sums = ", ".join(f"sum({name}) AS {name}" for name in FIELDS)
    whole = influxd.ask(db, f"SELECT {sums} FROM {points.MEASUREMENT}")[0]
    total = run_query(run.store, Query(measures=FIELDS, filters={"direction": ("TX", "RX")}))
    assert {name: whole[name] for name in FIELDS} == total.to_pylist()[0]
    assert "InfluxDB" not in run("ingest", DATA).stderr  # nothing changed


@pytest.mark.soak
@pytest.mark.of_duckdb
def test_a_log_that_grows_overwrites_its_points(
    run: CommandLine, influxd: Influxd, db: str, tmp_path: Path
) -> None:
    log = tmp_path / "txlog-20260131T0000-20260201T0000"
    for count in (3, 5, 9):
        log.write_text("".join(block(log_time=START + n) for n in range(count)))
        assert run("ingest", log).returncode == 0
        assert there(influxd, db) == wanted(run.store)


def _read_hour(run: CommandLine, hour: int) -> None:
    """A log of one hour, with one entry."""
    log = run.folder / f"txlog-20260131T{hour:02}00-20260131T{hour + 1:02}00"
    log.write_text(block(log_time=START - START % 86_400 + hour * 3600 + 60))
    assert run("ingest", log).returncode == 0


@pytest.mark.soak
@pytest.mark.of_duckdb
def test_each_hour_has_its_points(run: CommandLine, influxd: Influxd, db: str) -> None:
    run("server", "add", "default", "--timezone", "UTC")
    for hour in (3, 17):
        _read_hour(run, hour)
    found = there(influxd, db)
    assert {row[0][10:] for row in found} == {"T03:00:00Z", "T17:00:00Z"}
    assert found == wanted(run.store)


def test_corrections_are_followed(
    run: CommandLine, influxd: Influxd, db: str, tmp_path: Path
) -> None:
    assert run("ingest", "--as", "a", DATA).returncode == 0
    assert run("ingest", "--as", "b", REAL).returncode == 0
    rules = Path(run.environment["RINGSERVERSTATS_CONFIG_FOLDER"]) / "clients.toml"
    rules.parent.mkdir(exist_ok=True)
    before = there(influxd, db)
    backup = tmp_path / "backup.duckdb"
    if run.environment["DATABASE_URI"].startswith("duckdb"):
        run.store.backup(backup)
    rules.write_text(RULES)
    for words in (
        ("clients", "reclassify"),
        ("server", "rename", "a", "c"),
        ("delete", "--server", "b", "--from", "2026-06-30", "--to", "2026-06-30", "--yes"),
        ("server", "merge", "b", "c", "--once", "--yes"),
        ("networks", "refresh", DATA / "networks" / "fdsn.json"),
        ("forget", "-"),
        ("prune", "--keep", "1mo", "--yes"),
        ("restore", "--yes", backup),
    ):
        if words[0] == "restore" and not backup.exists():
            continue
        given = {"input": "216.160.83.56\n"} if words[0] == "forget" else {}
        result = run(*words, **given)
        assert result.returncode == 0, (words, result.stderr)
        assert "points" in result.stderr, (words, result.stderr)
        now = there(influxd, db)
        assert now == wanted(run.store), words
        assert now != before, words
        before = now


@pytest.mark.of_duckdb
def test_what_is_only_tried_changes_nothing(run: CommandLine, influxd: Influxd, db: str) -> None:
    assert run("ingest", "--as", "a", REAL).returncode == 0
    before = there(influxd, db)
    for words in (
        ("ingest", "--as", "x", TEXT, "--dry-run"),
        ("delete", "--server", "a", "--from", "2026", "--to", "2026", "--dry-run"),
        ("prune", "--keep", "1mo", "--dry-run"),
    ):
        result = run(*words)
        assert result.returncode == 0
        assert "points" not in result.stderr
    assert there(influxd, db) == before


@pytest.mark.soak
def test_days_of_before_go_there_by_export(run: CommandLine, influxd: Influxd, db: str) -> None:
    url = run.environment.pop("INFLUX_URL")
    assert run("ingest", DATA).returncode == 0
    assert "set INFLUX_URL" in run("export", "influxdb").stderr
    run.environment["INFLUX_URL"] = url
    result = run("ingest", "--as", "other", REAL)
    assert "ringserverstats export influxdb" in result.stderr
    days = {row[0][:10] for row in there(influxd, db)}
    assert len(days) == 2  # whole ones, as points of both servers are in them
    assert there(influxd, db) == [row for row in wanted(run.store) if row[0][:10] in days]
    assert run("export", "influxdb").returncode == 0
    assert there(influxd, db) == wanted(run.store)


@pytest.mark.soak
def test_export_repairs_a_range(run: CommandLine, influxd: Influxd, db: str) -> None:
    assert run("ingest", DATA).returncode == 0
    whole = there(influxd, db)
    first, last = sorted({row[0][:10] for row in whole})[1:4:2]
    wrong = f"{points.MEASUREMENT},server=wrong bytes=1i,packets=1i,transfers=1i"
    noon = [f"{wrong} {1_767_225_600 + n * 86_400}" for n in range(700)]  # from 2026-01-01 on
    httpx.post(f"{influxd.url}/write?db={db}&precision=s", content="\n".join(noon), timeout=300)
    influxd.ask(db, f"DELETE FROM {points.MEASUREMENT} WHERE time = '{first}'")
    assert run("export", "influxdb", "--from", first, "--to", last).returncode == 0
    now = there(influxd, db)
    within = [row for row in now if first <= row[0][:10] <= last]
    assert within == [row for row in whole if first <= row[0][:10] <= last]
    assert any("wrong" in row for row in now)
    assert run("export", "influxdb", "--from", "2026", "--to", "2027").returncode == 0
    assert there(influxd, db) == whole


@pytest.mark.soak
@pytest.mark.of_duckdb
def test_export_removes_what_no_log_has(run: CommandLine, influxd: Influxd, db: str) -> None:
    """Of days of which the store has nothing, and from the sums over longer times."""
    assert run("migrate").returncode == 0
    assert run("ingest", DATA).returncode == 0
    whole, sums = there(influxd, db), _of_windows(influxd, db)
    wrong = f"{points.MEASUREMENT},server=wrong,direction=TX bytes=1i,packets=1i,transfers=1i"
    noon = 1_778_000_000  # 2026-05-05, of which there is no log
    httpx.post(f"{influxd.url}/write?db={db}&precision=s", content=f"{wrong} {noon}", timeout=300)
    open_influxdb(f"{influxd.url}?db={db}", None).rebuild_totals(date(2026, 5, 5), date(2026, 5, 5))
    assert _of_windows(influxd, db) != sums
    result = run("export", "influxdb", "--month", "2026-05")
    assert result.returncode == 0
    assert "0 days, 0 points" in result.stderr
    assert there(influxd, db) == whole
    assert _of_windows(influxd, db) == sums
    assert run("export", "influxdb", "--from", "2026-06", "--to", "2026-05").returncode == 2


@pytest.mark.soak
@pytest.mark.of_duckdb
def test_an_export_that_breaks_off_leaves_its_days_due(
    run: CommandLine, influxd: Influxd, db: str
) -> None:
    assert run("ingest", DATA).returncode == 0
    whole = there(influxd, db)

    def failing(*_: object) -> None:
        raise ExportError("killed")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(influxdb._InfluxDB1, "write", failing)
        assert run("export", "influxdb").returncode == 3
    assert there(influxd, db) != whole
    assert json.loads(run("info", "--json").stdout)["influxdb"]["pending_days"] == 7
    assert "7 days" in run("ingest", DATA).stderr
    assert there(influxd, db) == whole
    assert "no day is pending" in run("info").stdout


def _strange(tmp_path: Path) -> Path:
    log = tmp_path / "txlog-20260131T0000-20260201T0000"
    log.write_text("".join(block(log_time=START + n, agent=name) for n, name in enumerate(STRANGE)))
    return log


@pytest.mark.of_duckdb
def test_names_of_strangers_are_escaped(
    run: CommandLine, influxd: Influxd, db: str, tmp_path: Path
) -> None:
    result = run("ingest", _strange(tmp_path))
    assert result.returncode == 0, result.stderr
    assert "Warning" not in result.stderr
    found = there(influxd, db)
    assert found == wanted(run.store)
    assert len({row[1] for row in found}) >= len(STRANGE) - 3


@settings(max_examples=5)
@given(st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=30))
@pytest.mark.soak
def test_any_tag_is_read_as_it_was_written(influxd: Influxd, names: list[str]) -> None:
    column = pa.chunked_array([pa.array(names, pa.string())])
    rows = {TAGS[name]: pa.array([""] * len(names)) for name in TAGS}
    table = pa.table(
        {name: rows[TAGS[name]] for name in TAGS if name != "network"}
        | {"network": column}
        | {name: pa.array(range(1, len(names) + 1), pa.int64()) for name in FIELDS}
    )
    made = points._points(table, DAY, tuple(TAGS))
    influxd.ask("", 'DROP DATABASE "any"')
    influxd.ask("", 'CREATE DATABASE "any"')
    writer = open_influxdb(f"{influxd.url}?db=any", None)
    for lines in made.lines:
        writer.write(lines)
    found = influxd.ask("any", f"SELECT network, bytes FROM {points.MEASUREMENT}")
    expected: dict[str, int] = {}
    for place, name in enumerate(names, 1):
        key = _as_written(name)
        expected[key] = expected.get(key, 0) + place
    assert {row["network"]: row["bytes"] for row in found} == expected


@pytest.mark.of_duckdb
def test_sums_that_are_too_large_are_reported(store: Store, influxd: Influxd, db: str) -> None:
    read_into(store, REAL, server="a")
    with held_open(store):
        day = run_query(store, Query(dimensions=("day",))).to_pylist()[0]["day"]
    exporter = exporter_of(f"{influxd.url}?db={db}", store)
    execute(store, f"UPDATE transfer SET bytes = 9223372036854775807 WHERE day = '{day}'")
    sent = exporter.export_pending(store)
    assert any("points with totals over 2^63-1 are left out" in one for one in sent.problems)


def test_away_it_stops_nothing_and_gets_the_days_later(
    run: CommandLine, influxd: Influxd, db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = run.environment["INFLUX_URL"]
    run.environment["INFLUX_URL"] = good.replace(str(influxd.port), "1")
    monkeypatch.setattr(influxdb, "_BACKOFF", 0.01)
    result = run("ingest", TEXT)
    assert result.returncode == 0
    assert "cannot be reached" in result.stderr
    assert "stay pending" in result.stderr
    for table in ("exporter", "exported_day"):
        execute(run.store, f"UPDATE {table} SET exporter = 'InfluxDB {influxd.url}, database {db}'")
    run.environment["INFLUX_URL"] = good
    assert run("ingest", REAL).returncode == 0
    assert there(influxd, db) == wanted(run.store)


def _sending(run: CommandLine) -> subprocess.Popen[bytes]:
    """A process that sends what is due, a point at a time."""
    words = (
        "from ringserverstats.exports.influxdb import points; points._BATCH = 1;"
        " from ringserverstats.cli import main; main()"
    )
    return subprocess.Popen(
        [sys.executable, "-c", words, "ingest", str(DATA)],
        env=run.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.mark.soak
@pytest.mark.of_duckdb
@pytest.mark.parametrize("times", [30])
def test_kills_of_both_leave_the_same_totals(run: CommandLine, db: str, times: int) -> None:
    server = Influxd()  # its own, as it is killed
    rng = random.Random(times)
    run.environment["INFLUX_URL"] = f"{server.url}?db={db}"
    server.ask("", f'CREATE DATABASE "{db}"')
    within = 0
    try:
        for number in range(times):
            process = _sending(run)
            wait_for(lambda: there(server, db) or process.poll() is not None)  # noqa: B023
            time.sleep(rng.uniform(0, 0.2))
            if number % 2:
                server.kill()
                time.sleep(rng.uniform(0, 0.3))
                server.start()
            else:
                process.kill()
            process.wait()
            within += there(server, db) != wanted(run.store)
            assert _sending(run).wait() == 0
            assert there(server, db) == wanted(run.store)
            server.ask("", f'DROP DATABASE "{db}"')
            server.ask("", f'CREATE DATABASE "{db}"')
            empty(run.store)
    finally:
        server.remove()
    print(f"{times} kills, {within} of them with points on their way: exact")
    assert within or times < 10


@pytest.mark.of_duckdb
def test_what_sums_up_is_made_and_filled(
    run: CommandLine, influxd: Influxd, db: str, tmp_path: Path
) -> None:
    for _ in range(2):
        result = run("migrate")
        assert result.returncode == 0, result.stderr
        assert "totals of 30 days" in result.stdout
    queries = influxd.ask("", "SHOW CONTINUOUS QUERIES")
    assert len([row for row in queries if f'ON "{db}"' in str(row) or f"ON {db} " in str(row)]) == 1
    assert run("ingest", DATA).returncode == 0
    assert _of_windows(influxd, db) == _by_window(run.store)
    late = tmp_path / "txlog-20260630T0000-20260701T0000"
    late.write_text(block(log_time=1_782_820_000, connect_time=1_782_800_000))
    assert run("ingest", "--as", "late", late).returncode == 0
    assert run("server", "rename", "late", "later").returncode == 0
    assert _of_windows(influxd, db) == _by_window(run.store)


def _of_windows(influxd: Influxd, db: str) -> dict[tuple[str, str], int]:
    sums = f"SELECT sum(bytes) AS bytes FROM {influxdb.WINDOWS} GROUP BY time(30d), server"
    rows = influxd.ask(db, f"{sums} fill(none)")
    return {(row["time"][:10], row["server"]): row["bytes"] for row in rows}


def _by_window(store: Store) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    query = Query(dimensions=("day", "server"), filters={"direction": ("TX", "RX")})
    for row in run_query(store, query).to_pylist():
        first, _ = influxdb._window(date.fromisoformat(row["day"]))
        key = (first.isoformat(), row["server"])
        found[key] = found.get(key, 0) + row["bytes"]
    return found


@pytest.mark.of_duckdb
def test_points_that_are_not_kept_are_not_sent(
    run: CommandLine, influxd: Influxd, db: str, tmp_path: Path
) -> None:
    run.environment["RINGSERVERSTATS_INFLUX_KEEP_DAYS"] = "10"
    assert "influx_keep_days is too small" in run("migrate").stderr
    run.environment["RINGSERVERSTATS_INFLUX_KEEP_DAYS"] = "100"
    result = run("migrate")
    assert "kept for 100 days" in result.stdout
    log = tmp_path / "log"
    day = date.today() - timedelta(days=1)
    noon = int((day - date(1970, 1, 1)).total_seconds()) + 43_200
    log.write_text(block(log_time=noon, connect_time=noon - 9))
    assert "1 days" in run("ingest", log).stderr
    result = run("ingest", "--as", "old", REAL)
    assert "2 days, 0 points" in result.stderr
    rows = influxd.ask(db, f'SELECT * FROM "ringserverstats"."{points.MEASUREMENT}"')
    assert {row["time"][:10] for row in rows} == {day.isoformat()}
    policies = influxd.ask(db, "SHOW RETENTION POLICIES")
    assert {row["name"]: row["duration"] for row in policies}["ringserverstats"] == "2400h0m0s"


@pytest.mark.of_duckdb
def test_everybody_sees_no_clients_and_no_embargoed_networks(
    store: Store, influxd: Influxd, db: str
) -> None:
    read_into(store, DATA, server="a")
    exporter = exporter_of(f"{influxd.url}?db={db}", store, PointOptions(policy=Policy(("G",), 5)))
    assert exporter.export_pending(store).problems == []
    rows = influxd.ask(db, f"SELECT * FROM {points.MEASUREMENT}")
    assert not {"hosthash", "city", "geohash", "agent"} & {name for row in rows for name in row}
    networks = {row["network"] for row in rows}
    assert "G" not in networks
    assert "FR" in networks or "XP" in networks


@pytest.mark.of_duckdb
def test_pseudonyms_are_left_out_by_a_setting(store: Store) -> None:
    read_into(store, REAL, server="a")
    day = date(2026, 6, 30)
    for hosthash in (True, False):
        lines = b"".join(points_of(store, day, PointOptions(hosthash=hosthash)).lines)
        assert (b"hosthash=" in lines) is hosthash
        assert b",city=" in lines


@pytest.mark.soak
def test_what_it_is_given_may_be_changed(run: CommandLine, influxd: Influxd, db: str) -> None:
    """Else days would stand there twice, and tell what they may tell no more."""
    assert run("ingest", "--as", "a", DATA).returncode == 0
    whole = there(influxd, db)
    assert any(row[8] for row in whole)
    for setting, value in (("HOSTHASH", "false"), ("PUBLIC", "true"), ("EMBARGO", "G")):
        name = f"RINGSERVERSTATS_{'' if setting == 'EMBARGO' else 'INFLUX_'}{setting}"
        run.environment[name] = value
        result = run("ingest", "--as", "a", DATA)
        assert "7 days" in result.stderr, result.stderr
        rows = influxd.ask(db, f"SELECT * FROM {points.MEASUREMENT}")
        assert not any("hosthash" in row for row in rows)
        total = sum(row["bytes"] for row in rows)
        if setting != "EMBARGO":
            assert total == sum(int(row[-3]) for row in whole)
    assert not any(row["network"] == "G" for row in rows)


@pytest.mark.soak
@pytest.mark.of_duckdb
def test_what_failed_is_summed_up_later(run: CommandLine, influxd: Influxd, db: str) -> None:
    assert run("migrate").returncode == 0
    good = influxdb._InfluxDB1.write
    calls = 0

    def failing(self: object, lines: bytes) -> None:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise ExportError("broken", 503)
        good(self, lines)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(influxdb._InfluxDB1, "write", failing)
        assert "stay pending" in run("ingest", "--as", "a", DATA).stderr
    assert run("ingest", "--as", "a", DATA).returncode == 0
    assert there(influxd, db) == wanted(run.store)
    assert _of_windows(influxd, db) == _by_window(run.store)


@pytest.mark.of_duckdb
def test_late_logs_of_days_without_hours_replace_those_by_the_hour(
    run: CommandLine, influxd: Influxd, db: str
) -> None:
    run("server", "add", "default", "--timezone", "UTC")
    _read_hour(run, 3)
    run.store.delete_transfers(date(2026, 3, 1), try_only=False)
    _read_hour(run, 5)
    assert {row[0][10:] for row in there(influxd, db)} == {"T00:00:00Z"}
    assert there(influxd, db) == wanted(run.store)


@pytest.mark.of_duckdb
def test_a_refused_piece_does_not_keep_the_others_back(
    store: Store, influxd: Influxd, db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(points, "_BATCH", 1)
    read_into(store, REAL, server="a")
    exporter = exporter_of(f"{influxd.url}?db={db}", store)
    good = influxdb._InfluxDB1.write
    first = [True]

    def failing(self: object, lines: bytes) -> None:
        if first.pop() if first else False:
            raise ExportError("field type conflict", 400)
        good(self, lines)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(influxdb._InfluxDB1, "write", failing)
        sent = exporter.export_pending(store)
    assert (sent.pending, sent.days) == (1, 1)
    assert len(there(influxd, db)) == len(wanted(store)) - 1
    assert exporter.export_pending(store).pending == 0
    assert there(influxd, db) == wanted(store)


@pytest.mark.parametrize("sends_too", [False, True])
def test_a_day_that_changes_while_it_is_sent_is_sent_again(
    store: Store, influxd: Influxd, db: str, monkeypatch: pytest.MonkeyPatch, *, sends_too: bool
) -> None:
    """Also if another process sends the newer state first, as it can through a pooler."""
    read_into(store, REAL, server="a")
    exporter = exporter_of(f"{influxd.url}?db={db}", store)
    write = influxdb._InfluxDB1.write
    monkeypatch.setattr(type(store), "sending", lambda _: nullcontext())
    is_first = iter([True])

    def write_late(self: object, lines: bytes) -> None:
        if next(is_first, False):
            store.delete("a", date(2026, 6, 30), date(2026, 6, 30), try_only=False)
            for path in sorted(REAL.glob("txlog-20260630*"))[:2]:
                read_into(store, path, server="b")
            if sends_too:
                assert exporter.export_pending(store).pending == 0
                assert there(influxd, db) == wanted(store)
        write(self, lines)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(influxdb._InfluxDB1, "write", write_late)
        sent = exporter.export_pending(store)
    assert sent.problems == []
    assert sent.pending >= 1
    assert there(influxd, db) != wanted(store)
    assert exporter.export_pending(store).pending == 0
    assert there(influxd, db) == wanted(store)


@pytest.mark.of_duckdb
def test_a_day_that_cannot_be_asked_keeps_no_other_back(
    store: Store, influxd: Influxd, db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ringserverstats.exports.influxdb import exporter as sending

    read_into(store, REAL, server="a")
    exporter = exporter_of(f"{influxd.url}?db={db}", store)

    def failing(state: object, day: date, options: PointOptions) -> points.Points:
        if day == date(2026, 6, 30):
            raise StoreError("out of memory")
        return points_of(state, day, options)

    monkeypatch.setattr(sending, "points_of", failing)
    sent = exporter.export_pending(store)
    assert sent.problems == ["2026-06-30: out of memory"]
    assert {row[0][:10] for row in there(influxd, db)} == {"2026-07-01"}


@pytest.mark.of_duckdb
@pytest.mark.soak
def test_posted_logs_go_there_too(store: Store, influxd: Influxd, db: str) -> None:
    log = next(path for path in sorted(REAL.glob("txlog*")))
    url = Secret(f"{influxd.url}?db={db}")
    with client_of(settings_of(store, influx_url=url, memory="200MB")) as web:
        answer = web.post(f"/?server=a&name={log.name}", content=log.read_bytes())
        assert answer.status_code == 201
        wait_for(lambda: there(influxd, db) == wanted(store))
    assert there(influxd, db)


def _second(kept: Recording) -> str:
    return f"{kept.url}?org=obs&bucket=seismic"


@pytest.mark.of_duckdb
def test_the_second_release_is_spoken_to(store: Store) -> None:
    """Against a recording of what it is sent: its tasks and deletes were not run here."""
    read_into(store, TEXT, server="a")
    with recording() as kept:
        exporter = exporter_of(_second(kept), store, token="s3cret")  # noqa: S106
        sent = exporter.export_pending(store)
        assert sent.problems == []
        writes = kept.of("/api/v2/write")
        assert len(writes) == sent.days
        for one in writes:
            assert one.fields == {"org": "obs", "bucket": "seismic", "precision": "s"}
            assert one.headers["authorization"] == "Token s3cret"
            assert one.headers["content-encoding"] == "gzip"
        lines = b"".join(one.body for one in writes).decode().splitlines()
        assert len(lines) == sent.points
        shape = r"ringserverevents(,[a-z]+=\S+)+ bytes=\d+i,packets=\d+i,transfers=\d+i \d+"
        assert all(re.fullmatch(shape, line.replace("\\ ", "")) for line in lines)
        kept.requests.clear()
        store.delete("a", date(2026, 1, 1), date(2026, 12, 31), try_only=False)
        assert exporter.export_pending(store).problems == []
        (gone, *_) = kept.of("/api/v2/delete")
        assert b'"predicate": "_measurement=\\"ringserverevents\\""' in gone.body


def test_tasks_and_buckets_are_made_or_changed() -> None:
    with recording() as kept:
        kept.answers = [
            (200, {}, {"orgs": [{"id": "0o"}]}),
            (404, {}, {"code": "not found", "message": "bucket not found"}),
            (201, {}, {}),
            (200, {}, {"tasks": []}),
            (201, {}, {}),
        ]
        database = open_influxdb(_second(kept), "t")
        assert "by month" in database.set_up()[0]
        made = [(one.method, one.path) for one in kept.requests]
        assert made[2:] == [
            ("POST", "/api/v2/buckets"),
            ("GET", "/api/v2/tasks"),
            ("POST", "/api/v2/tasks"),
        ]
        task = kept.requests[-1].body.decode()
        assert "aggregateWindow(every: 1mo" in task
        kept.answers = [
            (200, {}, {"orgs": [{"id": "0o"}]}),
            (200, {}, {"buckets": [{"id": "0b"}]}),
            (200, {}, {"tasks": [{"id": "0t"}]}),
        ]
        kept.otherwise = (200, {}, {})
        database.set_up()
        assert (kept.requests[-1].method, kept.requests[-1].path) == (
            "PATCH",
            "/api/v2/tasks/0t",
        )


@pytest.mark.of_duckdb
def test_it_is_asked_again_with_growing_pauses(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(influxdb, "_BACKOFF", 0.01)
    read_into(store, TEXT, server="a")
    with recording() as kept:
        exporter = exporter_of(_second(kept), store)
        kept.answers = [
            (429, {"Retry-After": "1"}, {"message": "slow down"}),
            (503, {}, None),
            (500, {}, None),
        ]
        begin = time.monotonic()
        assert exporter.export_pending(store).problems == []
        assert time.monotonic() - begin >= 1
        first = kept.of("/api/v2/write")[:4]
        assert len({one.body for one in first}) == 1
    with recording() as kept:
        kept.otherwise = (503, {}, {"message": "maintenance"})
        sent = exporter_of(_second(kept), store).export_pending(store)
        assert len(sent.problems) == 1
        assert "maintenance" in sent.problems[0]
        assert "stay pending" in sent.problems[0]
        assert len(kept.requests) == 6  # and not as many for each day


def test_sums_may_take_longer_than_a_point(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that hangs is given up soon; one that aggregates gets no second request."""
    monkeypatch.setattr(influxdb, "_TIMEOUT", 0.3)
    monkeypatch.setattr(influxdb, "_BACKOFF", 0.01)
    query = {"name": "x", "values": [[influxdb.WINDOWS, ""]]}
    with recording() as kept:
        kept.otherwise = (200, {}, {"results": [{"series": [query]}]})
        kept.slow = b"SELECT+sum"
        open_influxdb(f"{kept.url}?db=x", None).rebuild_totals(DAY, DAY)
        assert len([one for one in kept.requests if b"SELECT+sum" in one.body]) == 1
        kept.slow = b"bytes="
        with pytest.raises(ExportError, match="no response in time"):
            open_influxdb(f"{kept.url}?db=x", None).write(b"a bytes=1i")


@pytest.mark.of_duckdb
def test_what_is_partly_taken_is_reported_with_the_reason(store: Store) -> None:
    read_into(store, TEXT, server="a")
    with recording() as kept:
        url = f"{kept.url}?db=x"
        kept.otherwise = (400, {}, {"error": "partial write: field type conflict dropped=1"})
        sent = exporter_of(url, store).export_pending(store)
        assert sent.problems
        assert all("field type conflict dropped=1" in one for one in sent.problems)
        assert sent.days == 0
        kept.otherwise = (204, {}, None)
        assert exporter_of(url, store).export_pending(store).problems == []  # it was still due


@pytest.mark.of_duckdb
def test_no_secret_is_shown(
    store: Store, run: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(influxdb, "_BACKOFF", 0.01)
    read_into(store, TEXT, server="a")
    run.environment["INFLUX_URL"] = "http://me:hunter2@127.0.0.1:1?db=x"
    result = run("export", "influxdb")
    assert result.returncode == 3
    assert "cannot be reached" in result.stderr
    assert "hunter2" not in result.stderr + result.stdout


@pytest.mark.parametrize(
    "url", ["x", "http://", "ftp://h?db=x", "http://h", "http://h?org=o", "http://h:x?db=a"]
)
def test_wrong_addresses_are_refused_without_being_reported(url: str) -> None:
    with pytest.raises(UsageError, match="influx_url") as error:
        open_influxdb(url, None)
    assert url not in str(error.value) or url == "x" or url == "http://" or url == "http://h"


@pytest.mark.of_duckdb
def test_victoria_metrics_takes_what_is_written(run: CommandLine) -> None:
    server = VictoriaMetrics()
    try:
        run.environment["INFLUX_URL"] = f"{server.url}?org=o&bucket=b"
        result = run("ingest", DATA)
        assert "Warning" not in result.stderr, result.stderr
        total = run_query(run.store, Query(measures=FIELDS, filters={"direction": ("TX", "RX")}))
        for name in FIELDS:
            assert server.sum_of(f"{points.MEASUREMENT}_{name}") == total.to_pylist()[0][name]
    finally:
        server.remove()
