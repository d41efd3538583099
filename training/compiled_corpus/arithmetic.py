"""Powers, sines and random numbers that the compiler turns into vector instructions.

Convention:
    Everything is float32. `inversefacenet.compilation.compiled` keeps Python's check for a division by zero,
    which would leave a loop scalar; `np.divide` has none. The polynomials' own errors are below float32's
    rounding; what remains is 3e-6 of e^x up to e^30, 1e-6 for the logarithm, 1e-5 for the sine of
    some turns, as the tests hold.
"""

from __future__ import annotations

from typing import Any, Final, no_type_check

import numpy as np

from inversefacenet.compilation import compiled_inline

# Adding this and taking it away again rounds a float32 to the nearest integer, ties to even.
ROUNDING: Final = np.float32(12582912.0)
ZERO: Final = np.float32(0)
ONE: Final = np.float32(1)
HALF: Final = np.float32(0.5)
_LOG2_E: Final = np.float32(1.4426950408889634)
_SHORTEST: Final = np.float32(-126)
_LONGEST: Final = np.float32(126)
_SMALL: Final = np.float32(1e-30)
_E0, _E1, _E2, _E3, _E4, _E5 = (
    np.float32(value)
    for value in (1.0000001, 0.69314718, 0.24022107, 0.055503272, 0.0096760374, 0.0013400433)
)
_L0, _L1, _L2, _L3, _L4, _L5, _L6, _L7, _L8 = (
    np.float32(value)
    for value in (
        1.442695022,
        -0.721347332,
        0.480910599,
        -0.360704839,
        0.287918329,
        -0.238920346,
        0.215669855,
        -0.207421035,
        0.126148462,
    )
)
_S0, _S1, _S2, _S3, _S4, _S5, _S6 = (
    np.float32(value)
    for value in (6.28318548, -41.3417016, 81.6051331, -76.7030182, 42.0259285, -14.899848, 3.23813748)
)
_ROOT_HALF_BITS: Final = np.int32(0x3F3504F3)
_MANTISSA: Final = np.int32(23)
_BIAS: Final = np.int32(127)
_TURN: Final = np.float32(1 / (2 * np.pi))
_FIRST: Final = np.uint32(0x7FEB352D)
_SECOND: Final = np.uint32(0x846CA68B)
_15, _16 = np.uint32(15), np.uint32(16)


@compiled_inline
@no_type_check
def exp2(x: Any) -> Any:
    """Return 2 to the power x."""
    bounded = min(max(x, _SHORTEST), _LONGEST)
    whole = np.float32(np.float32(bounded + ROUNDING) - ROUNDING)
    part = bounded - whole
    curve = _E0 + part * (_E1 + part * (_E2 + part * (_E3 + part * (_E4 + part * _E5))))
    scale = np.int32(np.int32(np.int32(whole) + _BIAS) << _MANTISSA)
    return curve * scale.view(np.float32)


@compiled_inline
@no_type_check
def exp(x: Any) -> Any:
    """Return e to the power x."""
    return exp2(x * _LOG2_E)


@compiled_inline
@no_type_check
def log2(x: Any) -> Any:
    """Return the binary logarithm of a positive number."""
    bits = np.float32(max(x, _SMALL)).view(np.int32)
    exponent = np.int32(np.int32(bits - _ROOT_HALF_BITS) >> _MANTISSA)
    mantissa = np.int32(bits - np.int32(exponent << _MANTISSA)).view(np.float32)
    f = mantissa - ONE
    curve = _L4 + f * (_L5 + f * (_L6 + f * (_L7 + f * _L8)))
    curve = _L0 + f * (_L1 + f * (_L2 + f * (_L3 + f * curve)))
    return np.float32(exponent) + f * curve


@compiled_inline
@no_type_check
def sin_turns(t: Any) -> Any:
    """Return the sine of t whole turns."""
    part = t - np.float32(np.float32(t + ROUNDING) - ROUNDING)
    q = part * part
    return part * (_S0 + q * (_S1 + q * (_S2 + q * (_S3 + q * (_S4 + q * (_S5 + q * _S6))))))


@compiled_inline
@no_type_check
def sin(x: Any) -> Any:
    """Return the sine of x radians."""
    return sin_turns(x * _TURN)


@compiled_inline
@no_type_check
def sigmoid(x: Any) -> Any:
    """Return 1 / (1 + e^-x)."""
    return np.divide(ONE, ONE + exp(-x))


@compiled_inline
@no_type_check
def rounded(x: Any) -> Any:
    """Return the nearest integer, ties to even, of a number well below 2^22."""
    return np.float32(np.float32(x + ROUNDING) - ROUNDING)


@compiled_inline
@no_type_check
def scrambled(x: Any) -> Any:
    """Return 32 bits that look random, of any 32 bits (Wellons' lowbias32)."""
    x = np.uint32(x ^ np.uint32(x >> _16))
    x = np.uint32(x * _FIRST)
    x = np.uint32(x ^ np.uint32(x >> _15))
    x = np.uint32(x * _SECOND)
    return np.uint32(x ^ np.uint32(x >> _16))
