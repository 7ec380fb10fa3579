"""Words to requests: tyro for verbs and help, the configuration's validator for `--a.b value`."""

import contextlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Annotated, Any, Protocol, Union

import tyro
from tyro.conf import subcommand

from fedjax_rec.cli.algorithms import Algorithms
from fedjax_rec.cli.audit import Audit
from fedjax_rec.cli.check import Check
from fedjax_rec.cli.compare import Compare
from fedjax_rec.cli.completion import Completion
from fedjax_rec.cli.data import Data
from fedjax_rec.cli.export import Export
from fedjax_rec.cli.help import SHORT, section_help, short_help, topic_of, with_options
from fedjax_rec.cli.new import New
from fedjax_rec.cli.plan import Plan
from fedjax_rec.cli.plot import Plot
from fedjax_rec.cli.presets import Presets
from fedjax_rec.cli.recommend import Recommend
from fedjax_rec.cli.report import Report
from fedjax_rec.cli.run import Run
from fedjax_rec.cli.sweep import Sweep
from fedjax_rec.errors import UserError, did_you_mean

VERBS: dict[str, Any] = {
    "run": Run,
    "sweep": Sweep,
    "plan": Plan,
    "data": Data,
    "compare": Compare,
    "presets": Presets,
    "report": Report,
    "plot": Plot,
    "algorithms": Algorithms,
    "recommend": Recommend,
    "export": Export,
    "audit": Audit,
    "check": Check,
    "new": New,
    "completion": Completion,
}
ACTIONS = {
    "data": ("list", "get", "describe"),
    "audit": ("evaluation", "privacy"),
    "new": ("algorithm",),
}
HELP = {"-h", "--help"}
ABOUT = (
    "Simulates federated recommendation. fedjax-rec VERB --help explains a verb, fedjax-rec "
    "presets lists what can be run, fedjax-rec --version tells the version."
)
OWN_FLAGS: dict[str, set[str]] = {
    "run": {"--no-resume", "--quiet", "--json", "--tune"},
    "sweep": set(),
    "plan": {"--json"},
    "audit": {"--no-resume"},
}
OWN_OPTIONS = {
    "run": {"--output", "--plugin", "--log", "--tune.trials", "--tune.minutes"},
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
    if is_help and words and words[0] in SHORT:
        topic = topic_of([word for word in words[1:] if not word.startswith("-")])
        if topic != "all":
            print(section_help(topic) if topic else short_help(words[0]), end="")
            return None
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
            return tyro.cli(
                kind, prog="fedjax-rec", description=ABOUT, args=words, use_underscores=True
            )
    except SystemExit as end:
        if not end.code:
            return None
        raise UserError(f"{condensed(complaint.getvalue())}; see {_help_of(words)}") from None


def _help_of(words: Sequence[str]) -> str:
    """The command whose help says what the words lack.

    >>> _help_of(["data", "get"]), _help_of(["recommend"]), _help_of(["--foo"])
    ('fedjax-rec data get --help', 'fedjax-rec recommend --help', 'fedjax-rec --help')
    """
    known = [*words[:1]] if words[:1] and words[0] in VERBS else []
    if known and words[1:2] and words[1] in ACTIONS.get(words[0], ()):
        known.append(words[1])
    return " ".join(["fedjax-rec", *known, "--help"])


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
