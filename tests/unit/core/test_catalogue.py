"""Names and what they mean."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.core.catalogue import Catalogue, Change
from enginehouse.errors import Conflict, ModelNotFound, SettingsError
from enginehouse.types import Deployment, EngineName, Kind, Model


def model(id_, *aliases, origin="settings", name=""):
    _, _, version = id_.partition("@")
    deployment = Deployment(id=id_, model=id_, kind=Kind.CHAT, engine=EngineName.LLAMA_SERVER, source="a.gguf")
    return Model(
        id=id_,
        kind=Kind.CHAT,
        deployments=(deployment,),
        name=name,
        version=version or None,
        aliases=aliases,
        origin=origin,
    )


def test_ids_aliases_and_versions_resolve():
    one, two = model("bert@1.9", "old"), model("bert@1.10")
    catalogue = Catalogue([two, one, model("llama3.1:8b"), model("author/model")])
    assert catalogue.resolve("bert@1.9") is one
    assert catalogue.resolve("old") is one
    assert catalogue.resolve("bert@1.10") is two
    assert catalogue.resolve("bert") is two
    assert catalogue.resolve("llama3.1:8b").id == "llama3.1:8b"
    assert [found.id for found in catalogue.models()] == ["author/model", "bert@1.10", "bert@1.9", "llama3.1:8b"]


def test_an_alias_or_a_plain_id_decides_what_the_bare_name_means():
    assert Catalogue([model("bert@1", "bert"), model("bert@2")]).resolve("bert").id == "bert@1"
    assert Catalogue([model("bert"), model("bert@2")]).resolve("bert").id == "bert"


@pytest.mark.parametrize(
    ("versions", "newest"),
    [
        (["1", "2"], "2"),
        (["1.9", "1.10"], "1.10"),
        (["1", "1.0.1"], "1.0.1"),
        (["2026-01-09", "2026-01-10"], "2026-01-10"),
        (["v9", "v10"], "v10"),
        (["beta", "1"], "1"),
    ],
)
def test_numbers_in_versions_count_as_numbers(versions, newest):
    for order in (versions, versions[::-1]):
        assert Catalogue([model(f"m@{version}") for version in order]).resolve("m").version == newest


def test_an_unknown_name_comes_with_at_most_three_that_look_alike():
    catalogue = Catalogue([model(f"smollm{number}") for number in range(5)])
    with pytest.raises(ModelNotFound) as caught:
        catalogue.resolve("smolm2")
    assert caught.value.near[0] == "smollm2"
    assert len(caught.value.near) == 3
    with pytest.raises(ModelNotFound) as caught:
        catalogue.resolve("x" * 1_000_000)
    assert (caught.value.near, len(caught.value.message) < 400) == ((), True)


@pytest.mark.parametrize(
    ("models", "both"),
    [
        ([model("a"), model("a", name="again")], ["'a'"]),
        ([model("a", "x"), model("b", "x")], ["'a'", "'b'", "'x'"]),
        ([model("a", "b"), model("b")], ["'a'", "'b'"]),
        ([model("a"), model("b", "a")], ["'a'", "'b'"]),
    ],
)
def test_a_name_for_two_models_is_a_mistake_that_names_both(models, both):
    with pytest.raises(SettingsError) as caught:
        Catalogue(models)
    assert all(name in caught.value.message for name in both)


@pytest.mark.parametrize("name", ["", " a", "a\n", "load", "x/status", "logs/x", "a//b", "/a", "a/", "n" * 300])
def test_names_that_cannot_stand_in_a_path_are_refused(name):
    with pytest.raises(SettingsError):
        Catalogue([model(name)])
    with pytest.raises(SettingsError):
        Catalogue([model("a", name)])


def test_an_alias_may_repeat_the_id():
    assert Catalogue([model("a", "a")]).resolve("a").id == "a"


def test_settings_win_over_a_found_file_and_that_over_a_default():
    catalogue = Catalogue([model("minilm", "embedder", origin="default")])
    found = model("minilm", origin="models_dir")
    assert catalogue.replace("models_dir", [found]) == Change(changed=("minilm",))
    assert catalogue.resolve("minilm") is found
    with pytest.raises(ModelNotFound):
        catalogue.resolve("embedder")
    stated = model("mine", "minilm")
    assert catalogue.replace("settings", [stated]) == Change(added=("mine",), removed=("minilm",))
    assert catalogue.resolve("minilm") is stated
    assert catalogue.replace("settings", []) == Change(added=("minilm",), removed=("mine",))
    assert catalogue.resolve("minilm") is found


def test_an_alias_a_better_source_has_is_left_to_it():
    catalogue = Catalogue([model("a", "x"), model("b", "x", "y", origin="default")])
    assert [catalogue.resolve(name).id for name in ("x", "y", "b")] == ["a", "b", "b"]


def test_a_replacement_says_what_is_different():
    catalogue = Catalogue([model("a"), model("b"), model("c")])
    change = catalogue.replace("settings", [model("a"), model("b", name="new"), model("d")])
    assert change == Change(added=("d",), removed=("c",), changed=("b",))
    assert change
    assert not catalogue.replace("settings", [model("a"), model("b", name="new"), model("d")])


def test_a_refused_replacement_changes_nothing():
    catalogue = Catalogue([model("a", "x")])
    before = catalogue.models()
    with pytest.raises(Conflict, match="'y'"):
        catalogue.replace("api", [model("b", "y", origin="api"), model("c", "y", origin="api")])
    assert catalogue.models() is before
    assert catalogue.replace("api", [model("b", origin="api")]).added == ("b",)
    with pytest.raises(SettingsError, match="'b'"):
        catalogue.replace("settings", [model("b"), model("c", "b")])
    assert [found.id for found in catalogue.models()] == ["a", "b"]


def test_the_configuration_hides_what_was_registered_and_gives_it_back():
    registered = model("b", origin="api")
    catalogue = Catalogue([registered])
    stated = model("b", name="stated")
    assert catalogue.replace("settings", [stated]) == Change(changed=("b",))
    assert catalogue.resolve("b") is stated
    catalogue.replace("settings", [])
    assert catalogue.resolve("b") is registered


def test_models_of_another_origin_are_a_mistake_of_the_program():
    with pytest.raises(ValueError, match="another origin than api: a"):
        Catalogue().replace("api", [model("a")])


# Whatever is replaced by whatever --------------------------------------------------------------------------

RANK = {"settings": 0, "api": 1, "models_dir": 2, "default": 3}
names = st.sampled_from(["a", "b", "c", "a@1", "a@2", "b@1", "load"])
models = st.builds(lambda id_, aliases: (id_, tuple(aliases)), names, st.lists(names, max_size=2, unique=True))
steps = st.lists(st.tuples(st.sampled_from(sorted(RANK)), st.lists(models, max_size=3)), max_size=8)


def claims(found):
    return {found.id, *found.aliases}


def contradict(given):
    """Whether two models of one rank, neither hidden by a better one, claim one name; or a name is reserved."""
    shown = []
    for rank in (0, 1, 2, 3):
        taken = set().union(*map(claims, shown))
        level = [found for found in given if RANK[found.origin] == rank and found.id not in taken]
        wanted = [name for found in level for name in claims(found) - taken]
        hidden = any("load" in claims(found) for found in level)
        if hidden or len(wanted) != len(set(wanted)):
            return True
        shown += level
    return False


@given(steps)
def test_no_name_ever_means_two_models_and_a_failure_changes_nothing(steps):
    catalogue, given_ = Catalogue(), []
    for origin, wanted in steps:
        incoming = [model(id_, *aliases, origin=origin) for id_, aliases in wanted]
        gone = {"settings", "default"} if origin == "settings" else {origin}
        following = [found for found in given_ if found.origin not in gone] + incoming
        before = catalogue.models()
        try:
            change = catalogue.replace(origin, incoming)
        except (Conflict, SettingsError):
            assert contradict(following) or any(found.id == "load" for found in incoming)
            assert catalogue.models() is before
        else:
            assert not contradict(following)
            assert set(change.added) == {m.id for m in catalogue.models()} - {m.id for m in before}
            given_ = following
        check(catalogue, given_)


def check(catalogue, given_):
    shown = catalogue.models()
    assert [found.id for found in shown] == sorted({found.id for found in shown})
    for found in shown:
        assert found in given_
        assert catalogue.resolve(found.id) is found
        for name in claims(found):
            holder = catalogue.resolve(name)
            assert holder is found or RANK[holder.origin] < RANK[found.origin]
            assert name in claims(holder)
    for hidden in given_:
        assert hidden in shown or RANK[catalogue.resolve(hidden.id).origin] < RANK[hidden.origin]
