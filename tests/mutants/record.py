"""One fault, as data."""

from typing import NamedTuple


class Mutant(NamedTuple):
    """A line of the package as it is, and as a mistake would have it.

    Attributes:
      name: what is wrong with it, in a few words joined by dashes.
      file: path below `fedjax_rec/`.
      old: text that the file has exactly once.
      new: what stands there in the mutant.
      tests: node ids of pytest below `tests/`, separated by blanks; one of them has to fail.
    """

    name: str
    file: str
    old: str
    new: str
    tests: str

    @property
    def path(self) -> str:
        """The file's path in the repository."""
        return f"fedjax_rec/{self.file}"

    @property
    def node_ids(self) -> list[str]:
        """The tests' node ids in the repository."""
        return [f"tests/{test}" for test in self.tests.split()]
