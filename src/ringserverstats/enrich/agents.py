"""The software of a client, from its client id or user agent."""

import re
from dataclasses import dataclass

from ringserverstats.enrich.sanitize import cut, visible

#: The agent of clients that report none.
UNSPECIFIED = "unspecified"

# What the server writes for a client without an id (the longer ones: releases of 2016).
_EMPTY = {"", "Client", "SeedLink Client", "DataLink Client"}
# DataLink libraries send program:user:process id:system; the program may be a path:
# /home/jdoe/bin/ew2ring:jdoe:77:x86
_DATALINK = re.compile(r"((?:[A-Za-z]:(?=[/\\]))?[^:]*):[^:]*:-?\d*(?::.*)?")
_PATH = re.compile(r"[A-Za-z]:[/\\]|~|\.{0,2}/")
_MANY_COLONS = 3
# After a START line that a full disk cut short, the id may contain the next START line.
_START = b"START CLIENT "
_FAMILY = re.compile(r"[^\s/:(]+")
# obspy-1.4.2
_VERSION = re.compile(r"[-_]?v?\d+(\.\d+)+.*$")


@dataclass(frozen=True)
class Agent:
    """``text`` is the cleaned client id, ``family`` its program without version."""

    text: str
    family: str


def parse_agent(raw: bytes) -> Agent:
    """Return the agent of a client id, without personal data.

    User and process of the DataLink form are dropped, and everything after the first colon of text
    that only looks like it. Of a program's path, which may be in a home folder, only the last part
    stays.
    """
    text = visible(raw.split(_START)[0]).strip()
    if text in _EMPTY:
        return Agent(UNSPECIFIED, UNSPECIFIED)
    match = _DATALINK.fullmatch(text)
    if match:
        text = match[1]
    elif text.count(":") >= _MANY_COLONS:
        text = text.split(":")[0]
    if _PATH.match(text):
        text = re.split(r"[/\\]", text)[-1]
    text = cut(text) or UNSPECIFIED
    if text == UNSPECIFIED:
        return Agent(UNSPECIFIED, UNSPECIFIED)
    return Agent(text, family(text))


def family(text: str) -> str:
    """Return the program that an agent's ``text`` names, without its version."""
    if text == UNSPECIFIED:
        return UNSPECIFIED
    word = _FAMILY.search(text)
    program = _VERSION.sub("", word[0]).strip(".,;\"'<>[]{})") if word else ""
    return program or text
