"""The recipes of docs/data.md, each on lines as the published file has them."""

import gzip
import re
import shlex
from pathlib import Path

import pytest

from fedjax_rec.data.sources import read_path
from fedjax_rec.data.sources.guess import Columns

PAGE = Path(__file__).parents[2] / "docs/data.md"
ROLES = ("user", "item", "rating", "time")

LINES = {
    "Amazon reviews 2014": (
        '{"reviewerID": "A9", "asin": "B1", "overall": 4.0, "unixReviewTime": 1252800000}',
        "A9 B1 4.0 1252800000",
    ),
    "Amazon ratings 2014": ("A9,B1,4.0,1252800000", "A9 B1 4.0 1252800000"),
    "Amazon ratings 2018": ("B1,A9,4.0,1252800000", "A9 B1 4.0 1252800000"),
    "Amazon reviews 2023": (
        "user_id,parent_asin,rating,timestamp\nA9,B1,4.0,1252800000000",
        "A9 B1 4.0 1252800000",
    ),
    "Yelp": (
        '{"review_id": "x", "user_id": "u9", "business_id": "b1", "stars": 4.0, "useful": 0, '
        '"text": "good, \\"very\\"", "date": "2009-09-13 00:00:00"}',
        "u9 b1 4.0 1252800000",
    ),
    "Steam-200k": ('9,"Half-Life 2",play,4.0,0', "9 Half-Life_2 4.0 0"),
    "Book-Crossing": ('"User-ID";"ISBN";"Book-Rating"\n"9";"034545104X";"4"', "9 034545104X 4.0 0"),
    "Gowalla": ("9\t2009-09-13T00:00:00Z\t30.2\t-97.7\t22847", "9 22847 1.0 1252800000"),
    "Foursquare": (
        "9\t49bbd6c0\t4bf58dd8\tArts & Crafts\t40.7\t-74.0\t-240\tSun Sep 13 00:00:00 +0000 2009",
        "9 49bbd6c0 1.0 1252800000",
    ),
    "Last.fm-1K": (
        "user_9\t2009-09-13T00:00:00Z\tf1b1\tDeep Dish\t\tPrivate Life",
        "user_9 Private_Life 1.0 1252800000",
    ),
    "Taobao": ("9,2268,2520,pv,1252800000", "9 2268 1.0 1252800000"),
    "RetailRocket": (
        "timestamp,visitorid,event,itemid,transactionid\n1252800000000,9,view,355908,",
        "9 355908 1.0 1252800000",
    ),
    "H&M": (
        "t_dat,customer_id,article_id,price,sales_channel_id\n2009-09-13,9a,066354,0.05,2",
        "9a 066354 1.0 1252800000",
    ),
}
"""Start of a recipe's row -> an event as it is published, and what is to be read (blanks as _)."""


def recipes() -> dict[str, str]:
    """Data -> what the page says to do with them."""
    table = PAGE.read_text().partition("## Recipes")[2].partition("\n## ")[0]
    rows = [row.strip("|").split("|") for row in table.splitlines() if row.startswith("| ")]
    return {name.strip(): how for name, how in rows[2:]}


def test_every_recipe_has_its_lines() -> None:
    assert all(sum(name.startswith(start) for start in LINES) == 1 for name in recipes())
    assert len(recipes()) == len(LINES)


@pytest.mark.parametrize("start", LINES)
def test_a_recipe_reads_lines_as_they_are_published(start: str, tmp_path: Path) -> None:
    name, how = next((name, how) for name, how in recipes().items() if name.startswith(start))
    line, expected = LINES[start]
    file_name = (re.findall(r"`([^`]+)`", name) or ["events.csv"])[0]
    content = f"{line}\n".encode()
    path = tmp_path / file_name
    path.write_bytes(gzip.compress(content) if file_name.endswith(".gz") else content)
    flags = shlex.split(re.findall(r"`(--[^`]+)`", how)[0])
    said = dict(zip(flags[::2], flags[1::2], strict=False)) if "alone" not in how else {}
    roles = {role: said.get(f"--data.{role}", "") for role in ROLES}
    columns = Columns(**roles, separator=said.get("--data.separator", ""))
    events = read_path(path, "mine", columns=columns)
    found = (events.user_labels[0], events.item_labels[0], events.values[0], events.times[0])
    assert [str(one).replace(" ", "_") for one in found] == expected.split()
