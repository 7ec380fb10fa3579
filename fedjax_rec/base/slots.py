"""What the author of an algorithm fills: model, objective, client update."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import jax

from fedjax_rec.base.histories import History, Inputs
from fedjax_rec.base.parts import Array, Key, Part, Private, PyTree, RowIds, View, nothing_private

Support = Literal["slice", "lazy", "table"]
Pullback = Callable[[Array], tuple[Part, Private]]


@dataclass(frozen=True)
class Weights:
    """The door by which frozen parameters come in that nobody draws: those of a base model.

    They are read once for each run, outside of any compiled function, and are arguments of
    its programs: no program holds them as constants, and no checkpoint at all.

    Attributes:
      load: `() -> Part`, host arrays (a memory map will do); a part of `Fixed.frozen`.
      source: where they come from: a package and version, or a file.
      sha256: of what was read. A run goes on with, and is loaded with, the same alone.
      shapes: `() -> Part` of `jax.ShapeDtypeStruct`, what `load` would give, where that is known
        without reading it; `None`: it is read for its shapes.
    """

    load: Callable[[], Part]
    source: str
    sha256: str
    shapes: Callable[[], Part] | None = None

    def like(self) -> Part:
        """What `load` gives, as `jax.ShapeDtypeStruct`."""
        shapes: Part = jax.eval_shape(self.load) if self.shapes is None else self.shapes()
        return shapes

    def placed(self, place: Callable[[Part], Part]) -> "Weights":
        """The same where another model keeps them, for what changes a model."""
        load, shapes = self.load, self.shapes
        told = None if shapes is None else lambda: place(shapes())
        return replace(self, load=lambda: place(load()), shapes=told)


@dataclass(frozen=True)
class ItemSide:
    """What a score knows of items whoever asks: computed once, then read by every client.

    On whole tables `score(view, inputs, encode(view.shared, view.frozen, view.extra))` is
    `Model.score(view, inputs)`. `encode` is given nothing that a client keeps, so that it cannot
    depend on one.

    Attributes:
      encode: `(shared, frozen, extra) -> encoded`, of the whole catalogue: a text tower's
        vectors. Extra is the server's own state, which most models do not read.
      score: `(view, inputs, encoded) -> scores`.
    """

    encode: Callable[[Part, Part, Part], PyTree]
    score: Callable[[View, Inputs, PyTree], Array]


@dataclass(frozen=True)
class Model:
    """How items are scored.

    Attributes:
      num_rows: size of each table of rows.
      init: `key -> (shared, frozen)`.
      init_private: `key -> Private`, one client's.
      score: `(view, inputs) -> scores`, higher is better; `inputs.ids` index the
        view's rows, and a whole table is a view too.
      is_row_wise: a promise: the score of item i reads of every table's rows row
        `ids[i]` alone. Gradients are then taken of the rows of a batch and never of a
        table.
      score_vjp: an analytic gradient, `(view, inputs) -> (scores, pullback)` as `jax.vjp`
        of `score` by the view's shared and private parts would give it: `pullback(cotangent)
        -> (shared, private)`. `None`: by autodiff.
      needs_history: `score` reads `inputs.history`.
      factors: a promise: `(view, inputs) -> (queries, keys)`, `[D]` or `[L, D]` and `[B, D]`,
        and the scores are `queries keys^T`. A loss over the whole catalogue can then be had
        without all the scores at once.
      weights: frozen parameters that are there before training; see `Weights`. They stand
        beside those that `init` draws.
      item_side: what an evaluation computes once for all clients; `None`: nothing.
    """

    num_rows: Mapping[str, int]
    init: Callable[[Key], tuple[Part, Part]]
    score: Callable[[View, Inputs], Array]
    init_private: Callable[[Key], Private] = lambda key: nothing_private()
    is_row_wise: bool = False
    score_vjp: Callable[[View, Inputs], tuple[Array, Pullback]] | None = None
    needs_history: bool = False
    factors: Callable[[View, Inputs], tuple[Array, Array]] | None = None
    weights: Weights | None = None
    item_side: ItemSide | None = None

    def with_score(self, score: Callable[[View, Inputs], Array], **changes: Any) -> "Model":
        """The model with another score, of which none of the promises of its own one holds.

        Args:
          score: in place of its own.
          **changes: of other fields.
        """
        promises = ("score_vjp", "factors", "item_side")
        dropped: dict[str, Any] = {"is_row_wise": False} | dict.fromkeys(promises)
        return replace(self, score=score, **dropped | changes)


class Sampled(NamedTuple):
    """Examples of a sampled objective.

    Attributes:
      inputs: what to score, `[B]` ids.
      label: `[B]` 1 for a training item, 0 for a sampled negative.
      is_valid: `[B]` False for padding.
    """

    inputs: Inputs
    label: Array
    is_valid: Array


@dataclass(frozen=True)
class Sampler:
    """How a client draws its examples: its items, each with uniform negatives.

    Attributes:
      num_items: size of the catalogue.
      num_negatives: negatives to each positive, at least 1.
      local_epochs: passes over the positives in a round, at least 1.
      batch_size: examples (positives and negatives) in a local step.
      max_positives: of each epoch, drawn afresh for each round; 0: all. A cap on what a
        client with a long history computes.
      table: the table of rows that items index.
      is_sliced: False gives every client the whole table: for client updates and
        transforms whose support is `table`, and as the oracle of the sliced form.
      permutation: how negatives are put in random order: `affine` is faster, `feistel`
        is nearer to a true shuffle (see `objectives.permutation`).
      with_replacement: each negative is drawn by itself and may come again, as in most
        published code. Slower: a client's negatives are sorted to find its rows.

    Raises:
      ValueError: a number is below 1, or an unknown permutation.
    """

    num_items: int
    num_negatives: int = 4
    local_epochs: int = 1
    batch_size: int = 256
    table: str = "item"
    is_sliced: bool = True
    permutation: Literal["affine", "feistel"] = "affine"
    with_replacement: bool = False
    max_positives: int = 0

    def __post_init__(self) -> None:
        for name in ("num_items", "num_negatives", "local_epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.max_positives < 0:
            raise ValueError(f"max_positives must be at least 0, got {self.max_positives}")
        if self.permutation not in ("affine", "feistel"):
            raise ValueError(f"permutation must be affine or feistel, got {self.permutation!r}")


@dataclass(frozen=True)
class Objective:
    """Which examples a client draws and what it minimises.

    Attributes:
      prepare: `(key, history) -> (row_ids, plan)`. Every id inside `plan` is local to
        `row_ids`. Ids are in range or padding, and no real id occurs twice.
      num_steps: `plan -> []`, this client's own number of local steps.
      batch: `(plan, step) -> examples`, which carry `inputs: Inputs`; made when needed.
      loss: `(scores, examples) -> (loss, weight)`, per example; weight 0 is padding.
      sampler: a promise that examples are those of `objectives.sampled` with this sampler,
        and that the weights of `loss` depend on labels and validity alone.
      is_pointwise: with a sampler, a promise that an example's loss reads its own score
        alone; without it, that it reads the scores of its positive's group.
      rating_epochs: a promise that examples are those of `objectives.ratings`, in so many
        passes; 0 promises nothing.
      window: a promise: of a history only so many of the last events are read; 0 promises
        nothing. Longer clients then need no programs of their own.
      factored_loss: `(queries, keys, examples) -> (loss, weight)`, the same without all the
        scores, for models with `factors`.

    `batch` and `loss` are for objectives that are trained in batches; a closed-form client
    reads its plan itself.
    """

    prepare: Callable[[Key, History], tuple[RowIds, PyTree]]
    num_steps: Callable[[PyTree], Array | int] = lambda plan: 1
    batch: Callable[[PyTree, Array], Any] | None = None
    loss: Callable[[Array, Any], tuple[Array, Array]] | None = None
    sampler: Sampler | None = None
    is_pointwise: bool = True
    rating_epochs: int = 0
    factored_loss: Callable[[Array, Array, Any], tuple[Array, Array]] | None = None
    window: int = 0


class Stat(NamedTuple):
    """A sum and its weight: merged by addition, divided once, when reported.

    >>> import jax.numpy as jnp
    >>> merged = Stat(jnp.float32(6), jnp.float32(2)).merge(Stat(jnp.float32(4), jnp.float32(2)))
    >>> merged.mean()
    2.5
    """

    total: Array
    weight: Array

    def merge(self, other: "Stat") -> "Stat":
        """The statistic of both groups together."""
        return Stat(self.total + other.total, self.weight + other.weight)

    def mean(self) -> float:
        """`total / weight`, as a Python float; 0 where nothing was weighed."""
        return float(self.total) / float(self.weight) if self.weight else 0.0


class Entry(NamedTuple):
    """One cohort member; with arrays `[C]` in each field it is a cohort.

    Attributes:
      client_id: names the client: its data and its random keys.
      slot: where its state lies in the store. Apart from `client_id`, so that a store
        may be paged.
      is_valid: False for padding.
    """

    client_id: Array
    slot: Array
    is_valid: Array


Cohort = Entry


class Task(NamedTuple):
    """What one client has to do this round.

    Attributes:
      entry: who it is.
      round: `[]` the server's round.
      plan: what `Objective.prepare` planned.
      num_steps: `[]` this client's own steps.
      max_steps: `[]` the longest client's steps in the same chunk: loop to this, mask
        at `num_steps` (`clients.masked_loop` does both).
    """

    entry: Entry
    round: Array
    plan: PyTree
    num_steps: Array
    max_steps: Array


class ClientOutput(NamedTuple):
    """What one client made.

    Attributes:
      update: what leaves the client, in the tree of `FederatedAlgorithm.template`;
        for a change of the model, `local - global`.
      private: the model's new private parameters.
      memory: the algorithm's new per-client state.
      weight: `[]` the client's size, for transforms that weigh (number of examples).
      info: observations of the simulation; they are not part of the protocol.
    """

    update: Part
    private: Private
    memory: Private
    weight: Array
    info: dict[str, Stat]


class LocalSGD(NamedTuple):
    """Stochastic gradient descent with heavy-ball momentum, as plain numbers.

    `v <- momentum v + g`, `w <- w - learning_rate v`.
    """

    shared_learning_rate: float
    private_learning_rate: float
    momentum: float


@dataclass(frozen=True)
class ClientUpdate:
    """How one client trains.

    Attributes:
      run: `(key, view, task) -> ClientOutput`, a pure function written for one client.
      support: `slice` if rows the client does not touch stay untouched by exactness
        (a whole table gives the same update); `lazy` if rows act only when touched,
        which is another algorithm than the dense one; `table` if it needs every row.
      local: a promise that `run` is nothing but these steps on the objective's batches.
    """

    run: Callable[[Key, View, Task], ClientOutput]
    support: Support = "slice"
    local: LocalSGD | None = None
