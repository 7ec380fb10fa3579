"""From a data set's name to its events."""

import inspect
import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from fedjax_rec.data.domains import beside
from fedjax_rec.data.filters import Filters, select, without_idle
from fedjax_rec.data.generator import synthetic
from fedjax_rec.data.interactions import Interactions
from fedjax_rec.data.obtain import find, show_terms_once, tell_other_copies
from fedjax_rec.data.registry import DATASETS, SYNTHETIC, DataSet
from fedjax_rec.data.sources import Columns, Features, lists_features, read_features, read_path
from fedjax_rec.data.subsets import some_users
from fedjax_rec.errors import UserError, did_you_mean


def print_notice(text: str) -> None:
    """Prints a notice on standard error."""
    sys.stderr.write(f"{text}\n")


def read(
    name: str,
    *,
    path: str = "",
    layout: str = "",
    columns: Columns = Columns(),
    other: str = "",
    filters: Filters = Filters(),
    notice: Callable[[str], None] = print_notice,
    **options: int | float,
) -> Interactions:
    """Obtains and reads all events of a data set.

    Args:
      name: one of `DATASETS`; with a path, any name.
      path: file, folder, zip or wheel to read; by default it is searched for (see
        `obtain.find`).
      layout: how the file is laid out, by name; by default it is found out.
      columns: which of its columns is what; by default that is found out.
      other: file or folder of the same users' events in another domain, to train on beside these;
        laid out alike.
      filters: which events are used.
      notice: gets what was understood of a file and what is left out of it, the citation and
        terms of a data set when it is first used, and a note where a file is another copy than
        the known one.
      **options: of `synthetic`: `num_users`, `num_items`, `seed`, ...; of other data
        `num_users` and `seed` of `some_users`: by default everybody.

    Raises:
      UserError: unknown name or option, nothing found, a malformed file, or a file that
        is not the data set it is called.

    >>> read("synthetic", num_users=10, num_items=30, mean_events=6).num_users
    10
    """
    if name == SYNTHETIC.name:
        if layout or columns or other:
            raise UserError(
                f"{name}: is generated, so it has no file; leave data.layout and so on out"
            )
        return _filtered(_generate(path, options), filters, notice)
    if columns and not path:
        raise UserError(f"{name}: columns are those of a file; name it with --data.path")
    others = options.keys() - {"num_users", "seed"}
    if others:
        raise UserError(f"{name}: option {min(others)!r} is only for {SYNTHETIC.name!r}")
    dataset = DATASETS.get(name)
    if dataset is None and not path:
        raise UserError(
            f"data set {name!r} is not known{did_you_mean(name, DATASETS)}; "
            "for a file of your own name it with --data.path"
        )
    if dataset and dataset.domains:
        interactions = _read_domains(dataset, path, notice)
    else:
        interactions = _read_file(dataset or _unnamed(name), path, notice, layout, columns)
    if other:
        of_other = _read_file(_unnamed(f"{name}-other"), other, notice, layout, columns)
        interactions = _pair(interactions, of_other, notice)
    interactions = _filtered(interactions, filters, notice)
    if not options:
        return interactions
    some = some_users(interactions, **{"num_users": interactions.num_users} | options)  # type: ignore[arg-type]
    if num_left := interactions.num_users - some.num_users:
        notice(
            f"{name}: data.num_users leaves out {num_left} of {interactions.num_users} users, "
            f"{interactions.num_events - some.num_events} of {interactions.num_events} events"
        )
    return some


def _read_file(
    dataset: DataSet,
    path: str,
    notice: Callable[[str], None],
    layout: str,
    columns: Columns,
) -> Interactions:
    place = find(dataset, path)
    interactions = read_path(place, dataset.name, layout or dataset.layout, columns)
    for note in interactions.notes:
        notice(note)
    _check_statistics(dataset, interactions)
    tell_other_copies(dataset, place, notice)
    show_terms_once(dataset, notice)
    return interactions


def _pair(target: Interactions, other: Interactions, notice: Callable[[str], None]) -> Interactions:
    """Two domains of the users that are in both."""
    common = np.intersect1d(target.user_labels, other.user_labels)
    if not len(common):
        raise UserError(
            f"{target.name}: no user of it is in {other.name}; two domains are trained together "
            "where users are the same: write their ids alike"
        )
    both = []
    for events in (target, other):
        kept = np.isin(events.user_labels, common)[events.users]
        if num_left := events.num_users - len(common):
            notice(
                f"{events.name}: {num_left} of {events.num_users} users are in one domain only, "
                f"and left out with {int((~kept).sum())} events"
            )
            events = without_idle(events, kept)
        both.append(events)
    return beside(*both)


def _filtered(
    interactions: Interactions, filters: Filters, notice: Callable[[str], None]
) -> Interactions:
    if filters and interactions.other is not None:
        raise UserError(
            f"{interactions.name}: two domains are not filtered; leave data.min_rating, "
            "data.since, data.until and data.core out"
        )
    interactions, lines = select(interactions, filters)
    for line in lines:
        notice(line)
    return interactions


def features_of(
    name: str, *, path: str = "", layout: str = "", has_titles: bool = False
) -> tuple[Features, Features] | None:
    """What is known of the people and of the items of a data set that `read` reads.

    Args:
      name: as of `read`.
      path: likewise.
      layout: likewise.
      has_titles: titles will do where its format lists nothing else.

    Returns:
      `None` where titles do.

    Raises:
      UserError: nothing is known of them, or a malformed file.
    """
    if name == SYNTHETIC.name or not (path or name in DATASETS):
        raise UserError(f"{name}: nothing is known of its people and items; use ml-100k")
    dataset = DATASETS.get(name) or _unnamed(name)
    place = find(dataset, path), name, layout or dataset.layout
    if has_titles and not lists_features(*place):
        return None
    return read_features(*place)


def _unnamed(name: str) -> DataSet:
    """A data set of the user's own."""
    return DataSet(name, summary="", statistics={}, wheel=None)


def _read_domains(dataset: DataSet, path: str, notice: Callable[[str], None]) -> Interactions:
    if path:
        raise UserError(
            f"{dataset.name}: is read from the files of {' and '.join(dataset.domains)}; "
            "leave --data.path out"
        )
    target, other = (read(name, notice=notice) for name in dataset.domains)
    return replace(beside(target, other), name=dataset.name)


def _generate(path: str, options: dict[str, int | float]) -> Interactions:
    known = inspect.signature(synthetic).parameters
    for option in options:
        if option not in known:
            raise UserError(
                f"synthetic: option {option!r} is not known{did_you_mean(option, known)}"
            )
    if path:
        raise UserError("synthetic: is generated, so --data.path has no meaning; leave it out")
    return synthetic(**options)  # type: ignore[arg-type]


def _check_statistics(dataset: DataSet, interactions: Interactions) -> None:
    found = {
        "users": interactions.num_users,
        "items": interactions.num_items,
        "events": interactions.num_events,
    }
    if dataset.statistics and dataset.statistics != found:
        raise UserError(
            f"{dataset.name}: the file has {_listed(found)}, not {_listed(dataset.statistics)}: "
            "it is another data set; give it another name with --data.name"
        )


def _listed(statistics: dict[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in statistics.items())
