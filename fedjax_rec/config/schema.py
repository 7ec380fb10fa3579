"""The schema of a run: frozen dataclasses, an option's help text and range beside it.

Standard library only: `fedjax-rec run --help` reads this and no jax.
"""

from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

Scalar = int | float | str | bool


def option(default: Any, help: str, **limits: Any) -> Any:
    """An option of a section: its default (`MISSING`: required), help text and limits.

    Args:
      default: what holds when nothing is said.
      help: one sentence, shown by `--help`.
      limits: `least` and `most` (inclusive) or `above` and `below` (exclusive).
    """
    return field(default=default, metadata={"help": help, **limits})


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which interactions the clients hold."""

    name: str = option(MISSING, "Data set; `fedjax-rec data list` names them.")
    path: str = option(
        "",
        "File, folder or ARCHIVE.zip:MEMBER to read; empty: found or obtained by name. With a path "
        "and no name beside it the data set is called `mine`.",
    )
    layout: str = option("", "How the file is laid out, by name; empty: found out.")
    user: str = option("", "Its column of users, by name or by number from 1; empty: found out.")
    item: str = option("", "Its column of items, likewise.")
    rating: str = option(
        "", "Its column of ratings or counts, likewise; empty beside data.user: 1."
    )
    time: str = option("", "Its column of times, likewise; empty beside data.user: none.")
    separator: str = option("", "Between its columns: tab, comma, semicolon, blank, '|' or '::'.")
    other: str = option("", "A second domain to train on beside it: file or folder, same users.")
    repeats: Literal["first", "last", "sum", "keep"] = option(
        "first",
        "Events of a user with one item: merged into the first or the last, or the first with the "
        "sum of their values, or all kept; a held-out item that was trained on is then not asked "
        "about.",
    )
    min_rating: float = option(0.0, "Least rating of an event that is used; 0: all.")
    since: str = option("", "Events from this time on are used: a date, or seconds; empty: all.")
    until: str = option("", "Events before this time are used, likewise.")
    core: int = option(
        0, "Users and items with so many of each other at least, repeatedly; 0: all.", least=0
    )
    num_users: int = option(
        0, "Users of `synthetic` (0: its own default), or so many of other data (0: all).", least=0
    )
    num_items: int = option(0, "Items of `synthetic`; 0: its own default.", least=0)
    mean_events: float = option(
        0.0, "Mean events a user of `synthetic`; 0: its own default.", least=0
    )
    seed: int = option(0, "Seed of `synthetic`, and of which users are kept.", least=0)


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """Which events are held out."""

    holdout: Literal[
        "leave_one_out",
        "leave_one_out_hash",
        "temporal",
        "ratio",
        "users",
        "items",
        "file",
        "common_records",
        "own_records",
    ] = option(
        "leave_one_out",
        "What is tested: each user's latest event, or an item by hash; a share of all events "
        "(the latest) or of each user's (by hash); half of the events of a share of the users, "
        "who never train; all events of a share of the items; what the data set's files say; of "
        "silos: records like everybody's, or like the silo's own. Where it is not set, files with "
        "a split say, and where times are missing the hash does.",
    )
    validation: Literal[
        "second_latest", "hash", "temporal", "ratio", "users", "items", "records", "file", "none"
    ] = option(
        "second_latest",
        "The validation item, never trained on: the latest that is not tested, or one by hash; "
        "a share for temporal, ratio, users and items, records for silos, the files' own; none "
        "returns it to training.",
    )
    ties: Literal["hash", "file_order", "item_id"] = option(
        "hash", "Which of several events of one time is later: by hash, line or item id."
    )
    seed: int = option(0, "Seed of the hashes that break ties and choose items.", least=0)
    share: float = option(
        0.1,
        "Share of the events that temporal and ratio hold out, of users or items for these.",
        above=0,
        below=0.5,
    )
    max_events: int = option(0, "Events of a user that are used, chosen by hash; 0: all.", least=0)


@dataclass(frozen=True, kw_only=True)
class SilosConfig:
    """Silos that hold records, each a rating with features, in place of a client a user."""

    number: int = option(0, "Silos, each a client; 0: each user is a client.", least=0)
    size: int = option(1000, "Records that each silo trains on.", least=1)
    test: int = option(
        10_000, "Tested records; as many again for validation where there is any.", least=1
    )
    positive_from: float = option(4.0, "The least rating of a positive record.")
    alpha: float = option(
        0.0, "Dirichlet concentration of each silo's labels; 0: all are alike.", least=0
    )
    exchange: Literal["updates", "nothing", "records"] = option(
        "updates",
        "What silos give away: updates (federated), nothing (each trains alone), or all their "
        "records, to one owner (centralised).",
    )


@dataclass(frozen=True, kw_only=True)
class NegativesConfig:
    """Which items training negatives avoid."""

    exclude: Literal["train", "heldout", "heldout_and_candidates"] = option(
        "train",
        "A client's training items; heldout: its held-out items too (a leak); "
        "heldout_and_candidates: what they are ranked among as well; of split.holdout items, all "
        "items that are held out.",
    )


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
    mechanism: Literal["gaussian", "correlated"] = option(
        "gaussian",
        "gaussian: noise drawn anew each round, for random (Poisson) cohorts; correlated: later "
        "rounds take back noise of earlier ones, for cohorts whose clients come seldom (rotating, "
        "cyclic_poisson, min_separation, availability).",
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
    split: SplitConfig = SplitConfig()
    silos: SilosConfig = SilosConfig()
    negatives: NegativesConfig = NegativesConfig()
    algorithm: AlgorithmConfig
    cohort: CohortConfig = CohortConfig()
    aggregate: AggregateConfig = AggregateConfig()
    privacy: PrivacyConfig = PrivacyConfig()
    server: ServerConfig = ServerConfig()
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
