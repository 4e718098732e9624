r"""HyperLogLog sketches of clients, as EIDA's statistics hold them: ``HLL(11, 5)`` of python-hll2.

A sketch has 2,048 registers. A client's hash of 32 bits, sign-extended to 64, says by its low 11
bits which register it is of; its rank is the place, from 1, of the lowest bit that is set in the
rest, and a register holds the greatest rank of its clients. Source: the storage specification of
HyperLogLog 1.0.0, and ``HLL.add_raw`` of python-hll2 2.0.2.

Here a register that is set is one number, ``index << 5 | rank``: of two of one register the larger
one counts, so that the columns of many clients are sorted once, and the library, which takes one
value after the other, gets no more than 2,048 for a row.
"""

from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ringserverstats.errors import UsageError

_INDEX_BITS, _RANK_BITS = 11, 5
_REGISTER_BITS = _INDEX_BITS + _RANK_BITS
_RANK = (1 << _RANK_BITS) - 1
_REGISTERS = np.dtype("<u2")
_REMEMBERED = 4096  # sketches, as those who read a network mostly read many of its streams

Registers = npt.NDArray[np.uint16]


def hashes(clients: npt.NDArray[np.int64], key: bytes) -> npt.NDArray[np.int32]:
    """A hash for each of ``clients``: 32 bits of BLAKE2b (RFC 7693) of the pseudonym, signed.

    Keyed, so that a sketch tells of pseudonyms that are stored only to whoever has the secret.
    """
    pseudonyms = memoryview(clients.astype(">i8").tobytes())
    digests = b"".join(
        blake2b(pseudonyms[start : start + 8], key=key, digest_size=4).digest()
        for start in range(0, len(pseudonyms), 8)
    )
    return np.frombuffer(digests, ">i4").astype(np.int32)


def registers(hashed: npt.NDArray[np.int32]) -> Registers:
    """The register that each hash sets, 0 where it sets none: all bits but the index are 0."""
    wide = hashed.astype(np.int64)
    rest = wide >> _INDEX_BITS
    lowest = rest & -rest
    rank = np.where(rest == 0, 0, np.bitwise_count(np.maximum(lowest, 1) - 1) + 1)
    index = wide & ((1 << _INDEX_BITS) - 1)
    return np.where(rank == 0, 0, index << _RANK_BITS | rank).astype(np.uint16)


def united(rows: npt.NDArray[np.int64], own: Registers, count: int) -> pa.Array:
    """The registers of ``count`` rows, each the little-endian bytes of its numbers, ascending.

    Args:
        rows: for each pair of a row and a client the row, from 0.
        own: the register that the client sets.
    """
    is_set = own != 0
    pairs = np.sort(rows[is_set] << _REGISTER_BITS | own[is_set])
    registers_of_rows = pairs >> _RANK_BITS
    is_largest = np.append(registers_of_rows[1:] != registers_of_rows[:-1], True)
    kept = pairs[is_largest[: len(pairs)]]
    ends = np.searchsorted(kept >> _REGISTER_BITS, np.arange(count + 1))
    values = (kept & ((1 << _REGISTER_BITS) - 1)).astype(_REGISTERS)
    offsets = (ends * _REGISTERS.itemsize).astype(np.int64)
    return pa.Array.from_buffers(
        pa.large_binary(), count, [None, pa.py_buffer(offsets), pa.py_buffer(values)]
    )


def maker() -> Callable[[bytes], str]:
    r"""What makes the registers of a row a sketch, as text: ``\x`` and hexadecimal digits.

    Raises:
        UsageError: python-hll2 is not installed.
    """
    try:
        from python_hll2.hll import HLL
        from python_hll2.hlltype import HLLType
        from python_hll2.util import NumberUtil
    except ImportError:
        raise UsageError(
            "sketches of clients need python-hll2; install it with: "
            "pip install 'ringserverstats[eida]'"
        ) from None

    @lru_cache(_REMEMBERED)
    def sketch(row: bytes) -> str:
        # Else it would begin as EXPLICIT, which holds the hash of each client.
        made = HLL(_INDEX_BITS, _RANK_BITS, type=HLLType.SPARSE if row else HLLType.EMPTY)
        with np.errstate(over="ignore"):  # the library counts on it
            for register in np.frombuffer(row, _REGISTERS).tolist():
                index, rank = register >> _RANK_BITS, register & _RANK
                made.add_raw(1 << (_INDEX_BITS + rank - 1) | index)
            raw = made.to_bytes()
        return "\\x" + str(NumberUtil.to_hex(raw, 0, len(raw)))

    return sketch
