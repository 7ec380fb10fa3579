"""What many people are recommended, as columns and as a file."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedjax_rec.base import FederatedAlgorithm, Fixed
from fedjax_rec.data import FederatedData, item_lists
from fedjax_rec.errors import UserError
from fedjax_rec.evaluation.later import Later, later_events
from fedjax_rec.evaluation.lists import top_k_of_all
from fedjax_rec.simulation.plans import HasParameters

COLUMNS = ("user", "item", "rank", "score")
ENDINGS = (".csv", ".parquet")
AT_A_TIME = 2**18
"""Rows that are turned into text at a time."""


@dataclass(frozen=True, eq=False)
class Recommendations:
    """Items for many people: a row for each person and rank, persons one after another.

    Attributes:
      user_ids: `[R]` int32, place of each row's person in `user_labels`.
      item_ids: `[R]` int32, place of the item in `item_labels`.
      rank: `[R]` int32, 1 is the best.
      score: `[R]` float32, what the model gave.
      user_labels: raw ids of people, as text.
      item_labels: raw ids of items, as text.

    >>> ids = np.array([0, 0], np.int32), np.array([1, 0], np.int32), np.array([1, 2], np.int32)
    >>> labels = np.array(["ann"]), np.array(["tea", "jam"])
    >>> found = Recommendations(*ids, np.array([0.5, 0.25], np.float32), *labels)
    >>> found.item.tolist(), len(found)
    (['jam', 'tea'], 2)
    """

    user_ids: NDArray[np.int32]
    item_ids: NDArray[np.int32]
    rank: NDArray[np.int32]
    score: NDArray[np.float32]
    user_labels: NDArray[np.str_]
    item_labels: NDArray[np.str_]

    @property
    def user(self) -> NDArray[np.str_]:
        """`[R]` the person's raw id."""
        return self.user_labels[self.user_ids]

    @property
    def item(self) -> NDArray[np.str_]:
        """`[R]` the item's raw id."""
        return self.item_labels[self.item_ids]

    def columns(self) -> dict[str, NDArray[Any]]:
        """`user`, `item`, `rank` and `score`, for a data frame's constructor."""
        return {name: getattr(self, name) for name in COLUMNS}

    def __len__(self) -> int:
        return len(self.rank)

    def write(self, path: Path) -> None:
        """Writes them to a file, which is whole or not there.

        Args:
          path: ends in `.csv` or `.parquet`.

        Raises:
          UserError: another ending, parquet without pyarrow, or a file that cannot be written.
        """
        check_output(path)
        unfinished = path.with_name(path.name + ".tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".csv":
                self._write_csv(unfinished)
            else:
                self._write_parquet(unfinished)
            unfinished.replace(path)
        except OSError as error:
            raise UserError(f"{path}: cannot be written ({error.strerror or error})") from None
        finally:
            if unfinished.is_file():
                unfinished.unlink()

    def _write_csv(self, path: Path) -> None:
        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(COLUMNS)
            for part in self._parts():
                # float32's own shortest digits, not those of the double it is turned into.
                scores = self.score[part].astype(str).tolist()
                labels = (
                    self.user_labels[self.user_ids[part]],
                    self.item_labels[self.item_ids[part]],
                )
                columns = (*(one.tolist() for one in (*labels, self.rank[part])), scores)
                writer.writerows(zip(*columns, strict=True))

    def _write_parquet(self, path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        texts = [("user", pa.string()), ("item", pa.string())]
        schema = pa.schema([*texts, ("rank", pa.int32()), ("score", pa.float32())])
        with pq.ParquetWriter(path, schema) as writer:
            for part in self._parts():
                columns = [
                    pa.array(self.user_labels[self.user_ids[part]].tolist(), pa.string()),
                    pa.array(self.item_labels[self.item_ids[part]].tolist(), pa.string()),
                    pa.array(self.rank[part]),
                    pa.array(self.score[part]),
                ]
                writer.write_table(pa.Table.from_arrays(columns, schema=schema))

    def _parts(self) -> Iterable[slice]:
        return (slice(at, at + AT_A_TIME) for at in range(0, len(self), AT_A_TIME))


def recommend_all(
    algorithm: FederatedAlgorithm, data: FederatedData, result: HasParameters, k: int = 10
) -> Recommendations:
    """The best items for everybody that they have not met, held-out ones among the met.

    One compiled program takes a chunk of clients at a time.

    Args:
      algorithm: as the run used it.
      data: likewise.
      result: of `simulate` or `load_run`, or an opened run.
      k: how many items for each, at least 1; fewer come where no more are left.

    Raises:
      UserError: `k` is not positive.

    >>> import jax
    >>> from fedjax_rec import popularity, simulate
    >>> from fedjax_rec.data import load
    >>> data = load("synthetic", num_users=20, num_items=30, mean_events=6)
    >>> counts = popularity(data.num_items)
    >>> result = simulate(counts, data, key=jax.random.key(0), rounds=1)
    >>> len(recommend_all(counts, data, result, k=3))
    60
    """
    check_k(k)
    chunks = top_k_of_all(
        algorithm,
        result.state,
        result.clients,
        Fixed(result.frozen, data.clients),
        k,
        met_items(data),
        read_behind(data),
    )
    parts: list[tuple[NDArray[Any], ...]] = []
    for chunk in chunks:
        row, place = np.nonzero(chunk.items < data.num_items)
        found = (chunk.clients[row], chunk.items[row, place], place + 1)
        parts.append((*(one.astype(np.int32) for one in found), chunk.scores[row, place]))
    users, items, rank, score = map(np.concatenate, zip(*parts, strict=True))
    train = data.split.train
    return Recommendations(users, items, rank, score, train.user_labels, train.item_labels)


def met_items(data: FederatedData) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """All that each client has met, held-out items too, as `data.item_lists` gives it."""
    split = data.split
    train, held_out = split.train, [split.valid.items, split.test.items]
    return item_lists(train.users, train.items, train.num_users, train.num_items, held_out)


def read_behind(data: FederatedData) -> Later:
    """What models that read a history read behind training events: all that was held out."""
    return later_events(data, [data.split.valid, data.split.test])


def check_k(k: int) -> None:
    """Refuses to recommend no items.

    Raises:
      UserError: k is below 1.
    """
    if k < 1:
        raise UserError(f"k: expected at least 1, got {k}")


def check_output(path: Path) -> None:
    """Refuses a file that recommendations cannot be written to, before they are made.

    Raises:
      UserError: another ending than those of `ENDINGS`, a folder, or parquet without pyarrow.
    """
    if path.suffix not in ENDINGS:
        raise UserError(f"output: {path} is neither a .csv nor a .parquet file; give it an ending")
    if path.is_dir():
        raise UserError(f"output: {path} is a folder; name a file in it")
    if path.suffix == ".parquet":
        try:
            import pyarrow as pa  # noqa: F401
        except ImportError:
            raise UserError(
                f"{path}: parquet needs pyarrow: pip install 'fedjax-rec[data]', or write a .csv"
            ) from None
