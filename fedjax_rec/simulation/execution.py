"""How a round is run: settings that never change what it computes."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Execution:
    """How a round is run; never changes what it computes.

    Attributes:
      executor: `general` trains every client on its slice of the rows. `streaming` goes
        through the examples of plain SGD without a slice, where each row comes once (see
        `streaming.refusal`); clients whose rows recur stay with the general one. `auto`
        streams where it can.
      chunk_size: clients trained at once; 0 chooses. Larger is not faster on a CPU, whose
        caches hold the rows of a few clients; an accelerator wants many.
      is_debug: without jit and one client at a time, so that a client update may print
        and be stepped through; always general.
    """

    executor: Literal["auto", "general", "streaming"] = "auto"
    chunk_size: int = 0
    is_debug: bool = False

    def __post_init__(self) -> None:
        if self.executor not in ("auto", "general", "streaming"):
            raise ValueError(f"executor must be auto, general or streaming, got {self.executor!r}")
        if self.chunk_size < 0:
            raise ValueError(f"chunk_size must be at least 0, got {self.chunk_size}")
