"""Command blocks of the how-tos: found by the mark above each, and run as their reader would.

python -m tests.integration.howtos      # the interpreter in which Python blocks are run
"""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import traceback
from pathlib import Path
from typing import NamedTuple

from tests.integration.service import Service

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [
    DOCS / "quickstart.md",
    *sorted(page for name in ("howto", "operations", "migrate") for page in (DOCS / name).glob("*.md")),
]
COMMANDS = {"sh", "bash", "python", "js", "yaml", "yml", "toml"}
"""Languages of blocks that somebody types in; others show what comes back."""
BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*?) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
ADDRESS = "http://127.0.0.1:8000"
CURL = '#!/bin/sh\nexec {curl} --fail-with-body --silent --show-error --max-time 90 "$@"\n'


class Block(NamedTuple):
    """One fenced block of a page."""

    page: Path
    line: int
    mark: str
    """`run`, `run: expect=REGEX`, `config`, `not run: PROGRAM`, or nothing."""
    language: str
    text: str

    @property
    def where(self) -> str:
        """For messages."""
        return f"{self.page.name}:{self.line}"

    @property
    def expected(self) -> str | None:
        """What the output has to hold."""
        return self.mark.removeprefix("run: expect=") if self.mark.startswith("run: expect=") else None


def blocks(page: Path) -> list[Block]:
    """All blocks of a page, in order."""
    text = page.read_text()
    found = BLOCK.finditer(text)
    return [
        Block(page, text.count("\n", 0, each.start()) + 1, each["mark"] or "", each["language"], each["text"])
        for each in found
    ]


def is_run(block: Block) -> bool:
    """Whether it is run as it stands."""
    return block.mark.split(":")[0] == "run"


class Interpreter:
    """One Python for the blocks of all pages, each in a namespace of its own: clients take seconds to import."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.integration.howtos"]
        self._process = subprocess.Popen(
            command, cwd=DOCS.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, text: str) -> tuple[int, str, str]:
        """Exit code, what it printed, and the error it ended with."""
        self._process.stdin.write(json.dumps(text) + "\n")
        self._process.stdin.flush()
        return tuple(json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


class Reader:
    """Somebody who types in what a page says, against a service of ours instead of the page's own address.

    What one block exports the next one of the same page finds, as in a terminal that stays open.
    """

    def __init__(
        self, service: Service, folder: Path, python: Interpreter, node: Path, modules: Path | None = None
    ):
        self._service, self._folder, self._python, self._node = service, folder, python, node
        self._exported = folder / "exported"
        self._exported.touch()
        tools = folder / "tools"
        tools.mkdir()
        curl = tools / "curl"
        curl.write_text(CURL.replace("{curl}", "/usr/bin/curl"))
        curl.chmod(0o755)
        self._environ = {
            **os.environ,
            "PATH": f"{tools}:{Path(sys.executable).parent}:/usr/bin:/bin",
            "CONFIG_PATH": str(service.config_file),
            "PORT": str(service.port),
            **({"NODE_PATH": str(modules)} if modules else {}),
        }

    def run(self, block: Block) -> str:
        """What it printed; fails when it failed, or printed something else."""
        text = block.text.replace(ADDRESS, self._service.url)
        code, printed, wrong = self._python.run(text) if block.language == "python" else self._typed(block, text)
        said = f"{block.where}\n{text}\n{printed}\n{wrong}"
        assert code == 0, said
        assert block.expected is None or re.search(block.expected, printed), said
        return printed

    def _typed(self, block: Block, text: str) -> tuple[int, str, str]:
        kept = f". {self._exported}\n{text}\nexport -p > {self._exported}\n"
        shell = ["bash", "-eu", "-o", "pipefail", "-c", kept]
        command = [str(self._node), "-e", text] if block.language == "js" else shell
        done = subprocess.run(
            command, check=False, cwd=self._folder, env=self._environ, capture_output=True, text=True, timeout=200
        )
        return done.returncode, done.stdout, done.stderr


def _interpret() -> None:
    for line in sys.stdin:
        printed, wrong = io.StringIO(), ""
        with contextlib.redirect_stdout(printed):
            try:
                exec(json.loads(line), {"__name__": "__main__"})
            except Exception:  # noqa: BLE001 - whatever it is, it is what the reader of the page would see
                wrong = traceback.format_exc()
        print(json.dumps([int(bool(wrong)), printed.getvalue(), wrong]), flush=True)


if __name__ == "__main__":
    _interpret()
