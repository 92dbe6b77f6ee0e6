"""Names of data sets, and their files: added once, the same inputs forever."""

import hashlib
import time
from collections.abc import Callable

from sqlalchemy import delete, select

from verifier.dataset import DatasetInfo
from verifier.datasets import rows as table
from verifier.datasets.files import Dataset, DatasetFiles, corrupt
from verifier.datasets.incoming import Incoming
from verifier.datasets.source import Extent
from verifier.errors import Conflict, NotFound
from verifier.storage import requests
from verifier.storage.database import Database
from verifier.storage.pages import page_of
from verifier.storage.schema import DATASET_NAMES, DATASETS

DEFAULT_PROJECT = "default"


def never_in_use(_digest: str) -> bool:
    """Where there are no jobs."""
    return False


class Datasets:
    """The data sets of one database; every method is thread-safe.

    A data set is added whole or not at all: its files are on the disk under its digest before its row is committed,
    and files without a row are no data set. Answers are durable when given.

    Args:
        database: for the rows.
        files: for the inputs.
        clock: seconds since the epoch.
        in_use: whether something, a job, needs the data set of a digest; asked inside the transaction that removes it.
    """

    def __init__(
        self,
        database: Database,
        files: DatasetFiles,
        clock: Callable[[], float] = time.time,
        in_use: Callable[[str], bool] = never_in_use,
    ) -> None:
        self._database = database
        self._files = files
        self._clock = clock
        self._in_use = in_use

    def begin(self, extent: Extent) -> Incoming:
        """A data set to write, finish, and hand to `add`; see `DatasetFiles.begin`."""
        return self._files.begin(extent)

    def add(
        self, name: str, incoming: Incoming, *, move_name: bool = False, project: str = DEFAULT_PROJECT
    ) -> DatasetInfo:
        """Store a data set, and point the name at it.

        The same content under the same name again changes nothing and answers the same; it repairs files that were
        damaged meanwhile.

        Args:
            name: its name.
            incoming: finished; used up whatever happens.
            move_name: take the name from the data set that has it, which stays, under its digest.
            project: whose it is.
        Raises:
            AlreadyExists: the name is another data set's; reason NAME_TAKEN.
            InvalidProblem: it cannot be a name.
            Overloaded: no room on the disk; reason DISK_FULL.
        """
        try:
            table.check_name(name)
            manifest = incoming.manifest
            damaged = self._files.damaged(manifest.digest)  # here, where nobody waits for it
            with self._files.locked(), self._database.write() as rows:
                if not move_name:
                    table.check_name_free(rows, project, name, manifest.digest)
                self._files.place(incoming, replace=damaged)
                table.store(rows, project, name, manifest, incoming.stored_bytes, self._clock())
                return table.infos(rows, project, [table.resolve(rows, project, name)])[0]
        finally:
            incoming.abort()

    def get(self, name: str, project: str = DEFAULT_PROJECT) -> DatasetInfo:
        """The data set of a name, a digest, or a digest's first 8 or more characters where only one begins so.

        Raises:
            NotFound: nothing has that name.
            InvalidProblem: several digests begin so; reason AMBIGUOUS_NAME.
        """
        with self._database.read() as rows:
            return table.infos(rows, project, [table.resolve(rows, project, name)])[0]

    def open(self, name: str, project: str = DEFAULT_PROJECT) -> Dataset:
        """Its inputs, to be closed by the caller.

        Raises:
            NotFound, InvalidProblem: as for `get`.
            Unsound: its files are gone, or not what was stored; reason DATASET_CORRUPT.
        """
        digest = self.get(name, project).digest
        try:
            return self._files.open(digest)
        except NotFound:
            self.get(digest, project)  # NotFound, if it was removed a moment ago: then nothing is corrupt
            raise corrupt(self._files.path(digest), "there is no such directory") from None

    def list(
        self, page_size: int = 0, page_token: str = "", project: str = DEFAULT_PROJECT
    ) -> tuple[tuple[DatasetInfo, ...], str]:
        """A page of data sets in the order in which they were added, and the next page's token ("": this is the last).

        Following the tokens gives every data set that stays throughout exactly once.

        Args:
            page_size: 0 for the default; more than `pages.LARGEST_PAGE` is that.
            page_token: from the page before; "" for the first page.
            project: whose.
        """
        size, last = page_of(page_size, page_token)
        with self._database.read() as rows:
            found = rows.execute(
                select(DATASETS)
                .where(DATASETS.c.project == project, DATASETS.c.sequence > (last or 0))
                .order_by(DATASETS.c.sequence)
                .limit(size + 1)
            ).all()
            page = found[:size]
            return table.infos(rows, project, page), str(page[-1].sequence) if len(found) > size else ""

    def remove(self, name: str, project: str = DEFAULT_PROJECT, request_id: str = "") -> None:
        """Remove a name, and its data set when that was the last; or, by digest, a data set and its names.

        Whoever has it open reads on. A repeated request_id is answered without doing it again.

        Raises:
            AlreadyExists: the request_id came with another name; reason REQUEST_ID_REUSED.
            Conflict: a job uses the data set; reason DATASET_IN_USE.
            NotFound, InvalidProblem: as for `get`.
        """
        with self._files.locked():
            with self._database.write() as rows:
                fingerprint = hashlib.sha256(f"remove data set\0{name}".encode()).hexdigest()
                if request_id:
                    if requests.remembered(rows, request_id, fingerprint) is not None:
                        return
                    requests.remember(rows, request_id, fingerprint, "removed", self._clock())
                found = table.resolve(rows, project, name)
                of_set = DATASET_NAMES.c.project == project, DATASET_NAMES.c.digest == found.digest
                removed = rows.execute(delete(DATASET_NAMES).where(*of_set, DATASET_NAMES.c.name == name))
                if removed.rowcount and rows.execute(select(DATASET_NAMES.c.name).where(*of_set)).first():
                    return
                if self._in_use(found.digest):
                    raise Conflict(
                        f"a job uses the data set {found.digest}: delete the job first, or let it end",
                        reason="DATASET_IN_USE",
                    )
                rows.execute(delete(DATASETS).where(DATASETS.c.sequence == found.sequence))
            with self._database.write() as rows:  # only now: files may lack their row, a row must never lack its files
                if not rows.execute(select(DATASETS.c.sequence).filter_by(digest=found.digest)).first():
                    self._files.delete(found.digest)

    def sweep(self) -> int:
        """Remove what dead writers left and files without a row; how many data sets went. Safe at any time."""
        with self._files.locked():
            with self._database.read() as rows:
                keep = set(rows.execute(select(DATASETS.c.digest)).scalars())
            return self._files.sweep(keep)
