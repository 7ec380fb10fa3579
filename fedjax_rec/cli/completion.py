"""`fedjax-rec completion SHELL`: a script by which a shell completes verbs, presets and keys."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from tyro.conf import Positional, arg

FILES = ("--output", "--plugin", "--data.path", "--start.run")
"""Whose values are files or folders."""

SHELLS = ("bash", "zsh")

ZSH_FIRST = """\
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit -i; }
autoload -U +X bashcompinit && bashcompinit
"""
"""zsh completes as bash does once its own completion is on, which not everybody has set up."""

WITH_PRESET = ("run", "sweep", "plan", "audit")
"""Verbs that take a preset and the keys of its configuration."""

SCRIPT = """\
# completion of fedjax-rec {version}; {how}
{first}_fedjax_rec() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" previous="${{COMP_WORDS[COMP_CWORD-1]}}" words=""
    COMPREPLY=()
    case "$previous" in
{values}
    {files}) COMPREPLY=( $(compgen -f -- "$current") ); return ;;
    esac
    if [ -z "$words" ] && [ "$COMP_CWORD" -eq 1 ]; then
        words={verbs}
    elif [ -z "$words" ]; then
        case "${{COMP_WORDS[1]}}" in
{flags}
        esac
        case "$current" in
        -*) ;;
        *)
            words=""
            case "${{COMP_WORDS[1]}}" in
{places}
            esac ;;
        esac
    fi
    COMPREPLY=( $(compgen -W "$words" -- "$current") )
    if [ ${{#COMPREPLY[@]}} -eq 0 ]; then
        COMPREPLY=( $(compgen -f -- "$current") )
    fi
}}
complete -o filenames -F _fedjax_rec fedjax-rec
"""


@dataclass(frozen=True)
class Completion:
    """Print a script for a shell, which then completes verbs, presets, keys and their values.

    bash: source <(fedjax-rec completion bash), in ~/.bashrc to have it always; zsh likewise.
    """

    shell: Annotated[Positional[Literal["bash", "zsh"]], arg(metavar="bash|zsh")]
    """The shell that is to read it."""

    def execute(self) -> int:
        """Prints the script."""
        from fedjax_rec import __version__

        first = ZSH_FIRST if self.shell == "zsh" else ""
        print(script(__version__, self.shell, first), end="")
        return 0


def script(version: str, shell: str, first: str) -> str:
    """The script.

    Args:
      version: of the package, which it names.
      shell: that reads it.
      first: what the shell needs before.
    """
    from fedjax_rec.cli.arguments import ACTIONS, VERBS

    keys, presets = _keys(), _presets()
    flags = {
        verb: [*flags_of(kind), *(keys if verb in WITH_PRESET else ()), "--help"]
        for verb, kind in VERBS.items()
    }
    places: dict[str, Sequence[str]] = {verb: sorted(actions) for verb, actions in ACTIONS.items()}
    places |= dict.fromkeys([verb for verb in WITH_PRESET if verb not in places], presets)
    places |= {"completion": SHELLS}
    return SCRIPT.format(
        version=version,
        how=f"source <(fedjax-rec completion {shell})",
        first=first,
        verbs=shlex.quote(" ".join([*VERBS, "--help", "--version"])),
        values="\n".join(_cases(keys, 4)),
        files="|".join(FILES),
        flags="\n".join(_cases(flags, 8)),
        places="\n".join(_cases(places, 12)),
    )


def flags_of(kind: Any) -> list[str]:
    """The words with two dashes that a verb takes, those of its actions among them.

    >>> from fedjax_rec.cli.export import Export
    >>> "--output" in flags_of(Export)
    True
    """
    hints, found = get_type_hints(kind, include_extras=True), []
    for entry in fields(kind):
        hint = hints[entry.name]
        if actions := list(_actions(hint)):
            found += [flag for action in actions for flag in flags_of(action)]
        elif entry.name != "overrides" and Positional not in _said_of(hint):
            found.append(_flag(entry.name, hint))
    return list(dict.fromkeys(found))


def _said_of(hint: Any) -> tuple[Any, ...]:
    """What stands beside a type."""
    return get_args(hint)[1:] if get_origin(hint) is Annotated else ()


def _flag(field: str, hint: Any) -> str:
    """The word of a field: its alias or its own name where it has one."""
    for said in _said_of(hint):
        if aliases := getattr(said, "aliases", None):
            return str(aliases[0])
        if name := getattr(said, "name", None):
            return f"--{name}"
    return f"--{field}"


def _actions(hint: Any) -> Iterator[Any]:
    """The classes of a verb's actions, where a type names such."""
    if get_origin(hint) in (Annotated, Union, UnionType):
        parts = get_args(hint)[:1] if get_origin(hint) is Annotated else get_args(hint)
        for part in parts:
            yield from _actions(part)
    elif isinstance(hint, type) and is_dataclass(hint):
        yield hint


def _keys() -> dict[str, list[str]]:
    """Every key of a configuration with the values that it may have, where they are listed."""
    from fedjax_rec.config import OPTIONS

    keys = {f"--{key}": _choices(kind) for key, (kind, _) in OPTIONS.items() if key != "preset"}
    for section, name, value in _set_by_presets():
        if section == "algorithm" or name == "name":
            words = keys.setdefault(f"--{section}.{name}", [])
            if name == "name" and value not in words:
                words.append(str(value))
    return keys


def _set_by_presets() -> Iterator[tuple[str, str, Any]]:
    """Section, key and value of whatever a preset sets."""
    from fedjax_rec.config import read_toml
    from fedjax_rec.config.files import preset_folder

    for preset in _presets():
        for section, values in read_toml(preset_folder() / f"{preset}.toml").items():
            if isinstance(values, Mapping):
                yield from ((section, name, value) for name, value in values.items())


def _presets() -> list[str]:
    from fedjax_rec.config import preset_names

    return preset_names()


def _choices(kind: Any) -> list[str]:
    if kind is bool:
        return ["true", "false"]
    return [str(word) for word in get_args(kind)] if get_origin(kind) is Literal else []


def _cases(words: Mapping[str, Sequence[str]], indent: int) -> Iterator[str]:
    """Lines of a `case`, of those that have words."""
    for name, choices in words.items():
        if choices:
            yield f"{' ' * indent}{name}) words={shlex.quote(' '.join(choices))} ;;"
