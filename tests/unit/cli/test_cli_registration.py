"""How settings on the command line become JSON."""

import pytest

from enginehouse.cli.registration import fields_of
from enginehouse.errors import InvalidRequest


def test_values_are_json_where_they_can_be_and_text_elsewhere():
    given = ["source=pypi:a==1/m.gguf", "ttl=5", "pinned=true", 'aliases=["x"]', "price.input_per_1k=0.5", "name="]
    assert fields_of(given, ["kind", "price.output_per_1k"]) == {
        "source": "pypi:a==1/m.gguf",
        "ttl": 5,
        "pinned": True,
        "aliases": ["x"],
        "price": {"input_per_1k": 0.5, "output_per_1k": None},
        "name": "",
        "kind": None,
    }


@pytest.mark.parametrize("settings", [["ttl"], ["=5"], ["price=1", "price.input_per_1k=2"]])
def test_what_is_no_setting_is_refused(settings):
    with pytest.raises(InvalidRequest):
        fields_of(settings)
