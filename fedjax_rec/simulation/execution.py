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
      num_devices: over how many devices clients are spread; 0 takes all there are.
      is_debug: without jit and one client at a time, so that a client update may print
        and be stepped through; always general.
    """

    executor: Literal["auto", "general", "streaming"] = "auto"
    chunk_size: int = 0
    num_devices: int = 1
    is_debug: bool = False

    def __post_init__(self) -> None:
        if self.executor not in ("auto", "general", "streaming"):
            raise ValueError(f"executor must be auto, general or streaming, got {self.executor!r}")
        for name in ("chunk_size", "num_devices"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
