"""The folder for what can be had again: downloads, compiled programs, solved equations."""

import os
from pathlib import Path

CACHE_VARIABLE = "FEDJAX_REC_CACHE"


def cache_folder() -> Path:
    """`FEDJAX_REC_CACHE`, by default `~/.cache/fedjax_rec`; not created here."""
    return Path(os.environ.get(CACHE_VARIABLE) or "~/.cache/fedjax_rec").expanduser()
