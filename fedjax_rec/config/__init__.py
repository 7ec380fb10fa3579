"""The configuration of a run: its schema, its validation and its files.

One validator serves TOML and the command line. Standard library only: `fedjax-rec run
--help` reads this package and no jax.
"""

from fedjax_rec.config.files import (
    first_difference,
    flatten,
    load_preset,
    preset_names,
    read_toml,
    to_toml,
)
from fedjax_rec.config.schema import OPTIONS, SECTIONS, RunConfig, type_name
from fedjax_rec.config.validation import apply_overrides, from_dict

__all__ = [
    "OPTIONS",
    "SECTIONS",
    "RunConfig",
    "apply_overrides",
    "first_difference",
    "flatten",
    "from_dict",
    "load_preset",
    "preset_names",
    "read_toml",
    "to_toml",
    "type_name",
]
