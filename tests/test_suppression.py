"""No table reveals a row of few clients, in whatever order or form it is queried."""

import csv
import io
import itertools
import json
import random
import shutil
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import CITY, held_open, make_store, read_into
from hypothesis import given, settings
from hypothesis import strategies as st
from model import START, block

from ringserverstats.enrich.geoip import GeoIP
from ringserverstats.statistics.dimensions import DIMENSIONS, OTHER
from ringserverstats.statistics.publish import Policy, Result, operator_result, public_result
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.serialize import FORMATS
from ringserverstats.statistics.suppression import Suppression, suppress
from ringserverstats.store.base import Store

ADDITIVE = ("bytes", "packets", "transfers")
MEASURES = (*ADDITIVE, "clients", "bytes-per-day")
#: Networks of the test database, each in another city.
CITIES = ("81.2.69.{}", "89.160.20.{}", "2.125.160.{}", "175.16.199.{}", "67.43.156.{}")
HOSTS = {CITIES[0]: range(144, 160), CITIES[1]: range(112, 128), CITIES[2]: range(216, 224)}
BY = [
    ("city",),
    ("agent",),
    ("agent", "city"),
    ("month", "agent"),
    ("day", "city"),
    ("country", "city"),
    ("network", "agent"),
    ("country", "agent-family", "day"),
    ("network", "country"),
]
FILTERS: list[dict[str, tuple[str, ...]]] = [{}, {}, {"agent": ("*1", "*2", "*3")}]
Cell = tuple[Any, ...]
SEED = 11  # its tables have rows without figures


def random_log(dice: random.Random) -> str:
    """A log of few clients, many of which share what a table is grouped by."""
    agents = [
        f"{family}/{n}" for family in ("slink", "seedlink") for n in range(dice.randint(2, 4))
    ]
    cities = dice.sample(CITIES, dice.randint(2, 5))
    networks = ("FR_A_00_HHZ/MSEED", "G_B_00_BHZ/MSEED", "GE_C__BHZ/MSEED")
    blocks = []
    for number in range(dice.randint(12, 50)):
        city = dice.choice(cities)
        address = city.format(dice.choice(HOSTS.get(city, range(1, 30))))
        log_time = START + 60 + number + 86_400 * dice.choice((0, 1, 2, 40))
        transfers = tuple(
            (name, 512 * dice.randint(1, 9), dice.randint(1, 9))
            for name in dice.sample(networks, dice.randint(1, 2))
        )
        agent = dice.choice(agents)
        blocks.append(block(address=address, agent=agent, log_time=log_time, transfers=transfers))
    return "".join(blocks)


@contextmanager
def random_store(folder: Path, dice: random.Random) -> Iterator[Store]:
    folder.mkdir()
    store = make_store(folder / "store.duckdb")
    (folder / "txlog").write_text(random_log(dice))
    read_into(store, folder / "txlog", server="a", geoip=GeoIP(CITY, None, precision=5))
    with held_open(store):
        yield store
    shutil.rmtree(folder)


def queries(query: Query, dice: random.Random, count: int) -> Iterator[Query]:
    """Queries of one table that differ in order, measures, sort and top."""
    for number in range(count):
        by = dice.sample(query.dimensions, len(query.dimensions))
        measures = tuple(dice.sample(MEASURES, dice.randint(1, len(MEASURES))))
        sort = dice.choice(("", *by, *measures))
        top = dice.randint(1, 6) if number % 3 == 2 else None
        yield Query(tuple(by), query.first, query.last, query.filters, measures, sort, top)


def rows_of(rows: pa.Table, format_: str) -> list[dict[str, Any]]:
    """The rows as a format has them."""
    content = b"".join(FORMATS[format_](rows))
    if format_ == "json":
        return json.loads(content)
    if format_ == "parquet":
        return pq.read_table(io.BytesIO(content)).to_pylist()
    return [
        {
            name: word if name in DIMENSIONS else int(word) if word else None
            for name, word in row.items()
        }
        for row in csv.DictReader(io.StringIO(content.decode()))
    ]


class Equations:
    """What an attacker knows about the cells of a table: sums of some of them."""

    def __init__(self, cells: list[Cell]) -> None:
        self._numbers = {cell: number for number, cell in enumerate(cells)}
        self._rows: dict[str, list[np.ndarray]] = defaultdict(list)

    def add(self, measure: str, cells: list[Cell]) -> None:
        row = np.zeros(len(self._numbers))
        row[[self._numbers[cell] for cell in cells]] = 1
        self._rows[measure].append(row)

    def solved(self) -> set[Cell]:
        """The cells that are determined: unit vectors in the span of the rows."""
        determined = set()
        for rows in self._rows.values():
            _, values, vectors = np.linalg.svd(np.unique(rows, axis=0))
            free = vectors[np.count_nonzero(values > 1e-9) :]
            is_determined = np.abs(free).max(axis=0, initial=0) < 1e-9
            determined |= {cell for cell, n in self._numbers.items() if is_determined[n]}
        return determined


def learn(
    equations: Equations,
    cells: list[Cell],
    by: tuple[str, ...],
    query: Query,
    result: Result,
    format_: str,
) -> list[Cell]:
    """Add what ``result`` shows, and return the cells that it shows in its order."""
    shown: list[Cell] = []
    known: set[Cell] = set()
    combined: list[tuple[Cell, dict[str, Any]]] = []
    for row in rows_of(result.rows, format_):
        cell = tuple(row[name] for name in by)
        if any(str(label).startswith("<") for label in cell):
            combined.append((cell, row))
        elif OTHER not in cell:  # the sum of shown cells
            assert not combined, "a combined row is before another one"
            shown.append(cell)
            for measure in set(ADDITIVE) & set(query.measures):
                equations.add(measure, [cell])
    if query.top is not None:
        return shown
    for labels, row in combined:
        group = [
            cell
            for cell in cells
            if cell not in shown
            and all(
                label in (own, own or "") or str(label)[:1] == "<"
                for label, own in zip(labels, cell, strict=True)
            )
        ]
        known |= set(group)
        for measure in set(ADDITIVE) & set(query.measures):
            if row[measure] is not None:
                equations.add(measure, group)
    assert known | set(shown) == set(cells) or not combined
    for measure in set(ADDITIVE) & set(query.measures):
        if result.total is not None:
            equations.add(measure, cells)
    return shown


def check_table(store: Store, dice: random.Random, by: tuple[str, ...], variants: int) -> bool:
    """Check all that can be learned of a table; return whether some of it is suppressed."""
    policy = Policy(min_clients=dice.randint(2, 6), limits_all=by == ("network", "country"))
    table = Query(by, filters=dice.choice(FILTERS), measures=("clients",))
    clients = {
        tuple(row[name] for name in by): row["clients"]
        for row in operator_result(store, table).rows.to_pylist()
    }
    few = {cell for cell, count in clients.items() if count < policy.min_clients}
    equations = Equations(list(clients))
    sets = []
    for query in queries(table, dice, variants):
        result = public_result(store, query, policy)
        shown = learn(equations, list(clients), by, query, result, dice.choice(list(FORMATS)))
        assert not few & set(shown)
        sets.append((set(shown), query.top))
    [whole] = {frozenset(shown) for shown, top in sets if top is None}
    is_ranked = bool(replace(table, top=1).ranked)
    for shown, top in sets:
        assert shown <= whole
        assert top is None or is_ranked or len(shown) == min(top, len(whole))
    assert not few & equations.solved()
    return bool(few)


def check_stores(folder: Path, seeds: Iterable[int], tables: int, variants: int) -> None:
    suppressed = 0
    for seed in seeds:
        dice = random.Random(seed)
        with random_store(folder / f"{seed}", dice) as store:
            for by in dice.sample(BY, tables):
                suppressed += check_table(store, dice, by, variants)
    assert suppressed


def test_no_table_reveals_a_suppressed_cell(tmp_path: Path) -> None:
    check_stores(tmp_path, [SEED], 2, 5)


@pytest.mark.soak
def test_no_table_of_1000_stores_reveals_a_suppressed_cell(tmp_path: Path) -> None:
    check_stores(tmp_path, range(1000), 3, 9)


LABELS = {"agent": "abcd", "month": "xyz", "city": "123"}
CELLS = st.dictionaries(
    st.tuples(*(st.sampled_from(words) for words in LABELS.values())), st.integers(1, 9), min_size=1
)


def suppression_of(cells: dict[Cell, int], combined: list[str], least: int) -> Suppression:
    columns = zip(*cells, strict=True)
    labels = pa.table(dict(zip(LABELS, map(list, columns), strict=True)))
    clients = pa.chunked_array([pa.array(list(cells.values()), pa.int64())])
    return suppress(labels, clients, combined, least)


@settings(max_examples=50)
@given(
    CELLS,
    st.integers(2, 6),
    st.sampled_from([["agent"], ["agent", "city"], list(LABELS)]),
    st.randoms(use_true_random=False),
)
def test_no_suppressed_cell_is_a_sum_minus_the_others(
    cells: dict[Cell, int], least: int, combined: list[str], dice: random.Random
) -> None:
    suppression = suppression_of(cells, combined, least)
    hidden = dict(zip(cells, suppression.cells.tolist(), strict=True))
    shuffled = dict(dice.sample(list(cells.items()), len(cells)))
    again = suppression_of(shuffled, combined, least).cells.tolist()
    assert hidden == dict(zip(shuffled, again, strict=True))
    assert all(hidden[cell] for cell, count in cells.items() if count < least)
    for over in (combined, *([name] for name in LABELS)):
        kept = [number for number, name in enumerate(LABELS) if name not in over]
        sums: dict[Cell, list[Cell]] = defaultdict(list)
        for cell in cells:
            sums[tuple(cell[number] for number in kept)].append(cell)
        for members in sums.values():
            inside = [cell for cell in members if hidden[cell]]
            is_safe = len(inside) >= 2 and max(cells[cell] for cell in inside) >= least
            assert not inside or is_safe or inside == members
            if over is combined:
                number = suppression.group[list(cells).index(members[0])]
                assert suppression.is_safe[number] == (is_safe or not inside)


def test_one_table_in_two_orders_shows_the_same_rows(tmp_path: Path) -> None:
    """Which of several groups of equal size is suppressed depends on their labels alone."""
    store = make_store(tmp_path / "store.duckdb")
    agents = {"odd": 1, "b/1": 5, "c/1": 5}
    blocks = [
        block(
            address=f"198.51.100.{20 * n + m}",
            agent=agent,
            transfers=((f"FR_A_00_HH{n}/MSEED", 512 * (7 - n * 3 if n else 1), 1 + n),),
        )
        for n, (agent, count) in enumerate(agents.items())
        for m in range(count)
    ]
    (tmp_path / "txlog").write_text("".join(blocks))
    read_into(store, tmp_path / "txlog", server="a")
    with held_open(store):
        tables = [
            public_result(
                store,
                Query(("agent",), measures=("bytes", "packets"), sort=sort),
                Policy(min_clients=5),
            )
            .rows["agent"]
            .to_pylist()
            for sort in ("bytes", "packets", "agent")
        ]
    assert tables == [["c/1", "<5"]] * 3


def test_the_time_of_suppression_is_that_of_sorting() -> None:
    """Each cell of a staircase is in a sum with the next one, so that all are suppressed."""

    def seconds(size: int) -> float:
        steps = list(itertools.chain.from_iterable(((n, n), (n, n + 1)) for n in range(size // 2)))
        cells = {(f"{a:06}", "x", f"{b:06}"): 9 for a, b in steps} | {("000000", "x", "000000"): 1}
        begin = time.process_time()
        assert suppression_of(cells, ["agent"], 5).cells.all()
        return time.process_time() - begin

    assert seconds(4000) < 1  # 10 s when it was quadratic
