"""The memory allocator of the process."""

import ctypes
import os

_MIB = 1 << 20
#: Parameters of mallopt(3) of the GNU C library: environment variable → number, value.
_OPTIONS = {
    "MALLOC_ARENA_MAX": (-8, 1),
    "MALLOC_MMAP_THRESHOLD_": (-3, 32 * _MIB),
    "MALLOC_TRIM_THRESHOLD_": (-1, 128 * _MIB),
}


def share() -> None:
    """Make all threads and Arrow use one heap, and keep memory that they free.

    Otherwise each thread and Arrow have heaps of their own, and each large column is allocated
    from the system, which zeroes it. Variables of the environment take precedence. Call this
    before heavy libraries are imported.
    """
    # No code here multiplies matrices; idle OpenBLAS threads would cost 0.1 s of processor time.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # another C library
        return
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    for name, (number, value) in _OPTIONS.items():
        if name not in os.environ:
            mallopt(number, value)
