"""Golden tests: what real ringservers wrote (tests/data/TOTALS.md is an independent count)."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from hashlib import blake2b
from pathlib import Path

import pytest
from conftest import DATA, held_open, make_postgresql, make_store, read_into

from ringserverstats.import_report import ImportReport
from ringserverstats.ingest import IngestOptions, ingest
from ringserverstats.logs.formats import split_by_format
from ringserverstats.logs.source import find
from ringserverstats.store.base import Store

_ROW = re.compile(r"\| (\S+log-\S+) \| (TX|RX|access) \| (\d+) \|([^|]*)\|([^|]*)\|([^|]*)\|(.*)")


def _totals() -> list[tuple[str, str, list[int]]]:
    rows = []
    for line in (DATA / "TOTALS.md").read_text().splitlines():
        match = _ROW.match(line)
        if match:
            numbers = [int(text.strip(" |") or 0) for text in match.groups()[2:]]
            rows.append((match[1], match[2], numbers))
    return rows


TOTALS = _totals()


def test_every_real_log_has_its_totals() -> None:
    files = {str(path.relative_to(DATA)) for path in DATA.glob("*/*log-*")}
    assert {name for name, _, _ in TOTALS} == files
    assert len(files) == 38


def test_format_of_every_real_log() -> None:
    for name, _, _ in TOTALS:
        data = (DATA / name).read_bytes()
        formats = [format_.name for _, _, format_ in split_by_format(data)]
        assert formats == (["JSON Lines"] if name.endswith(".jsonl") and data else ["text"]), name


@pytest.fixture(scope="module")
def stores() -> Iterator[tuple[dict[str, Store], ExitStack]]:
    """Of each kind the one into which all logs are read, and what holds it open."""
    with ExitStack() as held:
        yield {}, held


def _server_of(name: str) -> str:
    """Each log is of a server of its own, as entries are in several logs."""
    return blake2b(name.encode(), digest_size=8).hexdigest()


@pytest.fixture
def shared(
    kind: str,
    stores: tuple[dict[str, Store], ExitStack],
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Store:
    known, held = stores
    if kind not in known:
        folder = tmp_path_factory.mktemp("real")
        if kind == "postgresql":
            uri = request.getfixturevalue("server").make("of_real_logs", "migrated")
            store: Store = make_postgresql(uri, folder)
        else:
            store = make_store(folder / "store.duckdb")
        found_sources = [
            find([str(DATA / name)], server=_server_of(name)).sources for name, *_ in TOTALS
        ]
        ingest(
            [source for sources in found_sources for source in sources], store, IngestOptions(64)
        )
        held.enter_context(held_open(store))
        known[kind] = store
    return known[kind]


@pytest.mark.parametrize(("name", "direction", "numbers"), TOTALS)
def test_totals_of_a_real_log(
    shared: Store, tmp_path: Path, name: str, direction: str, numbers: list[int]
) -> None:
    report = read_into(make_store(tmp_path / "none"), DATA / name, dry_run=True)
    blocks, empty, transfers, count, packets = numbers
    assert report.rejects == []
    assert report.incomplete == 0
    if direction == "access":
        assert (report.access_lines, report.entries) == (blocks, 0)
        return
    assert report.empty == empty
    assert report.entries == blocks - empty
    assert (report.transfers, report.bytes, report.packets) == (transfers, count, packets)
    stored = shared.ask(
        "SELECT direction::text AS direction, count(*) AS transfers, sum(bytes)::bigint AS bytes,"
        " sum(packets)::bigint AS packets FROM transfer JOIN server USING (server)"
        " WHERE name = $1 GROUP BY 1",
        [_server_of(name)],
    ).to_pylist()
    assert stored == [
        {"direction": direction, "transfers": transfers, "bytes": count, "packets": packets}
    ]


_DAYS = {
    "v4.5.3-midnight-paris": {"2026-06-30", "2026-07-01"},
    "v4.5.3-midnight-denver-jsonl": {"2026-03-14", "2026-03-15"},
    "v2020.075-midnight-denver": {"2026-03-14", "2026-03-15"},
    "v4.5.3-clockchange-paris": {"2026-03-28", "2026-03-29"},
    "v4.5.3-clockchange-paris-restarted": {"2026-03-29"},
}
_FIRST_DATE = re.compile(r"log-(\d{4})(\d\d)(\d\d)T")


def _named_day(path: Path) -> str:
    if "restarted" in str(path):
        return "2026-03-29"
    year, month, day = _FIRST_DATE.search(path.name).groups()
    return f"{year}-{month}-{day}"


def _read_each(
    store: Store, folder: str, zone: str, *, name: str | None = None
) -> tuple[ImportReport, dict[Path, set[str]]]:
    """Read each log of ``folder`` as one of a server of its own; the days that it counts on."""
    store.open(create=True)
    paths = sorted((DATA / folder).glob("[rt]xlog-*"))
    servers = {store.add_server(path.name, zone).number: path for path in paths}
    found_sources = [find([str(path)], name=name, server=path.name).sources for path in paths]
    report = ingest(
        [source for sources in found_sources for source in sources], store, IngestOptions(64)
    )
    days: dict[Path, set[str]] = {path: set() for path in paths}
    for row in store.ask("SELECT DISTINCT server, day::text AS d FROM by_day").to_pylist():
        days[servers[row["server"]]].add(row["d"])
    return report, days


@pytest.mark.of_duckdb
@pytest.mark.parametrize("folder", _DAYS)
@pytest.mark.parametrize("zone", ["UTC", None])
def test_days_of_the_midnight_sets(store: Store, folder: str, zone: str | None) -> None:
    """By the file's name, whatever the time zone that the server is said to have."""
    real = "America/Denver" if "denver" in folder else "Europe/Paris"
    _, days = _read_each(store, folder, zone or real)
    assert days == {path: {_named_day(path)} for path in days}
    assert set.union(*days.values()) == _DAYS[folder]


@pytest.mark.of_duckdb
@pytest.mark.parametrize("folder", _DAYS)
def test_days_without_a_name(store: Store, folder: str) -> None:
    """From the times alone, as when a log is posted."""
    zone = "America/Denver" if "denver" in folder else "Europe/Paris"
    report, days = _read_each(store, folder, zone, name="nameless")
    assert days
    assert days == {path: {_named_day(path)} for path in days}
    assert report.days_guessed == (0 if folder.endswith("jsonl") else report.entries)


def test_all_real_logs_in_one_folder(store: Store) -> None:
    report = read_into(store, DATA, server="all")
    rows = [numbers for _, direction, numbers in TOTALS if direction != "access"]
    known = report.known
    assert report.entries + known == sum(blocks - empty for blocks, empty, *_ in rows)
    assert report.access_lines == sum(n[0] for _, way, n in TOTALS if way == "access")
    again = read_into(store, DATA, server="all")
    assert (again.entries, again.known) == (0, report.entries + known)


def test_time_zone_that_contradicts_the_name_is_reported(store: Store) -> None:
    path = DATA / "v4.5.3-midnight-paris" / "txlog-20260701T0000-20260702T0000"
    assert "time zone" in read_into(store, path).notes[0]
    store.change_server("default", rename=None, timezone="Europe/Paris")
    assert read_into(store, path).notes == []


def test_ids_of_entries_never_change(store: Store) -> None:
    """Another hash would count every log again: the ids of release 1 are pinned here."""
    golden = DATA / "entry-ids.txt"
    read_into(
        store,
        DATA / "v4.5.3-midnight-paris",
        DATA / "v4.5.3-jsonl",
        DATA / "v2020.075-midnight-denver",
    )
    rows = store.ask("SELECT log_day::text || ' ' || entry::text AS id FROM entry_ledger", [])
    assert sorted(rows["id"].to_pylist()) == golden.read_text().split("\n")[:-1]
