"""Stream ids as network, station, location, channel and packet type.

Releases before v4 write ``FR_CIEL_00_HHZ/MSEED``, v4 writes ``FDSN:FR_CIEL_00_H_H_Z/MSEED`` (FDSN
source identifiers 1.0: network, station, location, band, source, subsource); both are one stream.
A DataLink client may send data under any other name without a space.
"""

import re
from dataclasses import dataclass

from ringserverstats.enrich.sanitize import clean

_CODE = r"[A-Za-z0-9-]"
# FDSN:FR_CIEL_00_H_H_Z and FR_CIEL_00_HHZ
_IDENTIFIER = re.compile(
    rf"(?:FDSN:)?({_CODE}{{1,8}})_({_CODE}{{1,8}})_({_CODE}{{0,8}})_"
    rf"({_CODE}{{1,8}}|{_CODE}*_{_CODE}+_{_CODE}*)",
    re.ASCII,
)
# H_H_Z
_SINGLE = re.compile(r"(.)_(.)_(.)")


@dataclass(frozen=True)
class Stream:
    """``name`` identifies the stream; the codes are None if it is not a source identifier."""

    name: str
    network: str | None
    station: str | None
    location: str | None
    channel: str | None
    type: str | None


def parse_stream(raw: bytes) -> Stream:
    """Parse a stream id of a log."""
    name = clean(raw)
    identifier, slash, packet_type = name.rpartition("/")
    if not slash:
        identifier, packet_type = name, ""
    match = _IDENTIFIER.fullmatch(identifier)
    if not match:
        return Stream(name, None, None, None, None, packet_type or None)
    network, station, location, channel = match.groups()
    single = _SINGLE.fullmatch(channel)
    channel = "".join(single.groups()) if single else channel
    return Stream(
        f"{network}_{station}_{location}_{channel}{slash}{packet_type}",
        network,
        station,
        location,
        channel,
        packet_type or None,
    )
