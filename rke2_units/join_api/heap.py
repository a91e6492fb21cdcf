"""Returns unused memory to the system, which the C library would keep."""

import ctypes
import gc

_C_LIBRARY = ctypes.CDLL(None)


def give_back() -> None:
    """Collects garbage and returns free memory. Takes some milliseconds."""
    gc.collect()
    _C_LIBRARY.malloc_trim(0)
