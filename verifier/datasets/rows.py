"""The rows of data sets and their names, inside a transaction of the caller."""

import difflib
import json
import re
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from verifier.dataset import DatasetInfo
from verifier.datasets.manifest import DatasetManifest
from verifier.errors import AlreadyExists, InvalidProblem, NotFound
from verifier.model import ALIAS_PATTERN, DIGEST_PATTERN
from verifier.storage.schema import DATASET_NAMES, DATASETS

DIGEST_PREFIX = re.compile(r"[0-9a-f]{8,64}")


def check_name(name: str) -> str:
    """The name itself, or InvalidProblem: 1 to 63 of a-z 0-9 . _ -, and nothing that looks like a digest."""
    if not ALIAS_PATTERN.fullmatch(name) or DIGEST_PATTERN.fullmatch(name):
        raise InvalidProblem(
            f"a data set's name must be 1 to 63 characters of a-z, 0-9, '.', '_', '-', got {name!r}", field="name"
        )
    return name


def store(rows: Connection, project: str, name: str, manifest: DatasetManifest, size: int, now: float) -> None:
    """Write a data set, unless it is there, and point the name at it. Nobody else may write meanwhile.

    Args:
        rows: a write transaction.
        project: whose.
        name: valid.
        manifest: of the data set.
        size: bytes on the disk.
        now: seconds since the epoch.
    """
    version = {"project": project, "digest": manifest.digest}
    if not rows.execute(select(DATASETS.c.sequence).filter_by(**version)).first():
        rows.execute(
            insert(DATASETS).values(
                **version,
                size=manifest.extent.size,
                shape=json.dumps(list(manifest.extent.shape)),
                labelled=manifest.extent.labelled,
                classes=manifest.classes,
                faults=manifest.faults,
                bytes=size,
                created=now,
            )
        )
    named = DATASET_NAMES.c.project == project, DATASET_NAMES.c.name == name
    if not rows.execute(update(DATASET_NAMES).where(*named).values(digest=manifest.digest)).rowcount:
        rows.execute(insert(DATASET_NAMES).values(**version, name=name))


def check_name_free(rows: Connection, project: str, name: str, digest: str) -> None:
    """Refuse a name that another data set has."""
    held = select(DATASET_NAMES.c.digest).where(DATASET_NAMES.c.project == project, DATASET_NAMES.c.name == name)
    holder = rows.execute(held).scalar()
    if holder not in (None, digest):
        raise AlreadyExists(
            f"the name {name!r} belongs to data set {holder}; this one is {digest}: choose another name, or move the "
            "name (--move-name)",
            field="name",
            reason="NAME_TAKEN",
        )


def resolve(rows: Connection, project: str, name: str) -> Row[Any]:
    """The row of a name, a digest or a prefix; see `Datasets.get`."""
    of_project = select(DATASETS).where(DATASETS.c.project == project)
    held = select(DATASET_NAMES.c.digest).where(DATASET_NAMES.c.project == project, DATASET_NAMES.c.name == name)
    if found := rows.execute(of_project.where(DATASETS.c.digest == held.scalar_subquery())).first():
        return found
    if DIGEST_PREFIX.fullmatch(name):
        several = rows.execute(of_project.where(DATASETS.c.digest.startswith(name)).order_by(DATASETS.c.digest)).all()
        if len(several) > 1:
            raise InvalidProblem(
                f"{name!r} begins {len(several)} digests, {', '.join(row.digest for row in several[:4])}: give more "
                "of it",
                field="name",
                reason="AMBIGUOUS_NAME",
            )
        if several:
            return several[0]
    raise NotFound(f"no data set {name!r}; {_known_names(rows, project, name)}")


def _known_names(rows: Connection, project: str, name: str) -> str:
    """What to try instead: names like it, else the first few."""
    known = rows.execute(
        select(DATASET_NAMES.c.name).where(DATASET_NAMES.c.project == project).order_by(DATASET_NAMES.c.name)
    )
    names = known.scalars().all()
    if close := difflib.get_close_matches(name, names):
        return f"did you mean {' or '.join(close)}?"
    if not names:
        return "none has a name: add one first"
    return f"known names: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"


def infos(rows: Connection, project: str, found: Sequence[Row[Any]]) -> tuple[DatasetInfo, ...]:
    """The data sets as users see them, in the same order."""
    names: dict[str, tuple[str, ...]] = {row.digest: () for row in found}
    held = select(DATASET_NAMES.c.digest, DATASET_NAMES.c.name).where(DATASET_NAMES.c.project == project)
    for digest, name in rows.execute(held.where(DATASET_NAMES.c.digest.in_(names)).order_by(DATASET_NAMES.c.name)):
        names[digest] += (name,)
    return tuple(
        DatasetInfo(
            digest=row.digest,
            names=names[row.digest],
            size=row.size,
            shape=tuple(json.loads(row.shape)),
            labelled=row.labelled,
            classes=row.classes,
            faults=row.faults,
            bytes=row.bytes,
            created=row.created,
        )
        for row in found
    )
