"""The compiler of inner loops: the one module that knows numba.

Convention:
    `compiled` goes above `typing.no_type_check`: compiled functions take arrays of the types that their
    callers make, and are called by annotated functions alone. They hold no lock, so that threads run side by
    side, and their code is kept on the disk between runs.
"""

from __future__ import annotations

from typing import Final

from numba import njit

compiled: Final = njit(cache=True, nogil=True)
"""Compiles a function when it is first called."""

compiled_inline: Final = njit(cache=True, nogil=True, inline="always")
"""The same for a function that is put into its callers' code."""
