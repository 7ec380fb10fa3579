"""From a name to federated data, and what is imported on the way."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedjax_rec.data import load, read
from fedjax_rec.errors import UserError


def test_synthetic_data_load_with_their_protocol() -> None:
    data = load(
        "synthetic",
        num_users=30,
        num_items=60,
        mean_events=9.0,
        ties="item_id",
        validation="none",
        split_seed=5,
        exclude="heldout",
    )
    assert (data.name, data.num_clients, data.num_items) == ("synthetic", 30, 60)
    assert data.clients.num_clients == 30
    assert data.protocol == {
        "holdout": "leave_one_out",
        "validation": "none",
        "time_ties": "item_id",
        "split_seed": 5,
        "negatives_exclude": "heldout",
    }


def test_a_file_of_ones_own_loads_under_any_name(tmp_path: Path) -> None:
    path = tmp_path / "u.data"
    path.write_text("1\t2\t3\t4\n1\t3\t3\t5\n1\t4\t3\t6\n")
    notices: list[str] = []
    data = load("mine", path=str(path), notice=notices.append)
    assert (data.name, data.num_clients, data.num_items) == ("mine", 1, 3)
    assert data.split.train.item_labels[data.split.test.items[0, 0]] == "4"
    assert notices == []


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"name": "ml-10k"}, "data set 'ml-10k' is not known .did you mean 'ml-100k'"),
        ({"name": "synthetic", "num_user": 3}, "'num_user' is not known .did you mean 'num_users'"),
        ({"name": "synthetic", "path": "x"}, "synthetic: is generated"),
        ({"name": "ml-100k", "path": "x", "num_items": 3}, "ml-100k: option 'num_items' is only"),
        ({"name": "ml-100k", "path": "/no/file.zip"}, "/no/file.zip: no such file or folder"),
    ],
)
def test_a_wrong_request_is_refused(arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint) as caught:
        read(**arguments)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_the_data_set_it_is_called_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "u.data"
    path.write_text("1\t2\t3\t4\n")
    with pytest.raises(UserError, match="ml-100k: the file has 1 users, 1 items, 1 events, not"):
        read("ml-100k", path=str(path))


def test_ml_100k_loads_from_the_folder_of_data_sets(
    ml_100k_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDJAX_REC_CACHE", str(tmp_path))
    notices: list[str] = []
    for _ in range(2):
        data = load("ml-100k", notice=notices.append)
    assert (data.num_clients, data.num_items) == (943, 1682)
    assert len(notices) == 1


def test_a_hold_out_by_file_brings_candidates_and_draws_those_of_validation(
    tmp_path: Path,
) -> None:
    (tmp_path / "x.train.rating").write_text(
        "".join(f"{user}\t{item}\t1\t0\n" for user in range(3) for item in range(5))
    )
    (tmp_path / "x.test.rating").write_text("0\t5\t1\t9\n2\t6\t1\t9\n")
    (tmp_path / "x.test.negative").write_text("(0,5)\t5\t7\t8\n(2,6)\t9\t7\t8\n")
    rules: dict[str, Any] = {"holdout": "file", "path": str(tmp_path)}
    notices: list[str] = []
    split = load("mine", validation="hash", **rules, notice=notices.append).split
    assert notices == [
        "mine: among the file's candidates validation items are ranked among as few as 4 drawn "
        "items, not 99: the catalogue has no more"
    ]
    assert split.candidates is not None
    labels = np.append(split.train.item_labels, "-")
    test, valid = (labels[split.candidates[name]] for name in ("test", "valid"))
    assert [sorted(row) for row in test[[0, 2]].tolist()] == [["-", "5", "7", "8"], list("6789")]
    np.testing.assert_array_equal(valid[:, 0], labels[split.valid.items[:, 0]])
    assert set(valid[0, 1:].tolist()) == {"6", "7", "8", "9", "-"}
    assert split.valid.items[1, 0] == 10, "without a test item none for validation"
    plain = load("mine", validation="none", **rules).split
    assert plain.candidates is not None
    assert set(plain.candidates) == {"test"}


def test_the_host_side_imports_no_jax() -> None:
    script = (
        "import sys\n"
        "import fedjax_rec.data, fedjax_rec.data.registry, fedjax_rec.data.obtain\n"
        "from fedjax_rec.data import describe, leave_one_out, read, synthetic\n"
        "leave_one_out(read('synthetic', num_users=5, num_items=9, mean_events=5))\n"
        "assert 'jax' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_registry_alone_imports_no_numpy() -> None:
    script = (
        "import sys\nfrom fedjax_rec.data.registry import DATASETS\n"
        "assert 'numpy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_every_public_name_is_there() -> None:
    import fedjax_rec.data as package

    assert all(getattr(package, name) is not None for name in package.__all__)
    assert dir(package) == sorted(package.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        package.nothing  # noqa: B018
