"""A footnote stands only under results with rows that it is about."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from conftest import ASN, CITY, CommandLine, Filled, read_into
from model import block

from ringserverstats.enrich.geoip import GeoIP
from ringserverstats.enrich.networks import Network
from ringserverstats.enrich.rules import Rule, Rules
from ringserverstats.statistics.bounds import AT_MOST
from ringserverstats.statistics.footnotes import log_footnotes, result_footnotes
from ringserverstats.statistics.gaps import gaps
from ringserverstats.statistics.packets import packetless_days
from ringserverstats.statistics.publish import Policy, QueryContext, Role, public_query
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.run import run_query
from ringserverstats.store.base import Store
from ringserverstats.web.overview import read_overview
from ringserverstats.web.page_tables import SORTS
from ringserverstats.web.view import DataPeriod, parse_view

Log = Callable[..., Path]
OPERATOR, PUBLIC = Role(is_operator=True), Role()
RULES = Rules((Rule(name="lab", class_="mirror", networks=("216.160.83.0/24",)),))
REGISTRY = [
    Network("1T", date(2026, 4, 1), date(2026, 6, 9), "First", None),
    Network("FR", date(1962, 1, 1), None, "French", None),
]
US, UK, PRIVATE = "216.160.83.56", "81.2.69.142", "10.0.0.1"
#: Server, day, network, client and number of packets of each entry.
ENTRIES = (
    ("a", "2026-05-10", "FR", US, 0),
    ("a", "2026-06-10", "FR", UK, 3),
    ("a", "2026-06-08", "1T", UK, 3),
    ("b", "2026-06-12", "G", UK, 2),
    ("b", "2026-06-13", "1T", UK, 2),
    ("b", "2026-06-14", "Z3", PRIVATE, 2),
)


@pytest.fixture
def various(store: Store, log: Log, filled: Filled) -> Store:
    """The `ENTRIES`; those of May are by a mirror, and without packets."""
    return filled(store, "various", lambda store: fill(store, log))


def fill(store: Store, log: Log) -> None:
    geoip = GeoIP(CITY, ASN, precision=5)
    geoip._city.kind = "DBIP-City-Lite"
    for server, day, network, address, packets in ENTRIES:
        time = int(datetime.fromisoformat(f"{day}T05:00:00+00:00").timestamp())
        text = block(
            address=address,
            log_time=time,
            connect_time=time - 60,
            transfers=((f"{network}_CIEL_00_HHZ/MSEED", 512, packets),),
        )
        name = f"txlog-{day.replace('-', '')}T0000-{day.replace('-', '')}T1200"
        read_into(store, log(text, name), server=server, geoip=geoip, rules=RULES)
    store.set_registry(REGISTRY)


def footnotes(
    store: Store, *by: str, role: Role = OPERATOR, policy: Policy | None = None, **parts: object
) -> list[str]:
    """Return the footnotes of what was sent, without those on logs, up to their first colon."""
    filters = {"direction": ("TX",), **parts.pop("filters", {})}
    query = Query(dimensions=by, **{"measures": ("bytes",), **parts}, filters=filters)
    context = QueryContext(store, role, policy or Policy())
    if policy:
        query = public_query(query, policy)
    packetless = packetless_days(context, query)
    notes = result_footnotes(context, query, context.result(query), packetless)
    return [note.text for note in notes]


def has(notes: list[str], words: str) -> bool:
    return any(words in note for note in notes)


def test_packets(various: Store) -> None:
    def noted(*by: str, **filters: tuple[str, ...]) -> bool:
        return has(footnotes(various, *by, measures=("packets",), filters=filters), "lower bound")

    assert noted()
    assert noted("network", network=("FR",))
    assert noted(server=("a",), protocol=("SeedLink",))
    assert noted(country=("US",))
    for filters in (
        {"server": ("b",)},
        {"network": ("G", "1T")},
        {"station": ("nothing",)},
        {"protocol": ("DataLink",)},
        {"direction": ("RX",)},
        {"country": ("GB",)},
        {"country": ("GB",), "network": ("FR",)},
    ):
        assert not noted(**filters), filters
    assert not has(footnotes(various), "lower bound")


@pytest.mark.of_both
def test_signs_of_packets_are_of_the_rows_concerned(various: Store) -> None:
    context = QueryContext(various, OPERATOR, Policy())

    def signed(*by: str, top: int | None = None) -> set[tuple[str, ...]]:
        query = Query(dimensions=by, measures=("packets",), filters={"direction": ("TX",)}, top=top)
        days = packetless_days(context, query)
        assert days.concern({"packets": 16})  # the total
        rows = context.rows(query)
        return {tuple(row[name] for name in by) for row in rows if days.concern(row)}

    assert signed("server") == {("a",)}
    assert signed("month") == {("2026-05",)}
    assert signed("server", "month") == {("a", "2026-05")}
    assert signed("month", "server", top=1) == {("2026-05", "a")}
    assert signed("week", "direction", "protocol") == {("2026-W19", "TX", "SeedLink")}


@pytest.mark.of_both
def test_classes(various: Store) -> None:
    assert "clients of all classes: external, mirror" in footnotes(various)
    assert "clients of all classes: external, mirror" in footnotes(various, "network")
    assert "clients of class: mirror" in footnotes(various, filters={"class": ("mirror",)})
    for parts in (
        {"filters": {"server": ("b",)}},
        {"filters": {"network": ("G",)}},
        {"filters": {"direction": ("RX",)}},
        {"filters": {"class": ("nothing",)}},
        {"first": date(2026, 6, 1)},
        {"last": date(2026, 5, 31)},
    ):
        assert not has(footnotes(various, "network", **parts), "class"), parts
    assert not has(footnotes(various, "class"), "class")


def test_classes_reveal_nothing_to_the_public(various: Store) -> None:
    embargo = Policy(embargoed=("FR",))
    notes = footnotes(various, role=PUBLIC, policy=embargo)
    assert not has(notes, "class")  # only embargoed data were sent to a mirror
    few = Policy(min_clients=5)
    assert not has(footnotes(various, role=PUBLIC, policy=few, filters={"city": ("*",)}), "class")
    assert has(footnotes(various, role=PUBLIC, policy=few), "external, mirror")
    everywhere = Policy(min_clients=5, limits_all=True)
    assert not has(footnotes(various, role=PUBLIC, policy=everywhere), "class")


@pytest.mark.of_both
def test_locations(various: Store) -> None:
    assert has(footnotes(various, "country"), "DB-IP")
    assert has(footnotes(various, filters={"city": ("London*",)}), "DB-IP")
    assert not has(footnotes(various, "network"), "DB-IP")
    assert not has(footnotes(various, "country", "city", filters={"network": ("Z3",)}), "DB-IP")
    assert not has(footnotes(various, "country", filters={"network": ("nothing",)}), "DB-IP")


@pytest.mark.of_both
def test_nearest_networks(various: Store) -> None:
    def noted(*by: str, **parts: object) -> bool:
        return has(footnotes(various, *by, **parts), "nearest network: 1T2026")

    assert noted("network")
    assert noted("network", filters={"server": ("b",)})
    assert noted(filters={"network": ("1T",)})
    for parts in (
        {"filters": {"server": ("a",)}},
        {"filters": {"network": ("FR",)}},
        {"filters": {"country": ("US",)}},
        {"filters": {"station": ("nothing",)}},
        {"filters": {"direction": ("RX",)}},
        {"last": date(2026, 6, 12)},
        {"role": PUBLIC},
    ):
        assert not noted("network", **parts), parts
    assert not noted("station")


@pytest.mark.of_both
def test_pruned_months(various: Store) -> None:
    various.prune(date(2026, 6, 1), try_only=False)

    def noted(*by: str, **parts: object) -> bool:
        return has(footnotes(various, *by, **parts), "2026-05 to 2026-05 are pruned")

    assert noted("city")
    assert noted(filters={"client": ("unknown",)})  # the reason why nothing matches
    assert noted("month", filters={"network": ("FR",), "agent": ("x",)})
    for parts in (
        {"filters": {"server": ("b",)}},
        {"filters": {"network": ("G",)}},
        {"filters": {"direction": ("RX",)}},
        {"first": date(2026, 6, 1)},
    ):
        assert not noted("city", **parts), parts
    assert not noted("country")


@pytest.mark.of_both
def test_counts_of_one_month_are_exact(various: Store) -> None:
    various.prune(date(2026, 7, 1), try_only=False)
    query = Query(measures=("clients",), filters={"direction": ("TX",)})
    for filters, is_bound in (
        ({}, True),
        ({"server": ("a",)}, True),
        ({"server": ("b",)}, False),
        ({"country": ("US",)}, False),
    ):
        rows = run_query(various, replace(query, filters={**query.filters, **filters}))
        assert rows[AT_MOST].to_pylist() == [is_bound], filters


def test_connections_and_hours(various: Store, log: Log) -> None:
    def noted(words: str, *by: str, **parts: object) -> bool:
        return has(footnotes(various, *by, **parts), words)

    counted = {"measures": ("connections",)}
    assert noted("connections are a lower bound", **counted)
    assert not noted("connections", filters={"server": ("nothing",)}, **counted)
    assert noted("without an hour", "hour")
    assert noted("without an hour", "hour", "network")
    time = int(datetime(2026, 6, 20, 5, 30, tzinfo=UTC).timestamp())
    read_into(various, log(block(log_time=time), "c-txlog-20260620T0500-20260620T0600"))
    assert not noted("without an hour", "hour", filters={"server": ("c",)})
    assert not noted("without an hour", "day")


def test_the_note_on_an_embargo_does_not_depend_on_the_networks(run: CommandLine, log: Log) -> None:
    """Else it would name them. Without a filter of networks other streams are left out, too."""
    run.environment["RINGSERVERSTATS_EMBARGO"] = "G"
    run("ingest", log(block()))
    both = run("stats", "--public").stdout
    assert "exclude embargoed networks, and streams without a source identifier" in both
    for network in ("FR", "G", "XX"):
        public = run("stats", "--public", "--network", network).stdout
        assert "figures exclude embargoed networks" in public
        assert "identifier" not in public


def test_rejects_of_the_servers_and_directions(run: CommandLine, log: Log) -> None:
    for name, bad in (("a-tx", ""), ("b-tx", "TX"), ("b-rx", "RX"), ("", "RX")):
        text = block() + (block(direction=bad).replace("bytes: 1536", "bytes: 1") if bad else "")
        run("ingest", log(text, f"{name}log-20260131T0000-20260201T0000" if name else "plain"))
    assert "rejected" not in run("stats", "--server", "a").stdout
    command = "ringserverstats rejects --server b --direction TX"
    assert f"rejected: 1 entry (4 lines): {command}" in run("stats", "--server", "b").stdout

    def rejects(*options: str) -> list[tuple[str, str | None]]:
        rows = json.loads(run("rejects", *options, "--format", "json").stdout)
        return sorted((row["server"], row["direction"] or "") for row in rows)

    assert rejects(*command.split()[2:]) == [("b", "TX")]
    assert rejects("--direction", "rx") == [("b", "RX")]
    assert rejects("--direction", "TX,RX") == [("b", "RX"), ("b", "TX")]
    assert rejects() == [("b", "RX"), ("b", "TX"), ("default", "")]
    assert run("rejects", "--direction", "up").returncode == 2


def test_the_public_sees_no_note_on_rejects(various: Store) -> None:
    query = Query(filters={"direction": ("TX",)})
    for role in (OPERATOR, PUBLIC):
        notes = log_footnotes(QueryContext(various, role, Policy()), query, gaps(various, query))
        assert [note.text.split(":")[0] for note in notes] == ["server days"]


def test_notes_of_a_page(various: Store) -> None:
    def notes(**filters: str) -> str:
        data_period = DataPeriod(date(2026, 5, 1), date(2026, 6, 30))
        parameters = {name: [value] for name, value in filters.items()}
        period = {"from": ["2026-05-01"], "to": ["2026-06-30"]}
        view = parse_view(period | parameters, data_period, date(2026, 7, 1), SORTS, {})
        return "; ".join(read_overview(QueryContext(various, OPERATOR, Policy()), view).notes)

    of_all, of_a = notes(), notes(server="a")
    for words in ("lower bound", "of all classes: external, mirror", "DB-IP", "network: 1T2026"):
        assert words in of_all
    assert of_a.count("; ") == 2
    assert "nearest" not in of_a
    assert "lower bound" not in notes(server="b")
    assert "classes" not in notes(network="G")
    assert notes(network="Z3") == ""
