"""Names and versions of models, and their files: registered once, loaded anywhere, the same bits forever."""

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from sqlalchemy import delete, select

from verifier.errors import InvalidProblem, NotFound, Unsound, Unsupported
from verifier.model import Manifest, ModelInfo, ModelSource, check_alias
from verifier.models import loading, versions
from verifier.models.cache import HandleCache
from verifier.models.handle import ModelHandle
from verifier.models.loading import MAX_MODEL_BYTES
from verifier.storage import requests
from verifier.storage.blobs import Blobs, Upload
from verifier.storage.database import ALIASES, BATCH_SHAPES, FILE_NAME, MODELS, REQUESTS, Database
from verifier.storage.lock import DirectoryLock
from verifier.storage.pages import page_of
from verifier.storage.upsert import insert

DEFAULT_PROJECT = "default"
CACHE_BYTES = 4 * 2**30
REMEMBERED_SECONDS = 7 * 24 * 3600.0
CPU = torch.device("cpu")


@dataclass(frozen=True)
class BatchKey:
    """What a batch shape is fixed for: kernels round differently per shape, so it is part of a result's identity.

    Args:
        digest: of the model version.
        device: name of the hardware ("cpu", "NVIDIA H200").
        dtype: of the forward pass ("float32").
        purpose: of the pass, where a model has several shapes.
    """

    digest: str
    device: str
    dtype: str
    purpose: str = "forward"


class Registry:
    """The models of one data directory; every method is thread-safe.

    A version is registered whole or not at all: its file is on the disk under its digest before its row is
    committed, and a file without a row is no model. Answers are durable when given.

    Use `open`; the constructor takes what `open` has put together.
    """

    def __init__(
        self,
        resources: ExitStack,
        blobs: Blobs,
        database: Database,
        cache: HandleCache,
        clock: Callable[[], float],
        max_bytes: int,
    ) -> None:
        self._resources = resources
        self._blobs = blobs
        self._database = database
        self._cache = cache
        self._clock = clock
        self._max_bytes = max_bytes
        self._loading = threading.Lock()

    @classmethod
    def open(
        cls,
        data_dir: Path,
        exclusive: bool,
        *,
        database_url: str | None = None,
        max_bytes: int = MAX_MODEL_BYTES,
        cache_bytes: int = CACHE_BYTES,
        clock: Callable[[], float] = time.time,
    ) -> Self:
        """The registry in a directory, which is made if need be.

        Args:
            data_dir: for the lock, the files and, without a URL, the database.
            exclusive: as a server, alone, which also sweeps; or beside other embedded users, or other servers with
                the same files and the same URL.
            database_url: of the database, where it is not a file of the directory.
            max_bytes: of one model file.
            cache_bytes: of loaded models that are kept.
            clock: seconds since the epoch.
        Raises:
            Conflict: a server, or for a server anybody, has the directory.
            InvalidProblem: not a writable directory, or of another release's schema.
            WorkerLost: the database cannot be reached; reason DATABASE_UNAVAILABLE.
        """
        try:
            data_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidProblem(
                f"the data directory must be a directory that can be written, got {data_dir} ({error.strerror}): "
                "use another --data-dir",
                field="data_dir",
            ) from error
        with ExitStack() as resources:
            resources.callback(DirectoryLock(data_dir, exclusive).release)
            blobs = Blobs(data_dir)
            database = Database(database_url or data_dir / FILE_NAME)
            resources.callback(database.close)
            registry = cls(resources.pop_all(), blobs, database, HandleCache(cache_bytes), clock, max_bytes)
        try:
            if exclusive:
                registry.sweep()
        except BaseException:
            registry.close()
            raise
        return registry

    def close(self) -> None:
        """Close the database, then let others in."""
        self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def database(self) -> Database:
        """Where the rows are; open as long as the registry is."""
        return self._database

    def begin_upload(self) -> Upload:
        """An upload to write, finish, and hand to `add`."""
        return self._blobs.begin(self._max_bytes)

    def add(
        self,
        model: Upload | bytes,
        source: ModelSource,
        alias: str,
        *,
        move_alias: bool = False,
        project: str = DEFAULT_PROJECT,
        device: torch.device = CPU,
    ) -> ModelInfo:
        """Load, rehearse and store a model, and point the alias at it.

        The same content under the same alias again changes nothing and answers the same.

        Args:
            model: its bytes, or a finished upload, which is used up whatever happens.
            source: how to read them.
            alias: its name.
            move_alias: take the name from the version that has it, which stays, under its digest.
            project: whose it is.
            device: for the rehearsal.
        Raises:
            AlreadyExists: the alias is another version's; reason ALIAS_TAKEN.
            InvalidProblem, Unsupported: see `loading.load`.
            Overloaded: no room on the disk; reason DISK_FULL.
        """
        upload = model if isinstance(model, Upload) else self._upload(model)
        try:
            check_alias(alias)
            loaded = loading.load(upload.read(), source, device, max_bytes=self._max_bytes)
            with self._database.write() as rows:
                if not move_alias:
                    versions.check_alias_free(rows, project, alias, loaded.handle.digest)
                self._blobs.place(upload, loaded.manifest.weights_sha256)
                versions.store(rows, project, alias, loaded, upload.size, self._clock())
                return versions.infos(rows, project, [versions.resolve(rows, project, alias)])[0]
        finally:
            upload.abort()

    def get(self, name: str, project: str = DEFAULT_PROJECT) -> ModelInfo:
        """The version of an alias, a digest, or a digest's first 8 or more characters where only one begins so.

        Raises:
            NotFound: nothing has that name.
            InvalidProblem: several digests begin so; reason AMBIGUOUS_NAME.
        """
        with self._database.read() as rows:
            return versions.infos(rows, project, [versions.resolve(rows, project, name)])[0]

    def list(
        self, page_size: int = 0, page_token: str = "", project: str = DEFAULT_PROJECT
    ) -> tuple[tuple[ModelInfo, ...], str]:
        """A page of versions in the order of registration, and the token of the next page ("": this is the last).

        Following the tokens gives every version that stays throughout exactly once.

        Args:
            page_size, page_token: see `pages.page_of`.
            project: whose.
        """
        size, after = page_of(page_size, page_token)
        with self._database.read() as rows:
            found = rows.execute(
                select(MODELS)
                .where(MODELS.c.project == project, MODELS.c.sequence > (after or 0))
                .order_by(MODELS.c.sequence)
                .limit(size + 1)
            ).all()
            page = found[:size]
            return versions.infos(rows, project, page), str(page[-1].sequence) if len(found) > size else ""

    def remove(self, name: str, project: str = DEFAULT_PROJECT) -> None:
        """Remove an alias, and its version when that was the last; or, by digest, a version and its aliases.

        Handles that are in use stay valid.

        Raises:
            NotFound, InvalidProblem: as for `get`.
        """
        with self._database.write() as rows:
            version = versions.resolve(rows, project, name)
            alias = rows.execute(delete(ALIASES).where(ALIASES.c.project == project, ALIASES.c.alias == name))
            others = select(ALIASES.c.alias).where(ALIASES.c.project == project, ALIASES.c.digest == version.digest)
            if alias.rowcount and rows.execute(others).first():
                return
            rows.execute(delete(MODELS).where(MODELS.c.sequence == version.sequence))
        self._cache.drop(version.digest)
        with self._database.write() as rows:  # only now: a file may lack its row, a row must never lack its file
            users = select(MODELS.c.sequence).where(MODELS.c.weights_sha256 == version.weights_sha256)
            if not rows.execute(users).first():
                self._blobs.delete(version.weights_sha256)

    def load(self, digest: str, device: torch.device) -> ModelHandle:
        """The registered function on a device: kept from before, or read, checked and rehearsed there.

        Its digest is the one asked for, recomputed from the file's bytes and from what is installed today.

        Raises:
            NotFound: no version has this digest (whole).
            Unsound: the file on the disk is not the one registered; reason MODEL_CORRUPT.
            Unsupported: the architecture or the converter has changed since; reason MODEL_OUTDATED.
        """
        manifest = self._manifest(digest)
        if kept := self._cache.get(digest, device):
            return kept
        with self._loading:  # one at a time: whoever waited for the same model finds it kept
            if kept := self._cache.get(digest, device):
                return kept
            try:
                data = self._blobs.read(manifest.weights_sha256)
            except Unsound:
                self._manifest(digest)  # NotFound, if it was removed a moment ago: then nothing is corrupt
                raise
            loaded = loading.load(data, manifest.source, device, max_bytes=len(data))
            if loaded.manifest.digest != digest:
                raise Unsupported(
                    f"model {digest} was registered with {_maker(manifest)}, but {_maker(loaded.manifest)} is "
                    "installed: it may compute another function now; register the file again as a new version",
                    reason="MODEL_OUTDATED",
                )
            self._cache.put(loaded.handle)
            return loaded.handle

    def batch_rows(self, key: BatchKey) -> int | None:
        """Rows of a device batch fixed for this key, if any are."""
        with self._database.read() as rows:
            return rows.execute(select(BATCH_SHAPES.c.rows).filter_by(**asdict(key))).scalar()

    def store_batch_rows(self, key: BatchKey, rows: int) -> int:
        """Fix the rows for this key, unless they are fixed already; the rows that stand from now on."""
        if rows < 1:
            raise InvalidProblem(f"a batch must have at least 1 row, got {rows}")
        with self._database.write() as connection:
            shape = insert(connection, BATCH_SHAPES).values(**asdict(key), rows=rows)
            connection.execute(shape.on_conflict_do_nothing())
            stands: int = connection.execute(select(BATCH_SHAPES.c.rows).filter_by(**asdict(key))).scalar_one()
            return stands

    def remembered(self, request_id: str, fingerprint: str) -> str | None:
        """The stored answer to a request that came before; see `requests.remembered`."""
        with self._database.read() as rows:
            return requests.remembered(rows, request_id, fingerprint)

    def remember(self, request_id: str, fingerprint: str, response: str) -> str:
        """Store the answer to a request, unless one is stored; the answer that stands. Errors as `remembered`.

        Answers are kept for `REMEMBERED_SECONDS` at least.
        """
        with self._database.write() as rows:
            return requests.remember(rows, request_id, fingerprint, response, self._clock())

    def sweep(self) -> int:
        """Remove unfinished uploads, files without a row and answers of long ago; how many files went.

        Only for an exclusive holder, before it serves; `open` does it.
        """
        with self._database.write() as rows:
            rows.execute(delete(REQUESTS).where(REQUESTS.c.created < self._clock() - REMEMBERED_SECONDS))
            return self._blobs.sweep(keep=set(rows.execute(select(MODELS.c.weights_sha256)).scalars()))

    def _manifest(self, digest: str) -> Manifest:
        with self._database.read() as rows:
            manifest = rows.execute(select(MODELS.c.manifest).where(MODELS.c.digest == digest)).scalar()
        if manifest is None:
            raise NotFound(f"no model version has the digest {digest!r}: list the registered ones")
        return Manifest.from_json(manifest)

    def _upload(self, data: bytes) -> Upload:
        upload = self.begin_upload()
        upload.write(data)
        upload.finish()
        return upload


def _maker(manifest: Manifest) -> str:
    """What made a function of the file: the architecture and its version, or the converter."""
    return manifest.converter or f"{manifest.source.architecture} {manifest.architecture_version}"
