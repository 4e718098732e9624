"""Where the memory of columns comes from."""

import ctypes
import os

_MIB = 1 << 20
#: What mallopt(3) of the GNU C library sets: by the name in the environment its number and value.
_OPTIONS = {
    "MALLOC_ARENA_MAX": (-8, 1),
    "MALLOC_MMAP_THRESHOLD_": (-3, 32 * _MIB),
    "MALLOC_TRIM_THRESHOLD_": (-1, 128 * _MIB),
}


def share() -> None:
    """Let all threads take memory from one heap, which keeps what they give back.

    Columns are made and let go of all the time, in several threads. Else each thread has a heap of
    its own, and so has Arrow; and large columns are asked of the system anew, which clears them.
    What the environment sets holds. To be called before heavy libraries are imported.
    """
    # Nothing here multiplies matrices: threads that wait to do so cost 0.1 s of a processor.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # another C library
        return
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    for name, (number, value) in _OPTIONS.items():
        if name not in os.environ:
            mallopt(number, value)
