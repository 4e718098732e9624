"""The columns that a log becomes: the contract between this room and all others.

Times are whole seconds since 1970-01-01T00:00:00Z. ``bytes`` counts the payload of the records
handed to (TX) or taken from (RX) a client, as the server logged it. Row order is log order.
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

#: The value of ``Entries.start_time`` where the log does not tell it (text logs).
UNSPECIFIED = np.iinfo(np.int64).min

DIRECTIONS = ("TX", "RX")
PROTOCOLS = ("Unknown", "DataLink", "SeedLink", "HTTP")

LARGEST_NUMBER = 2**63 - 1
MOST_STREAMS = 100_000


@dataclass(frozen=True)
class Peer:
    """Who connected and how, as one header tells it. Never stored as it is: see ``enrich``.

    Without an address, as in histories that were not kept by us, the host stands for the client.
    """

    address: IPv4Address | IPv6Address | None
    host: str
    protocol: str
    agent: bytes
    user: str | None = None


@dataclass(frozen=True)
class Reject:
    """Consecutive lines that could not be counted, and why. Holds nothing of their text.

    ``digest`` is 16 bytes, keyed, over the lines: the same as an entry's made of them; where there
    are no lines, as of an input that cannot be read, over what stands for it.
    """

    line: int
    lines: int
    reason: str
    digest: bytes


@dataclass(frozen=True)
class Batch:
    """Entries of one piece of one log, with their transfers.

    Per entry (n rows): ``digest`` (16 bytes, keyed, over the entry's own bytes), ``line``,
    ``log_time``, ``connect_time``, ``start_time``, ``direction`` (index into `DIRECTIONS`),
    ``peer`` (index into ``peers``), ``bytes``, ``packets``, ``transfers``.

    Per transfer (m rows): ``entry`` (row of its entry), ``stream`` (index into ``streams``),
    ``stream_bytes``, ``stream_packets``.

    The rest counts what is no entry: ``empty`` blocks without a stream, ``incomplete`` ones at the
    end of an input that may still grow, ``access`` log lines, ``blank`` lines.
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
