"""`fedjax-rec algorithms`: what can be run, and its settings."""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from tyro.conf import Positional, arg

from fedjax_rec.cli.docstrings import body_of, meanings_of, summary_of
from fedjax_rec.cli.plugins import Plugins, load_plugins


@dataclass(frozen=True)
class Algorithms:
    """Algorithms and baselines; with a name, what it is and what its settings mean."""

    name: Annotated[Positional[str], arg(metavar="NAME")] = ""
    """An algorithm or baseline, such as fedmf."""

    model: Annotated[str, arg(metavar="MODEL")] = ""
    """With a NAME that takes any model: the settings that it has with this one."""

    plugin: Plugins = ()
    """Python file of others' code, or an installed plug-in; may be given several times."""

    def execute(self) -> int:
        """Prints a table, or one algorithm's settings."""
        load_plugins(self.plugin)
        return self._explain() if self.name else self._list()

    def _list(self) -> int:
        from rich.table import Table

        from fedjax_rec.algorithms import ALGORITHMS
        from fedjax_rec.baselines import BASELINES
        from fedjax_rec.experiment.assembly import own_settings
        from fedjax_rec.reporting import open_console

        table = Table("name", "kind", "what it is", "settings")
        for kind, registry in (("algorithm", ALGORITHMS), ("baseline", BASELINES)):
            for name, factory in registry.items():
                settings = [f"{key} = {value}" for key, value in own_settings(factory).items()]
                table.add_row(name, kind, summary_of(factory), ", ".join(settings) or "none")
        console = open_console()
        console.print(table)
        console.print("fedjax-rec algorithms NAME explains settings", highlight=False)
        return 0

    def _explain(self) -> int:
        from rich.markup import escape
        from rich.table import Table

        from fedjax_rec.experiment.assembly import check_settings, find_factory, own_settings
        from fedjax_rec.reporting import open_console

        factory = find_factory(self.name)
        chosen = {"model": self.model} if self.model else {}
        checked = check_settings(self.name, factory, {**chosen})
        settings = {**own_settings(factory, checked)} | checked
        known = meanings(factory, settings)
        console = open_console()
        text = "\n\n".join([f"{self.name}: {summary_of(factory)}", *body_of(factory)])
        console.print(escape(text), highlight=False, soft_wrap=True)
        table = Table("setting", "default", "meaning")
        for name, value in settings.items():
            shown = str(value).lower() if isinstance(value, bool) else str(value)
            table.add_row(f"algorithm.{name}", shown, escape(known.get(name, "")))
        if settings:
            console.print(table)
        if presets := _presets_of(self.name):
            console.print(f"presets: {', '.join(presets)}", highlight=False, soft_wrap=True)
        return 0


def meanings(factory: Callable[..., Any], settings: Mapping[str, Any]) -> dict[str, str]:
    """Setting -> what a docstring says of it, where one does.

    Args:
      factory: of an algorithm or baseline.
      settings: its own, with values; model and objective among them have settings too.
    """
    known: dict[str, str] = {}
    for one in _described(factory, settings):
        known = meanings_of(one) | known
    return {name: known[name] for name in settings if name in known}


def _described(factory: Callable[..., Any], settings: Mapping[str, Any]) -> Iterator[Any]:
    """What may explain a factory's settings, the nearest first."""
    from fedjax_rec.models import MODELS
    from fedjax_rec.objectives import OBJECTIVES
    from fedjax_rec.recommenders import objective_name, recommender

    if hasattr(factory, "parameters_for"):  # its own `model` is no name
        yield recommender
    yield from _with_named(factory)
    yield recommender
    if model := settings.get("model"):
        yield MODELS.find(model)
        feedback = settings.get("feedback", "implicit")
        yield OBJECTIVES.find(objective_name(model, feedback, settings.get("objective", "")))
    yield from OBJECTIVES.load().values()


def _with_named(factory: Any) -> Iterator[Any]:
    """A factory, and those whose settings its docstring says that it has."""
    from fedjax_rec.algorithms import ALGORITHMS
    from fedjax_rec.baselines import BASELINES

    known = {**ALGORITHMS.load(), **BASELINES.load()}
    waiting, seen = [factory], set()
    while waiting:
        one = waiting.pop(0)
        yield one
        names = re.findall(r"(?:of|[Ss]ee) `(\w+)`", inspect.getdoc(one) or "")
        waiting += [known[name] for name in names if name in known and name not in seen]
        seen |= {*names}


def _presets_of(name: str) -> list[str]:
    from fedjax_rec.config import preset_names
    from fedjax_rec.config.files import preset_folder, read_toml

    folder = preset_folder()
    found = ((preset, read_toml(folder / f"{preset}.toml")) for preset in preset_names())
    return [preset for preset, table in found if table["algorithm"]["name"] == name]
