"""Bad input is never lost silently: it is reported with file, line and reason, the rest counts."""

import bz2
import gzip
import lzma
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from conftest import DATA, dump, make_store, read_into, rest_in_soak
from model import ENTRY, START, block

from ringserverstats.import_report import ImportReport
from ringserverstats.logs import jsonl, reasons, source, text
from ringserverstats.logs.batch import Batch
from ringserverstats.logs.entries import ParseOptions
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.run import run_query
from ringserverstats.statistics.summary import summary
from ringserverstats.store.duckdb.store import DuckDBStore

GOOD = block()
OTHER = block(address="192.0.2.18", log_time=START + 70)
Log = Callable[..., Path]
OPTIONS = ParseOptions(b"k" * 32, latest=START + 10**6)


def would_read(store: DuckDBStore, path: Path) -> ImportReport:
    """What reading it would do, which takes less time (tests/test_exactly_once.py: it is so)."""
    return read_into(store, path, dry_run=True)


def rejected(report: ImportReport) -> list[tuple[int, int, str]]:
    return [(reject.line, reject.lines, reject.reason) for _, reject in report.rejects]


@pytest.mark.parametrize(
    ("bad", "line", "lines", "reason"),
    [
        ("what is this\n", 5, 1, reasons.NO_START),
        ("FR_CIEL_00_HHZ/MSEED 512 1\n", 5, 1, reasons.NO_START),
        (GOOD.rsplit("END", 1)[0], 5, 3, reasons.NO_END),
        (GOOD.replace("bytes: 1536", "bytes: 1537"), 5, 4, reasons.total_reason(1537, 1536)),
        (GOOD.replace(" 1024 2", " 9223372036854775808 2"), 5, 4, reasons.LARGE),
        (GOOD.replace(" 1024 2", " 99999999999999999999999 2"), 5, 4, reasons.LARGE),
        (GOOD.replace(" 512 1", " 512 9223372036854775808"), 5, 4, reasons.LARGE),
        (GOOD.replace(" 512 1", " 9223372036854775807 1"), 5, 4, reasons.LARGE),
        (GOOD.replace("bytes: 1536", "bytes: 9223372036854775808"), 5, 4, reasons.LARGE),
        (GOOD.replace("bytes: 1536", "bytes: 999999999999999999999"), 5, 4, reasons.LARGE),
        (GOOD.replace("2026-01-31T22:01:00Z", "2026-02-30T22:01:00Z"), 5, 4, reasons.BAD_TIME),
        (GOOD.replace("2026-01-31T22:01:00Z", "2126-01-31T22:01:00Z"), 5, 4, reasons.BAD_TIME),
        (GOOD.replace("2026-01-31T22:01:00Z", "1999-12-31T22:01:00Z"), 5, 4, reasons.BAD_TIME),
        (GOOD.replace("2026-01-31T22:01:00Z", "2026-01-31T25:01:00Z"), 5, 4, reasons.BAD_TIME),
        (GOOD.replace("2026-01-31T22:01:00Z", "yesterday"), 5, 4, reasons.BAD_START),
        (GOOD.replace(" TX\n", " ZX\n"), 5, 4, reasons.BAD_START),
        (GOOD.replace("192.0.2.17", "192.0.2.400"), 5, 4, reasons.BAD_ADDRESS),
        (GOOD.replace("total TX", "total RX"), 5, 4, reasons.OTHER_END),
        (GOOD.replace("END CLIENT seis", "END CLIENT other"), 5, 4, reasons.OTHER_END),
        (GOOD.replace("bytes: 1536", "bytes: many"), 5, 4, reasons.BAD_END),
        (GOOD.replace(" 512 1\n", " 512\n"), 5, 4, reasons.BAD_LINE),
        (GOOD.replace(" 512 1\n", " 0x200 1\n"), 5, 4, reasons.BAD_LINE),
        (GOOD.replace(" 512 1\n", " 512\t 1\n"), 5, 4, reasons.BAD_LINE),
        (GOOD.replace(" 512 1\n", " -512 1\n"), 5, 4, reasons.BAD_LINE),
        (GOOD.replace(" 512 1\n", "\x0b512 1\n"), 5, 4, reasons.BAD_LINE),
        (GOOD.replace(" 512 1\n", " 512 1:\n"), 5, 4, reasons.BAD_LINE),
        (GOOD.replace(" 512 1\n", " 512 1 1\n"), 5, 4, reasons.BAD_LINE),
        (GOOD.replace(" 512 1\n", " 512 1\n\n"), 5, 5, reasons.BAD_LINE),
        (block(transfers=(("", 512, 1),)), 5, 3, reasons.BAD_LINE),
        ("x" * (1 << 20) + "\n", 5, 1, reasons.TOO_LONG),
        (GOOD.replace("slarchive", "s" * (1 << 20)), 5, 4, reasons.TOO_LONG),
        ('{"broken": \n', 5, 1, reasons.NO_START),
        ('{"log_time": "2026"}\n', 5, 1, reasons.field_reason("client")),
    ],
)
def test_bad_text_is_rejected_and_the_rest_counts(
    store: DuckDBStore, log: Log, bad: str, line: int, lines: int, reason: str
) -> None:
    report = would_read(store, log(GOOD + bad + OTHER))
    assert rejected(report) == [(line, lines, reason)]
    assert (report.entries, report.bytes, report.incomplete) == (2, 3072, 0)


JSON = ENTRY.json()


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("{\n", reasons.NO_OBJECT),
        ("[1]\n", reasons.NO_OBJECT),
        (JSON[:50] + "\n", reasons.NO_OBJECT),
        (JSON.replace('"bytes":512', '"bytes":"512"'), reasons.field_reason("bytes")),
        (JSON.replace('"bytes":512', '"bytes":5.5'), reasons.field_reason("bytes")),
        (JSON.replace('"bytes":512', '"bytes":true'), reasons.field_reason("bytes")),
        (JSON.replace('"bytes":512', f'"bytes":{2**63}'), reasons.LARGE),
        (JSON.replace('"bytes":512', f'"bytes":{2**64}'), reasons.LARGE),
        (JSON.replace('"bytes":512', f'"bytes":{2**63 - 1}'), reasons.LARGE),
        (JSON.replace('bytes":1536', 'bytes":1'), reasons.total_reason(1, 1536)),
        (JSON.replace('"ip"', '"no"'), reasons.field_reason("ip")),
        (JSON.replace("192.0.2.17", "192.0.2"), reasons.BAD_ADDRESS),
        (JSON.replace('"TX"', '"UP"'), reasons.field_reason("transfer_direction")),
        (JSON.replace("2026-01-31T22:01:00Z", "2026-02-31T22:01:00Z"), reasons.BAD_TIME),
        (JSON.replace("2026-01-31T22:01:00Z", "2026-01-31"), reasons.BAD_TIME),
        ('{"a":"' + "x" * jsonl.LONGEST_LINE + '"}\n', reasons.LONG_OBJECT),
    ],
)
def test_bad_json_is_rejected_and_the_rest_counts(
    store: DuckDBStore, log: Log, bad: str, reason: str
) -> None:
    assert bad != JSON
    other = ENTRY.json().replace("192.0.2.17", "192.0.2.18")
    report = would_read(store, log(JSON + bad + other))
    assert rejected(report) == [(2, 1, reason)]
    assert (report.entries, report.bytes) == (2, 3072)


def test_entry_of_too_many_streams_is_rejected(store: DuckDBStore, log: Log) -> None:
    many = tuple((f"FR_{number:05d}_00_HHZ/MSEED", 1, 1) for number in range(100_001))
    report = would_read(store, log(GOOD + block(transfers=many) + OTHER))
    assert rejected(report) == [(5, 100_003, reasons.TOO_MANY)]
    assert report.entries == 2


def parsed(data: str) -> Batch:
    return text.parse(data.encode(), OPTIONS, line=1, last=True)


def parsed_json(data: str) -> Batch:
    return jsonl.parse(data.encode(), OPTIONS, line=1, last=True)


def test_unfinished_last_block_is_incomplete_and_counts_later() -> None:
    """Wherever the server has got to with its last block."""
    whole = parsed(OTHER + GOOD)
    for cut in range(1, len(GOOD)):
        begun = parsed(OTHER + GOOD[:cut])
        assert begun.rejects == [], cut
        finished = cut == len(GOOD) - 1
        assert (len(begun), begun.incomplete) == ((2, 0) if finished else (1, 1)), cut
        assert begun.digest.tolist() == whole.digest.tolist()[: len(begun)], cut


def test_json_line_that_is_still_written_is_incomplete(store: DuckDBStore, log: Log) -> None:
    path = log(JSON + JSON[:60].replace("17", "18"))
    report = read_into(store, path)
    assert (report.entries, report.incomplete, report.rejected) == (1, 1, 0)
    path.write_text(JSON + JSON.replace("192.0.2.17", "192.0.2.18"))
    report = read_into(store, path)
    assert (report.entries, report.known, report.incomplete) == (1, 1, 0)


def test_empty_blocks_are_counted_as_empty_and_nowhere_else(store: DuckDBStore, log: Log) -> None:
    report = read_into(store, log(block(transfers=()) + GOOD + block(transfers=())))
    assert (report.empty, report.entries, report.connections) == (2, 1, 1)
    assert len(dump(store)["entry_ledger"]) == 1


@pytest.mark.parametrize("content", [b"", b"\n", b"\n\n\r\n", b"START"])
def test_nothing_to_read_is_no_error(store: DuckDBStore, log: Log, content: bytes) -> None:
    report = would_read(store, log(content))
    assert (report.entries, report.rejected) == (0, 0)


def _zstd(data: bytes) -> bytes:
    buffer = pa.BufferOutputStream()
    with pa.CompressedOutputStream(buffer, "zstd") as stream:
        stream.write(data)
    return buffer.getvalue().to_pybytes()


#: What pzstd puts before a frame: its size.
SKIPPABLE_FRAME = b"\x50\x2a\x4d\x18\x04\x00\x00\x00size"
COMPRESSIONS = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": _zstd,
    "pzstd": lambda data: SKIPPABLE_FRAME + _zstd(data),
}
REAL = DATA / "v4.5.3-text" / "txlog-20261124T0000-20261125T0000"


@pytest.mark.parametrize("kind", COMPRESSIONS)
def test_compressed_log_is_the_same_log(store: DuckDBStore, log: Log, kind: str) -> None:
    plain = read_into(store, REAL)
    packed = log(COMPRESSIONS[kind](REAL.read_bytes()), f"{REAL.name}.{kind}")
    report = read_into(store, packed)
    assert (report.entries, report.known) == (0, plain.entries)


@pytest.mark.parametrize(
    ("pack", "name"),
    [
        (lambda data: gzip.compress(gzip.compress(data)), "gzip"),
        (lambda data: b"\x04\x22\x4d\x18" + data, "lz4"),
        (lambda data: lzma.compress(data, lzma.FORMAT_ALONE), "lzma"),
    ],
)
def test_other_compressions_are_reported_by_name(
    store: DuckDBStore, log: Log, pack: Callable[[bytes], bytes], name: str
) -> None:
    report = would_read(store, log(pack(GOOD.encode())))
    assert report.entries == 0
    assert [reject.reason for _, reject in report.rejects] == [f"{source.COMPRESSED} ({name})"]


@pytest.mark.parametrize("kind", rest_in_soak(COMPRESSIONS))
def test_truncated_compressed_log_counts_what_can_be_read(
    store: DuckDBStore, log: Log, kind: str
) -> None:
    """Compressed data of many blocks, cut: what comes before the cut counts."""
    blocks = [block(log_time=START + number, agent=f"a{number}") for number in range(20_000)]
    data = COMPRESSIONS[kind]("".join(blocks).encode())
    report = would_read(store, log(data[: int(len(data) * 0.9)], f"txlog.{kind}"))
    assert [reject.reason.split(":")[0] for _, reject in report.rejects] == [
        source.DAMAGED.split(":")[0]
    ]
    assert 1000 < report.entries < 20_000
    assert report.bytes == report.entries * ENTRY.total


@pytest.mark.parametrize("pack", [bz2.compress, lzma.compress, gzip.compress, _zstd])
def test_several_compressed_streams_are_one_log(
    store: DuckDBStore, log: Log, pack: Callable[[bytes], bytes]
) -> None:
    report = would_read(store, log(pack(GOOD.encode()) + pack(OTHER.encode())))
    assert (report.entries, report.rejected) == (2, 0)


@pytest.mark.parametrize("pack", [bz2.compress, lzma.compress, gzip.compress])
@pytest.mark.parametrize("behind", ["text behind", None])
def test_what_stands_behind_a_compressed_stream_is_reported(
    store: DuckDBStore, log: Log, pack: Callable[[bytes], bytes], behind: str | None
) -> None:
    more = behind.encode() if behind else b"?" + pack(OTHER.encode())
    report = would_read(store, log(pack(GOOD.encode()) + more))
    assert (report.entries, report.rejected) == (1, 1)
    assert source.DAMAGED in report.rejects[0][1].reason


def test_padding_of_xz_is_nothing(store: DuckDBStore, log: Log) -> None:
    packed = lzma.compress(GOOD.encode()) + bytes(8) + lzma.compress(OTHER.encode()) + bytes(4)
    report = would_read(store, log(packed))
    assert (report.entries, report.rejected) == (2, 0)


HEAD = GOOD.index("\n")


def test_log_cut_by_a_full_disk_goes_on_with_the_next_start() -> None:
    """Only the block that was cut is lost, also where that was in the middle of a line."""
    for cut in range(HEAD + 1, len(GOOD) - 1):
        begun = GOOD[:cut]
        data = OTHER + begun + ENTRY.text(old=True) + OTHER + OTHER
        batch = parsed(data)
        lines = begun.count("\n")
        assert batch.line.tolist() == [1, *(5 + lines + 4 * number for number in range(3))], cut
        assert batch.incomplete == 0, cut
        is_glued = not begun.endswith("\n")
        rejects = [(reject.line, reject.lines) for reject in batch.rejects]
        assert rejects == [(5, lines + is_glued)], cut
        assert batch.lines == data.count("\n"), cut


def test_json_cut_by_a_full_disk_goes_on_with_the_next_object() -> None:
    """Only the object that was cut is lost, wherever it was cut."""
    other = JSON.replace("192.0.2.17", "192.0.2.19")
    for cut in range(1, len(JSON) - 1):
        batch = parsed_json(other + JSON[:cut] + other + other)
        assert batch.line.tolist() == [1, 2, 3], cut
        rejects = [(reject.line, reject.reason) for reject in batch.rejects]
        assert rejects == [(2, reasons.NO_OBJECT)], cut
        assert (batch.incomplete, batch.lines) == (0, 3), cut
    batch = parsed_json(JSON[:-1] + other)  # only the line end was lost
    assert (batch.line.tolist(), batch.rejects) == ([1, 1], [])


@pytest.mark.parametrize("garbage", ["\0" * 4096, "\ufeff", "\ufeff\0"])
def test_garbage_before_an_object_loses_no_entry(garbage: str) -> None:
    batch = parsed_json(JSON + garbage + JSON + JSON)
    assert (len(batch), len(batch.rejects), batch.lines) == (3, 1, 3)


@pytest.mark.parametrize("good", [GOOD, JSON], ids=["text", "json"])
def test_nul_bytes_at_the_end_are_rejected(store: DuckDBStore, log: Log, good: str) -> None:
    """As after a power cut: nothing is still being written."""
    report = would_read(store, log(good + "\0" * 4096))
    assert (report.entries, report.rejected, report.incomplete) == (1, 1, 0)


def test_log_cut_within_a_start_line_goes_on_with_the_next() -> None:
    other = GOOD.replace("192.0.2.17", "192.0.2.19")
    for cut in range(1, HEAD):
        batch = parsed(OTHER + GOOD[:cut] + other + OTHER)
        assert batch.line.tolist() == [1, 5, 9], cut
        assert [(reject.line, reject.lines) for reject in batch.rejects] == [(5, 1)], cut


def test_header_within_a_header_shows_nobody(store: DuckDBStore, log: Log) -> None:
    """Where both are of one client it may be a client id of that text: it counts, cut."""
    read_into(store, log(GOOD[: GOOD.index("archive")] + GOOD))
    [agent] = dump(store)["agent"]
    assert agent[1:] == ("sl", "sl")


def test_client_id_like_a_header_beside_a_broken_block(store: DuckDBStore, log: Log) -> None:
    odd = block(agent="START CLIENT h [192.0.2.1] (DataLink|x) @ ")
    report = would_read(store, log("junk\n" + odd + GOOD.replace(" TX", " ZX", 1)))
    assert (report.entries, report.rejected) == (1, 2)


def test_lines_too_long_on_both_sides_of_a_good_block(store: DuckDBStore, log: Log) -> None:
    junk = "x" * (1 << 20) + "\n"
    report = would_read(store, log(junk + GOOD + junk))
    assert rejected(report) == [(1, 1, reasons.TOO_LONG), (6, 1, reasons.TOO_LONG)]
    assert report.entries == 1


def test_a_hundred_thousand_starts_without_end_take_no_time(store: DuckDBStore, log: Log) -> None:
    begin = time.process_time()
    report = would_read(store, log("START CLIENT \n" * 100_000 + GOOD))
    assert (report.entries, report.rejected) == (1, 100_000)
    assert time.process_time() - begin < 30


@pytest.mark.parametrize("clock", ["1970-01-01T00:00:31Z", "2126-01-31T22:00:00Z"])
@pytest.mark.parametrize("name", ["txlog", "txlog-20260131T0000-20260201T0000"])
def test_a_wrong_connect_time_alone_rejects_nothing(
    store: DuckDBStore, log: Log, clock: str, name: str
) -> None:
    for good in (GOOD, JSON):
        right = good.replace("slarchive", "right")
        wrong = good.replace("2026-01-31T22:00:00Z", clock)
        assert wrong.count(clock) >= 1
        if good is JSON:
            wrong = wrong.replace(
                f'"log_start_time":"{clock}"', '"log_start_time":"2026-01-31T22:00:00Z"'
            )
        report = read_into(store, log(right + wrong, name), server=f"{len(good)}")
        assert (report.entries, report.rejected) == (2, 0)
    days = store.ask("SELECT DISTINCT day FROM connection_by_day")["day"].to_pylist()
    assert list(map(str, days)) == ["2026-01-31"]


@pytest.mark.parametrize("neighbour", ["", "{}\n"])
def test_transfer_with_a_key_that_access_logs_have_is_a_transfer(
    store: DuckDBStore, log: Log, neighbour: str
) -> None:
    report = would_read(store, log(neighbour + JSON.replace("{", '{"event":"later",', 1)))
    assert (report.entries, report.access_lines) == (1, 0)


@pytest.mark.parametrize(
    ("tail", "entries", "incomplete"),
    [
        (JSON.replace("slarchive", "\xff")[:-1].encode("latin-1"), 2, 0),
        (JSON.replace("17", "18")[:-1].encode(), 2, 0),
        (b'{"a":' + b"[" * 100_000, 1, 1),
        (JSON[:100].encode(), 1, 1),
    ],
)
@pytest.mark.parametrize("first", [b"", b"junk\n", b"\n"])
def test_end_of_a_json_log_without_a_line_end(
    store: DuckDBStore, log: Log, first: bytes, tail: bytes, entries: int, incomplete: int
) -> None:
    report = would_read(store, log(first + JSON.encode() + tail))
    assert (report.entries, report.incomplete) == (entries, incomplete)
    assert report.rejected == (first == b"junk\n")


def test_largest_numbers_are_counted_and_stop_nothing(store: DuckDBStore, log: Log) -> None:
    largest = (("FR_CIEL_00_HHZ/MSEED", 2**63 - 1, 2**63 - 1),)
    for number in range(3):
        read_into(store, log(block(transfers=largest, log_time=START + number)))
    read_into(store, log(GOOD))
    for by in ((), ("protocol",), ("day",)):
        row = run_query(store, Query(dimensions=by)).to_pylist()[0]
        assert (row["bytes"], row["packets"]) == (3 * (2**63 - 1) + 1536, 3 * 2**63)
    assert summary(store).servers[0].bytes_sent == 3 * (2**63 - 1) + 1536


@pytest.mark.soak
def test_very_many_names_need_little_memory(tmp_path: Path, log: Log) -> None:
    store = make_store(tmp_path / "store.duckdb", memory="100MB")
    blocks = []
    for number in range(2):
        names = (f"XX_{number}A{n:05d}__HHZ/MSEED" for n in range(100_000))
        blocks.append(block(transfers=tuple((name, 1, 1) for name in names)))
    assert read_into(store, log("".join(blocks))).transfers == 200_000


def test_what_cannot_be_opened_in_a_folder_is_reported_and_the_rest_counts(
    store: DuckDBStore, log: Log, tmp_path: Path
) -> None:
    log(GOOD)
    (tmp_path / "rxlog-20260630T0000-20260701T0000").symlink_to("nothing")
    (tmp_path / "loop").symlink_to(".")
    (tmp_path / "elsewhere").mkdir()
    folder = tmp_path / "away"
    folder.mkdir()
    (folder / "txlog-20260629T0000-20260630T0000").write_text(OTHER)
    (tmp_path / "elsewhere" / "link").symlink_to(folder)
    report = read_into(store, tmp_path)
    assert (report.entries, report.files) == (2, 3)
    [(label, reject)] = report.rejects
    assert label.endswith("rxlog-20260630T0000-20260701T0000")
    assert "cannot be opened" in reject.reason


def test_input_that_breaks_at_its_first_byte_is_reported(store: DuckDBStore) -> None:
    report = read_into(store, "/proc/self/mem", name="txlog")
    assert source.DAMAGED in report.rejects[0][1].reason


def test_junk_without_end_keeps_memory_bounded(
    store: DuckDBStore, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "CHUNK", 1 << 16)
    monkeypatch.setattr(source, "LONGEST_RECORD", 1 << 18)
    junk = (b"x" * 99 + b"\n") * 40_000
    path = log(GOOD.encode() + junk + b"y" * 3_000_000 + b"\n" + OTHER.encode())
    sizes = [len(chunk.data) for chunk in source.chunks(source.find([str(path)]).sources[0])]
    assert max(sizes) <= (1 << 18) + (1 << 17)
    report = read_into(store, path)
    assert report.entries == 2
    assert sum(reject.lines for _, reject in report.rejects) >= 40_001
