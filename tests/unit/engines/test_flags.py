"""The bundled engine's flags and the command that starts an engine."""

from pathlib import Path

import pytest

from enginehouse.engines.llama_server import UnknownFlag, parse_flags, plan_child
from enginehouse.types import Deployment, EngineName, Kind

MODEL = Path("/models/m.gguf")


def deployment(*flags, kind=Kind.CHAT, **changes):
    return Deployment(id="m", model="m", kind=kind, engine=EngineName.LLAMA_SERVER, flags=flags, **changes)


def plan(given, binary=None):
    return plan_child(given, MODEL, binary=binary, api_key="secret", port=8085 if binary else None)


@pytest.mark.parametrize(
    ("flags", "name", "value"),
    [
        (["-ngl", "99"], "gpu_layers", 99),
        (["-ngl", "all"], "gpu_layers", -1),
        (["--ctx-size", "8192"], "ctx_size", 8192),
        (["-fa"], "flash_attn", "on"),
        (["--flash-attn", "off"], "flash_attn", "off"),
        (["--cache-type-k", "q4_0"], "cache_type_k", "q4_0"),
        (["--mlock"], "mlock", True),
        (["--jinja"], "jinja", True),
        (["--no-jinja"], "jinja", False),
        (["--embeddings"], "embedding", True),
        (["--parallel", "2"], "parallel", 2),
    ],
)
def test_known_flags_are_read(flags, name, value):
    assert getattr(parse_flags(flags), name) == value


def test_an_unknown_flag_is_refused_by_name_with_the_nearest_one():
    with pytest.raises(UnknownFlag, match=r"'--flsh-attn'.*Did you mean --flash-attn\?"):
        parse_flags(["--flsh-attn", "on"])


def test_a_flag_is_never_guessed_from_its_beginning():
    with pytest.raises(UnknownFlag, match="--embed"):
        parse_flags(["--embed"])


def test_a_wrong_value_is_refused():
    with pytest.raises(UnknownFlag, match="ctx-size"):
        parse_flags(["--ctx-size", "many"])


def test_context_is_per_slot_and_the_server_wants_the_sum():
    argv = plan(deployment(context_length=2048, slots=3)).argv
    assert argv[argv.index("-c") + 1] == "6144"
    assert argv[argv.index("-np") + 1] == "3"


def test_the_users_own_flags_win_over_what_the_fields_imply():
    argv = plan(deployment("--ctx-size", "512", "--parallel", "1", context_length=2048, slots=3)).argv
    assert "-c" not in argv
    assert "-np" not in argv


def test_an_embedding_model_is_started_as_one():
    assert "--embedding" in plan(deployment(kind=Kind.EMBEDDING)).argv


def test_the_key_is_on_no_command_line():
    for binary in (None, Path("/opt/llama-server")):
        assert not any("secret" in word for word in plan(deployment(), binary).argv)
        assert "secret" not in repr(plan(deployment(), binary))


def test_the_users_binary_gets_any_flag_and_our_port_last():
    argv = plan(deployment("--brand-new-flag", "--port", "1"), Path("/opt/llama-server")).argv
    assert "--brand-new-flag" in argv
    assert argv[-2:] == ("--port", "8085")


def test_the_bundled_engine_refuses_at_planning_what_it_would_refuse_at_start():
    with pytest.raises(UnknownFlag):
        plan(deployment("--brand-new-flag"))
