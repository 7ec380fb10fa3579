"""What a run has learned, as files that other programs read."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from numpy.typing import NDArray

from fedjax_rec.base import PyTree
from fedjax_rec.data.domains import as_one_catalogue
from fedjax_rec.errors import UserError
from fedjax_rec.experiment.safetensors import write_safetensors
from fedjax_rec.simulation import write_json

if TYPE_CHECKING:
    from fedjax_rec.experiment.opened import OpenedRun

FILES = ("items", "users", "model")
"""Arrays by item, by user, and all others: a `.npz` and a `.safetensors` file of each."""

OF_TRAINING = re.compile(r"^dense/(opt_state|events|data)(/|$)")
"""Paths of what a server that trains keeps: its optimizer's state, and everybody's events."""

OWN_TABLE = "a table of each client's own"

JOINTLY_PRIVATE = (
    "a user's vector reads that user's own data: it is private towards all others only "
    "(jointly private); give it to nobody else"
)
NO_CLAIM = "no privacy is claimed for these numbers"


@dataclass
class Export:
    """What is exported and what is not.

    Attributes:
      files: `items`, `users` or `model` -> role and path -> array, rows beside the ids.
      left_out: role and path -> why.
    """

    files: dict[str, dict[str, NDArray[Any]]] = field(
        default_factory=lambda: {name: {} for name in FILES}
    )
    left_out: dict[str, str] = field(default_factory=dict)


def export_run(run: "OpenedRun", folder: Path) -> Export:
    """Writes the parameters of the reported round, by the data's own ids.

    `items.npz` and `users.npz` hold `ids` and the arrays whose rows stand beside them; an array
    that is alone is called `vectors`, several go by role and path, such as `shared/item`. What
    is neither by item nor by user is in `model.npz`. Each has a `.safetensors` twin, with the
    ids in `item_ids.json` and `user_ids.json`. `export.json` says what is where, what was left
    out and why, and what is promised.

    Args:
      run: a finished one.
      folder: is made where it is not there; files of these names in it are replaced.

    Returns:
      What was written.

    Raises:
      UserError: the folder cannot be written.
    """
    found = exported(run)
    ids = {"items": as_one_catalogue(run.data.split.train).item_labels, "users": run.users}
    notes = {name: _privacy_note(run, name) for name in FILES}
    report: dict[str, Any] = {"run": str(run.folder), "algorithm": run.config.algorithm.name}
    report |= {"files": {}, "left_out": found.left_out, "privacy": run.summary.get("privacy")}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            for ending in (".npz", ".safetensors"):  # of an earlier export
                (folder / f"{name}{ending}").unlink(missing_ok=True)
            arrays = found.files[name]
            if not arrays:
                continue
            named = {"vectors": next(iter(arrays.values()))} if len(arrays) == 1 else arrays
            beside: dict[str, Any] = {"ids": ids[name]} if name in ids else {}
            np.savez(folder / f"{name}.npz", **(beside | _for_numpy(named)))
            metadata = {"privacy": notes[name]}
            write_safetensors(folder / f"{name}.safetensors", named, metadata)
            if name in ids:
                text = json.dumps(ids[name].tolist(), ensure_ascii=False)
                (folder / f"{name[:-1]}_ids.json").write_text(text + "\n", encoding="utf-8")
            report["files"][name] = {
                "arrays": {
                    short: {"what": what, "shape": [*array.shape], "type": array.dtype.name}
                    for (what, array), short in zip(arrays.items(), named, strict=True)
                },
                "privacy": notes[name],
            }
        write_json(folder / "export.json", report)
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written ({error.strerror or error}); choose another --output"
        ) from None
    return found


def exported(run: "OpenedRun") -> Export:
    """The arrays that `export_run` writes, and what it leaves out."""
    found, state, clients = Export(), run.state, run.clients
    num_items = run.data.clients.num_items
    for role, part in (("shared", state.shared), ("frozen", run.frozen)):
        for path, array in _leaves(part):
            by_item = path.startswith("rows/") and array.shape[:1] == (num_items,)
            found.files["items" if by_item else "model"][_short(f"{role}/{path}")] = array
    for path, array in _leaves(state.extra):
        _place_extra(found, path, array, run.data.num_clients, num_items)
    for path, array in _leaves(clients.private):
        if path.startswith("rows/"):
            found.left_out[f"private/{path}"] = OWN_TABLE
        else:
            found.files["users"][_short(f"private/{path}")] = array
    for role, tree in (("memory", clients.memory), ("residual", clients.residual)):
        found.left_out |= {f"{role}/{path}": "kept for training" for path, _ in _leaves(tree)}
    if run.algorithm.adapt is not None:
        found.left_out["adaption"] = "clients adapt before they score, which no array holds"
    if not found.files["users"]:
        found.left_out["users"] = "the model keeps no vector of a user"
    return found


def _place_extra(
    found: Export, path: str, array: NDArray[Any], num_users: int, num_items: int
) -> None:
    """Where an array goes that the server keeps beside the shared parameters."""
    what = f"extra/{path}"
    if OF_TRAINING.search(path):
        found.left_out[what] = "state of training, or clients' events"
    elif array.shape[:2] == (num_users, num_items):
        found.left_out[what] = OWN_TABLE
    elif path.startswith("rows/") and array.shape[:1] == (num_items,):
        found.files["items"][_short(what)] = array
    elif array.shape[:1] == (num_users,):
        found.files["users"][_short(what)] = array
    else:
        found.files["model"][_short(what)] = array


def _leaves(tree: PyTree) -> Iterator[tuple[str, NDArray[Any]]]:
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        yield jax.tree_util.keystr(path, simple=True, separator="/"), np.asarray(leaf)


def _short(what: str) -> str:
    """`shared/rows/item` as people say it.

    >>> _short("shared/rows/item"), _short("private/dense")
    ('shared/item', 'private')
    """
    return what.replace("/rows/", "/", 1).replace("/dense", "", 1)


def _for_numpy(arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Types that numpy's files know: bfloat16 becomes float32, which holds all of its numbers."""
    return {
        name: array.astype(np.float32) if array.dtype.name == "bfloat16" else array
        for name, array in arrays.items()
    }


def _privacy_note(run: "OpenedRun", name: str) -> str:
    privacy = run.summary.get("privacy") or {}
    if privacy.get("claims", "none") == "none":
        return NO_CLAIM
    if name == "users":
        return JOINTLY_PRIVATE
    return (
        f"epsilon {privacy['epsilon']:.4g}, delta {privacy['delta']:g} for each "
        f"{privacy['unit']} ({privacy['claims']})"
    )
