"""Golden tests: what real ringservers wrote (tests/data/TOTALS.md is an independent count)."""

import re
from hashlib import blake2b
from pathlib import Path

import pytest
from conftest import DATA, make_postgresql, make_store, read_into

from ringserverstats.logs.formats import split_by_format
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
def stores() -> dict[str, Store]:
    """Of each kind the one into which all logs are read."""
    return {}


@pytest.fixture
def shared(
    kind: str,
    stores: dict[str, Store],
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Store:
    if kind not in stores:
        folder = tmp_path_factory.mktemp("real")
        if kind == "postgresql":
            uri = request.getfixturevalue("server").make("of_real_logs", "migrated")
            stores[kind] = make_postgresql(uri, folder)
        else:
            stores[kind] = make_store(folder / "store.duckdb")
    return stores[kind]


@pytest.mark.parametrize(("name", "direction", "numbers"), TOTALS)
def test_totals_of_a_real_log(shared: Store, name: str, direction: str, numbers: list[int]) -> None:
    """Each under the name of a server of its own, as entries are in several of them."""
    server = blake2b(name.encode(), digest_size=8).hexdigest()
    report = read_into(shared, DATA / name, server=server)
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
        [server],
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


@pytest.mark.parametrize("folder", _DAYS)
@pytest.mark.parametrize("zone", ["UTC", None])
def test_days_of_the_midnight_sets(tmp_path: Path, folder: str, zone: str | None) -> None:
    """By the file's name, whatever the time zone that the server is said to have."""
    real = "America/Denver" if "denver" in folder else "Europe/Paris"
    all_days = set()
    for number, path in enumerate(sorted((DATA / folder).glob("[rt]xlog-*"))):
        store = make_store(tmp_path / f"{number}.duckdb")
        store.open(create=True)
        store.add_server("default", zone or real)
        read_into(store, path)
        days = {row["d"] for row in store.ask("SELECT day::text AS d FROM by_day", []).to_pylist()}
        assert days == {_named_day(path)}
        all_days |= days
    assert all_days == _DAYS[folder]


@pytest.mark.parametrize("folder", _DAYS)
def test_days_without_a_name(tmp_path: Path, folder: str) -> None:
    """From the times alone, as when a log is posted."""
    zone = "America/Denver" if "denver" in folder else "Europe/Paris"
    for number, path in enumerate(sorted((DATA / folder).glob("[rt]xlog-*"))):
        store = make_store(tmp_path / f"{number}.duckdb")
        store.open(create=True)
        store.add_server("default", zone)
        report = read_into(store, path, name="nameless")
        days = {row["d"] for row in store.ask("SELECT day::text AS d FROM by_day", []).to_pylist()}
        assert days == {_named_day(path)}
        assert report.days_guessed == (0 if path.suffix == ".jsonl" else report.entries)


def test_all_real_logs_in_one_folder(store: Store) -> None:
    report = read_into(store, DATA, server="all")
    rows = [numbers for _, direction, numbers in TOTALS if direction != "access"]
    known = report.known
    assert report.entries + known == sum(blocks - empty for blocks, empty, *_ in rows)
    assert report.access_lines == sum(n[0] for _, way, n in TOTALS if way == "access")
    again = read_into(store, DATA, server="all")
    assert (again.entries, again.known) == (0, report.entries + known)


def test_time_zone_that_contradicts_the_name_is_told(store: Store) -> None:
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
