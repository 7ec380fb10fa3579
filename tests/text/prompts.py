"""Prompts as TALLRec writes them, of people whose windows move by one title."""

import json
from pathlib import Path
from typing import Any

import numpy as np

INSTRUCTION = "Will the user like it?"


def prompt(liked: list[str], disliked: list[str], target: str, label: bool) -> dict[str, str]:
    sides = (", ".join(f'"{title}"' for title in side) for side in (liked, disliked))
    text = "User Preference: {}\nUser Unpreference: {}\n".format(*sides)
    text += f'Whether the user will like the target movie "{target}"?'
    return {"instruction": INSTRUCTION, "input": text, "output": "Yes." if label else "No."}


def stream(draw: Any, people: list[int]) -> list[dict[str, str]]:
    """Of each person so many prompts; two titles are known of it before."""
    found = []
    for number, count in enumerate(people):
        titles = [f"Film, {number} of {place}" for place in range(count + 2)]
        labels = draw.random(count + 2) < 0.6
        for place in range(2, count + 2):
            window = list(zip(titles, labels, strict=True))[place - 2 : place]
            liked, disliked = ([t for t, y in window if y == side] for side in (True, False))
            found.append(prompt(liked, disliked, titles[place], bool(labels[place])))
    return found


def write_prompts(folder: Path, seed: int = 0, cut: int = 24, **more: Any) -> Path:
    """Four people's 40 prompts: the first 24 to validate, the others to test."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = stream(np.random.default_rng(seed), [10, 8, 12, 10])
    for name, part in {"valid": whole[:cut], "test": whole[cut:], **more}.items():
        (folder / f"{name}.json").write_text(json.dumps(part))
    return folder / "valid.json"
