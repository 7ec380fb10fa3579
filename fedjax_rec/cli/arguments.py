"""Words to requests: tyro for verbs and help, the configuration's validator for `--a.b value`."""

import contextlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import field, make_dataclass, replace
from typing import Annotated, Any, Literal, Protocol, Union, get_args, get_origin

import tyro
from tyro.conf import arg, subcommand

from fedjax_rec.cli.algorithms import Algorithms
from fedjax_rec.cli.audit import Audit
from fedjax_rec.cli.check import Check
from fedjax_rec.cli.compare import Compare
from fedjax_rec.cli.data import Data
from fedjax_rec.cli.new import New
from fedjax_rec.cli.plan import Plan
from fedjax_rec.cli.recommend import Recommend
from fedjax_rec.cli.report import Report
from fedjax_rec.cli.run import Run
from fedjax_rec.cli.sweep import Sweep
from fedjax_rec.config import OPTIONS, SECTIONS, flatten, load_preset
from fedjax_rec.errors import UserError, did_you_mean

VERBS: dict[str, Any] = {
    "run": Run,
    "sweep": Sweep,
    "plan": Plan,
    "data": Data,
    "compare": Compare,
    "report": Report,
    "algorithms": Algorithms,
    "recommend": Recommend,
    "audit": Audit,
    "check": Check,
    "new": New,
}
ACTIONS = {
    "data": ("list", "get", "describe"),
    "audit": ("evaluation", "privacy"),
    "new": ("algorithm",),
}
HELP = {"-h", "--help"}
OWN_FLAGS: dict[str, set[str]] = {
    "run": {"--no-resume"},
    "sweep": set(),
    "plan": {"--json"},
    "audit": {"--no-resume"},
}
OWN_OPTIONS = {
    "run": {"--output", "--plugin"},
    "sweep": {"--output", "--plugin", "--seeds", "--search", "--trials", "--metric", "--budget"},
    "plan": {"--memory", "--plugin"},
    "audit": {"--output", "--plugin", "--clients"},
}
"""What the verbs that take a preset have beside the keys of its configuration."""


class Request(Protocol):
    """A verb with its arguments."""

    def execute(self) -> int:
        """Does it and returns the exit code."""


def take_overrides(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Parts the words of a verb with a preset into its own and the configuration's `--key value`.

    >>> take_overrides(["run", "x", "--rounds", "3", "--no-resume", "--output=y"])
    (['run', 'x', '--no-resume', '--output=y'], ['--rounds', '3'])
    """
    if not words or words[0] not in OWN_FLAGS:
        return list(words), []
    flags = OWN_FLAGS[words[0]] | HELP
    own_words = flags | OWN_OPTIONS[words[0]]
    own: list[str] = []
    overrides: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        is_own = word.partition("=")[0] in own_words
        target = own if is_own or not word.startswith("--") else overrides
        target.append(word)
        takes_value = word.startswith("--") and word not in flags and "=" not in word
        if takes_value and rest and not rest[0].startswith("--"):
            target.append(rest.pop(0))
    return own, overrides


def parse(words: Sequence[str], overrides: Sequence[str] = ()) -> Request | None:
    """The request that the words make; `None` when they asked for help, which is printed.

    Args:
      words: a verb and its own arguments.
      overrides: of the configuration, for verbs with a preset.

    Raises:
      UserError: tyro's complaint, in one line.
    """
    is_help = not HELP.isdisjoint(words) or not words
    _check_verb(words[:1], VERBS, "verb")
    if words and words[0] in ACTIONS:
        _check_verb(words[1:2], ACTIONS[words[0]], f"action of {words[0]}")
    verbs = VERBS
    if is_help and words and words[0] in OWN_FLAGS and words[0] not in ACTIONS:
        verbs = VERBS | {words[0]: with_options(VERBS[words[0]], words)}
        words = [words[0], "--help"]
    kinds = [Annotated[kind, subcommand(name, prefix_name=False)] for name, kind in verbs.items()]
    request: Request | None = _tyro(Union[tuple(kinds)], list(words) or ["--help"])  # noqa: UP007
    if isinstance(request, Run | Sweep | Plan | Audit):
        return replace(request, overrides=tuple(overrides))
    return request


def _check_verb(words: Sequence[str], known: Iterable[str], what: str) -> None:
    for word in words:
        if word not in known and not word.startswith("-"):
            raise UserError(f"unknown {what} {word!r}{did_you_mean(word, known)}")


def _tyro(kind: Any, words: list[str]) -> Any:
    """What tyro makes of the words, with its panels of errors condensed."""
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(kind, prog="fedjax-rec", args=words, use_underscores=True)
    except SystemExit as end:
        if not end.code:
            return None
        raise UserError(f"{condensed(complaint.getvalue())}; see fedjax-rec --help") from None


def condensed(panel: str) -> str:
    r"""The first section of a boxed message as one line.

    >>> condensed("╭─ Value error ───╮\n│ Error parsing   │\n│ --k: ten        │\n╰───╯")
    'Value error: Error parsing --k: ten'
    """
    title = ""
    words: list[str] = []
    for line in panel.splitlines():
        text = line.strip(" │╭╮╰╯─")
        if not text.strip("-"):  # a frame or a rule, drawn with dashes where it must be ASCII
            if words:
                break
        elif not title:
            title = text
        else:
            words.append(text)
    text = " ".join(" ".join(words).split()).rstrip(".")
    return text if text.startswith(title) else f"{title}: {text}"


def with_options(verb: type, words: Sequence[str]) -> type:
    """A verb with every option of the configuration as a field, for its help text only.

    Args:
      verb: `Run` or `Plan`.
      words: a preset among them gives the defaults that are shown.
    """
    shown = _defaults(words)
    sections: dict[str, list[Any]] = {"": []}
    for key, (kind, entry) in OPTIONS.items():
        section, _, name = key.rpartition(".")
        if key != "preset":
            shown_kind = _described(entry.metadata["help"], _metavar(kind), shown[key])
            sections.setdefault(section, []).append((name, shown_kind, field(default="")))
    own = _described("Any setting of the algorithm.", "VALUE", "the algorithm's", name="KEY")
    sections["algorithm"].append(("key", own, field(default="")))
    fields = sections.pop("")
    for section, entries in sections.items():
        group = make_dataclass(section, entries, frozen=True)
        group.__doc__ = SECTIONS[section].__doc__
        fields.append((section, group, field(default_factory=group)))
    made = make_dataclass(verb.__name__, fields, bases=(verb,), frozen=True)
    made.__doc__ = verb.__doc__
    return made


def _described(help: str, metavar: str, default: str, name: str | None = None) -> Any:
    hint = f"(default: {default or 'empty'})"
    return Annotated[str, arg(name=name, help=help, metavar=metavar, help_behavior_hint=hint)]


def _defaults(words: Sequence[str]) -> dict[str, str]:
    """What `--help` shows: the preset's values where one is named, else the schema's."""
    shown = {
        key: "the preset's" if "name" in key else _text(entry.default)
        for key, (_, entry) in OPTIONS.items()
    }
    for word in words[1:]:
        with contextlib.suppress(UserError):
            return shown | {k: _text(v) for k, v in flatten(load_preset(word)).items()}
    return shown


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _metavar(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "|".join(get_args(kind))
    words = {int: "INT", float: "NUMBER", str: "TEXT", bool: "true|false"}
    return words.get(kind, "INT,INT,...")
