"""Prompts that ask whether somebody will like an item, as published with TALLRec.

Format: the folder data of https://github.com/SAI990323/TALLRec
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fedjax_rec.data.interactions import FileSplit, Interactions, from_events
from fedjax_rec.data.sources.engine import places
from fedjax_rec.data.sources.files import Files
from fedjax_rec.errors import UserError

PARTS = ("train", "valid", "test")
FIELDS = ("instruction", "input", "output")
ANSWERS = {"Yes.": 1.0, "No.": 0.0}

_INPUT = re.compile(
    r"User Preference: (.*)\nUser Unpreference: (.*)\n"
    r"Whether the user will like the target \w+ (.*)\?",
    re.DOTALL,
)
_TITLE = re.compile(r'"(.*?)"(?=, "|$)', re.DOTALL)


@dataclass(frozen=True)
class Window:
    """What a prompt tells of a person.

    Attributes:
      liked: titles.
      disliked: titles.
      target: the title that is asked about.
    """

    liked: tuple[str, ...]
    disliked: tuple[str, ...]
    target: str

    @classmethod
    def of(cls, text: str) -> "Window | None":
        r"""The window of a prompt; `None` where it is worded otherwise.

        >>> Window.of('User Preference: "Dave", "Heat"\nUser Unpreference: \n'
        ...           'Whether the user will like the target movie "Toys"?')
        Window(liked=('Dave', 'Heat'), disliked=(), target='Toys')
        """
        told = _INPUT.search(text)
        if told is None:
            return None
        liked, disliked, target = (tuple(_TITLE.findall(part)) for part in told.groups())
        return cls(liked, disliked, target[0] if target else "")

    def goes_on(self, label: float, then: "Window") -> bool:
        """Whether another window is this one a step later: its target in, another title out."""
        sides = [(self.liked, then.liked), (self.disliked, then.disliked)]
        grown, kept = sides if label else sides[::-1]
        grown = ((*grown[0], self.target), grown[1])
        return any(
            _without_one(*one) and other[0] == other[1]
            for one, other in ((grown, kept), (kept, grown))
        )


def read_tallrec(files: Files, member: str, name: str) -> Interactions:
    """Reads `train.json`, `valid.json` and `test.json`, those of them that lie side by side.

    A prompt is an event whose item it is itself, with its text for a title, and whose value is
    1 where the answer is Yes and 0 where it is No. Prompts name nobody. A person's follow one
    another as a window over what it rated, so where a window goes on it is the same person, and
    where it does not, another one begins; files go on where the one before them ended.

    Args:
      files: the folder that holds the files.
      member: the name of one of them there.
      name: the data set's name.

    Returns:
      The events, tested where `test.json` has them and validated where `valid.json` does beside
      a `train.json`; places in time for times (`is_order_only`).

    Raises:
      UserError: no such files, or one without the fields or with another answer.
    """
    found = [
        (part, place)
        for part in PARTS
        if (place := files.beside(member, f"{part}.json")) is not None
    ]
    if not found:
        raise UserError(f"{files.label(member)}: is none of {', '.join(PARTS)}.json; name one")
    people, items, values, parts = [], [], [], []
    titles: dict[str, str] = {}
    person, last = 0, None
    for part, place in found:
        for number, (text, label) in enumerate(_prompts(files, place)):
            window = Window.of(text)
            if last is None or window is None or not last[0].goes_on(last[1], window):
                person += 1
            last = None if window is None else (window, label)
            people.append(person)
            items.append(f"{part}/{number}")
            titles[items[-1]] = text
            values.append(label)
            parts.append(part)
    events = from_events(people, items, values, name=name, titles=titles, where=files.label(member))
    is_valid = np.array([part == "valid" and found[0][0] == "train" for part in parts])
    split = FileSplit(np.array(parts) == "test", is_valid=is_valid if is_valid.any() else None)
    return replace(events, times=places(events.users), is_order_only=True, file_split=split)


def _prompts(files: Files, place: str) -> Iterator[tuple[str, float]]:
    """Text and label of each prompt of a file."""
    label = files.label(place)
    try:
        listed: Any = json.loads(files.read(place))
        if not isinstance(listed, list):
            raise ValueError("it is no list of prompts")
    except ValueError as error:
        raise UserError(f"{label}: is no JSON of prompts ({str(error)[:60]}); mend it") from None
    for number, entry in enumerate(listed):
        where = f"{label}, prompt {number}"
        if not isinstance(entry, dict) or not all(isinstance(entry.get(f), str) for f in FIELDS):
            raise UserError(f"{where}: lacks one of {', '.join(FIELDS)}; mend or remove it")
        if entry["output"].strip() not in ANSWERS:
            shown = entry["output"][:40]
            raise UserError(f"{where}: {shown!r} is neither Yes. nor No.; mend or remove it")
        yield f"{entry['instruction']}\n{entry['input']}", ANSWERS[entry["output"].strip()]


def _without_one(before: tuple[str, ...], after: tuple[str, ...]) -> bool:
    """Whether one title was taken out."""
    return any(before[:i] + before[i + 1 :] == after for i in range(len(before)))
