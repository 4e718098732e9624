"""The software that a client says it is, from its client id or user agent."""

import re
from dataclasses import dataclass

from ringserverstats.enrich.clean import clean

NOT_TOLD = "not told"

# What the server writes where a client said nothing (the longer ones: releases of 2016).
_SILENT = {"", "Client", "SeedLink Client", "DataLink Client"}
# DataLink libraries send program:user:process id:system.
_DATALINK = re.compile(r"([^:\s]+):[^:]*:\d+(?::.*)?")
_FAMILY = re.compile(r"[^\s/:(]+")
_VERSION = re.compile(r"[-_]?v?\d+(\.\d+)+.*$")


@dataclass(frozen=True)
class Agent:
    """``text`` is the cleaned client id, ``family`` its program without version."""

    text: str
    family: str


def parse_agent(raw: bytes) -> Agent:
    """The agent of a client id. User and process of the DataLink form are dropped."""
    text = clean(raw)
    if text in _SILENT:
        return Agent(NOT_TOLD, NOT_TOLD)
    match = _DATALINK.fullmatch(text)
    if match:  # the program may be a path in somebody's home
        text = re.split(r"[/\\]", match[1])[-1] or NOT_TOLD
    word = _FAMILY.search(text)
    family = _VERSION.sub("", word[0]).strip(".,;\"'<>[]{})") if word else ""
    return Agent(text, family or text)
