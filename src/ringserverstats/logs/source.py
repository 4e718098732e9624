"""Files, folders, compressed files and standard input, as chunks that end at a whole record."""

import bz2
import glob
import gzip
import io
import lzma
import os
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import pyarrow as pa

from ringserverstats.errors import SourceError
from ringserverstats.logs.line_columns import BYTE_ORDER_MARK
from ringserverstats.logs.names import FileName, read_name

CHUNK = 4 << 20
#: No record is longer: 100,000 streams of 100 bytes are 10 MB. What is, is cut and so rejected.
LONGEST_RECORD = 16 << 20

_START = b"\nSTART CLIENT "
_DAMAGED = (EOFError, OSError, lzma.LZMAError, zlib.error, pa.ArrowException)
_PIECE = 1 << 17
_XZ_MEMORY = 128 << 20  # twice what `xz -9` asks for; a hostile file may ask for gigabytes

UNOPENED = "the input cannot be opened"
DAMAGED = "the rest of the input cannot be read: it is damaged or ends early"


@dataclass(frozen=True)
class Source:
    """An input: ``path`` (None is standard input), what its name tells, who wrote it.

    ``server`` is empty where only the name may tell. ``given``, where there is one, is what it is
    called, as its path is nobody's business.
    """

    path: Path | None
    name: FileName
    size: int
    server: str = ""
    given: str = ""

    @property
    def label(self) -> str:
        """What messages call it, safe for a terminal."""
        return printable(self.given or ("standard input" if self.path is None else str(self.path)))

    @property
    def has_place(self) -> bool:
        """Whether it can be told from other inputs when it is read again."""
        return self.name.start is not None or (self.path is not None and not self.given)

    @property
    def place(self) -> str:
        """Its label, of a file with the whole path: the same wherever it is read from."""
        if self.path is not None and not self.given:
            return printable(os.path.abspath(self.path))
        return (
            f"{self.label} ({self.name.kind}log {self.name.start})"
            if self.name.start
            else self.label
        )


def printable(text: str) -> str:
    """``text`` safe for a terminal."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


@dataclass(frozen=True)
class Chunk:
    """``data`` begins with line number ``line`` at byte ``position``; ``last``: the input ends.

    ``read`` is how many bytes of the input, compressed or not, have been taken so far.
    ``position`` counts decompressed bytes. ``damage`` says why the input could not be read further.
    """

    data: bytes
    line: int
    last: bool
    read: int
    damage: str | None = None
    position: int = 0


def find(
    paths: list[str], *, name: str | None = None, server: str | None = None
) -> tuple[list[Source], int]:
    """The inputs that ``paths`` mean: files, ``-``, and of folders all that are usage logs.

    ``name`` is the file's name of input without one, ``server`` the name of who wrote it all.

    A folder within a folder that cannot be listed is an input that cannot be read.

    Returns:
        The sources, each file once, and how many other files the folders hold.

    Raises:
        SourceError: one of ``paths`` is not there or cannot be read.
    """
    found: dict[str, Source] = {}
    others = 0
    for path in paths:
        if path == "-":
            found[path] = Source(None, read_name(name or ""), 0, server or "")
            continue
        _check(path)
        if os.path.isdir(path):
            others += _add_all(found, path, server)
        else:
            _add(found, path, name, server)
    return list(found.values()), others


def find_registered(patterns: Iterable[str], *, server: str) -> tuple[list[Source], int, list[str]]:
    """The usage logs of ``server`` that ``patterns`` mean: folders, files, or ``*``, ``?``, ``**``.

    A file that cannot be read, or is gone by then, is told when it is read, as those in folders.

    Returns:
        The sources, how many other files there are, and the patterns that mean nothing.
    """
    found: dict[str, Source] = {}
    others = 0
    nothing: list[str] = []
    for pattern in patterns:
        is_path = os.path.lexists(pattern)
        paths = [pattern] if is_path else sorted(glob.glob(pattern, recursive=True))
        if not paths:
            nothing.append(pattern)
        for path in paths:
            others += _add_all(found, path, server)
    return list(found.values()), others, nothing


def _add_all(found: dict[str, Source], path: str, server: str | None) -> int:
    """Add ``path``, or of a folder all in it, where it is a usage log by name; count the others."""
    others = 0
    for file in _files(path) if os.path.isdir(path) else [path]:
        if os.path.isdir(file) or read_name(os.path.basename(file)).kind:
            _add(found, file, None, server)
        else:
            others += 1
    return others


def _check(path: str) -> None:
    try:
        os.stat(path)
    except OSError as error:
        raise SourceError(f"{ascii(path)[1:-1]}: {error.strerror}; check the path") from None
    if not os.access(path, os.R_OK):
        raise SourceError(f"{ascii(path)[1:-1]}: Permission denied; check its permissions")


def _files(path: str) -> Iterator[str]:
    """All files under the folder ``path``, in order, and the folders that cannot be listed."""
    barred: list[str] = []
    seen = set[str]()
    for folder, folders, files in os.walk(
        path, followlinks=True, onerror=lambda error: barred.append(error.filename)
    ):
        real = os.path.realpath(folder)
        folders[:] = sorted(folders) if real not in seen else []
        if real not in seen:
            yield from (os.path.join(folder, file) for file in sorted(files))
        seen.add(real)
    yield from barred


def _add(found: dict[str, Source], path: str, name: str | None, server: str | None) -> None:
    try:
        size = os.stat(path).st_size
    except OSError:  # gone by now, or a link to nothing: told when it is read
        size = 0
    told = read_name(name or os.path.basename(path))
    found.setdefault(os.path.realpath(path), Source(Path(path), told, size, server or ""))


def chunks(source: Source) -> Iterator[Chunk]:
    """Read ``source`` in bounded memory. What cannot be opened or read is told as damage."""
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
    """The function that reads some of what is in there, chosen by its first bytes."""
    magic = buffered.peek(6)[:6]
    if magic.startswith(b"\x1f\x8b"):
        return _piecewise(gzip.GzipFile(fileobj=buffered).read1)
    if magic.startswith(b"BZh"):
        return _Streams(buffered, bz2.BZ2Decompressor).read
    if magic.startswith(b"\xfd7zXZ\x00"):
        return _Streams(buffered, lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY)).read
    if magic.startswith(b"\x28\xb5\x2f\xfd"):
        return _piecewise(pa.CompressedInputStream(buffered, "zstd").read)
    return buffered.read1


def unpacked_size(path: Path, *, most: int) -> int:
    """How many bytes the input ``path`` has unpacked, as far as it can be; at most ``most`` + 1."""
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
            return size  # which is told when it is read
    return min(size, most + 1)


def _piecewise(read: Callable[[int], bytes]) -> Callable[[int], bytes]:
    """``read`` in small steps: one that fails loses all that it had."""
    return lambda size: read(min(size, _PIECE))


class _Streams:
    """Decompresses streams that follow one another in one input.

    The standard library's files end in silence where a later stream does not begin as it should.
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
        """Some bytes, at most ``size``; none at the end."""
        data = b""
        while not data:
            piece = b""
            if self._stream.eof:
                piece = self._stream.unused_data.lstrip(b"\0")  # padding, of xz
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
    position = len(BYTE_ORDER_MARK) if data.startswith(BYTE_ORDER_MARK) else 0
    data = data[position:] if position else data
    while damage is None:
        more, damage = _fill(read)
        if not more:
            break
        cut = _last_record(data)
        if not cut and len(data) >= LONGEST_RECORD:
            cut = data.rfind(b"\n") + 1 or len(data)
        if cut:
            yield Chunk(data[:cut], line, False, counted.count, position=position)
            line += int(np.count_nonzero(np.frombuffer(data, np.uint8, cut) == ord("\n")))
            position += cut
        data = data[cut:] + more
    yield Chunk(data, line, True, counted.count, damage, position)


def _fill(read: Callable[[int], bytes]) -> tuple[bytes, str | None]:
    """The next `CHUNK` of an input, less at its end or where it is damaged, which is told."""
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


def _last_record(data: bytes) -> int:
    """Where the last record of ``data`` begins that may go on, 0 where that is its start."""
    block = data.rfind(_START) + 1
    end = data.rfind(b"\n")
    line = data.rfind(b"\n", 0, max(end, 0)) + 1
    # A line of JSON is whole in itself. A text line ends with a number.
    is_json = data.startswith(b"{", line) and data[line:end].rstrip(b"\r").endswith(b"}")
    return max(block, end + 1 if is_json else 0)
