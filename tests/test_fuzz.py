"""Mutated real logs: no crash, no hang, nothing lost without a reject."""

import random
import re
from collections import Counter

import pytest
from conftest import DATA, rest_in_soak

from ringserverstats.logs.batch import Batch
from ringserverstats.logs.entries import ParseOptions
from ringserverstats.logs.formats import JSONL, split_by_format
from ringserverstats.logs.jsonl import OBJECT
from ringserverstats.logs.reader import read
from ringserverstats.logs.source import Chunk

OPTIONS = ParseOptions(b"k" * 32, latest=2_000_000_000)
_GLUED_OBJECT = re.compile(rb"(?<=[^\n])" + re.escape(OBJECT))
_GLUED = re.compile(rb"^[^\n]+START CLIENT ", re.MULTILINE)
LOGS = {path: path.read_bytes() for path in sorted(DATA.glob("*/*[rt]xlog-*"))}


def _mutated(data: bytes, rng: random.Random) -> bytes:
    data = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        if not data:
            break
        kind, offset = rng.randrange(7), rng.randrange(len(data))
        end = min(len(data), offset + rng.randrange(1, 400))
        if kind == 0:
            data[offset] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del data[offset:end]
        elif kind == 2:
            data[offset:offset] = data[rng.randrange(len(data)) :][: end - offset]
        elif kind == 3:
            data[offset:offset] = rng.choice(
                (b"\n", b"\r", b"\x00", b" ", b'"', b"{", b"}", b"\xff", b"\nSTART CLIENT ", b"\t")
            )
        elif kind == 4:
            data[offset:end] = bytes(rng.randrange(256) for _ in range(end - offset))
        elif kind == 5:
            data[offset:offset] = str(rng.choice((0, -1, 2**63, 2**64, 10**30, "0x10"))).encode()
        else:
            del data[offset:]
    return bytes(data)


def _batches(data: bytes) -> list[Batch]:
    return list(read(Chunk(data, 1, True, 0), OPTIONS))


def _check(data: bytes) -> Counter[str]:
    """Each line is counted, rejected, blank, or of an unfinished block."""
    parsed = _batches(data)
    lines = sum(batch.lines for batch in parsed) + sum(b.incomplete_lines for b in parsed)
    assert lines == data.count(b"\n") + (not data.endswith(b"\n") and data != b"")
    totals = Counter[str]()
    for batch, (begin, end, format_) in zip(parsed, split_by_format(data), strict=True):
        accounted = sum(reject.lines for reject in batch.rejects) + batch.blank + batch.access
        if format_ is JSONL:
            # An object behind a part of another one, on the same line, is a record of its own.
            whole = data[begin:end] if data.endswith(b"\n") else data[begin : data.rfind(b"\n") + 1]
            glued = len(_GLUED_OBJECT.findall(whole))
            assert batch.lines <= accounted + len(batch) + batch.empty <= batch.lines + glued
        else:
            accounted += int((batch.transfers + 2).sum()) + 2 * batch.empty
            # A line with a START behind its cut end counts twice: as rejected and as an entry.
            glued = len(_GLUED.findall(data[begin:end])) if batch.rejects else 0
            assert batch.lines <= accounted <= batch.lines + glued
        assert (batch.bytes >= 0).all()
        assert batch.bytes.sum() == batch.stream_bytes.sum()
        totals["entries"] += len(batch)
        totals["rejects"] += len(batch.rejects)
    return totals


@pytest.mark.parametrize("times", rest_in_soak([500, 60_000]))
def test_mutated_logs(times: int) -> None:
    rng = random.Random(times)
    totals = Counter[str]()
    logs = list(LOGS.values())
    for _ in range(times):
        totals += _check(_mutated(rng.choice(logs), rng))
    assert totals["entries"] > times
    assert totals["rejects"] > times // 2
    print(f"{times} mutated logs: {totals['entries']} entries, {totals['rejects']} rejects")


def test_a_block_that_mutation_spares_still_counts() -> None:
    """What is lost is only the block that was hit, or the two that lost their border."""
    rng = random.Random(1)
    for data in LOGS.values():
        whole = [digest for batch in _batches(data) for digest in batch.digest.tolist()]
        for _ in range(20):
            offset = rng.randrange(len(data))
            damaged = data[:offset] + b"\x07" + data[offset + 1 :]
            read_again = {digest for batch in _batches(damaged) for digest in batch.digest.tolist()}
            assert sum(digest not in read_again for digest in whole) <= 2
