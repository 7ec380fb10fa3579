"""The schema of a run: frozen dataclasses, an option's help text and range beside it.

Standard library only: `fedjax-rec run --help` reads this and no jax.
"""

from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from fedjax_rec.config.data_schema import (
    DataConfig,
    NegativesConfig,
    SilosConfig,
    SplitConfig,
    option,
)

Scalar = int | float | str | bool


@dataclass(frozen=True, kw_only=True)
class AlgorithmConfig:
    """The algorithm or baseline, and its own settings."""

    name: str = option(MISSING, "Algorithm or baseline; `fedjax-rec algorithms` names them.")
    settings: dict[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class CohortConfig:
    """Which clients take part in a round."""

    sampler: str = option(
        "all",
        "all: all clients; uniform: `size` of them without replacement; rotating: the next "
        "`size` of a shuffled queue; poisson: each by itself; cyclic_poisson: each of one of "
        "`separation` groups by itself; min_separation: `size` of those who have rested; "
        "availability: `size` of whoever has its night; or a registered sampler.",
    )
    size: int = option(
        0, "Clients a round: exactly, expected for poisson, at most for availability.", least=0
    )
    separation: int = option(
        0,
        "Rounds after which a client may come again, of cyclic_poisson and min_separation; 0: "
        "half of what `size` allows.",
        least=0,
    )


@dataclass(frozen=True, kw_only=True)
class Link:
    """A transform of an aggregate chain.

    Attributes:
      name: of a registered transform.
      settings: its own.
    """

    name: str
    settings: dict[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class AggregateConfig:
    """What happens to an update on its way to the server."""

    mean: Literal["row", "client", "example", "sum"] = option(
        "row", "Mean of the updates by touched row, by client or by example; or their sum."
    )
    chain: tuple[Link, ...] = ()
    """Transforms in order, in place of the mean: `[[aggregate.chain]]` tables."""


@dataclass(frozen=True, kw_only=True)
class PrivacyConfig:
    """A promise to every client: noise, and what its epsilon is; see docs/privacy.md."""

    epsilon: float = option(
        0.0, "The most that the run may cost a client; training ends there. 0: no limit.", least=0
    )
    delta: float = option(
        0.0, "Delta beside epsilon; 0: the smaller of 1e-5 and N^-1.1.", least=0, below=1
    )
    clip_norm: float = option(1.0, "Largest L2 norm of a client's update.", above=0)
    noise_multiplier: float = option(
        0.0, "Standard deviation of the noise over clip_norm; 0: what epsilon asks for.", least=0
    )
    mechanism: Literal["gaussian", "correlated", "local"] = option(
        "gaussian",
        "gaussian: noise drawn anew each round, for random (Poisson) cohorts; correlated: later "
        "rounds take back noise of earlier ones, for cohorts whose clients come seldom (rotating, "
        "cyclic_poisson, min_separation, availability); local: each client adds its own, for a "
        "server that is not trusted.",
    )
    bands: int = option(
        0,
        "Of correlated noise: so many rounds take back noise of one, which keeps as many tables "
        "less one; at most what the cohorts' separation allows. 0: a buffered matrix, of two or "
        "three tables.",
        least=0,
    )
    keep_per_client: bool = option(
        False,
        "Write every client's test metrics into the run folder all the same: no noise covers them.",
    )

    @property
    def is_on(self) -> bool:
        """Whether there is noise."""
        return self.epsilon > 0 or self.noise_multiplier > 0


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """How the server moves."""

    optimizer: str = option("sgd", "Any optax optimizer, by name: sgd, adam, yogi ...")
    learning_rate: float = option(1.0, "The server's learning rate.", above=0)
    momentum: float = option(0.0, "Momentum, for optimizers that take it.", least=0, below=1)


@dataclass(frozen=True, kw_only=True)
class StartConfig:
    """What training begins with."""

    run: str = option(
        "",
        "Folder of a finished run, on any data: its shared dense parameters (factors, projections, "
        "towers) are taken over; rows of items and what clients keep are made afresh. Empty: all "
        "is.",
    )


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """How the model is judged."""

    every: int = option(5, "Rounds between evaluations.", least=1)
    task: Literal["ranking", "rating", "label"] = option(
        "ranking",
        "Rank held-out items, or predict their values: ratings, or labels 0 and 1 (scores are "
        "logits). The next five options are of rankings.",
    )
    at_k: tuple[int, ...] = option((5, 10, 20), "Cut-offs K of the metrics.", least=1)
    candidates: Literal["full", "uni99", "file", "held_out"] = option(
        "full",
        "Rank the whole catalogue, the held-out item among 99 drawn uniformly, the data set's "
        "own list, or the items that split.holdout items holds out.",
    )
    candidates_seed: int = option(0, "Seed of the drawn candidates.", least=0)
    score_ties: Literal["pessimistic", "optimistic"] = option(
        "pessimistic", "Where the held-out item ranks among equal scores: last or first."
    )
    seen_items: Literal["removed", "ranked"] = option(
        "removed",
        "Items that the client has met leave the ranking; ranked: they stay, for repeat "
        "consumption (with data.repeats keep).",
    )
    history: Literal["train", "train_and_valid"] = option(
        "train",
        "What models that read a history know of a client at test: its training events; or its "
        "validation events behind them too, as published sequential models.",
    )
    clients: int = option(
        0, "People who are evaluated, chosen by a hash of their ids; 0: all.", least=0
    )
    training_clients: int = option(
        0,
        "How many of them while the run trains, for early stopping too; 0: as many.",
        least=0,
    )
    clients_seed: int = option(0, "Seed of the hash that chooses them.", least=0)


@dataclass(frozen=True, kw_only=True)
class StopConfig:
    """When training ends before its last round; the best round is restored."""

    metric: str = option("valid/ndcg@10", "Metric that is watched, of what `select` names.")
    select: Literal["validation", "test_as_released"] = option(
        "validation",
        "Items that choose the reported round; test_as_released: the test items, as some "
        "released code does. Such results are too good, and are labelled wherever shown.",
    )
    patience: int = option(0, "Evaluations without a better value; 0: never stop.", least=0)
    min_rounds: int = option(0, "Rounds before which patience does not count.", least=0)
    waits_for: Literal["popularity", "nothing"] = option(
        "popularity",
        "Patience does not count before the metric is better than Popularity's on the same items "
        "(of rankings); nothing: it counts from the first evaluation.",
    )
    target: float = option(0.0, "Value at which training stops; 0: none.", least=0)


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """When the run is saved."""

    every: int = option(1, "Rounds between checkpoints.", least=1)
    seconds: float = option(0.0, "Least seconds between checkpoints.", least=0)
    keep: int = option(3, "Checkpoints kept.", least=1)


@dataclass(frozen=True, kw_only=True)
class ExecutionConfig:
    """How the simulation is run; it changes no result."""

    executor: Literal["auto", "general", "streaming"] = option(
        "auto", "How clients are trained: streamed where the algorithm allows it."
    )
    chunk_size: int = option(0, "Clients trained at a time; 0: chosen.", least=0)
    num_devices: int = option(0, "Devices that clients are spread over; 0: all.", least=0)
    debug: bool = option(False, "Un-jitted, one client at a time: slow, and open to a debugger.")


@dataclass(frozen=True, kw_only=True)
class CommunicationConfig:
    """What a real client would send and receive; the byte counts follow it."""

    payload: Literal["table", "rows"] = option(
        "table", "The whole item table, or only the rows a client touches (reveals which)."
    )


@dataclass(frozen=True, kw_only=True)
class PluginRecord:
    """Somebody's code that a run needs. It is named here and never loaded from here.

    Attributes:
      name: of the file, or of an installed plug-in.
      sha256: of its text.
    """

    name: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A run: everything its result depends on, and how it is executed."""

    preset: str = option("", "The preset it came from.")
    seed: int = option(0, "Root of every random number of the run.", least=0, most=2**32 - 1)
    rounds: int = option(100, "Rounds, that is server updates.", least=1)
    data: DataConfig
    split: SplitConfig = field(default_factory=SplitConfig)
    silos: SilosConfig = field(default_factory=SilosConfig)
    negatives: NegativesConfig = field(default_factory=NegativesConfig)
    algorithm: AlgorithmConfig
    cohort: CohortConfig = CohortConfig()
    aggregate: AggregateConfig = AggregateConfig()
    privacy: PrivacyConfig = PrivacyConfig()
    server: ServerConfig = ServerConfig()
    start: StartConfig = StartConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    stop: StopConfig = StopConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    execution: ExecutionConfig = ExecutionConfig()
    communication: CommunicationConfig = CommunicationConfig()
    plugins: tuple[PluginRecord, ...] = ()
    given: frozenset[str] = field(default=frozenset(), compare=False)
    """The keys that were asked for: a key that is set to its default is set all the same."""

    def is_given(self, section: str) -> list[str]:
        """The keys of a section that were asked for, by value or by name."""
        keys = [
            key
            for key, (_, entry) in OPTIONS.items()
            if key.startswith(f"{section}.")
            and (key in self.given or self.value(key) != entry.default)
        ]
        has_chain = section == "aggregate" and self.aggregate.chain
        return [*keys, "aggregate.chain"] if has_chain else keys

    def value(self, key: str) -> Any:
        """The value of an option by its dotted key."""
        section, _, name = key.rpartition(".")
        return getattr(getattr(self, section) if section else self, name)


# --------------------------------------------------------------------- schema


def options(section: type = RunConfig, prefix: str = "") -> Iterator[tuple[str, Any, Field[Any]]]:
    """Every option of the schema: its dotted key, its type and its dataclass field.

    >>> [key for key, _, _ in options() if key.startswith("server")]
    ['server.optimizer', 'server.learning_rate', 'server.momentum']
    """
    hints = get_type_hints(section)
    for entry in fields(section):
        kind = hints[entry.name]
        if is_dataclass(kind):
            yield from options(kind, f"{prefix}{entry.name}.")  # type: ignore[arg-type]
        elif "help" in entry.metadata:
            yield prefix + entry.name, kind, entry


OPTIONS = {key: (kind, entry) for key, kind, entry in options()}
SECTIONS: dict[str, Any] = {
    name: kind for name, kind in get_type_hints(RunConfig).items() if is_dataclass(kind)
}


def type_name(kind: Any) -> str:
    """An option's type in words.

    >>> type_name(int), type_name(Literal["a", "b"])
    ('an integer', 'one of: a, b')
    """
    if get_origin(kind) is Literal:
        return f"one of: {', '.join(get_args(kind))}"
    words = {int: "an integer", float: "a number", str: "a string", bool: "true or false"}
    return words.get(kind, "a list of integers")
