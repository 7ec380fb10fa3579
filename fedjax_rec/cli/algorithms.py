"""`fedjax-rec algorithms`: what can be run, and its settings."""

import inspect
from dataclasses import dataclass

from fedjax_rec.cli.plugins import Plugins, load_plugins


@dataclass(frozen=True)
class Algorithms:
    """Algorithms and baselines, with the settings that [algorithm] may hold."""

    plugin: Plugins = ()
    """Python file of others' code, or an installed plug-in; may be given several times."""

    def execute(self) -> int:
        """Prints a table."""
        from rich.table import Table

        from fedjax_rec.algorithms import ALGORITHMS
        from fedjax_rec.baselines import BASELINES
        from fedjax_rec.experiment.assembly import own_settings
        from fedjax_rec.reporting import open_console

        load_plugins(self.plugin)
        table = Table("name", "kind", "what it is", "settings", show_lines=True)
        for kind, registry in (("algorithm", ALGORITHMS), ("baseline", BASELINES)):
            for name, factory in registry.items():
                summary = (inspect.getdoc(factory) or "").split("\n", 1)[0]
                settings = [f"{key} = {value}" for key, value in own_settings(factory).items()]
                table.add_row(name, kind, summary, "\n".join(settings) or "none")
        open_console().print(table)
        return 0
