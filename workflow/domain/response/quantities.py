"""Lengths in whole µm and ratios as integers, so that no float decides a response.

Binary floats fail on the thresholds themselves: 14.0 → 9.8 mm is exactly -30 %, 27.0 → 32.4 mm exactly
+20 %, 3.2 → 8.2 mm exactly +5 mm, and float arithmetic denies each. A length enters as the decimal number
that was written down and stays an integer from there.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from functools import lru_cache

UM_PER_MM = 1000
MAXIMUM_MM = Decimal(10_000)  # ten metres: beyond any patient, a unit mistake

Number = int | float | str | Decimal


def micrometres(millimetres: Number) -> int:
    """Whole µm of a length in mm, taken as the decimal number that it is written as.

    Raises
    ------
    ValueError
        If it is no finite number, negative or longer than 10 m.
    """
    if isinstance(millimetres, bool):
        raise ValueError(f"{millimetres!r} is not a length in mm")
    # str() of a float is the shortest decimal that it stands for: 9.8, not 9.800000000000000711.
    return _micrometres_of(str(millimetres))


@lru_cache(maxsize=4096)
def _micrometres_of(text: str) -> int:
    try:
        value = Decimal(text.strip())
    except InvalidOperation:
        raise ValueError(f"{text!r} is not a length in mm") from None
    if not value.is_finite():
        raise ValueError(f"{text!r} is not a length in mm")
    if value < 0:
        raise ValueError(f"{text} mm is negative; a length is 0 mm or more")
    if value > MAXIMUM_MM:
        raise ValueError(f"{text} mm is longer than {MAXIMUM_MM} mm; is it in another unit?")
    return int((value * UM_PER_MM).to_integral_value(rounding=ROUND_HALF_EVEN))


def millimetres(length_um: int) -> float:
    """mm of a length in µm, to show or to write; never to decide with."""
    return length_um / UM_PER_MM


@lru_cache(maxsize=8192)
def mm_text(length_um: int) -> str:
    """A length as a reader reads it, to 0.1 mm: "72 mm", "9.8 mm"; it decides nothing.

    Beside a whole millimetre, where the thresholds lie, the µm are shown: "9.998 mm" is not "10 mm".
    """
    sign = "-" if length_um < 0 else ""
    whole, rest = divmod(abs(length_um), UM_PER_MM)
    if rest == 0:
        return f"{sign}{whole} mm"
    # Half up, in integers: the same on every machine.
    shown, tenth = divmod((abs(length_um) + UM_PER_MM // 20) // (UM_PER_MM // 10), 10)
    if tenth == 0:
        return f"{sign}{whole}.{rest:03d}".rstrip("0") + " mm"
    return f"{sign}{shown}.{tenth} mm"


def percent_change(value: int, reference: int) -> float | None:
    """Change in percent to four decimals, to show or to write; None from a reference of zero."""
    if reference == 0:
        return None
    # The quotient of two integers is the nearest float to the exact ratio.
    return round(100 * (value - reference) / reference, 4)


def percent_text(value: int, reference: int) -> str:
    """The size of a change, without its sign: "44 %", "19.9 %".

    One decimal shows where the percentage is not whole, and as many as it takes not to round a
    change onto a threshold that it did not reach ("19.998 %", never "20 %").
    """
    hundredfold = 100 * abs(value - reference)
    if hundredfold % reference == 0:
        return f"{hundredfold // reference} %"
    decimals = 1
    while decimals < 6 and float(f"{hundredfold / reference:.{decimals}f}").is_integer():
        decimals += 1
    return f"{hundredfold / reference:.{decimals}f} %"


def rises_by(value: int, reference: int, *, percent: int, at_least: int) -> bool:
    """Whether the value is higher, `percent` above the reference and `at_least` more; on the line counts."""
    return value > reference and 100 * value >= (100 + percent) * reference and value - reference >= at_least


def falls_by(value: int, reference: int, *, percent: int) -> bool:
    """Whether the value is `percent` or more below the reference."""
    return 100 * value <= (100 - percent) * reference
