"""One registry for every slot: names are found, doubles refused, and all slots filled."""

import pytest

from fedjax_rec import register
from fedjax_rec.errors import UserError
from fedjax_rec.registry import SLOTS, Registry, registering, registrations

FIRST = {
    "algorithm": "fedmf",
    "baseline": "popularity",
    "model": "sasrec",
    "objective": "next_item",
    "transform": "clip_by_norm",
    "optimizer": "adam",
    "sampler": "poisson",
    "metric": "ndcg",
    "list_metric": "coverage",
    "reader": "recbole",
    "logger": "csv",
}


@pytest.fixture
def clean():
    """Whatever a test registers as the plug-in `test` is forgotten."""
    with registering("test"):
        yield
    for registry in SLOTS.values():
        registry.forget("test")


def test_every_slot_has_an_entry_of_the_packages_own():
    assert sorted(FIRST) == sorted(SLOTS)
    for slot, name in FIRST.items():
        assert SLOTS[slot].find(name) is SLOTS[slot][name]
        assert SLOTS[slot].origins[name] == ""


@pytest.mark.parametrize("slot", FIRST)
def test_one_call_makes_an_entry_known(slot, clean):
    def entry(): ...

    assert getattr(register, slot)("my-own_1", entry) is entry
    assert SLOTS[slot].find("my-own_1") is entry
    assert SLOTS[slot].origins["my-own_1"] == "test"


@pytest.mark.parametrize("slot", FIRST)
def test_the_same_call_decorates(slot, clean):
    @getattr(register, slot)("decorated", note=1)
    def entry(): ...

    assert SLOTS[slot].find("decorated") is entry
    assert SLOTS[slot].facts["decorated"] == {"note": 1}


@pytest.mark.parametrize("slot", FIRST)
def test_an_unknown_name_gets_a_hint(slot):
    with pytest.raises(
        UserError, match=rf"unknown .* '{FIRST[slot]}_' \(did you mean '{FIRST[slot]}'"
    ):
        SLOTS[slot].find(FIRST[slot] + "_")


@pytest.mark.parametrize("slot", FIRST)
def test_a_name_that_is_taken_is_refused(slot, clean):
    with pytest.raises(UserError, match="is registered already, by fedjax_rec; choose another"):
        getattr(register, slot)(FIRST[slot], lambda: None)


@pytest.mark.parametrize(
    ("slot", "name"),
    [
        ("algorithm", "ease"),
        ("baseline", "fedmf"),
        ("metric", "coverage"),
        ("list_metric", "ndcg"),
    ],
)
def test_names_that_share_a_key_of_the_configuration_differ(slot, name, clean):
    with pytest.raises(UserError, match="is registered already"):
        getattr(register, slot)(name, lambda: None)


@pytest.mark.parametrize("name", ["", "a b", "a/b", 'a"b', "a@5"])
def test_a_name_that_no_configuration_can_hold_is_refused(name):
    with pytest.raises(UserError, match="a name is made of letters"):
        register.model(name, lambda: None)


def test_a_function_that_is_defined_anew_takes_its_place(clean):
    def make():
        def entry(): ...

        return entry

    first, second = make(), make()
    before = registrations()
    register.model("anew", first)
    assert registrations() == before
    register.model("anew", second)
    assert SLOTS["model"].find("anew") is second
    assert registrations() > before


def test_a_slot_that_is_none_is_told():
    with pytest.raises(AttributeError, match="did you mean 'model'"):
        register.modle("x", lambda: None)


def test_what_a_plug_in_registered_can_be_forgotten():
    colours = Registry("colour")
    with registering("theirs"):
        colours.register("red", 1)
    colours.register("blue", 2)
    colours.forget("theirs")
    assert dict(colours) == {"blue": 2}
