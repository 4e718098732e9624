"""Mutated real logs: no crash, no hang, nothing lost without a reject."""

import random
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import DATA

from ringserverstats.logs.batch import Batch
from ringserverstats.logs.entries import ParseOptions
from ringserverstats.logs.formats import JSONL, split_by_format
from ringserverstats.logs.reader import read
from ringserverstats.logs.source import Chunk

OPTIONS = ParseOptions(b"k" * 32, latest=2_000_000_000, pool=ThreadPoolExecutor(1))
_GLUED = re.compile(rb"^[^\n]+START CLIENT ", re.MULTILINE)
LOGS = {path: path.read_bytes() for path in sorted(DATA.glob("*/*[rt]xlog-*"))}


def _mutated(data: bytes, rng: random.Random) -> bytes:
    data = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        if not data:
            break
        kind, place = rng.randrange(7), rng.randrange(len(data))
        end = min(len(data), place + rng.randrange(1, 400))
        if kind == 0:
            data[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del data[place:end]
        elif kind == 2:
            data[place:place] = data[rng.randrange(len(data)) :][: end - place]
        elif kind == 3:
            data[place:place] = rng.choice(
                (b"\n", b"\r", b"\x00", b" ", b'"', b"{", b"}", b"\xff", b"\nSTART CLIENT ", b"\t")
            )
        elif kind == 4:
            data[place:end] = bytes(rng.randrange(256) for _ in range(end - place))
        elif kind == 5:
            data[place:place] = str(rng.choice((0, -1, 2**63, 2**64, 10**30, "0x10"))).encode()
        else:
            del data[place:]
    return bytes(data)


def _batches(data: bytes) -> list[Batch]:
    return list(read(Chunk(data, 1, True, 0), OPTIONS))


def _check(data: bytes) -> Counter[str]:
    """Each line is counted, rejected, blank, or of an unfinished block."""
    found = _batches(data)
    lines = sum(batch.lines for batch in found) + sum(b.incomplete_lines for b in found)
    assert lines == data.count(b"\n") + (not data.endswith(b"\n") and data != b"")
    told = Counter[str]()
    for batch, (begin, end, format_) in zip(found, split_by_format(data), strict=True):
        told_of = sum(reject.lines for reject in batch.rejects) + batch.blank + batch.access
        if format_ is JSONL:
            assert told_of + len(batch) + batch.empty == batch.lines
        else:
            told_of += int((batch.transfers + 2).sum()) + 2 * batch.empty
            # A line with a START behind its cut end is told of twice: as rejected and as counted.
            glued = len(_GLUED.findall(data[begin:end])) if batch.rejects else 0
            assert batch.lines <= told_of <= batch.lines + glued
        assert (batch.bytes >= 0).all()
        assert batch.bytes.sum() == batch.stream_bytes.sum()
        told["entries"] += len(batch)
        told["rejects"] += len(batch.rejects)
    return told


@pytest.mark.parametrize("times", [1500, pytest.param(60_000, marks=pytest.mark.soak)])
def test_mutated_logs(times: int) -> None:
    rng = random.Random(times)
    told = Counter[str]()
    logs = list(LOGS.values())
    for _ in range(times):
        told += _check(_mutated(rng.choice(logs), rng))
    assert told["entries"] > times
    assert told["rejects"] > times // 2
    print(f"{times} mutated logs: {told['entries']} entries, {told['rejects']} rejects")


def test_a_block_that_mutation_spares_still_counts() -> None:
    """What is lost is only the block that was hit, or the two that lost their border."""
    rng = random.Random(1)
    for data in LOGS.values():
        if data.startswith(b"{"):
            continue
        whole = [digest for batch in _batches(data) for digest in batch.digest.tolist()]
        for _ in range(20):
            place = rng.randrange(len(data))
            hurt = data[:place] + b"\x07" + data[place + 1 :]
            kept = {digest for batch in _batches(hurt) for digest in batch.digest.tolist()}
            assert sum(digest not in kept for digest in whole) <= 2
