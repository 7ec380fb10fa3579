"""What every model refuses."""

from fedjax_rec.base import is_concrete


def refuse_out_of_range(*, init_stddev: float | None = None, **counts: int) -> None:
    """Raises `ValueError` for a count below 1 or a deviation that is negative or not finite.

    >>> refuse_out_of_range(dim=0)
    Traceback (most recent call last):
        ...
    ValueError: dim must be at least 1, got 0
    """
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}")
    is_given = init_stddev is not None and is_concrete(init_stddev)
    if is_given and not 0 <= init_stddev < float("inf"):  # type: ignore[operator]
        raise ValueError(f"init_stddev must be at least 0 and finite, got {init_stddev}")


def refuse_heads(dim: int, num_heads: int) -> None:
    """Raises `ValueError` for heads that do not divide the width."""
    if dim % num_heads:
        raise ValueError(f"dim must be a multiple of num_heads = {num_heads}, got {dim}")


def refuse_share(**shares: float) -> None:
    """Raises `ValueError` for what is not from 0 to below 1.

    >>> refuse_share(dropout=1.0)
    Traceback (most recent call last):
        ...
    ValueError: dropout must be at least 0 and below 1, got 1.0
    """
    for name, share in shares.items():
        if is_concrete(share) and not 0 <= share < 1:
            raise ValueError(f"{name} must be at least 0 and below 1, got {share}")
