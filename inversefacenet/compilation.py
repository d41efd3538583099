"""The compiler of inner loops: the one module that knows numba.

Convention:
    `compiled` goes above `typing.no_type_check`: compiled functions take arrays of the types that their
    callers make, and are called by annotated functions alone. They hold no lock, so that threads run side by
    side, and their code is kept on the disk between runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from jaxtyping import Shaped
from numba import njit


def _compiler(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator that compiles, and keeps the code where there is a folder that can be written."""

    def compile_function(function: Callable[..., Any]) -> Any:
        try:
            return njit(cache=True, nogil=True, **options)(function)
        except RuntimeError as error:
            if "locator" not in str(error):
                raise
            return njit(nogil=True, **options)(function)

    return compile_function


# Said, not left out: otherwise a function would be compiled as loosely as whoever happens to call it first.
compiled: Final = _compiler(fastmath=False)
"""Compiles a function when it is first called; its arithmetic is that of IEEE 754, in the order written."""

compiled_inline: Final = _compiler(inline="always")
"""The same for a function that is put into its callers' code."""

compiled_fused: Final = _compiler(fastmath={"contract"})
"""Like `compiled`; a product and the sum that it goes into may be rounded once, not twice."""


def read_only(array: Shaped[np.ndarray, "*shape"]) -> Shaped[np.ndarray, "*shape"]:
    """Return a contiguous view that can't be written: photos come as either, and each is compiled anew."""
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view
