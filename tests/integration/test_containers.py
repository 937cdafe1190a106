"""Dockerfiles and compose files: linted, held against the schema of compose and the settings of the service.

No container engine runs here. What is checked is what could be wrong without one: instructions, keys, references,
variables, versions.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from enginehouse import __version__
from enginehouse.settings import load
from tests.integration.variables import is_setting

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
DOCKERFILES = ("Dockerfile", "Dockerfile.cuda")
COMPOSE = ("compose.yaml", "compose.cuda.yaml", "compose.monitoring.yaml")
VARIABLE = re.compile(r"\$\{([A-Z_]+)(?::([?-])([^}]*))?\}")


def compose(*names: str) -> dict:
    """The files laid over each other, as far as these tests want it."""
    whole: dict = {}
    for name in names:
        for section, entries in yaml.safe_load((ROOT / name).read_text()).items():
            if isinstance(entries, dict) and not section.startswith("x-"):
                for key, value in entries.items():
                    there = whole.setdefault(section, {}).setdefault(key, {})
                    whole[section][key] = {**(there or {}), **(value or {})}
    return whole


def ours(services: dict) -> dict:
    """The services that run our image."""
    return {name: each for name, each in services.items() if each["image"].startswith("enginehouse:")}


def ran(*command: str | Path, **how) -> subprocess.CompletedProcess[str]:
    """A finished process, however it ended."""
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, **how)


def environment_of(dockerfile: str) -> dict[str, str]:
    """What the last stage sets."""
    last = (ROOT / dockerfile).read_text().split("\nFROM ")[-1].replace("\\\n", " ")
    lines = re.findall(r"^ENV (.*)$", last, re.MULTILINE)
    return dict(pair.split("=", 1) for line in lines for pair in line.split())


@pytest.mark.parametrize("name", DOCKERFILES)
def test_hadolint_finds_nothing(name):
    done = ran(BIN / "hadolint", ROOT / name)
    assert done.returncode == 0, done.stdout


def test_hadolint_can_find_something(tmp_path):
    (tmp_path / "Dockerfile").write_text("FROM python\nRUN cd /tmp && apt-get install curl\n")
    assert ran(BIN / "hadolint", tmp_path / "Dockerfile").returncode == 1


@pytest.mark.parametrize("name", DOCKERFILES)
def test_what_is_copied_is_there_and_not_ignored(name):
    kept = (ROOT / ".dockerignore").read_text()
    assert "\n*\n" in kept, "everything is ignored but what is named"
    for line in re.findall(r"^COPY (?!--from)(.*)$", (ROOT / name).read_text(), re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert f"\n!{source}\n" in kept, source


@pytest.mark.parametrize("name", DOCKERFILES)
def test_the_image_runs_as_a_numbered_user_with_settings_the_service_knows(name):
    text = (ROOT / name).read_text()
    assert re.search(r"^USER (\S+)$", text, re.MULTILINE)[1] == "10001:10001"
    own = {key: value for key, value in environment_of(name).items() if is_setting(key)}
    assert set(environment_of(name)) - set(own) <= {"PATH", "PYTHONUNBUFFERED", "LLAMA_ARG_HOST"}
    settings = load(None, {**own, "API_KEY": "a-key"})
    assert (settings.server.host, settings.server.port) == ("0.0.0.0", 8000)
    assert re.search(r"^EXPOSE 8000$", text, re.MULTILINE)


def test_both_images_are_ready_by_the_same_sign_and_keep_data_in_the_same_place():
    texts = [(ROOT / name).read_text() for name in DOCKERFILES]
    for sign in ("HEALTHCHECK[^\n]*\n[^\n]*", "VOLUME [^\n]*", "ENTRYPOINT [^\n]*", "USER [^\n]*"):
        assert len({re.search(sign, text)[0] for text in texts}) == 1


def test_the_health_check_is_a_program_that_runs():
    line = re.search(r'CMD (\["python", "-c".*\])', (ROOT / "Dockerfile").read_text())[1]
    _, _, program = yaml.safe_load(line)
    compile(program, "HEALTHCHECK", "exec")
    done = ran(sys.executable, "-c", program, env={"PORT": "9"})
    assert done.returncode == 1, "nobody answers there"


def test_uv_in_the_image_is_the_one_of_the_lock():
    locked = re.search(r"^uv==(\S+)", (ROOT / "constraints-dev.txt").read_text(), re.MULTILINE)[1]
    assert f"ghcr.io/astral-sh/uv:{locked} " in (ROOT / "Dockerfile.cuda").read_text()


def test_the_servers_lock_is_a_slice_of_the_whole():
    def pinned(name):
        return set(re.findall(r"^([\w.-]+==[^ ;\\]+)", (ROOT / name).read_text(), re.MULTILINE))

    server = pinned("constraints-server.txt")
    assert server < pinned("constraints.txt")
    names = {line.partition("==")[0] for line in server}
    assert {"asyncpg", "redis", "qdrant-client", "xllamacpp", "onnxruntime", "hatchling"} <= names
    assert "pytest" not in names


def test_compose_files_meet_their_schema():
    files = (ROOT / name for name in COMPOSE)
    done = ran(BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", *files)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("over", [(), ("compose.cuda.yaml",), ("compose.monitoring.yaml",)])
def test_every_reference_has_its_end(over):
    whole = compose("compose.yaml", *over)
    for name, service in whole["services"].items():
        assert set(service.get("depends_on", ())) <= set(whole["services"]), name
        assert set(service.get("networks", ())) <= set(whole["networks"]), name
        assert set(service.get("secrets", ())) <= set(whole.get("secrets", ())), name
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (ROOT / source).exists(), source
            elif not source.startswith("$"):
                assert source in whole["volumes"], source


def test_who_is_waited_for_to_be_healthy_says_how_it_is():
    services = compose("compose.yaml")["services"]
    awaited = [each["depends_on"].items() for each in services.values() if "depends_on" in each]
    healthy = {name for several in awaited for name, how in several if how["condition"] == "service_healthy"}
    assert healthy == {"postgres", "redis"}
    assert all("healthcheck" in services[name] for name in healthy)


def test_every_variable_of_ours_is_a_setting_that_takes_its_value():
    for service in ours(compose("compose.yaml")["services"]).values():
        environ = {name: VARIABLE.sub("a-word", value) for name, value in service["environment"].items()}
        assert [name for name in environ if not is_setting(name)] == []
        environ["MODEL_SERVER_URL"] = "http://ollama:11434"
        settings = load(None, environ)
        assert settings.stores.database_url.startswith("postgresql://")
        assert settings.qdrant.url == "http://qdrant:6333"


def test_every_variable_that_is_asked_for_is_in_the_example_and_the_other_way_round():
    asked = {name for file in COMPOSE for name, *_ in VARIABLE.findall((ROOT / file).read_text())}
    asked |= {
        secret["environment"] for secret in compose(*COMPOSE).get("secrets", {}).values() if "environment" in secret
    }
    told = set(re.findall(r"^([A-Z_]+)=", (ROOT / "compose.env.example").read_text(), re.MULTILINE))
    assert asked == told


def test_what_is_secret_has_no_default():
    for file in COMPOSE:
        for name, how, _ in VARIABLE.findall((ROOT / file).read_text()):
            assert how == "?" or not name.endswith(("PASSWORD", "_KEY")) or name.startswith(("OPENAI", "ANTHROPIC"))


def test_only_what_callers_need_is_open_and_only_to_this_machine():
    services = compose(*COMPOSE)["services"]
    assert {name for name, each in services.items() if "ports" in each} == {"enginehouse", "prometheus", "grafana"}
    for name in ("prometheus", "grafana"):
        assert all(port.startswith("127.0.0.1:") for port in services[name]["ports"])
    assert "${BIND:-127.0.0.1}:" in services["enginehouse"]["ports"][0]
    assert compose("compose.yaml")["networks"]["stores"]["internal"] is True


def test_images_are_pinned_and_ours_has_the_version_of_the_package():
    for name, service in compose(*COMPOSE)["services"].items():
        tag = service["image"].partition(":")[2]
        assert tag, name
        assert tag != "latest", name
    assert ours(compose("compose.yaml")["services"])["enginehouse"]["image"] == f"enginehouse:{__version__}"


def test_the_licences_of_all_images_are_told():
    page = (ROOT / "docs/licences.md").read_text()
    images = {each["image"].partition(":")[0] for each in compose(*COMPOSE)["services"].values()} - {"enginehouse"}
    for file in DOCKERFILES:
        images.update(re.findall(r"(?:^FROM |--from=)([\w./-]+):", (ROOT / file).read_text(), re.MULTILINE))
    images.add("ghcr.io/ggml-org/llama.cpp")
    assert [image for image in sorted(images) if f"`{image}`" not in page] == []
