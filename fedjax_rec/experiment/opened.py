"""A finished run, opened: what it was made of, what it learned, and what can be asked of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedjax_rec.base import Clients, FederatedAlgorithm, Fixed, Part, ServerState
from fedjax_rec.config import RunConfig, from_dict
from fedjax_rec.data import FederatedData
from fedjax_rec.errors import UserError
from fedjax_rec.evaluation import Evaluation, top_k
from fedjax_rec.evaluation.later import Later
from fedjax_rec.experiment.experiment import Experiment, build
from fedjax_rec.experiment.exporting import Export, export_run
from fedjax_rec.experiment.recommendations import (
    Recommendations,
    check_k,
    met_items,
    read_behind,
    recommend_all,
)
from fedjax_rec.plugins import load_installed, load_plugin, refuse_missing
from fedjax_rec.reporting import RunRecord, finished_run
from fedjax_rec.simulation import EvaluationPlan, evaluate, load_run


@dataclass(frozen=True, eq=False)
class OpenedRun:
    """A finished run. Parameters are read from its checkpoint when they are first asked for.

    Attributes:
      folder: of the run.
      summary: the object in `summary.json`.
      experiment: all parts of the run, as it was built.
    """

    folder: Path
    summary: dict[str, Any]
    experiment: Experiment

    @property
    def config(self) -> RunConfig:
        """What was asked for, every default written out."""
        return self.experiment.config

    @property
    def algorithm(self) -> FederatedAlgorithm:
        """The filled slots."""
        return self.experiment.algorithm

    @property
    def data(self) -> FederatedData:
        """Clients and held-out items, split as for the run."""
        return self.experiment.data

    @property
    def users(self) -> NDArray[np.str_]:
        """`[N]` raw ids of the clients, in the order of every array of them."""
        return self.data.split.train.user_labels

    @property
    def items(self) -> NDArray[np.str_]:
        """`[I]` raw ids of the items, in the order of every table's rows."""
        return self.data.split.train.item_labels

    @property
    def titles(self) -> tuple[str, ...] | None:
        """`[I]` names of the items for people to read; `None` where the data have none."""
        return self.data.split.train.item_titles

    @property
    def state(self) -> ServerState:
        """The server's, of the reported round; `state.shared` are the shared parameters."""
        return self._parameters[0]

    @property
    def clients(self) -> Clients:
        """The store, of the reported round; `clients.private` are the private parameters."""
        return self._parameters[1]

    @property
    def frozen(self) -> Part:
        """Parameters that were never trained."""
        return self._parameters[2]

    @cached_property
    def per_client(self) -> dict[str, NDArray[np.float32]]:
        """Test metrics of each client, `[N]` beside `users`; NaN where nothing is held out."""
        return self.evaluate()["test"].per_client

    def evaluate(self, plan: EvaluationPlan | None = None) -> dict[str, Evaluation]:
        """Evaluates the run again, on the terms of its configuration or on others.

        Args:
          plan: cut-offs, candidates, ties; by default the run's own.

        Returns:
          An evaluation by split, as `fedjax_rec.evaluate`.

        Raises:
          UserError: terms that cannot be met.
        """
        return evaluate(self.algorithm, self.data, self, plan or self.experiment.evaluation)

    def recommend(self, user: str | int, k: int = 10) -> list[tuple[str, float]]:
        """The best items for one person that it has not met, held-out ones among the met.

        Args:
          user: its raw id in the data.
          k: how many, at least 1.

        Returns:
          Raw item ids with scores, the best first; fewer than `k` where no more are left.

        Raises:
          UserError: there is no such person, or `k` is not positive.
        """
        check_k(k)
        client = self._client(str(user))
        items, scores = top_k(
            self.algorithm,
            self.state,
            self.clients,
            Fixed(self.frozen, self.data.clients),
            client,
            k,
            self._met[1][self._met[0][client] : self._met[0][client + 1]],
            self._later,
        )
        return list(zip(self.items[items].tolist(), scores.tolist(), strict=True))

    def recommend_all(self, k: int = 10) -> Recommendations:
        """The same for everybody, by one compiled program over chunks of clients.

        Args:
          k: how many items for each, at least 1.

        Raises:
          UserError: `k` is not positive.
        """
        return recommend_all(self.algorithm, self.data, self, k)

    def export(self, folder: str | PathLike[str]) -> Export:
        """Writes parameters by the data's own ids; see `exporting.export_run`.

        Args:
          folder: is made where it is not there.

        Raises:
          UserError: it cannot be written.
        """
        return export_run(self, Path(folder))

    @cached_property
    def _parameters(self) -> tuple[ServerState, Clients, Part]:
        return load_run(self.folder, self.algorithm, self.data, key=self.experiment.key)

    @cached_property
    def _met(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        return met_items(self.data)

    @cached_property
    def _later(self) -> Later:
        return read_behind(self.data)

    def _client(self, user: str) -> int:
        place = np.flatnonzero(self.users == user)
        if not place.size:
            some = ", ".join(self.users[:3].tolist())
            raise UserError(f"no client {user!r} in {self.data.name}; ids are such as {some}")
        return int(place[0])


def open_run(folder: str | PathLike[str], *, plugins: Sequence[str] = ()) -> OpenedRun:
    """Opens the folder of a finished run, from any working directory.

    Data are read again, from where the run read them, and must be what they were.

    Args:
      folder: what `fedjax-rec run --output` named, such as `runs/ml-100k/fedmf`.
      plugins: Python files of others' code that the run was made with; none is loaded unasked.

    Raises:
      UserError: no finished run, one that was made in Python (`fedjax_rec.load_run` reads it),
        a plug-in that is not loaded, or data that are not there.

    >>> open_run("no/such/run")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    fedjax_rec.errors.UserError: no/such/run: no such folder; name the folder of a run, ...
    """
    record = command_line_run(Path(folder))
    load_installed()
    for plugin in plugins:
        load_plugin(plugin)
    path = record.path
    config = from_dict(record.config, f"in {path / 'config.toml'}", is_record=True)
    refuse_missing(config.plugins, str(path))
    return OpenedRun(path.absolute(), record.summary, build(config))


def command_line_run(folder: Path) -> RunRecord:
    """What a finished run of the command line left, as its files tell it.

    Raises:
      UserError: there is no such run, or it was made in Python.
    """
    record = finished_run(folder)
    if "made_by" in record.config:
        raise UserError(
            f"{folder}: {record.config['made_by']} made it in Python, where "
            "fedjax_rec.load_run reads it"
        )
    return record
