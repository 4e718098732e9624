"""The columns that every log format is parsed into.

Times are whole seconds since 1970-01-01T00:00:00Z. ``bytes`` counts the payload of the records
sent to (TX) or received from (RX) a client, as the server logged it. Row order is log order.
"""

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]
Int8s = npt.NDArray[np.int8]
Ids = npt.NDArray[np.void]  # 16 bytes each
Name = bytes  # as `Batch` has a column of that name

#: The value of ``Batch.start_time`` for text logs, which do not have it.
UNSPECIFIED = np.iinfo(np.int64).min

LARGEST_NUMBER = 2**63 - 1
MOST_STREAMS = 100_000


@dataclass(frozen=True)
class Peer:
    """A client and its connection, as one START line describes them. ``enrich`` pseudonymises it.

    Args:
        address: None in imported histories, where the host identifies the client.
        agent: client id or user agent.
        user: authenticated user, if any.
    """

    address: IPv4Address | IPv6Address | None
    host: str
    protocol: str
    agent: bytes
    user: str | None = None


@dataclass(frozen=True)
class Reject:
    """A log entry, or consecutive lines, that is not counted, without its text.

    Args:
        line: number of the first line.
        lines: number of lines; 0 if the input cannot be read.
        digest: 16 bytes, keyed, over the lines, as for an entry; without lines, over the file's
            name.
        entries: number of rejected entries; more than 1 where many rejects are joined.
    """

    line: int
    lines: int
    reason: str
    digest: bytes
    entries: int = 1


@dataclass(frozen=True)
class Batch:
    """Entries of one piece of one log, with their transfers.

    Per entry (n rows): ``digest`` (16 bytes, keyed, over the entry's own bytes), ``line``,
    ``log_time``, ``connect_time``, ``start_time``, ``direction`` (index into `DIRECTIONS`),
    ``peer`` (index into ``peers``), ``bytes``, ``packets``, ``transfers``.

    Per transfer (m rows): ``entry`` (row of its entry), ``stream`` (index into ``streams``),
    ``stream_bytes``, ``stream_packets``.

    Counts: ``empty`` blocks (without a stream), ``incomplete`` entries (at the end of an input that
    may still grow) and their ``incomplete_lines``, ``access`` log lines, ``blank`` lines, and all
    other ``lines``.
    """

    digest: Ids
    line: Int64s
    log_time: Int64s
    connect_time: Int64s
    start_time: Int64s
    direction: Int8s
    peer: Int32s
    bytes: Int64s
    packets: Int64s
    transfers: Int32s
    entry: Int32s
    stream: Int32s
    stream_bytes: Int64s
    stream_packets: Int64s
    peers: tuple[Peer | None, ...]
    streams: tuple[Name, ...]
    rejects: list[Reject] = field(default_factory=list)
    empty: int = 0
    incomplete: int = 0
    incomplete_lines: int = 0
    access: int = 0
    blank: int = 0
    lines: int = 0

    def __len__(self) -> int:
        return len(self.line)
