"""What may be chosen by name: one registry for every slot, the package's own entries included.

    from fedjax_rec import register

    @register.model("my_mf")
    def my_mf(num_items: int, dim: int = 32) -> Model: ...

A name that is registered can be used in TOML and on the command line. The package's own
entries register when their package is imported, which asking for a name does.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from typing import Any, Generic, TypeVar

from fedjax_rec.errors import UserError, did_you_mean

Entry = TypeVar("Entry")
AnyEntry = TypeVar("AnyEntry")

_replaced: list[str] = []
_plugin: ContextVar[str] = ContextVar("plugin", default="")


class Registry(dict[str, Entry], Generic[Entry]):
    """Name -> entry of one slot.

    Attributes:
      what: what messages call an entry.
      facts: name -> what was said of the entry when it was registered.
      origins: name -> the plug-in that registered it; of the package's own "".
      rivals: other registries whose names this one's must differ from.

    >>> colours: Registry[int] = Registry("colour")
    >>> colours.register("red", 1)
    1
    >>> colours.find("red")
    1
    """

    def __init__(self, what: str, home: str = "") -> None:
        """An empty registry.

        Args:
          what: what messages call an entry.
          home: the package whose import registers the package's own entries.
        """
        super().__init__()
        self.what = what
        self.facts: dict[str, dict[str, Any]] = {}
        self.origins: dict[str, str] = {}
        self.rivals: tuple[Registry[Any], ...] = ()
        self._home = home

    def register(self, name: str, entry: AnyEntry, **facts: Any) -> AnyEntry:
        """Makes an entry known by a name.

        Args:
          name: of the entry; letters, digits, `_`, `-`, `+` and `.`.
          entry: what the slot takes.
          **facts: see the slot.

        Returns:
          The entry as it is.

        Raises:
          UserError: something else has that name, or it cannot be written in a configuration.
        """
        if not name or not all(letter.isalnum() or letter in "_-+." for letter in name):
            raise UserError(
                f"{self.what} {name!r}: a name is made of letters, digits, _, -, + and ."
            )
        for other in (self, *self.rivals):
            is_again = other is self and name in self and _is_same(self[name], entry)
            if name in other and not is_again:
                owner = other.origins[name] or "fedjax_rec"
                raise UserError(
                    f"{other.what} {name!r} is registered already, by {owner}; choose another name"
                )
        if name in self:
            _replaced.append(name)
        self[name] = entry  # type: ignore[assignment]
        self.facts[name] = facts
        self.origins[name] = _plugin.get()
        return entry

    def named(self, name: str, **facts: Any) -> Callable[[AnyEntry], AnyEntry]:
        """`register` as a decorator."""
        return lambda entry: self.register(name, entry, **facts)

    def find(self, name: str) -> Entry:
        """The entry of that name.

        Raises:
          UserError: there is none; the message hints at the nearest name.
        """
        self.load()
        if name not in self:
            raise UserError(f"unknown {self.what} {name!r}{did_you_mean(name, self)}")
        return self[name]

    def load(self) -> "Registry[Entry]":
        """The registry with the package's own entries in it."""
        if self._home:
            import_module(self._home)
        return self

    def forget(self, plugin: str) -> None:
        """Removes what a plug-in has registered."""
        for name in [name for name, origin in self.origins.items() if origin == plugin]:
            _replaced.append(name)
            del self[name], self.facts[name], self.origins[name]


def registrations() -> int:
    """Changes whenever a name comes to mean something else: programs are not shared beyond it."""
    return len(_replaced)


def _is_same(one: Any, other: Any) -> bool:
    """Whether an entry is defined anew where it was defined before, as in a notebook."""
    places = [
        (getattr(each, "__module__", None), getattr(each, "__qualname__", None))
        for each in (one, other)
    ]
    return one is other or (places[0] == places[1] and None not in places[0])


@contextmanager
def registering(plugin: str) -> Iterator[None]:
    """What is registered meanwhile is the plug-in's."""
    token = _plugin.set(plugin)
    try:
        yield
    finally:
        _plugin.reset(token)


ALGORITHMS: Registry[Callable[..., Any]] = Registry("algorithm", "fedjax_rec.algorithms")
BASELINES: Registry[Callable[..., Any]] = Registry("baseline", "fedjax_rec.baselines")
MODELS: Registry[Callable[..., Any]] = Registry("model", "fedjax_rec.models")
OBJECTIVES: Registry[Callable[..., Any]] = Registry("objective", "fedjax_rec.objectives")
TRANSFORMS: Registry[Callable[..., Any]] = Registry("transform", "fedjax_rec.transforms")
OPTIMIZERS: Registry[Callable[..., Any]] = Registry("optimizer", "fedjax_rec.optimizers")
SAMPLERS: Registry[Callable[..., Any]] = Registry("cohort sampler", "fedjax_rec.sampling")
METRICS: Registry[Callable[..., Any]] = Registry("metric", "fedjax_rec.evaluation")
LIST_METRICS: Registry[Callable[..., Any]] = Registry("metric of lists", "fedjax_rec.evaluation")
READERS: Registry[Any] = Registry("reader", "fedjax_rec.data.sources")
LOGGERS: Registry[Callable[..., Any]] = Registry("logger", "fedjax_rec.simulation.loggers")

for one, other in ((ALGORITHMS, BASELINES), (METRICS, LIST_METRICS)):
    one.rivals, other.rivals = (other,), (one,)

SLOTS: dict[str, Registry[Any]] = {
    "algorithm": ALGORITHMS,
    "baseline": BASELINES,
    "model": MODELS,
    "objective": OBJECTIVES,
    "transform": TRANSFORMS,
    "optimizer": OPTIMIZERS,
    "sampler": SAMPLERS,
    "metric": METRICS,
    "list_metric": LIST_METRICS,
    "reader": READERS,
    "logger": LOGGERS,
}
"""Every slot that is filled by name."""


class Register:
    """`register.SLOT(name, entry)`, or `@register.SLOT(name)` above a function.

    - `algorithm`, `baseline`: `(num_items, *, settings, aggregate, server_optimizer) ->
      FederatedAlgorithm`; settings are keyword arguments that default to a number, a word or
      a truth value.
    - `model`: `(num_items, *, dim, ...) -> Model`, for algorithms that suit any model. Facts:
      settings that suit it, such as `objective="next_item"` or `local_optimizer="adam"`.
    - `objective`: `(num_items, *, settings) -> Objective`.
    - `transform`: `(settings) -> AggregateTransform`, a link of `[[aggregate.chain]]`.
    - `optimizer`: `(learning_rate) -> optax.GradientTransformation`.
    - `sampler`: `(num_clients, size) -> CohortSampler`; `size` may be left out.
    - `metric`: `(ranks, num_relevant, k) -> values`, see `evaluation.metrics`.
    - `list_metric`: `(lists, consumption) -> number`, see `evaluation.beyond`.
    - `reader`: a `data.sources.Format`.
    - `logger`: `(folder, round) -> Logger`, see `simulation.loggers`.
    """

    def __init__(self, slots: dict[str, Registry[Any]]) -> None:
        """Registers in these slots."""
        self._slots = slots

    def __getattr__(self, slot: str) -> Callable[..., Any]:
        if slot.startswith("_") or slot not in self._slots:
            raise AttributeError(f"nothing is registered as {slot!r}{did_you_mean(slot, SLOTS)}")
        registry = self._slots[slot]

        def put(name: str, entry: Any = None, **facts: Any) -> Any:
            for each in (registry, *registry.rivals):
                each.load()
            if entry is not None:
                return registry.register(name, entry, **facts)
            return registry.named(name, **facts)

        return put

    def __dir__(self) -> list[str]:
        return sorted(self._slots)


register = Register(SLOTS)
