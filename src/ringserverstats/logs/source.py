"""Files, folders, compressed files and standard input, as chunks that end at a whole record."""

import bz2
import glob
import gzip
import io
import lzma
import os
import sys
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import pyarrow as pa

from ringserverstats.errors import SourceError
from ringserverstats.logs.formats import FORMATS
from ringserverstats.logs.line_columns import BYTE_ORDER_MARK
from ringserverstats.logs.names import FileName, is_server_name, is_temporary, read_name

DEFAULT_SERVER = "default"
CHUNK = 4 << 20
#: 100,000 streams of 100 bytes are 10 MB. A longer record is cut and so rejected.
LONGEST_RECORD = 16 << 20

_DAMAGED = (EOFError, OSError, lzma.LZMAError, zlib.error, pa.ArrowException)
_PIECE = 1 << 17
_XZ_MEMORY = 128 << 20  # twice what `xz -9` needs; a hostile file may request gigabytes

_MAGIC = {
    "gzip": b"\x1f\x8b",
    "bzip2": b"BZh",
    "xz": b"\xfd7zXZ\x00",
    "zstd": b"\x28\xb5\x2f\xfd",
    "lz4": b"\x04\x22\x4d\x18",
    "lzma": b"\x5d\x00\x00",
    "compress": b"\x1f\x9d",
    "zip": b"PK\x03\x04",
    "7-Zip": b"7z\xbc\xaf",
}
_SKIPPABLE = 5  # upper half of the first byte

UNOPENED = "the input cannot be opened"
COMPRESSED = "the input is compressed in a way that is not supported, or twice: decompress it first"
DAMAGED = "the rest of the input cannot be read: it is damaged or ends early"


@dataclass(frozen=True)
class Source:
    """An input.

    Args:
        path: the file; None: standard input.
        name: interval, kind and prefix from the file's name.
        size: bytes, compressed or not.
        server: name of the server that wrote it; empty: the file's prefix.
        shown_name: shown instead of the path, for a temporary file.
    """

    path: Path | None
    name: FileName
    size: int
    server: str = ""
    shown_name: str = ""

    @property
    def server_name(self) -> str:
        """The name of the server that wrote it."""
        return self.server or self.name.prefix or DEFAULT_SERVER

    @property
    def label(self) -> str:
        """Name in messages, safe for a terminal."""
        name = "standard input" if self.path is None else str(self.path)
        return printable(self.shown_name or name)

    @property
    def has_stored_name(self) -> bool:
        """Whether `stored_name` identifies the log when it is read again."""
        return self.name.start is not None or (self.path is not None and not self.shown_name)

    @property
    def stored_name(self) -> str:
        """Name under which rejects are stored: the absolute path of a file, else the label."""
        if self.path is not None and not self.shown_name:
            return printable(os.path.abspath(self.path))
        return (
            f"{self.label} ({self.name.kind}log {self.name.start})"
            if self.name.start
            else self.label
        )


def printable(text: str) -> str:
    """Return ``text`` safe for a terminal."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


@dataclass(frozen=True)
class Chunk:
    """A piece of an input that ends at a whole record.

    Args:
        line: number of its first line.
        last: the input ends here.
        bytes_read: bytes of the input, compressed or not, that were read so far.
        damage: reason why the input cannot be read further.
        position: offset of ``data`` in the decompressed input.
    """

    data: bytes
    line: int
    last: bool
    bytes_read: int
    damage: str | None = None
    position: int = 0


@dataclass
class Found:
    """The usage logs in some paths.

    Args:
        sources: the logs, each file once.
        other_files: number of files in folders that are not named as usage logs.
        temporary_files: number of hidden and temporary files in folders and patterns.
        skipped: messages about other files that are not read.
        unmatched: patterns without a match.
    """

    sources: list[Source] = field(default_factory=list)
    other_files: int = 0
    temporary_files: int = 0
    skipped: list[str] = field(default_factory=list)
    unmatched: list[str] = field(default_factory=list)
    _added: set[tuple[str, str]] = field(default_factory=set)

    def add(
        self, path: str, name: str | None, server: str | None, known: Collection[str] = ()
    ) -> None:
        """Add the file ``path``. A prefix of its name that is in ``known`` is a server's name."""
        if not self._is_new(path, server):
            return
        file_name = read_name(name or os.path.basename(path))
        prefix = "" if server else file_name.prefix
        if prefix and prefix not in known and not is_server_name(prefix):
            self.skipped.append(
                f"{ascii(path)[1:-1]}: its name begins with {prefix!a}, which no server "
                "can be called. Name the server: --as NAME"
            )
            return
        try:
            size = os.stat(path).st_size
        except OSError:  # removed, or a broken link: rejected when it is read
            size = 0
        self.sources.append(Source(Path(path), file_name, size, server or ""))

    def add_all(self, path: str, server: str | None, known: Collection[str] = ()) -> None:
        """Add the usage logs, by name, that are or are in ``path``, if they are regular files."""
        for file in _files(path) if os.path.isdir(path) else [path]:
            name = os.path.basename(file)
            if os.path.isdir(file):  # it cannot be listed
                self.add(file, None, server)
            elif is_temporary(name):
                self.temporary_files += self._is_new(file, server)
            elif not read_name(name).kind:
                self.other_files += self._is_new(file, server)
            elif not os.path.exists(file) or os.path.isfile(file):
                self.add(file, None, server, known)
            elif self._is_new(file, server):
                self.skipped.append(f"{ascii(file)[1:-1]}: not a regular file")

    def _is_new(self, path: str, server: str | None) -> bool:
        """Return True the first time for a server and the file that ``path`` leads to."""
        key = os.path.realpath(path), server or ""
        is_new = key not in self._added
        self._added.add(key)
        return is_new


def find(
    paths: list[str],
    *,
    name: str | None = None,
    server: str | None = None,
    known: Collection[str] = (),
) -> Found:
    """Return the usage logs in ``paths``: files, ``-``, and the logs in folders by their names.

    A folder within a folder that cannot be listed is an input that cannot be read.

    Args:
        name: file name of an input without one.
        server: name of the server that wrote all of them.
        known: names of servers that a prefix may be though no new server could have them.

    Raises:
        SourceError: one of ``paths`` does not exist or cannot be read.
    """
    found = Found()
    for path in dict.fromkeys(paths):  # standard input can be read once
        if path == "-":
            found.sources.append(Source(None, read_name(name or ""), 0, server or ""))
            continue
        _check(path)
        if os.path.isdir(path):
            found.add_all(path, server, known)
        else:
            found.add(path, name, server, known)
    return found


def find_registered(found: Found, patterns: Iterable[str], *, server: str) -> None:
    """Add the logs of ``server`` in folders, files, and patterns (``*``, ``?``, ``**``).

    A file that does not exist or cannot be read is rejected when it is read, as in folders.
    """
    for pattern in patterns:
        is_path = os.path.lexists(pattern)
        paths = [pattern] if is_path else sorted(glob.glob(pattern, recursive=True))
        if not paths:
            found.unmatched.append(pattern)
        for path in paths:
            found.add_all(path, server)


def _check(path: str) -> None:
    try:
        os.stat(path)
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        reason = "no such file or folder" if missing else error.strerror
        raise SourceError(f"{ascii(path)[1:-1]}: {reason}; check the path") from None
    if not os.access(path, os.R_OK):
        raise SourceError(f"{ascii(path)[1:-1]}: Permission denied; check its permissions")


def _files(path: str) -> Iterator[str]:
    """Yield the files in the folder ``path``, in order, and the folders that cannot be listed."""
    unlisted: list[str] = []
    visited = set[str]()
    for folder, folders, files in os.walk(
        path, followlinks=True, onerror=lambda error: unlisted.append(error.filename)
    ):
        real = os.path.realpath(folder)
        folders[:] = sorted(folders) if real not in visited else []
        if real not in visited:
            yield from (os.path.join(folder, file) for file in sorted(files))
        visited.add(real)
    yield from unlisted


def chunks(source: Source) -> Iterator[Chunk]:
    """Read ``source`` in bounded memory; the last chunk has the damage, if any."""
    try:
        raw = sys.stdin.buffer if source.path is None else open(source.path, "rb")  # noqa: SIM115
    except OSError as error:
        yield Chunk(b"", 1, True, 0, f"{UNOPENED} ({error.strerror})")
        return
    with raw:
        counted = _Counted(raw)
        try:
            read = _decompressed(io.BufferedReader(counted, 1 << 16))
        except OSError:
            yield Chunk(b"", 1, True, 0, DAMAGED)
            return
        yield from _chunks(read, counted)


class _Counted(io.RawIOBase):
    """Counts the bytes that are read, for the progress of compressed files too."""

    def __init__(self, raw: BinaryIO) -> None:
        self.raw = raw
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        count: int = cast(io.BufferedReader, self.raw).readinto(buffer)  # type: ignore[arg-type]
        self.count += count
        return count


def _decompressed(buffered: io.BufferedReader) -> Callable[[int], bytes]:
    """Return a function that reads and decompresses, chosen by the first bytes."""
    match compression(buffered.peek(6)[:6]):
        case "gzip":
            return _piecewise(gzip.GzipFile(fileobj=buffered).read1)
        case "bzip2":
            return _Streams(buffered, bz2.BZ2Decompressor).read
        case "xz":
            return _Streams(buffered, lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY)).read
        case "zstd":
            return _piecewise(pa.CompressedInputStream(buffered, "zstd").read)
    return buffered.read1


def compression(start: bytes) -> str:
    """Return the name of the format by the first bytes of a file; empty if it is not known.

    Source: RFC 8878, section 3.1.2, for the skippable frames with which files of zstd may begin.
    """
    if start[1:4] == b"\x2a\x4d\x18" and start[0] >> 4 == _SKIPPABLE:
        return "zstd"
    return next((name for name, magic in _MAGIC.items() if start.startswith(magic)), "")


def unpacked_size(path: Path, *, most: int) -> int:
    """Return the decompressed size of ``path`` in bytes up to any damage; at most ``most`` + 1."""
    size = 0
    with open(path, "rb") as raw:
        read = _decompressed(io.BufferedReader(_Counted(raw), 1 << 16))
        try:
            while size <= most:
                piece = read(_PIECE)
                if not piece:
                    break
                size += len(piece)
        except _DAMAGED:
            return size  # the rest is rejected when it is read
    return min(size, most + 1)


def _piecewise(read: Callable[[int], bytes]) -> Callable[[int], bytes]:
    """Return ``read`` in small steps, as a step that fails loses all its data."""
    return lambda size: read(min(size, _PIECE))


class _Streams:
    """Decompresses consecutive streams of one input.

    The standard library ignores a later stream that does not begin as it should.
    """

    def __init__(
        self,
        buffered: io.BufferedReader,
        make: Callable[[], bz2.BZ2Decompressor | lzma.LZMADecompressor],
    ) -> None:
        self._buffered = buffered
        self._make = make
        self._stream = make()

    def read(self, size: int) -> bytes:
        """Return at most ``size`` bytes; none at the end."""
        data = b""
        while not data:
            piece = b""
            if self._stream.eof:
                piece = self._stream.unused_data.lstrip(b"\0")  # padding of xz
                while not piece:
                    more = self._buffered.read1(_PIECE)
                    if not more:
                        return b""
                    piece = more.lstrip(b"\0")
                self._stream = self._make()
            elif self._stream.needs_input:
                piece = self._buffered.read1(_PIECE)
                if not piece:
                    raise EOFError
            data = self._stream.decompress(piece, min(size, _PIECE))
        return data


def _chunks(read: Callable[[int], bytes], counted: _Counted) -> Iterator[Chunk]:
    line = 1
    data, damage = _fill(read)
    if name := compression(data[:6]):  # what `_decompressed` does not know, or left
        yield Chunk(b"", line, True, counted.count, f"{COMPRESSED} ({name})")
        return
    position = len(BYTE_ORDER_MARK) if data.startswith(BYTE_ORDER_MARK) else 0
    data = data[position:] if position else data
    while damage is None:
        more, damage = _fill(read)
        if not more:
            break
        cut = max(format_.last_record(data) for format_ in FORMATS)
        if not cut and len(data) >= LONGEST_RECORD:
            cut = data.rfind(b"\n") + 1 or len(data)
        if cut:
            yield Chunk(data[:cut], line, False, counted.count, position=position)
            line += int(np.count_nonzero(np.frombuffer(data, np.uint8, cut) == ord("\n")))
            position += cut
        data = data[cut:] + more
    yield Chunk(data, line, True, counted.count, damage, position)


def _fill(read: Callable[[int], bytes]) -> tuple[bytes, str | None]:
    """Return the next `CHUNK` of an input, less at its end, and the reason of any damage."""
    pieces: list[bytes] = []
    missing = CHUNK
    while missing > 0:
        try:
            piece = read(missing)
        except _DAMAGED:
            return b"".join(pieces), DAMAGED
        if not piece:
            break
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces), None
