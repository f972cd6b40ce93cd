"""Numbers as people read them: without exponents where they are large, and without a negative zero.

Small ones, such as learning rates and penalties, keep their exponent: 1e-05.
"""

from __future__ import annotations

LARGEST = 1e15
"""A number beyond this one has an exponent all the same: its digits would fill the line."""


def plain(value: float, digits: int = 3, sign: str = "") -> str:
    """Return a number with so many digits, but all those before the point: 1,760, not 1.76e+03.

    Args:
        sign: "+" writes the sign of positive numbers too.
    """
    short = f"{value + 0.0:{sign}.{digits}g}"
    return f"{value:{sign},.0f}" if "e+" in short and abs(value) < LARGEST else short


def fixed(value: float, decimals: int = 3, sign: str = "") -> str:
    """Return a number with so many decimals; what rounds to zero is 0.000, never -0.000."""
    return f"{round(value, decimals) + 0.0:{sign}.{decimals}f}"


def with_ends(value: float, low: float, high: float, decimals: int = 3, sign: str = "") -> str:
    """Return a number, and its interval in brackets."""
    said = [fixed(number, decimals, sign) for number in (value, low, high)]
    return "{} [{}, {}]".format(*said)


def span(low: str, high: str) -> str:
    """Return "low to high", or the one number that both are."""
    return low if low == high else f"{low} to {high}"


def size(count: float) -> str:
    """Return bytes in a suitable unit."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= unit:
            return f"{plain(count / unit)} {name}"
    return f"{count:.0f} B"
