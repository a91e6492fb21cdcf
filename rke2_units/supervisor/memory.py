"""Memory that is not needed any more goes back to the system: the C library keeps it otherwise."""

import ctypes
import gc

_C_LIBRARY = ctypes.CDLL(None)
# mallopt(3); more than a password's hash takes.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT = 40 << 20


def keep() -> None:
    """From now on what is freed stays until give_back(), for hash after hash.

    Page by page from the system, their 32 MB are a quarter of the time that they take.
    """
    for parameter in (_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD):
        _C_LIBRARY.mallopt(parameter, _KEPT)


def give_back() -> None:
    """Takes some milliseconds."""
    gc.collect()
    _C_LIBRARY.malloc_trim(0)
