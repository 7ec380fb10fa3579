"""What algorithms refuse."""

from fedjax_rec.base import is_concrete


def refuse_outside(interval: str, **numbers: float) -> None:
    """Raises `ValueError` for a number that does not lie in an interval.

    >>> refuse_outside("[0, 1)", momentum=0.5)
    >>> refuse_outside("[0, 1)", momentum=1.0)
    Traceback (most recent call last):
        ...
    ValueError: momentum must be in [0, 1), got 1.0
    """
    low, high = map(float, interval[1:-1].split(","))
    for name, number in numbers.items():
        if not is_concrete(number):  # inside a program: it was looked at when this was built
            continue
        is_end = (number == low and interval[0] == "(") or (number == high and interval[-1] == ")")
        if not low <= number <= high or is_end:
            raise ValueError(f"{name} must be in {interval}, got {number}")
