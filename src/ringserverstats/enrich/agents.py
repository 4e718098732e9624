"""The software that a client says it is, from its client id or user agent."""

import re
from dataclasses import dataclass

from ringserverstats.enrich.sanitize import cut, visible

UNSPECIFIED = "not told"

# What the server writes where a client said nothing (the longer ones: releases of 2016).
_SILENT = {"", "Client", "SeedLink Client", "DataLink Client"}
# DataLink libraries send program:user:process id:system; the program may be a path.
_DATALINK = re.compile(r"((?:[A-Za-z]:(?=[/\\]))?[^:]*):[^:]*:-?\d*(?::.*)?")
_PATH = re.compile(r"[A-Za-z]:[/\\]|~|\.{0,2}/")
_MANY_COLONS = 3
# Of a header that a full disk cut short the next one, of whoever, may look like a part.
_NEXT = b"START CLIENT "
_FAMILY = re.compile(r"[^\s/:(]+")
_VERSION = re.compile(r"[-_]?v?\d+(\.\d+)+.*$")


@dataclass(frozen=True)
class Agent:
    """``text`` is the cleaned client id, ``family`` its program without version."""

    text: str
    family: str


def parse_agent(raw: bytes) -> Agent:
    """The agent of a client id.

    User and process of the DataLink form are dropped, and so is all behind the first colon of what
    looks like it but is not. Of a program's path, which may lead into somebody's home, the last
    part is kept.
    """
    text = visible(raw.split(_NEXT)[0]).strip()
    if text in _SILENT:
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
    """The program that an agent's ``text`` names, without its version."""
    if text == UNSPECIFIED:
        return UNSPECIFIED
    word = _FAMILY.search(text)
    found = _VERSION.sub("", word[0]).strip(".,;\"'<>[]{})") if word else ""
    return found or text
