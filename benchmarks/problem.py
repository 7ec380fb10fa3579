"""One workload as every peer reads it: data, initial parameters, rates. NumPy alone.

The harness writes a problem to one file; a peer's process, in whatever environment, reads
it. So data, initial state, hyper-parameters and cohorts are equal by construction.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Settings:
    """The numbers of a workload.

    Attributes:
      workload: `W1` to `W4`.
      data: where the events come from, for people to read.
      clients: cohort size C.
      dim: width of a vector.
      epochs: local passes over a client's positives in a round.
      negatives: negatives to each positive, drawn afresh for each epoch.
      batch_size: examples in a local step.
      user_rate: learning rate of private parameters.
      item_rate: learning rate of shared parameters.
      mean_by: `client` divides every change by the cohort; `row` divides an item's by the
        clients that changed it.
      order: of a client's examples in an epoch: `shuffled`, or `grouped`, each positive, in
        random order, followed by its negatives.
      clip: bound on the L2 norm of a client's change; 0 is none.
      seed: of cohorts, negatives and order.
    """

    workload: str
    data: str
    clients: int
    dim: int
    epochs: int = 1
    negatives: int = 4
    batch_size: int = 256
    user_rate: float = 2.0
    item_rate: float = 1600.0
    mean_by: str = "client"
    order: str = "shuffled"
    clip: float = 0.0
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Problem:
    """A workload with its arrays.

    Attributes:
      settings: the numbers.
      offsets: `[N + 1]` where each client's positives begin in `items`.
      items: `[E]` training items, client after client, sorted and distinct within one; in W4
        in the order in which they came.
      test: `[N]` held-out item; -1 where a client has none.
      users_start: `[N, D]` initial private vectors.
      items_start: `[I, D]` initial shared vectors.
      extra: further shared parameters by name: the layers of a network.
    """

    settings: Settings
    offsets: NDArray[np.int64]
    items: NDArray[np.int64]
    test: NDArray[np.int64]
    users_start: NDArray[np.float32]
    items_start: NDArray[np.float32]
    extra: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    @property
    def num_clients(self) -> int:
        """How many clients there are (N)."""
        return len(self.offsets) - 1

    @property
    def num_items(self) -> int:
        """Size of the catalogue (I)."""
        return len(self.items_start)

    @property
    def examples_per_round(self) -> float:
        """Mean number of examples of a cohort: positives and negatives of all epochs.

        In W4, whose events are predicted from the ones before, all but the first.
        """
        s = self.settings
        if s.workload == "W4":
            return (len(self.items) / self.num_clients - 1) * s.epochs * s.clients
        return len(self.items) * (1 + s.negatives) * s.epochs * s.clients / self.num_clients

    def positives(self, client: int) -> NDArray[np.int64]:
        """A client's training items, sorted."""
        return self.items[self.offsets[client] : self.offsets[client + 1]]

    def cohort(self, round: int) -> NDArray[np.int64]:
        """The clients of a round, the same for every peer that asks."""
        if self.settings.clients == self.num_clients:
            return np.arange(self.num_clients)
        seeds = np.random.SeedSequence([self.settings.seed, round])
        rng = np.random.Generator(np.random.Philox(seeds))  # as fedjax_rec.Uniform draws them
        return np.sort(
            rng.choice(self.num_clients, self.settings.clients, replace=False, shuffle=False)
        )

    def generator(self, round: int) -> np.random.Generator:
        """What a peer draws a round's negatives and orders from."""
        return np.random.default_rng([self.settings.seed, round, 1])

    def epoch(
        self, rng: np.random.Generator, client: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """One pass over a client's positives, each with fresh negatives, in random order.

        Negatives are uniform outside the training items, none twice until all are used, by
        rank: the r-th free item is `r + #{j : x_j - j <= r}` of the sorted positives x.

        Returns:
          `(items, labels)`, `[P (1 + negatives)]` each.
        """
        positives = self.positives(client)
        gaps = positives - np.arange(len(positives))
        free, wanted = self.num_items - len(positives), len(positives) * self.settings.negatives
        rank = np.resize(rng.choice(free, min(free, wanted), replace=False), wanted)
        items = np.concatenate([positives, rank + np.searchsorted(gaps, rank, side="right")])
        order = rng.permutation(len(items))
        if self.settings.order == "grouped":
            groups = np.arange(len(items)).reshape(-1, len(positives)).T
            order = groups[rng.permutation(len(positives))].ravel()
        return items[order], (order < len(positives)).astype(np.float32)

    def batches(
        self, rng: np.random.Generator, client: int
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """All local steps of a client's round: `(items, labels)` of each."""
        for _ in range(self.settings.epochs):
            items, labels = self.epoch(rng, client)
            for begin in range(0, len(items), self.settings.batch_size):
                end = begin + self.settings.batch_size
                yield items[begin:end], labels[begin:end]

    def save(self, path: Path) -> None:
        """Writes the problem for the peers."""
        extra = {f"extra/{name}": value for name, value in self.extra.items()}
        np.savez(
            path,
            settings=json.dumps(asdict(self.settings)),
            offsets=self.offsets,
            items=self.items,
            test=self.test,
            users_start=self.users_start,
            items_start=self.items_start,
            **extra,
        )


def load(path: Path) -> Problem:
    """Reads what `Problem.save` wrote."""
    with np.load(path) as file:
        extra = {n.removeprefix("extra/"): file[n] for n in file.files if n.startswith("extra/")}
        return Problem(
            Settings(**json.loads(str(file["settings"]))),
            file["offsets"],
            file["items"],
            file["test"],
            file["users_start"],
            file["items_start"],
            extra,
        )
