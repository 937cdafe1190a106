"""What an edit changed, and what of it waits for the next start."""

import pytest

from enginehouse.settings import changed, wants_restart
from enginehouse.settings.keys import all_keys
from enginehouse.settings.schema import RESTART


@pytest.mark.parametrize(
    ("before", "after", "keys"),
    [
        ("", "server: {port: 1}", {"server.port"}),
        ("", "server: {port: 8000}", set()),
        ("models: {a: {slots: 2}}", "models: {a: {flags: []}}", {"models.a"}),
        ("engines: {llama_server: {gpu_devices: [0]}}", "", {"engines.llama_server.gpu_devices"}),
        ("models: {a: {slots: 1}, b: {}}", "models: {a: {slots: 2}, c: {}}", {"models.a", "models.b", "models.c"}),
        ("auth: {api_keys: [a]}", "auth: {api_keys: [b]}", {"auth.api_keys"}),
        ("models_dir: /a", "models_dir: /b", {"models_dir"}),
        ("residency: {idle_timeout: 1}", "residency: {idle_timeout: 2, max_models: 3}",
         {"residency.idle_timeout", "residency.max_models"}),
    ],
)  # fmt: skip
def test_changed_names_what_differs(read, before, after, keys):
    assert changed(read(before), read(after)) == keys


def test_only_some_keys_want_a_restart():
    keys = {"server.port", "server.debug", "data_dir", "stores.redis_url", "models.a", "auth.api_keys"}
    assert wants_restart(keys) == {"server.port", "data_dir", "stores.redis_url"}


def test_every_restart_key_exists():
    known = {key.name for key in all_keys()} | {key.path[0] for key in all_keys()}
    assert known >= RESTART
