"""`fedjax-rec run`: train and evaluate in a folder that can be gone on with."""

import shlex
import shutil
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import FlagCreatePairsOff, Positional, Suppress, UseAppendAction, arg

from fedjax_rec.cli.memory import refuse_impossible
from fedjax_rec.cli.plugins import Plugins, load_plugins, refuse_missing_plugins
from fedjax_rec.cli.process import hush_libraries, prepare_process
from fedjax_rec.cli.telling import Told
from fedjax_rec.cli.tune import Tuning, words_of
from fedjax_rec.config import (
    RunConfig,
    first_difference,
    from_dict,
    load_preset,
    read_toml,
    to_toml,
)
from fedjax_rec.cpu import available_memory
from fedjax_rec.errors import UserError
from fedjax_rec.registry import LOGGERS

TRIALS, MINUTES = 12, 10.0
"""The budget of a search of which none is named."""

NOT_COMPARED = ("preset", "rounds", "checkpoint", "execution")
"""What may differ when a run goes on: none of it changes a round's result."""

if TYPE_CHECKING:
    from fedjax_rec.experiment import Experiment
    from fedjax_rec.simulation.loggers import OpenLogger


@dataclass(frozen=True)
class Run:
    """Train and evaluate; a run that was stopped goes on where it was.

    Every key below may be given; what is not given comes from the preset.
    """

    preset: Annotated[Positional[str], arg(metavar="PRESET|FILE.toml")]
    """A preset such as ml-100k/fedmf, or a TOML file."""

    output: Annotated[Path | None, arg(metavar="DIR")] = None
    """Folder of the run; by default runs/PRESET."""

    no_resume: Annotated[bool, FlagCreatePairsOff, arg(aliases=["--no-resume"])] = False
    """Start over, deleting what the folder holds of an earlier run."""

    quiet: Annotated[bool, FlagCreatePairsOff] = False
    """Print nothing but warnings and mistakes."""

    json: Annotated[bool, FlagCreatePairsOff] = False
    """Print the summary as one JSON object on standard output, and nothing else there."""

    log: Annotated[tuple[str, ...], UseAppendAction, arg(metavar="NAME")] = ()
    """Logger that gets metrics as they come: csv, or a plug-in's; may be given several times."""

    tune: Annotated[bool, FlagCreatePairsOff] = False
    """First try settings on validation items, within the budget below, and take the best."""

    tune_trials: Annotated[int | None, arg(name="tune.trials", metavar="N")] = None
    """Of a search: how many settings are tried, the preset's own among them; 12 by default."""

    tune_minutes: Annotated[float | None, arg(name="tune.minutes", metavar="MINUTES")] = None
    """Of a search: no trial is started after so long; 10 by default."""

    plugin: Plugins = ()
    """Python file of others' code, or an installed plug-in; may be given several times."""

    overrides: Suppress[tuple[str, ...]] = ()

    def execute(self) -> int:
        """Runs, or prints the results of a run that is finished."""
        config = load_preset(self.preset, self.overrides)
        folder = self.output or default_output(self.preset)
        tell_settings = prepare_process()

        from fedjax_rec.experiment import as_before, build, resolve
        from fedjax_rec.reporting import read_summary
        from fedjax_rec.simulation.locking import only_run_in

        hush_libraries()
        load_plugins(self.plugin)
        loggers = [LOGGERS.find(name) for name in self.log]
        if not self.no_resume:
            refuse_missing_plugins(folder)
        told = Told(quiet=self.quiet, json=self.json)
        host_memory = available_memory()
        if tuning := self._tuning(folder):
            point = tuning.chosen(told, host_memory, no_resume=self.no_resume)
            if point is None:
                told.line("interrupted: saved; to go on:")
                told.line(f"  {shlex.join(replace(self, no_resume=False).command())}")
                return 130
            config = load_preset(self.preset, [*self.overrides, *words_of(point)])
        config = resolve(config, told.notice)
        earlier = earlier_config(folder, config, no_resume=self.no_resume)
        if earlier is not None:
            config = as_before(config, earlier)
        is_finished = earlier is not None and earlier.rounds == config.rounds
        experiment = build(config, told.notice)
        if earlier is not None:
            refuse_other_data(folder, experiment)
        if is_finished and (summary := read_summary(folder)):
            told.results(summary, before=f"{folder}: finished earlier")
            return 0
        refuse_impossible(experiment, host_memory)
        if not self.quiet:
            tell_settings()
        with only_run_in(folder):
            return self._train(experiment, folder, told, loggers, is_going_on=earlier is not None)

    def _tuning(self, folder: Path) -> Tuning | None:
        """The search that comes first, if one is asked for."""
        budget = self.tune_trials, self.tune_minutes
        if not self.tune and budget == (None, None):
            return None
        trials, minutes = (
            default if given is None else given
            for given, default in zip(budget, (TRIALS, MINUTES), strict=True)
        )
        return Tuning(
            self.preset, self.overrides, folder, int(trials), float(minutes), tuple(self.plugin)
        )

    def _train(
        self,
        experiment: "Experiment",
        folder: Path,
        told: Told,
        loggers: Sequence["OpenLogger"],
        *,
        is_going_on: bool,
    ) -> int:
        from fedjax_rec.reporting import environment
        from fedjax_rec.simulation.records import write_json

        config = experiment.config
        write_json(folder / "environment.json", environment(self.command(), config.seed))
        with told.progress() as report:
            result = experiment.run(
                folder,
                resume=is_going_on,
                report=report,
                notice=told.notice,
                loggers=loggers,
            )
        if result.is_interrupted:
            done = result.metrics[-1]["round"] if result.metrics else 0
            told.line(f"interrupted: saved after round {done} of {config.rounds}; to go on:")
            told.line(f"  {shlex.join(replace(self, no_resume=False).command())}")
            return 130
        told.results(result.summary, after=f"written to {folder}")
        return 0

    def command(self) -> list[str]:
        """The words of a command that does this."""
        words = ["fedjax-rec", "run", self.preset]
        words += ["--output", str(self.output)] if self.output else []
        words += ["--no-resume"] if self.no_resume else []
        words += ["--quiet"] if self.quiet else []
        words += ["--json"] if self.json else []
        words += [word for name in self.log for word in ("--log", name)]
        words += ["--tune"] if self.tune else []
        words += [] if self.tune_trials is None else ["--tune.trials", str(self.tune_trials)]
        words += [] if self.tune_minutes is None else ["--tune.minutes", str(self.tune_minutes)]
        words += [word for plugin in self.plugin for word in ("--plugin", plugin)]
        return [*words, *self.overrides]


def earlier_config(folder: Path, config: RunConfig, *, no_resume: bool) -> RunConfig | None:
    """The configuration of the run in a folder that is to be gone on with, if there is one.

    Raises:
      UserError: the folder holds something else, or a run that this one cannot go on with.
    """
    from fedjax_rec.experiment import as_before
    from fedjax_rec.reporting import last_round

    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file; choose another --output")
    path = folder / "config.toml"
    if not path.exists():
        if any((folder / name).exists() for name in ("checkpoints", "metrics.jsonl")):
            raise UserError(f"{folder}: holds something else; choose another --output")
        return None
    if no_resume:
        return None
    table = read_toml(path)
    if "made_by" in table:
        raise UserError(
            f"{folder}: {table['made_by']} made it in Python; choose another --output, or start "
            "over with --no-resume"
        )
    earlier = from_dict(table, f"in {path}; choose another --output or --no-resume", is_record=True)
    if difference := first_difference(earlier, as_before(config, earlier), NOT_COMPARED):
        key, old, new = difference
        raise UserError(
            f"{folder}: holds a run of another configuration, with {key} {old!r} and not "
            f"{new!r}; choose another --output, or start over with --no-resume"
        )
    if last_round(folder) > config.rounds:
        raise UserError(
            f"rounds: {config.rounds} is fewer than the {last_round(folder)} already done in "
            f"{folder}; choose another --output, or start over with --no-resume"
        )
    return earlier


def goes_on_with_audit(folder: Path, config: RunConfig, *, no_resume: bool) -> bool:
    """Whether a folder holds an audit that is to be gone on with.

    Raises:
      UserError: as `earlier_config`, or an audit of more rounds is there.
    """
    earlier = earlier_config(folder, config, no_resume=no_resume)
    if earlier and earlier.rounds > config.rounds:
        raise UserError(
            f"{folder}: holds an audit of {earlier.rounds} rounds, not {config.rounds}; "
            "choose another --output, or start over with --no-resume"
        )
    return earlier is not None


def refuse_other_data(folder: Path, experiment: "Experiment") -> None:
    """Refuses to show, or to go on with, what was found on data that have changed since.

    Raises:
      UserError: the folder's run was on other data.
    """
    from fedjax_rec.data import fingerprint
    from fedjax_rec.simulation.identity import difference_in_words

    table = tomllib.loads((folder / "config.toml").read_text(encoding="utf-8"))
    recorded = table.get("recorded", {}).get("data")
    if not recorded:  # an older version made it
        return
    if words := difference_in_words({"data": recorded}, {"data": fingerprint(experiment.data)}):
        raise UserError(
            f"{folder}: holds a run on other data: {words}; choose another --output, or start "
            "over with --no-resume"
        )


def prepare_folder(
    folder: Path, config: RunConfig, command: list[str], *, is_going_on: bool
) -> None:
    """Writes what a run is before it runs.

    Raises:
      UserError: the folder cannot be written.
    """
    from fedjax_rec.reporting import environment
    from fedjax_rec.simulation.records import PER_CLIENT, write_atomically, write_json

    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("summary.json", PER_CLIENT):
            (folder / name).unlink(missing_ok=True)
        if not is_going_on:  # before its configuration: a kill must not leave them under ours
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)
            (folder / "metrics.jsonl").unlink(missing_ok=True)
        write_atomically(folder / "config.toml", to_toml(config))
        write_json(folder / "environment.json", environment(command, config.seed))
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written ({error.strerror}); choose another --output"
        ) from error


def default_output(preset: str) -> Path:
    """`runs/<preset>`, or `runs/<name>` for a file.

    >>> default_output("ml-100k/fedmf").as_posix(), default_output("my/own.toml").as_posix()
    ('runs/ml-100k/fedmf', 'runs/own')
    """
    path = Path(preset)
    return Path("runs") / (path.stem if path.suffix == ".toml" or path.is_file() else preset)
