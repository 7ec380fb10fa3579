"""The names of `import fedjax_rec`."""

import inspect
import tomllib
from pathlib import Path

import pytest

import fedjax_rec


@pytest.mark.parametrize("name", fedjax_rec.__all__)
def test_a_public_name_leads_to_something_that_is_described(name):
    value = getattr(fedjax_rec, name)
    if callable(value):
        assert inspect.getdoc(value)


def test_dir_lists_every_public_name():
    assert set(fedjax_rec.__all__) <= set(dir(fedjax_rec))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="simulat"):
        fedjax_rec.simulat  # noqa: B018


def test_the_version_is_that_of_the_metadata():
    metadata = Path(__file__).resolve().parents[1] / "pyproject.toml"
    stated = tomllib.loads(metadata.read_text(encoding="utf-8"))["project"]["version"]
    assert fedjax_rec.__version__ == stated
