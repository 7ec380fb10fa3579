"""The plug-in on the page about comparing runs, as it stands there."""

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

from fedjax_rec.cli import main
from fedjax_rec.plugins import forget_plugin

PAGE = Path(__file__).parents[2] / "docs" / "comparing.md"


WRITTEN = []


class Writer:
    """What the plug-in uses of tensorboardX's writer."""

    def __init__(self, folder, purge_step):
        WRITTEN.append(("open", Path(folder).name, purge_step))

    def add_scalar(self, tag, value, step):
        assert isinstance(value, int | float)
        WRITTEN.append((tag, value, step))

    def close(self):
        WRITTEN.append(("close",))


def test_the_plug_in_for_tensorboard_gets_every_number(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "boards.py").write_text(code)
    monkeypatch.setitem(sys.modules, "tensorboardX", SimpleNamespace(SummaryWriter=Writer))
    words = ["run", "synthetic/fedmf", "--data.num_users", "30", "--data.num_items", "300"]
    words += ["--rounds", "2", "--output", str(tmp_path / "run"), "--log", "tensorboard"]
    try:
        assert main([*words, "--plugin", str(tmp_path / "boards.py")]) == 0
    finally:
        forget_plugin("boards.py")
    lines = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    scalars = [
        (key, value, line["round"])
        for line in lines
        for key, value in line.items()
        if key != "round"
    ]
    assert [("open", "run", 1), *scalars, ("close",)] == WRITTEN
