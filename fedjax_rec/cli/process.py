"""What a verb that computes sets in its process before jax is imported."""

from collections.abc import Callable

from fedjax_rec.cpu import configure_cpu, print_line
from fedjax_rec.program_cache import keep_programs


def prepare_process() -> Callable[[], None]:
    """Chooses XLA's threads, devices and cache of compiled programs, where the user has not.

    Returns:
      Prints the line that says so. Call it once the request is known to be sound, so that
      a mistake is told in one line.
    """
    lines: list[str] = []
    configure_cpu(lines.append)
    keep_programs()
    return lambda: print_line(f"cpu: {lines.pop()}") if lines else None
