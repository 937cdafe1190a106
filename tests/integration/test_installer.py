"""`deploy/install.sh` and the systemd unit: run below a folder, with a Python that only writes down its calls."""

import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from enginehouse.settings import load

ROOT = Path(__file__).parents[2]
INSTALL = ROOT / "deploy/install.sh"
UNIT = ROOT / "deploy/systemd/enginehouse.service"
MOST_EXPOSED = 2.0
"""Of ten: what `systemd-analyze security` may say of the unit."""

PYTHON = """#!/bin/sh
printf '%s\\n' "$*" >> "$CALLS"
case "$1 $2" in
    "-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
    "-m pip") ;;
    "-c import sys, venv; "*) exit "${TOO_OLD:-0}" ;;
    *) exec {real} "$@" ;;
esac
"""


def ran(*command: str | Path, **how) -> subprocess.CompletedProcess[str]:
    """A finished process, however it ended."""
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, **how)


@pytest.fixture
def install(tmp_path):
    """Runs it; the second half of what it gives is where it installs."""
    python = tmp_path / "python"
    python.write_text(PYTHON.replace("{real}", sys.executable))
    python.chmod(0o755)
    root = tmp_path / "root"
    calls = tmp_path / "calls"
    calls.touch()

    def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        known = {"PATH": "/usr/bin:/bin", "DESTDIR": str(root), "PYTHON": str(python), "CALLS": str(calls)}
        command = ["sh", str(INSTALL), *arguments]
        return ran(*command, env={**known, **environ})

    return run, root, calls


def test_it_installs_what_is_pinned_and_writes_settings_that_the_service_takes(install):
    run, root, calls = install
    done = run()
    assert done.returncode == 0, done.stderr
    told = calls.read_text()
    assert f"--require-hashes --requirement {ROOT}/constraints-server.txt" in told
    assert f"--no-deps --no-build-isolation --force-reinstall {ROOT}" in told
    environ = dict([(root / "etc/enginehouse/environment").read_text().strip().split("=")])
    settings = load(root / "etc/enginehouse/enginehouse.yaml", environ)
    assert settings.data_dir == Path("/var/lib/enginehouse"), "where the unit may write"
    assert len(settings.auth.api_keys[0].get_secret_value()) == 64
    assert (root / "etc/systemd/system/enginehouse.service").read_text() == UNIT.read_text()


def test_the_key_is_for_its_owner_only(install):
    run, root, _ = install
    run()
    assert stat.S_IMODE((root / "etc/enginehouse/environment").stat().st_mode) == 0o600


def test_the_second_run_upgrades_and_keeps_keys_and_settings(install):
    run, root, calls = install
    run()
    settings, key = root / "etc/enginehouse/enginehouse.yaml", root / "etc/enginehouse/environment"
    settings.write_text("server: {port: 9000}\n")
    before = key.read_text()
    (root / "etc/systemd/system/enginehouse.service").write_text("of an older version")
    assert run().returncode == 0
    assert settings.read_text() == "server: {port: 9000}\n"
    assert key.read_text() == before
    assert (root / "etc/systemd/system/enginehouse.service").read_text() == UNIT.read_text()
    assert calls.read_text().count("-m venv") == 1


def test_a_wheel_is_installed_instead_of_the_checkout(install, tmp_path):
    run, _, calls = install
    wheel = tmp_path / "enginehouse-0.whl"
    wheel.touch()
    assert run("--wheel", str(wheel)).returncode == 0
    assert f"--no-deps --force-reinstall {wheel}" in calls.read_text()


def test_a_graphics_processor_gets_its_devices(install):
    run, root, _ = install
    run("--gpu")
    assert "DeviceAllow" in (root / "etc/systemd/system/enginehouse.service.d/gpu.conf").read_text()


@pytest.mark.parametrize(
    ("arguments", "environ", "why"),
    [
        (["--wheel", "/no/such.whl"], {}, "no file /no/such.whl"),
        (["--wheel"], {}, "wants a file"),
        (["--frobnicate"], {}, "unknown option"),
        ([], {"TOO_OLD": "1"}, "older than 3.11"),
        ([], {"PYTHON": "/no/such/python"}, "there is no /no/such/python"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_done(install, arguments, environ, why):
    run, root, _ = install
    done = run(*arguments, **environ)
    assert done.returncode == 1
    assert why in done.stderr
    assert not root.exists()


def test_help_is_the_head_of_the_script(install):
    run, _, _ = install
    assert run("--help").stdout.startswith("Installs Enginehouse as a service")


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_finds_nothing():
    done = ran("shellcheck", INSTALL)
    assert done.returncode == 0, done.stdout


@pytest.fixture
def unit(tmp_path):
    """The unit with a program that exists."""
    file = tmp_path / "enginehouse.service"
    file.write_text(UNIT.read_text().replace("/opt/enginehouse/bin/enginehouse", sys.executable))
    return file


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_understands_the_unit(unit):
    done = ran("systemd-analyze", "verify", unit)
    assert [line for line in done.stderr.splitlines() if unit.name in line] == []
    unit.write_text(unit.read_text().replace("ProtectHome=yes", "ProtectHome=perhaps"))
    done = ran("systemd-analyze", "verify", unit)
    assert "protect home value" in done.stderr


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_the_unit_may_do_little(unit):
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSED * 10:.0f}", unit]
    done = ran(*command)
    assert done.returncode == 0, done.stdout[-300:]


def test_the_unit_waits_as_long_as_the_service_may_take_to_stop():
    settings = load(None, {})
    stop = int(UNIT.read_text().split("TimeoutStopSec=")[1].split()[0])
    assert stop > settings.server.shutdown_timeout + settings.residency.stop_grace
