"""Every command block of the quick start and the how-tos: run, or checked where its program is not here."""

import re
from contextlib import ExitStack
from pathlib import Path

import pytest

from enginehouse.settings import load
from tests.integration.howtos import COMMANDS, DOCS, PAGES, Interpreter, Reader, blocks, is_run
from tests.integration.javascript import NODE, installed
from tests.integration.service import Service

ROOT = DOCS.parent
ABSENT = {"make", "docker", "kubectl", "helm", "systemctl", "claude", "sudo"}
"""Programs that are not here, or would be this very test; what blocks of theirs name is checked."""
FILE = re.compile(r"(?<![\w/.-])((?:deploy/|compose\.|Dockerfile)[\w./-]*)")
BLOCKS = [block for page in PAGES for block in blocks(page)]
TYPED = [page for page in PAGES if any(is_run(block) for block in blocks(page))]


@pytest.fixture(scope="module")
def modules():
    return installed() / "node_modules"


@pytest.fixture(scope="module")
def python():
    interpreter = Interpreter()
    yield interpreter
    interpreter.close()


@pytest.fixture
def reader(service, python, tmp_path):
    return Reader(service, tmp_path, python, NODE)


@pytest.fixture
def read(request, tmp_path, service, python):
    """Reads a page; one that makes keys has a service of its own, since from then on a key is wanted."""

    def read(page):
        typed = [block for block in blocks(page) if is_run(block)]
        node = request.getfixturevalue("modules") if any(block.language == "js" for block in typed) else None
        with ExitStack() as stack:
            mine = service
            if any("keys create" in block.text for block in typed):
                config = {"stores": {"database_url": f"sqlite:///{tmp_path}/own.db"}}
                mine = stack.enter_context(Service(tmp_path, config))
            reader = Reader(mine, tmp_path, python, NODE, node)
            for block in typed:
                reader.run(block)

    return read


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_that_is_typed_in_says_how_it_is_checked(page):
    unmarked = [block.where for block in blocks(page) if block.language in COMMANDS and not block.mark]
    assert unmarked == []
    for block in blocks(page):
        known = block.mark.split(":")[0] in {"", "run", "config", "not run"}
        assert known, block.where


@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", TYPED, ids=lambda page: page.stem)
def test_every_command_runs(read, page):
    read(page)


@pytest.mark.parametrize("block", [each for each in BLOCKS if each.mark == "config"], ids=lambda block: block.where)
def test_every_settings_file_is_right(block, tmp_path):
    file = tmp_path / "enginehouse.yaml"
    file.write_text(block.text)
    load(
        file,
        {
            "OPENAI_API_KEY": "a-key",
            "ANTHROPIC_API_KEY": "a-key",
            "KEY_SECRET": "a-secret-of-32-letters-or-more-0000",
        },
    )


@pytest.mark.parametrize(
    "block", [each for each in BLOCKS if each.mark.startswith("not run")], ids=lambda block: block.where
)
def test_what_cannot_run_names_its_program_and_files_that_exist(block):
    program = block.mark.partition(": ")[2]
    assert program in ABSENT
    assert program in block.text
    for name in FILE.findall(block.text):
        assert (ROOT / name).exists(), name


def test_a_command_that_fails_is_noticed(reader, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- run -->\n```sh\ncurl http://127.0.0.1:8000/no/such/route\n```\n")
    (block,) = blocks(Path(page))
    with pytest.raises(AssertionError, match="no such route"):
        reader.run(block)
    with pytest.raises(AssertionError):
        reader.run(block._replace(text="echo one\n", mark="run: expect=two"))
