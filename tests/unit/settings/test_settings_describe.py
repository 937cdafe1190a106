"""The example, the schema, the values in force and the reference page all come from the one schema."""

import json
import re
from pathlib import Path

import pytest

from enginehouse.settings import Settings, describe
from enginehouse.settings.environment import NAMES
from enginehouse.settings.keys import all_keys

ROOT = Path(__file__).parents[3]


def test_the_example_says_the_defaults(read):
    assert read(describe.example()) == Settings()


def test_the_example_names_every_key():
    told = re.findall(r"^ *(?:# )?(\w+):", describe.example(), re.MULTILINE)
    assert {key.path[-1] for key in all_keys() if key.path[0] != "models"} <= set(told)


def test_the_example_writes_every_default_that_is_something(read):
    origins = read(describe.example()).origins
    keys = {key.name for key in all_keys() if key.node.get("default") is not None and key.path[0] != "models"}
    assert origins.keys() == keys


def test_the_models_of_the_example_load_when_they_are_wanted(read):
    wanted = re.sub(r"^  # ", "  ", describe.EXAMPLE_MODELS, flags=re.MULTILINE)
    models = read(f"models:\n{wanted}").models
    assert list(models) == ["qwen", "gpt-4o-mini"]


@pytest.mark.parametrize(
    ("page", "text"),
    [("docs/configuration.md", describe.reference()), ("enginehouse.example.yaml", describe.example())],
)
def test_generated_pages_are_up_to_date(page, text):
    """If this fails: `enginehouse config reference` or `example` prints the page anew."""
    assert (ROOT / page).read_text(encoding="utf-8") == text


def test_the_reference_has_every_key_once_and_every_variable():
    page = describe.reference()
    for key in all_keys():
        assert page.count(f"\n| `{key.name}` | ") == 1
        assert key.meaning, key.name
    for name in NAMES:
        assert f"`{name}`" in page


def test_the_json_schema_is_json_and_closed():
    schema = json.loads(json.dumps(describe.json_schema()))
    assert schema["additionalProperties"] is False
    assert schema["$defs"]["ServerSettings"]["properties"]["port"]["maximum"] == 65535
    assert str(Path.home()) not in json.dumps(schema)


def test_secrets_are_masked_wherever_they_are(read):
    text = """
    auth: {api_keys: [hush1], jwt_secret: hush2}
    sources: {hf_token: hush3, pypi_index: 'https://u:hush4@mirror/simple'}
    stores: {database_url: 'postgresql://u:hush5@h/d', redis_url: 'redis://:hush6@h'}
    openai: {api_key: hush7}
    models: {a: {api_key: hush8, base_url: 'https://hush9@host/v1'}}
    """
    shown = json.dumps(describe.show(read(text)))
    assert "hush" not in shown
    assert shown.count("***") == 9


def test_show_says_where_values_come_from(read):
    shown = describe.show(read("server: {port: 1}\nmodels: {a: {flags: [-np, 2]}}", HOST="h"))
    assert shown["values"]["server"] | {"port": 1, "host": "h"} == shown["values"]["server"]
    assert shown["values"]["models"]["a"]["slots"] == 2
    assert shown["origins"] == {
        "server.port": "file",
        "server.host": "environment HOST",
        "models.a.flags": "file",
        "models.a.slots": "flags",
    }


def test_shown_values_are_json(read):
    assert json.loads(json.dumps(describe.show(read())["values"]))["log"] == {"level": "info", "format": "auto"}
