"""Streams, agents, file names and days, one by one."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from ringserverstats.enrich.agents import UNSPECIFIED, parse_agent
from ringserverstats.enrich.streams import parse_stream
from ringserverstats.logs.days import days, local
from ringserverstats.logs.entries import ParseOptions
from ringserverstats.logs.names import read_name
from ringserverstats.logs.text import parse

PARIS = ZoneInfo("Europe/Paris")
OPTIONS = ParseOptions(b"k", latest=2_000_000_000)


@pytest.mark.parametrize(
    ("raw", "name", "codes"),
    [
        ("FR_CIEL_00_HHZ/MSEED", "FR_CIEL_00_HHZ/MSEED", ("FR", "CIEL", "00", "HHZ", "MSEED")),
        (
            "FDSN:FR_CIEL_00_H_H_Z/MSEED3",
            "FR_CIEL_00_HHZ/MSEED3",
            ("FR", "CIEL", "00", "HHZ", "MSEED3"),
        ),
        ("FDSN:G_CAN__L_H_Z/MSEED", "G_CAN__LHZ/MSEED", ("G", "CAN", "", "LHZ", "MSEED")),
        (
            "FDSN:XPNET14_STATION8_AB_BB_SS_XY/MSEED3",
            "XPNET14_STATION8_AB_BB_SS_XY/MSEED3",
            ("XPNET14", "STATION8", "AB", "BB_SS_XY", "MSEED3"),
        ),
        ("FDSN:XX_STA___H_/MSEED", "XX_STA___H_/MSEED", ("XX", "STA", "", "_H_", "MSEED")),
        ("XX_TEST__LOG/TEXT", "XX_TEST__LOG/TEXT", ("XX", "TEST", "", "LOG", "TEXT")),
        ("XX_TEST_00_ACE/JSON", "XX_TEST_00_ACE/JSON", ("XX", "TEST", "00", "ACE", "JSON")),
        ("RAW/BINARY", "RAW/BINARY", (None, None, None, None, "BINARY")),
        ("whatever", "whatever", (None,) * 5),
        ("a/b_c_d_e/f", "a/b_c_d_e/f", (None, None, None, None, "f")),
        ("FR_\x1b[31m_00_HHZ/M", "FR_\\x1b[31m_00_HHZ/M", (None, None, None, None, "M")),
    ],
)
def test_stream_ids(raw: str, name: str, codes: tuple[str | None, ...]) -> None:
    stream = parse_stream(raw.encode())
    assert stream.name == name
    parsed = stream.network, stream.station, stream.location, stream.channel, stream.type
    assert parsed == codes


@pytest.mark.parametrize(
    ("raw", "text", "family"),
    [
        (b"slarchive/4.1 SeisComP/6.5.1", "slarchive/4.1 SeisComP/6.5.1", "slarchive"),
        (b"dlreader:jdoe:1234:Linux-6.1", "dlreader", "dlreader"),
        (b"/home/jdoe/bin/ew2ring:jdoe:77:x86", "ew2ring", "ew2ring"),
        (b"prog::12:", "prog", "prog"),
        (rb"C:\bin\dl2.exe:alice:123:Windows", "dl2.exe", "dl2.exe"),
        (b"my prog:alice:123:linux", "my prog", "my"),
        (b"prog:alice::linux", "prog", "prog"),
        (b"prog:alice:-1:linux", "prog", "prog"),
        (b":alice:123:linux", UNSPECIFIED, UNSPECIFIED),
        (b"prog:al:ice:12:linux", "prog", "prog"),
        (b"p" * 120 + b":alice:12:linux", "p" * 100, "p" * 100),
        (b"/home/bob/bin/x", "x", "x"),
        (b"slink2dl:feeder", "slink2dl:feeder", "slink2dl"),
        (b"Client", UNSPECIFIED, UNSPECIFIED),
        (b"SeedLink Client", UNSPECIFIED, UNSPECIFIED),
        (b"", UNSPECIFIED, UNSPECIFIED),
        (b"  ", UNSPECIFIED, UNSPECIFIED),
        (b"ObsPy 1.5.1", "ObsPy 1.5.1", "ObsPy"),
        (b"obspy-1.4.2", "obspy-1.4.2", "obspy"),
        (b"Mozilla/5.0 (X11; Linux x86_64)", "Mozilla/5.0 (X11; Linux x86_64)", "Mozilla"),
        (b"odd) @ 2020-01-01", "odd) @ 2020-01-01", "odd"),
        (b"\xff\xfe\x1b[2J", "\\xff\\xfe\\x1b[2J", "\\xff\\xfe\\x1b[2J"),
        ("a\u202eb".encode(), "a\\u202eb", "a\\u202eb"),
        (b"(only)", "(only)", "only"),
        (b"x" * 300, "x" * 100, "x" * 100),
    ],
)
def test_agents(raw: bytes, text: str, family: str) -> None:
    agent = parse_agent(raw)
    assert agent.text == text
    assert agent.family == family


@pytest.mark.parametrize(
    ("name", "prefix", "day", "hour"),
    [
        ("txlog-20180330T00:00-20180331T00:00", None, date(2018, 3, 30), None),
        ("node-a-txlog-20180330T00:00-20180331T00:00", "node-a", date(2018, 3, 30), None),
        ("rxlog-20261124T0000-20261125T0000.jsonl.gz", None, date(2026, 11, 24), None),
        ("txlog-20260329T0000-20260330T0100", None, date(2026, 3, 29), None),
        ("txlog-20260328T2300-20260330T0000", None, date(2026, 3, 29), None),
        ("txlog-20261025T0000-20261025T2300", None, date(2026, 10, 25), None),
        ("txlog-20261025T0100-20261026T0000", None, date(2026, 10, 25), None),
        ("n-txlog-20261124T2300-20261125T0000.jsonl", "n", date(2026, 11, 24), 23),
        ("txlog-20261130T1301-20261130T1302", None, date(2026, 11, 30), 13),
        ("txlog-20261130T1345-20261130T1415", None, date(2026, 11, 30), None),
        ("txlog-20260423T2300-20260424T0100", None, date(2026, 4, 23), None),  # in Cairo
        ("txlog-20261124T0000-20261201T0000", None, None, None),
        ("txlog-20261332T0000-20261333T0000", None, None, None),
        ("txlog-20261125T0000-20261124T0000", None, None, None),
        ("messages", None, None, None),
    ],
)
def test_file_names(name: str, prefix: str | None, day: date | None, hour: int | None) -> None:
    parsed = read_name(name)
    assert (parsed.prefix, parsed.day, parsed.hour(UTC)) == (prefix, day, hour)


def _block(log: str, connect: str) -> bytes:
    return (
        f"START CLIENT h [192.0.2.1] (SeedLink|x) @ {log} (connected {connect}) TX\n"
        "FR_A_00_HHZ/MSEED 1 1\nEND CLIENT h [192.0.2.1] total TX bytes: 1\n"
    ).encode()


@pytest.mark.parametrize(
    ("log", "connect", "name", "day"),
    [
        # Without a name: the date of the local midnight before, 5 s after it at the earliest.
        ("2026-06-30 22:00:04", "2026-06-29 10:00:00", "", "2026-06-30"),
        ("2026-06-30 22:00:05", "2026-06-29 10:00:00", "", "2026-07-01"),
        ("2026-06-30 22:00:04", "2026-06-30 22:00:02", "", "2026-07-01"),
        ("2026-07-01 12:00:00", "2026-06-29 10:00:00", "", "2026-07-01"),
        # A long interval: where the connection or the interval starts.
        (
            "2026-07-05 22:00:01",
            "2026-06-01 10:00:00",
            "txlog-20260629T0000-20260706T0000",
            "2026-06-29",
        ),
        (
            "2026-07-05 22:00:01",
            "2026-07-02 23:00:00",
            "txlog-20260629T0000-20260706T0000",
            "2026-07-03",
        ),
        # A name of a day or less decides alone.
        (
            "2026-07-05 22:00:01",
            "2026-07-02 23:00:00",
            "txlog-20260101T0000-20260102T0000",
            "2026-01-01",
        ),
        (
            "2026-07-05 22:00:01",
            "2026-07-02 23:00:00",
            "txlog-20260329T0000-20260330T0100",
            "2026-03-29",
        ),
    ],
)
def test_day_of_an_entry(log: str, connect: str, name: str, day: str) -> None:
    batch = parse(_block(log, connect), OPTIONS, line=1, last=True)
    dated = days(batch, read_name(name), PARIS)
    assert dated.day.astype("datetime64[D]").astype(str).tolist() == [day]


def test_local_time_through_a_year() -> None:
    times = np.arange(1_766_000_000, 1_800_000_000, 10_007)
    expected = [
        int(datetime.fromtimestamp(time, PARIS).replace(tzinfo=UTC).timestamp())
        for time in times.tolist()
    ]
    assert local(times, PARIS).tolist() == expected
