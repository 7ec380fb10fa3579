"""Solutions of calibrations that outlive a process, one small file each.

A file is written at one stroke, so processes need not wait for each other. One that cannot be
read counts as absent. Nothing rests on them: what a run reports is accounted from what it
executed.
"""

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from fedjax_rec.cache import cache_folder
from fedjax_rec.privacy.library import library_version

FORMAT = 1
"""Raised when the same question gets another answer."""


def _is_multiplier(answer: Any) -> bool:
    return math.isfinite(answer) and answer > 0


def recall(question: Any, is_good: Callable[[Any], bool] = _is_multiplier) -> Any:
    """The answer to a question; `None`: it has none here.

    Args:
      question: dataclasses, lists, numbers and words.
      is_good: what else an answer must be; by default a positive number.
    """
    asked = _as_text(question)
    try:
        kept = json.loads(_file(asked).read_text(encoding="utf-8"))
        answer = kept["answer"]
        is_known = kept["question"] == asked and is_good(answer)
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return answer if is_known else None


def remember(question: Any, answer: Any) -> None:
    """Keeps an answer. A folder that cannot be written only means that it is found again."""
    asked = _as_text(question)
    file = _file(asked)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=file.parent, suffix=".part")
        with os.fdopen(handle, "w", encoding="utf-8") as opened:
            json.dump({"question": asked, "answer": answer}, opened)
        Path(temporary).replace(file)
    except OSError:
        return


def _file(asked: str) -> Path:
    name = hashlib.sha256(asked.encode()).hexdigest()[:32]
    return cache_folder() / "privacy" / f"{name}.json"


def _as_text(question: Any) -> str:
    """A question in one canonical form, with all that its answer depends on."""

    def plain(value: Any) -> Any:
        if is_dataclass(value) and not isinstance(value, type):
            return asdict(value)
        return value.item() if hasattr(value, "item") else repr(value)

    return json.dumps([FORMAT, library_version(), question], default=plain, sort_keys=True)
