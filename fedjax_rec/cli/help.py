"""Help of the verbs that take a preset: what fits a screen, one section, or every key."""

import contextlib
import textwrap
from collections.abc import Sequence
from dataclasses import field, make_dataclass
from typing import Annotated, Any, Literal, get_args, get_origin

from tyro.conf import arg

from fedjax_rec.config import OPTIONS, SECTIONS, flatten, load_preset
from fedjax_rec.errors import UserError, did_you_mean

WIDTH = 80
MARGIN = 22
TOPICS = ("all", *SECTIONS)
"""What may be asked for behind `--help`."""

NAMED = ("data.name", "algorithm.name")
"""Keys without a default of their own."""

RUN = """\
usage: fedjax-rec run PRESET|FILE.toml [--output DIR] [--KEY VALUE ...]

Train and evaluate; a run that was stopped goes on where it was.

examples:
  fedjax-rec run ml-100k/fedmf
  fedjax-rec run synthetic/fedmf --rounds 20 --seed 1 --algorithm.dim 16
  fedjax-rec run ml-100k/fedmf --data.path my.csv --output runs/mine
  fedjax-rec run runs/mine/config.toml --output runs/again --json

options:
  PRESET|FILE.toml      a preset (`fedjax-rec presets` lists them), or a file
  --output DIR          folder of the run; by default runs/PRESET
  --no-resume           start over, deleting what the folder holds
  --plugin FILE.py      others' code; may be given several times
  --quiet, --json       print warnings alone; the summary as one JSON object
  --tune                first search rates and strengths on validation items
  --tune.trials N, --tune.minutes MINUTES   its budget: 12 and 10 by default
  --rounds INT          rounds, that is server updates
  --seed INT            root of every random number of the run
"""
PLAN = """\
usage: fedjax-rec plan PRESET|FILE.toml [--memory SIZE] [--KEY VALUE ...]

What a run would need: parameters, memory, bytes, compile time.

examples:
  fedjax-rec plan ml-100k/fedmf
  fedjax-rec plan ml-100k/fedmf --memory 4GB --algorithm.dim 512

options:
  PRESET|FILE.toml      a preset (`fedjax-rec presets` lists them), or a file
  --memory SIZE         of another machine; exit code 2 if it does not fit
  --json                print one JSON object
  --plugin FILE.py      others' code; may be given several times
"""
SHORT = {"run": RUN, "plan": PLAN}


def topic_of(words: Sequence[str]) -> str:
    """What of a verb's help is asked for: a section, `all` of it, or what fits a screen ("").

    A preset's name asks for all, with the preset's values.

    Args:
      words: behind the verb, options left out.

    Raises:
      UserError: neither a section nor a preset.

    >>> topic_of([]), topic_of(["data"]), topic_of(["ml-100k/fedmf"])
    ('', 'data', 'all')
    """
    for word in words:
        if word in TOPICS:
            return word
        try:
            load_preset(word)
        except UserError:
            if "/" in word or "." in word:
                raise
            hint = did_you_mean(word, TOPICS)
            raise UserError(f"no preset and no section of help {word!r}{hint}") from None
        return "all"
    return ""


def short_help(verb: str) -> str:
    """The help that fits a screen.

    >>> max(len(short_help("run").splitlines()), len(short_help("plan").splitlines())) <= 40
    True
    """
    lines = [f"sections, of keys such as --data.path ({verb} --help SECTION shows their keys):"]
    for name, section in SECTIONS.items():
        about = " ".join((section.__doc__ or "").split())
        about = textwrap.shorten(about, WIDTH - MARGIN, placeholder=" ...")
        lines.append(f"  {name:<{MARGIN - 2}}{about}")
    lines += [
        "",
        f"{verb} --help all: every key; {verb} PRESET --help: with its values",
        "`fedjax-rec algorithms NAME` explains an algorithm's settings.",
    ]
    return SHORT[verb] + "\n" + "\n".join(lines) + "\n"


def section_help(section: str) -> str:
    """The keys of one section, with what they mean and their defaults.

    >>> print(section_help("server").splitlines()[0])
    server: How the server moves.
    """
    lines = [f"{section}: {' '.join((SECTIONS[section].__doc__ or '').split())}", ""]
    for key, (kind, entry) in OPTIONS.items():
        if key.rpartition(".")[0] == section:
            default = "the preset's" if key in NAMED else text_of(entry.default)
            lines.append(f"  --{key} {_metavar(kind)}")
            about = f"{entry.metadata['help']} (default: {default or 'empty'})"
            lines += textwrap.wrap(about, WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)
    if section == "algorithm":
        lines.append("  --algorithm.KEY VALUE")
        lines.append("      Any setting of the algorithm; `fedjax-rec algorithms NAME` has them.")
    return "\n".join(lines) + "\n"


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
        key: "the preset's" if key in NAMED else text_of(entry.default)
        for key, (_, entry) in OPTIONS.items()
    }
    for word in words[1:]:
        with contextlib.suppress(UserError):
            return shown | {k: text_of(v) for k, v in flatten(load_preset(word)).items()}
    return shown


def text_of(value: Any) -> str:
    """A value as one writes it on the command line."""
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _metavar(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "|".join(get_args(kind))
    words = {int: "INT", float: "NUMBER", str: "TEXT", bool: "true|false"}
    return words.get(kind, "INT,INT,...")
