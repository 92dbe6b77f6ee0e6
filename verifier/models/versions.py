"""The rows of model versions and their names, inside a transaction of the caller."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Row, select

from verifier.errors import AlreadyExists, InvalidProblem, NotFound
from verifier.model import DryRun, Manifest, ModelInfo
from verifier.models.loading import LoadedModel
from verifier.storage.database import ALIASES, MODELS
from verifier.storage.upsert import insert

DIGEST_PREFIX = re.compile(r"[0-9a-f]{8,64}")


def store(rows: Connection, project: str, alias: str, loaded: LoadedModel, size: int, now: float) -> None:
    """Write a version, unless it is there, and point the alias at it."""
    manifest = loaded.manifest
    version = {"project": project, "digest": manifest.digest}
    rows.execute(
        insert(rows, MODELS)
        .values(
            **version,
            weights_sha256=manifest.weights_sha256,
            manifest=manifest.to_json(),
            size=size,
            created=now,
            **asdict(loaded.dry_run),
        )
        .on_conflict_do_nothing()
    )
    rows.execute(
        insert(rows, ALIASES)
        .values(**version, alias=alias)
        .on_conflict_do_update(index_elements=["project", "alias"], set_={"digest": manifest.digest})
    )


def check_alias_free(rows: Connection, project: str, alias: str, digest: str) -> None:
    """Refuse an alias that another version has."""
    held = select(ALIASES.c.digest).where(ALIASES.c.project == project, ALIASES.c.alias == alias)
    holder = rows.execute(held).scalar()
    if holder not in (None, digest):
        raise AlreadyExists(
            f"the name {alias!r} belongs to version {holder}; this file is version {digest}: choose another name, or "
            "move the name (--move-alias)",
            field="alias",
            reason="ALIAS_TAKEN",
        )


def resolve(rows: Connection, project: str, name: str) -> Row[Any]:
    """The row of an alias, a digest or a prefix; see `Registry.get`."""
    of_project = select(MODELS).where(MODELS.c.project == project)
    held = select(ALIASES.c.digest).where(ALIASES.c.project == project, ALIASES.c.alias == name)
    if version := rows.execute(of_project.where(MODELS.c.digest == held.scalar_subquery())).first():
        return version
    if DIGEST_PREFIX.fullmatch(name):
        found = rows.execute(of_project.where(MODELS.c.digest.startswith(name)).order_by(MODELS.c.digest)).all()
        if len(found) > 1:
            raise InvalidProblem(
                f"{name!r} begins {len(found)} digests, {', '.join(row.digest for row in found[:4])}: give more of it",
                field="name",
                reason="AMBIGUOUS_NAME",
            )
        if found:
            return found[0]
    raise NotFound(f"no model {name!r}; {_known_names(rows, project, name)}")


def _known_names(rows: Connection, project: str, name: str) -> str:
    """What to try instead: names like it, else the first few."""
    known = rows.execute(select(ALIASES.c.alias).where(ALIASES.c.project == project).order_by(ALIASES.c.alias))
    aliases = known.scalars().all()
    if close := difflib.get_close_matches(name, aliases):
        return f"did you mean {' or '.join(close)}?"
    if not aliases:
        return "none has a name: register one first"
    return f"known names: {', '.join(aliases[:5])}{', ...' if len(aliases) > 5 else ''}"


def infos(rows: Connection, project: str, versions: Sequence[Row[Any]]) -> tuple[ModelInfo, ...]:
    """The versions as users see them, in the same order."""
    aliases: dict[str, tuple[str, ...]] = {version.digest: () for version in versions}
    held = select(ALIASES.c.digest, ALIASES.c.alias).where(ALIASES.c.project == project)
    for digest, alias in rows.execute(held.where(ALIASES.c.digest.in_(aliases)).order_by(ALIASES.c.alias)):
        aliases[digest] += (alias,)
    return tuple(
        ModelInfo(
            manifest=Manifest.from_json(version.manifest),
            aliases=aliases[version.digest],
            size=version.size,
            created=version.created,
            dry_run=DryRun(version.batch_difference, version.reference_difference),
        )
        for version in versions
    )
