r"""HyperLogLog sketches of clients as in EIDA's statistics: ``HLL(11, 5)`` of python-hll2.

A sketch has 2,048 registers. The low 11 bits of a client's hash (32 bits, sign-extended to 64) are
the number of its register. Its rank is the position, from 1, of the lowest bit set in the other
bits. A register has the largest rank of its clients. Source: the storage specification of
HyperLogLog 1.0.0, and ``HLL.add_raw`` of python-hll2 2.0.2.

Here a register is one number, ``index << 5 | rank``. The larger of two numbers of a register wins,
so that one sort merges the registers of many clients, and python-hll2, which takes one value at a
time, gets at most 2,048 per row.
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
_CACHE_SIZE = 4096  # sketches; the clients of a network mostly read many of its streams

Registers = npt.NDArray[np.uint16]


def hash_clients(clients: npt.NDArray[np.int64], key: bytes) -> npt.NDArray[np.int32]:
    """Return a signed 32-bit hash of each pseudonym in ``clients``: keyed BLAKE2b (RFC 7693).

    Without the key nobody can check whether a sketch contains a pseudonym.
    """
    pseudonyms = memoryview(clients.astype(">i8").tobytes())
    digests = b"".join(
        blake2b(pseudonyms[start : start + 8], key=key, digest_size=4).digest()
        for start in range(0, len(pseudonyms), 8)
    )
    return np.frombuffer(digests, ">i4").astype(np.int32)


def registers(hashed: npt.NDArray[np.int32]) -> Registers:
    """Return the register of each hash; 0 if all bits but the index are 0."""
    wide = hashed.astype(np.int64)
    rest = wide >> _INDEX_BITS
    lowest = rest & -rest
    rank = np.where(rest == 0, 0, np.bitwise_count(np.maximum(lowest, 1) - 1) + 1)
    index = wide & ((1 << _INDEX_BITS) - 1)
    return np.where(rank == 0, 0, index << _RANK_BITS | rank).astype(np.uint16)


def merge_registers(
    rows: npt.NDArray[np.int64], client_footnotes: Registers, count: int
) -> pa.Array:
    """Return the registers of ``count`` rows, each as little-endian bytes in ascending order.

    Args:
        rows: for each pair of a row and a client, the number of the row from 0.
        client_footnotes: for each pair, the register of the client.
        count: number of rows.
    """
    is_set = client_footnotes != 0
    pairs = np.sort(rows[is_set] << _REGISTER_BITS | client_footnotes[is_set])
    row_and_index = pairs >> _RANK_BITS
    is_largest = np.append(row_and_index[1:] != row_and_index[:-1], True)
    largest = pairs[is_largest[: len(pairs)]]
    ends = np.searchsorted(largest >> _REGISTER_BITS, np.arange(count + 1))
    values = (largest & ((1 << _REGISTER_BITS) - 1)).astype(_REGISTERS)
    offsets = (ends * _REGISTERS.itemsize).astype(np.int64)
    return pa.Array.from_buffers(
        pa.large_binary(), count, [None, pa.py_buffer(offsets), pa.py_buffer(values)]
    )


def load_encoder() -> Callable[[bytes], str]:
    r"""Return a function from the registers of a row to its sketch: ``\x`` and hexadecimal digits.

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

    @lru_cache(_CACHE_SIZE)
    def encode(row: bytes) -> str:
        # The default type, EXPLICIT, would contain the hash of each client.
        hll = HLL(_INDEX_BITS, _RANK_BITS, type=HLLType.SPARSE if row else HLLType.EMPTY)
        with np.errstate(over="ignore"):  # the library relies on overflows
            for register in np.frombuffer(row, _REGISTERS).tolist():
                index, rank = register >> _RANK_BITS, register & _RANK
                hll.add_raw(1 << (_INDEX_BITS + rank - 1) | index)
            raw = hll.to_bytes()
        return "\\x" + str(NumberUtil.to_hex(raw, 0, len(raw)))

    return encode
