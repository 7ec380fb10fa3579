"""`fedjax-rec export`: what a finished run has learned, as files that other programs read."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from fedjax_rec.cli.plugins import Plugins, open_finished
from fedjax_rec.errors import UserError


@dataclass(frozen=True)
class Export:
    """Vectors of items and users by the data's own ids, as .npz and .safetensors files."""

    run: Annotated[Positional[Path], arg(metavar="RUN")]
    """Folder of a run, such as runs/ml-100k/fedmf."""

    output: Annotated[Path | None, arg(metavar="DIR")] = None
    """Folder to write to."""

    plugin: Plugins = ()
    """Python file of others' code, or an installed plug-in; may be given several times."""

    def execute(self) -> int:
        """Writes the files and says what is in them, what was left out and what is private."""
        if self.output is None:
            raise UserError("export: name a folder with --output; see fedjax-rec export --help")
        if self.output.exists() and not self.output.is_dir():
            raise UserError(f"{self.output}: is a file; choose another --output")
        run = open_finished(self.run, self.plugin)

        from fedjax_rec.experiment.exporting import FILES, JOINTLY_PRIVATE

        found = run.export(self.output)
        for name in FILES:
            arrays = [f"{what} {array.shape}" for what, array in found.files[name].items()]
            if arrays:
                print(f"{self.output / name}.npz, .safetensors: {', '.join(arrays)}")
        for what, why in found.left_out.items():
            print(f"left out: {what}: {why}")
        is_private = (run.summary.get("privacy") or {}).get("claims", "none") != "none"
        if is_private and found.files["users"]:
            print(f"privacy: {JOINTLY_PRIVATE}")
        return 0
