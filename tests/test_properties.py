"""Logs written from a random model are read back as the model, however they are cut and mixed."""

import re
import tempfile
from ipaddress import ip_address
from itertools import compress
from pathlib import Path

import numpy as np
import pytest
from conftest import dump, held_open, make_store, read_into
from hypothesis import given, settings
from hypothesis import strategies as st
from model import START, Entry, entries, totals

from ringserverstats import ingest as pipeline
from ringserverstats.enrich.sanitize import clean
from ringserverstats.logs import source
from ringserverstats.logs.batch import Batch
from ringserverstats.logs.constants import DIRECTIONS
from ringserverstats.logs.duplicates import Duplicates
from ringserverstats.logs.entries import ParseOptions
from ringserverstats.logs.line_columns import numbers
from ringserverstats.logs.reader import read
from ringserverstats.store.base import Store
from ringserverstats.store.duckdb import store as embedded

KEY = b"k" * 32
OPTIONS = ParseOptions(KEY, latest=START + 10 * 86_400)
FORMATS = {
    "old text": lambda entry: entry.text(old=True),
    "text": lambda entry: entry.text(),
    "json": lambda entry: entry.json(),
}


def batches(data: bytes, *, chunk: int) -> list[Batch]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        path.write_bytes(data)
        before, source.CHUNK = source.CHUNK, chunk
        try:
            log = source.find([str(path)]).sources[0]
            return [batch for part in source.chunks(log) for batch in read(part, OPTIONS)]
        finally:
            source.CHUNK = before


def as_model(parsed: list[Batch]) -> list[tuple]:
    rows = []
    for batch in parsed:
        for row in range(len(batch)):
            peer = batch.peers[batch.peer[row]]
            is_of_entry = batch.entry == row
            rows.append(
                (
                    peer.host,
                    str(peer.address),
                    peer.protocol,
                    peer.agent.decode(),
                    DIRECTIONS[batch.direction[row]],
                    int(batch.log_time[row]),
                    int(batch.connect_time[row]),
                    tuple(
                        (batch.streams[stream].decode(), int(count), int(packets))
                        for stream, count, packets in zip(
                            batch.stream[is_of_entry],
                            batch.stream_bytes[is_of_entry],
                            batch.stream_packets[is_of_entry],
                            strict=True,
                        )
                    ),
                )
            )
    return rows


def expected(model: list[Entry]) -> list[tuple]:
    return [
        (
            entry.host,
            str(ip_address(entry.address)),
            entry.protocol,
            entry.agent,
            entry.direction,
            entry.log_time,
            entry.connect_time,
            entry.transfers,
        )
        for entry in model
    ]


@settings(max_examples=30)
@given(entries(), st.sampled_from(list(FORMATS)), st.integers(40, 4000), st.booleans())
def test_what_was_written_is_read(
    model: list[Entry], format_: str, chunk: int, windows: bool
) -> None:
    data = "".join(map(FORMATS[format_], model)).encode()
    if windows:
        data = data.replace(b"\n", b"\r\n")
    parsed = batches(data, chunk=chunk)
    assert [reject for batch in parsed for reject in batch.rejects] == []
    assert as_model(parsed) == expected(model)


@settings(max_examples=20)
@given(st.lists(st.tuples(entries(most=4), st.sampled_from(list(FORMATS)))), st.integers(40, 4000))
def test_mixed_formats_in_one_input(runs: list[tuple[list[Entry], str]], chunk: int) -> None:
    """As `cat *` of a folder gives them."""
    data = "".join("".join(map(FORMATS[format_], model)) for model, format_ in runs).encode()
    parsed = batches(data, chunk=chunk)
    assert [reject for batch in parsed for reject in batch.rejects] == []
    assert as_model(parsed) == expected([entry for model, _ in runs for entry in model])


@settings(max_examples=20)
@given(entries(), st.sampled_from(["old text", "text"]), st.data())
def test_cut_anywhere_every_line_is_accounted_for(
    model: list[Entry], format_: str, data: st.DataObject
) -> None:
    """Each line of a log is in an entry, empty, blank, incomplete or rejected: once."""
    written = "".join(map(FORMATS[format_], model)).encode()
    begin = data.draw(st.integers(0, len(written)))
    end = data.draw(st.integers(begin, len(written)))
    part = written[begin:end]
    parsed = batches(part, chunk=data.draw(st.integers(40, 4000)))
    lines = part.count(b"\n") + (not part.endswith(b"\n") and part != b"")
    assert lines == sum(
        sum(int(count) + 2 for count in batch.transfers)
        + 2 * batch.empty
        + batch.blank
        + batch.incomplete_lines
        + sum(reject.lines for reject in batch.rejects)
        for batch in parsed
    )


@settings(max_examples=40)
@given(st.lists(st.integers(0, 3), max_size=40), st.data())
def test_ids_of_duplicates_do_not_depend_on_the_cuts(log: list[int], data: st.DataObject) -> None:
    digest = np.array([bytes([kind] * 16) for kind in log], "V16")
    # Identical entries have the same log time.
    time = np.array([1000 * (kind == 3) + 25 * kind for kind in log], np.int64)
    whole = Duplicates(KEY).ids(digest, time)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(log)))))
    duplicates, pieces = Duplicates(KEY), []
    for low, high in zip([0, *cuts], [*cuts, len(log)], strict=True):
        pieces += duplicates.ids(digest[low:high], time[low:high]).tolist()
    assert pieces == whole.tolist()


GROWING = given(entries(), st.sampled_from(list(FORMATS)), st.data())


@settings(max_examples=3)
@GROWING
def test_a_growing_log_read_again_and_again_counts_each_entry_once(
    model: list[Entry], format_: str, data: st.DataObject
) -> None:
    _assert_each_counts_once(model, format_, data)


@pytest.mark.soak
@settings(max_examples=100)
@GROWING
def test_soak_of_growing_logs(model: list[Entry], format_: str, data: st.DataObject) -> None:
    _assert_each_counts_once(model, format_, data)


def _assert_each_counts_once(model: list[Entry], format_: str, data: st.DataObject) -> None:
    """However often a log is read while it grows, and in whatever pieces."""
    written = "".join(map(FORMATS[format_], model)).encode()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = make_store(folder / "store.duckdb")
        path = folder / "txlog-20260201T0000-20260202T0000"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pipeline, "BATCH", 5)
            patch.setattr(source, "CHUNK", data.draw(st.integers(40, 2000)))
            patch.setattr(embedded, "_PAUSE", 0)  # nobody else waits for the file
            for size in sorted(data.draw(st.lists(st.integers(0, len(written)), max_size=3))):
                path.write_bytes(written[:size])
                assert read_into(store, path).rejects == []
            path.write_bytes(written)
            read_into(store, path)
        with held_open(store):
            _assert_store_holds(store, model)
        once = make_store(folder / "once.duckdb")
        read_into(once, path)
        assert dump(once) == dump(store)


def _assert_store_holds(store: Store, model: list[Entry]) -> None:
    """The ledger, the facts and each table of sums say what the model says."""
    sql = "sum(bytes)::bigint AS b, sum(packets)::bigint AS p"
    count, transfers, size, packets = totals(model)
    seen = store.ask(
        f"SELECT count(*) AS n, sum(transfers)::bigint AS t, {sql} FROM entry_ledger", []
    )
    assert seen.to_pylist() == [
        {"n": count, "t": transfers or None, "b": size or None, "p": packets or None}
    ]
    for table, number in (
        ("transfer", "count(*)"),
        ("by_day", "sum(transfers)::bigint"),
        ("by_month", "sum(transfers)::bigint"),
    ):
        row = store.ask(f"SELECT {number} AS t, {sql} FROM {table}", []).to_pylist()[0]
        assert (row["t"] or 0, row["b"] or 0, row["p"] or 0) == (transfers, size, packets)
    row = store.ask("SELECT sum(entries)::bigint AS n FROM connection_by_day", []).to_pylist()[0]
    assert (row["n"] or 0) == count


@given(st.lists(st.integers(0, 10**21).map(str) | st.text("0189:/-x", max_size=21)))
def test_numbers_are_those_of_python(texts: list[str]) -> None:
    data = b"\n" * 8 + "".join(text + "\n" for text in texts).encode()
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == 10)[7:]
    values, is_number = numbers(data, ends[:-1] + 1, ends[1:])
    valid = [re.fullmatch("[0-9]{1,19}", text) is not None for text in texts]
    assert is_number.tolist() == valid
    assert values[is_number].tolist() == [int(text) for text in compress(texts, valid)]


@given(st.binary(max_size=200))
def test_cleaned_text_is_printable_and_short(raw: bytes) -> None:
    text = clean(raw)
    assert text.isprintable()
    assert len(text) <= 100
