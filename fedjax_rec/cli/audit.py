"""`fedjax-rec audit`: what a score, or a promise of privacy, is worth."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import FlagCreatePairsOff, Positional, Suppress, arg

from fedjax_rec.cli.plugins import Plugins, load_plugins, refuse_missing_plugins
from fedjax_rec.cli.process import prepare_process
from fedjax_rec.cli.run import goes_on_with_audit, prepare_folder
from fedjax_rec.config import load_preset
from fedjax_rec.errors import UserError


@dataclass(frozen=True)
class Audit:
    """What a result is worth.

    `evaluation`: what of a score is a leak: trains on every pool of negatives, and without
    federation. `privacy`: what attacks find in the run.

    Every key of the configuration may be given, as for `run`.
    """

    action: Annotated[
        Positional[Literal["evaluation", "privacy"]], arg(metavar="evaluation|privacy")
    ]
    """What is audited."""

    preset: Annotated[Positional[str], arg(metavar="PRESET|FILE.toml")]
    """A preset such as ml-100k/pfedrec, or a TOML file."""

    output: Annotated[Path | None, arg(metavar="DIR")] = None
    """Folder of the audit; by default audits/PRESET, or audits/privacy/PRESET."""

    clients: Annotated[int, arg(metavar="N")] = 0
    """Of privacy: how many clients are attacked; by default 100."""

    no_resume: Annotated[bool, FlagCreatePairsOff, arg(aliases=["--no-resume"])] = False
    """Start over, deleting what the folder holds of an earlier audit."""

    plugin: Plugins = ()
    """Python file of others' code, or an installed plug-in; may be given several times."""

    overrides: Suppress[tuple[str, ...]] = ()

    def execute(self) -> int:
        """Audits, writes what was found and prints it."""
        if self.action == "evaluation":
            return self._evaluation()
        from fedjax_rec.cli.audit_privacy import audit_privacy_of

        return audit_privacy_of(
            self.preset,
            self.overrides,
            output=self.output,
            num_clients=self.clients or 100,
            plugins=self.plugin,
            no_resume=self.no_resume,
        )

    def _evaluation(self) -> int:
        """Writes `audit.json` and prints a table."""
        if self.clients:
            raise UserError("--clients: belongs to audit privacy; leave it out")
        config = load_preset(self.preset, self.overrides)
        tell_settings = prepare_process()

        from fedjax_rec.audit import audit_evaluation, share_explained
        from fedjax_rec.data.reading import print_notice
        from fedjax_rec.experiment import resolve
        from fedjax_rec.reporting import audit_table, open_console
        from fedjax_rec.simulation.locking import only_run_in
        from fedjax_rec.simulation.records import write_json

        load_plugins(self.plugin)
        folder = self.output or Path("audits") / Path(self.preset).with_suffix("")
        if not self.no_resume:
            refuse_missing_plugins(folder)
        config = resolve(config)
        is_going_on = goes_on_with_audit(folder, config, no_resume=self.no_resume)
        tell_settings()
        command = ["fedjax-rec", "audit", "evaluation", self.preset]
        command += [word for plugin in self.plugin for word in ("--plugin", plugin)]
        command += self.overrides
        console = open_console()
        with only_run_in(folder):
            prepare_folder(folder, config, command, is_going_on=is_going_on)
            found = audit_evaluation(
                config,
                folder,
                resume=is_going_on,
                report=lambda arm, told: console.print(
                    f"{arm}: round {told.round} of {told.rounds}"
                ),
                notice=print_notice,
            )
        if found is None:
            print("interrupted: saved; the same command goes on")
            return 130
        write_json(folder / "audit.json", found)
        metric = f"hit_rate@{max(config.evaluate.at_k)}"
        metric = "hit_rate@10" if 10 in config.evaluate.at_k else metric
        console.print(audit_table(found, metric))
        share = share_explained(found, f"own/{metric}")
        fair = found["train"]["uni99"][f"own/{metric}"]
        print(
            f"{share:.0%} of the {metric} among 99 candidates comes with negatives that avoid "
            f"held-out items; with fair ones it is {fair:.3f}"
        )
        print(f"written to {folder / 'audit.json'}")
        return 0
