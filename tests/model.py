"""Logs from a model: what a ringserver would write for entries that a test makes up."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from hypothesis import strategies as st

START = int(datetime(2026, 1, 31, 22, 0, tzinfo=UTC).timestamp())


@dataclass(frozen=True)
class Entry:
    """One block of a log; transfers are (stream as the log writes it, bytes, packets)."""

    host: str
    address: str
    protocol: str
    agent: str
    direction: str
    log_time: int
    connect_time: int
    transfers: tuple[tuple[str, int, int], ...]

    @property
    def total(self) -> int:
        return sum(count for _, count, _ in self.transfers)

    def text(self, *, old: bool = False) -> str:
        clock = "%Y-%m-%d %H:%M:%S" if old else "%Y-%m-%dT%H:%M:%SZ"
        log, connect = (
            datetime.fromtimestamp(time, UTC).strftime(clock)
            for time in (self.log_time, self.connect_time)
        )
        who = f"{self.host} [{self.address}]"
        lines = [
            f"START CLIENT {who} ({self.protocol}|{self.agent}) @ {log} (connected {connect})"
            f" {self.direction}",
            *(f"{name} {count} {packets}" for name, count, packets in self.transfers),
            f"END CLIENT {who} total {self.direction} bytes: {self.total}",
        ]
        return "\n".join(lines) + "\n"

    def json(self) -> str:
        clock = "%Y-%m-%dT%H:%M:%SZ"
        log, connect = (
            datetime.fromtimestamp(time, UTC).strftime(clock)
            for time in (self.log_time, self.connect_time)
        )
        one = {
            "log_time": log,
            "log_start_time": connect,
            "connect_time": connect,
            "client": {"ip": self.address, "hostname": self.host, "user_agent": self.agent},
            "transfer_protocol": {"name": self.protocol},
            "transfer_direction": self.direction,
            "streams": [
                {"stream_id": name, "bytes": count, "packets": packets}
                for name, count, packets in self.transfers
            ],
            "transfer_bytes": self.total,
        }
        return json.dumps(one, ensure_ascii=False, separators=(",", ":")) + "\n"


ENTRY = Entry(
    host="seis.example.org",
    address="192.0.2.17",
    protocol="SeedLink",
    agent="slarchive/4.1",
    direction="TX",
    log_time=START + 60,
    connect_time=START,
    transfers=(("FR_CIEL_00_HHZ/MSEED", 1024, 2), ("G_SSB_10_BHZ/MSEED", 512, 1)),
)


def block(**changes: object) -> str:
    """The text of one block, `ENTRY` with some fields changed."""
    return replace(ENTRY, **changes).text()


_STREAMS = st.sampled_from(
    [
        "FR_CIEL_00_HHZ/MSEED",
        "FDSN:FR_CIEL_00_H_H_Z/MSEED",
        "FDSN:G_CAN__L_H_Z/MSEED3",
        "FDSN:NETWORK_STATION1_00_BB_SS_XY/MSEED",
        "RAW/BINARY",
        "S/X",
        "START/X",
        "{}/X",
        "{a}",
        "END",
    ]
) | st.text(st.characters(codec="utf-8", exclude_characters=" \n\r"), min_size=1, max_size=12)

# What strangers send: never a line end, anything else.
_AGENTS = st.sampled_from(
    [
        "Client",
        "",
        "odd) @ 2020-01-01 00:00:00 (connected x) TX",
        "x) @ 2020-01-01T00:00:00Z (connected 2020-01-01T00:00:00Z) TX",
        "a|b (c) [127.0.0.1] (d|e",
        "dlreader:jdoe:1234:Linux",
        "=1+1 \x1b[31m <b>",
    ]
) | st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), max_size=20)


@st.composite
def entries(draw: st.DrawFn, *, most: int = 12) -> list[Entry]:
    """Entries in log order, some of them duplicates of one shortly before."""
    found: list[Entry] = []
    now = START
    for _ in range(draw(st.integers(0, most))):
        recent = [entry for entry in found if entry.log_time >= now - 50]
        if recent and draw(st.booleans()):
            found.append(draw(st.sampled_from(recent)))
            continue
        now += draw(st.sampled_from([0, 1, 20, 70, 40_000]))
        log_time = now - draw(st.integers(0, 5))  # the server takes the time before the lock
        connect = log_time - draw(st.sampled_from([0, 7, 90_000]))
        number = draw(st.integers(1, 5))
        found.append(
            Entry(
                host=draw(st.sampled_from(["h.example.org", "a.b.example.net", "192.0.2.1"])),
                address=draw(
                    st.sampled_from(
                        [f"192.0.2.{number}", f"::ffff:192.0.2.{number}", f"2001:db8:{number}::1"]
                    )
                ),
                protocol=draw(st.sampled_from(["SeedLink", "DataLink", "HTTP", "Unknown"])),
                agent=draw(_AGENTS),
                direction=draw(st.sampled_from(["TX", "RX"])),
                log_time=log_time,
                connect_time=connect,
                transfers=tuple(
                    (name, draw(st.integers(1, 2**40)), draw(st.integers(1, 2**20)))
                    for name in draw(st.lists(_STREAMS, min_size=1, max_size=5))
                ),
            )
        )
    return found


def totals(found: Iterable[Entry]) -> tuple[int, int, int, int]:
    """Entries, transfers, bytes and packets."""
    found = list(found)
    return (
        len(found),
        sum(len(entry.transfers) for entry in found),
        sum(entry.total for entry in found),
        sum(packets for entry in found for *_, packets in entry.transfers),
    )
