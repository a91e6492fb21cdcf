"""Memory that is not needed any more goes back to the system: the C library keeps it otherwise."""

import ctypes
import gc

_C_LIBRARY = ctypes.CDLL(None)


def give_back() -> None:
    """Takes some milliseconds."""
    gc.collect()
    _C_LIBRARY.malloc_trim(0)
