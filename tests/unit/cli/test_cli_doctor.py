"""The doctor's checks, given what they would have found."""

import sys
from importlib.metadata import Distribution

import pytest

from enginehouse.cli.doctor import setup
from enginehouse.cli.doctor.finding import Finding, Status, worst
from enginehouse.cli.doctor.machine import gpus, memory, processor, python
from enginehouse.cli.doctor.packages import extra, install_command, needed_extras, packages, requirements
from enginehouse.errors import ModelLoadFailed, SourceError
from enginehouse.settings.schema import (
    AuthSettings,
    EngineSettings,
    LlamaServerSettings,
    QdrantSettings,
    ServerSettings,
    Settings,
    StoreSettings,
)
from enginehouse.types import Deployment, EngineName, Kind, Model

OK, WARN, FAIL = Status.OK, Status.WARN, Status.FAIL
PYPI = "pypi:pack==1/file.gguf"


def model(source=None, engine=EngineName.LLAMA_SERVER, **changes):
    deployment = Deployment(id="m", model="m", kind=Kind.CHAT, engine=engine, source=source, **changes)
    return Model(id="m", kind=Kind.CHAT, deployments=(deployment,))


def test_the_worst_of_all_counts():
    made = [Finding("a", status, "") for status in (OK, FAIL, WARN)]
    assert [worst(made), worst(made[:1]), worst(made[::2]), worst([])] == [FAIL, OK, WARN, OK]


# Machine -------------------------------------------------------------------------------------------------


def test_an_old_python_is_needed_anew():
    assert (python((3, 10, 2)).status, python((3, 11, 0)).status, python((4, 0, 0)).status) == (FAIL, OK, OK)


@pytest.mark.parametrize(
    ("machine", "features", "status", "text"),
    [
        ("x86_64", {"avx", "avx2", "sse"}, OK, "2 cores, avx avx2"),
        ("x86_64", {"sse"}, WARN, "no AVX2"),
        ("aarch64", {"asimd"}, OK, "asimd"),
        ("arm64", None, OK, "arm64, 2 cores"),
    ],
)
def test_processor(machine, features, status, text):
    found = processor(machine, features, 2)
    assert found.status is status
    assert text in found.detail


def test_memory_is_judged_by_what_is_available():
    assert memory(64 * 10**9, 10**9).status is WARN
    assert memory(8 * 10**9, 5 * 10**9).detail == "5.0 GB of 8.0 GB available"


def test_gpus():
    processor_alone = {"name": "CPU", "description": "Some CPU", "memory_total": 1, "type": 0}
    card = {"name": "CUDA0", "description": "Big Card", "memory_total": 24 * 10**9, "type": 1}
    assert "none" in gpus([processor_alone]).detail
    assert gpus([processor_alone, card]).detail == "Big Card (24.0 GB)"
    assert {gpus(None).status, gpus([]).status} == {OK}


# Packages ------------------------------------------------------------------------------------------------

LINES = [
    "aiohttp>=3",
    "redis[hiredis]>=7; extra == 'redis'",
    "asyncpg>=0.31; extra == 'postgres'",
    "ruff; extra == 'dev'",
]


def test_requirements_are_sorted_by_the_extra_that_brings_them():
    wanted = requirements([*LINES, "other; extra == 'redis' and sys_platform == 'nowhere'"])
    assert {name: [package.name for package in found] for name, found in wanted.items()} == {
        "redis": ["redis"],
        "postgres": ["asyncpg"],
    }


@pytest.mark.parametrize(
    ("version", "needed", "status", "remedy"),
    [
        ("7.1", True, OK, ""),
        ("7.1", False, OK, ""),
        (None, True, FAIL, "pip!"),
        (None, False, OK, "pip!"),
        ("6.0", True, FAIL, "pip!"),
        ("8.0b1", True, OK, ""),
    ],
)
def test_an_extra_fails_only_where_it_is_needed(version, needed, status, remedy):
    wanted = requirements(LINES)["redis"]
    found = extra("redis", wanted, lambda _: version, command="pip!", needed=needed)
    assert (found.status, found.remedy) == (status, remedy)


def test_only_what_is_installed_has_a_version():
    assert packages({"enginehouse": "1.2", "gguf": "3"}.get).detail == "enginehouse 1.2, gguf 3"


@pytest.mark.parametrize(
    ("settings", "models", "needed"),
    [
        (Settings(), (), set()),
        (Settings(), (model(PYPI),), {"local"}),
        (Settings(engines=EngineSettings(llama_server=LlamaServerSettings(path="/x"))), (model(PYPI),), set()),
        (Settings(), (model(engine=EngineName.OPENAI),), set()),
        (Settings(), (model("/x", engine=EngineName.ONNX),), {"local"}),
        (Settings(stores=StoreSettings(redis_url="redis://x")), (), {"redis"}),
        (Settings(stores=StoreSettings(database_url="postgresql+asyncpg://x/y")), (), {"postgres"}),
        (Settings(stores=StoreSettings(database_url="sqlite:///x")), (), set()),
        (Settings(qdrant=QdrantSettings(host="x")), (), {"qdrant"}),
    ],
)
def test_what_the_settings_need(settings, models, needed):
    assert needed_extras(settings, models) == needed


class Installed(Distribution):
    """A distribution with the given record of where it came from."""

    def __init__(self, record):
        self._record = record

    def read_text(self, filename):
        return self._record if filename == "direct_url.json" else None

    def locate_file(self, path):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("record", "what"),
    [
        (None, "'enginehouse[ray]'"),
        ('{"url": "https://x/enginehouse.whl", "archive_info": {}}', "'enginehouse[ray]'"),
        ('{"url": "file:///home/my%20code", "dir_info": {}}', "'/home/my code[ray]'"),
        ('{"url": "file:///code", "dir_info": {"editable": true}}', "--editable '/code[ray]'"),
    ],
)
def test_the_command_fits_how_it_was_installed(record, what):
    assert install_command(Installed(record), "ray") == f"{sys.executable} -m pip install {what}"


# Setup ---------------------------------------------------------------------------------------------------


def test_settings_that_are_wrong_are_shown_as_they_are():
    assert setup.configuration(None, "server.prt: no such setting").status is FAIL
    assert setup.configuration(None, "").status is OK


def test_exposure():
    assert setup.exposure(Settings()).status is OK
    open_to_all = ServerSettings(host="0.0.0.0")
    assert setup.exposure(Settings(server=open_to_all)).status is FAIL
    assert setup.exposure(Settings(server=open_to_all, auth=AuthSettings(api_keys=("k",)))).detail == "with a key"


def test_a_llama_server_that_is_none(tmp_path):
    plain = tmp_path / "plain"
    plain.write_text("")
    assert setup.llama_server(None).status is OK
    assert "no file" in setup.llama_server(tmp_path / "gone").detail
    assert "chmod" in setup.llama_server(plain).remedy


def test_a_data_dir_is_looked_at_and_not_made(tmp_path):
    found = setup.data_dir(tmp_path / "a" / "b")
    assert "not made yet" in found.detail
    assert not (tmp_path / "a").exists()


def test_a_data_dir_that_is_a_file(tmp_path):
    (tmp_path / "a").write_text("")
    assert setup.data_dir(tmp_path / "a").status is FAIL
    assert setup.data_dir(tmp_path / "a" / "b").status is FAIL


def files(of, path=None, error=None, damage=None):
    def locate(source, sha256):
        if error:
            raise error
        return path

    def read(path):
        if damage:
            raise damage

    (found,) = setup.model_files(of, locate, read)
    return found


def test_files_of_models(tmp_path):
    here = tmp_path / "m.gguf"
    here.write_bytes(b"x" * 2000)
    assert files(model(PYPI), here).detail == "local, 2.0 kB"
    assert (files(model(PYPI)).status, files(model(PYPI)).remedy) == (WARN, "enginehouse pull m")
    assert files(model(str(tmp_path / "gone.gguf"))).status is FAIL
    assert files(model({"a": PYPI, "b": "/gone"})).status is FAIL
    assert files(model(PYPI), error=SourceError("no source")).detail == "no source"
    assert files(model(PYPI), here, damage=ModelLoadFailed("damaged")).detail == "damaged"
    remote = files(model(engine=EngineName.OPENAI, base_url="http://me:secret@box/v1"))
    assert (remote.status, remote.detail) == (OK, "openai at http://box/v1, not asked")


def test_the_index_is_needed_while_something_has_to_come_from_it():
    nowhere, here = (lambda *_: None), (lambda *_: "/here")
    assert setup.needs_index((model("/x"), model(PYPI)), nowhere)
    assert setup.needs_index((model({"a": "/x", "b": PYPI}),), nowhere)
    assert not setup.needs_index((model(PYPI),), here)
    assert not setup.needs_index((model("/x"), model("hf:a/b/c"), model(engine=EngineName.OPENAI)), nowhere)
