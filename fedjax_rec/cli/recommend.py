"""`fedjax-rec recommend`: what a finished run recommends to one client."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from fedjax_rec.cli.plugins import Plugins, load_plugins
from fedjax_rec.cli.process import prepare_process
from fedjax_rec.errors import UserError

if TYPE_CHECKING:
    from fedjax_rec.experiment import Experiment


@dataclass(frozen=True)
class Recommend:
    """Items that one client has not met, held-out ones included, the best first."""

    run: Annotated[Positional[Path], arg(metavar="RUN")]
    """Folder of a run, such as runs/ml-100k/fedmf."""

    client: Annotated[str, arg(metavar="ID")]
    """The client's id in the data."""

    k: int = 10
    """How many items."""

    plugin: Plugins = ()
    """Python file of others' code, or an installed plug-in; may be given several times."""

    def execute(self) -> int:
        """Prints rank, title, item id and score."""
        from rich.markup import escape
        from rich.table import Table

        from fedjax_rec.config import from_dict
        from fedjax_rec.reporting import finished_run, open_console

        if self.k < 1:
            raise UserError(f"k: expected at least 1, got {self.k}")
        record = finished_run(self.run)
        if "made_by" in record.config:
            raise UserError(
                f"{self.run}: {record.config['made_by']} made it in Python, where "
                "fedjax_rec.load_run reads it"
            )
        tell_settings = prepare_process()

        from fedjax_rec.experiment import build
        from fedjax_rec.plugins import refuse_missing

        load_plugins(self.plugin)
        config = from_dict(record.config, f"in {self.run / 'config.toml'}", is_record=True)
        refuse_missing(config.plugins, str(self.run))
        experiment = build(config)
        best = self._best(experiment)
        tell_settings()
        train = experiment.data.split.train
        table = Table("rank", "title", "item", "score")
        for rank, (item, score) in enumerate(best, start=1):
            title = train.item_titles[item] if train.item_titles else "-"
            table.add_row(str(rank), escape(title), escape(train.item_labels[item]), f"{score:.4f}")
        open_console().print(table)
        return 0

    def _best(self, experiment: "Experiment") -> list[tuple[int, float]]:
        import numpy as np

        from fedjax_rec.base import Fixed
        from fedjax_rec.evaluation import top_k
        from fedjax_rec.evaluation.later import later_events
        from fedjax_rec.simulation import load_run

        data = experiment.data
        client = self._client(data.split.train.user_labels.tolist(), data.name)
        state, clients, frozen = load_run(self.run, experiment.algorithm, data, key=experiment.key)
        split = data.split
        held_out = [held.items[client] for held in (split.valid, split.test)]
        met = np.concatenate([split.train.items[split.train.users == client], *held_out])
        items, scores = top_k(
            experiment.algorithm,
            state,
            clients,
            Fixed(frozen, data.clients),
            client,
            self.k,
            met[met < data.num_items],
            later_events(data, [split.valid, split.test]),
        )
        return list(zip(items.tolist(), scores.tolist(), strict=True))

    def _client(self, labels: list[str], name: str) -> int:
        if self.client not in labels:
            some = ", ".join(labels[:3])
            raise UserError(f"no client {self.client!r} in {name}; ids are such as {some}")
        return labels.index(self.client)
