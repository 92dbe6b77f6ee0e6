"""Runs of gates in the database: opened before any outcome is known, decided once.

A run is about one key: the model, the baseline, the data and the policy, by their digests. Its seeds are drawn when it
is opened, so that whoever goes on with it after a crash comes to the same outcomes. A further attempt needs to be asked
for, and is numbered.
"""

import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, insert, select, update

from verifier.errors import NotFound
from verifier.seeds import SEED_BITS
from verifier.storage.database import GATE_RUNS, Database
from verifier.storage.pages import page_of


@dataclass(frozen=True)
class StoredRun:
    """A run as it is stored.

    Args:
        id: 32 hex digits.
        attempt: on its key, from 1 on.
        decision: "" while it is open.
        body: text of its owner's; "" while it is open.
        created: seconds since the epoch.
        sequence: place in the order of creation.
    """

    id: str
    attempt: int
    decision: str
    body: str
    created: float
    sequence: int

    def seed(self, purpose: str) -> int:
        """0..2^63-1, of the id, which was drawn when the run was opened: whoever goes on with it has the same."""
        digest = hashlib.sha256(f"verifier.gate.{purpose}.1\0{self.id}".encode()).digest()
        return int(int.from_bytes(digest[:8]) % 2**SEED_BITS)


class GateRuns:
    """The runs of a database; every method is one transaction, durable when it returns.

    Args:
        database: with the table.
        project: whose.
        clock: seconds since the epoch.
    """

    def __init__(self, database: Database, project: str = "default", clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._project = project
        self._clock = clock

    def begin(self, key: str, *, force: bool) -> StoredRun:
        """The run to go on with, or the decided one.

        The latest run of the key, where there is one; a new one, with seeds of its own, where there is none, or where
        the latest is decided and another attempt is asked for.

        Args:
            key: digest of what it is about.
            force: whether a further attempt is asked for.
        """
        with self._database.write() as rows:
            of_key = select(GATE_RUNS).where(GATE_RUNS.c.project == self._project, GATE_RUNS.c.key == key)
            latest = rows.execute(of_key.order_by(GATE_RUNS.c.attempt.desc()).limit(1)).first()
            if latest is not None and not (force and latest.decision):
                return _stored(latest)
            values = {
                "id": secrets.token_hex(16),
                "project": self._project,
                "key": key,
                "attempt": 1 if latest is None else latest.attempt + 1,
                "decision": "",
                "body": "",
                "created": self._clock(),
            }
            return _stored(rows.execute(insert(GATE_RUNS).values(values).returning(GATE_RUNS)).one())

    def decide(self, run_id: str, decision: str, body: str) -> StoredRun:
        """Store a decision; the one that stands, where somebody else was first.

        Args:
            decision: not "".
            body: all that there is to it.
        """
        with self._database.write() as rows:
            mine = GATE_RUNS.c.id == run_id
            rows.execute(update(GATE_RUNS).where(mine, GATE_RUNS.c.decision == "").values(decision=decision, body=body))
            return _stored(rows.execute(select(GATE_RUNS).where(mine)).one())

    def get(self, run_id: str) -> StoredRun:
        """A run; NotFound where there is none of this id."""
        with self._database.read() as rows:
            found = rows.execute(
                select(GATE_RUNS).where(GATE_RUNS.c.project == self._project, GATE_RUNS.c.id == run_id)
            ).first()
        if found is None:
            raise NotFound(f"no gate run {run_id!r}: list the runs there are")
        return _stored(found)

    def list(self, page_size: int = 0, page_token: str = "") -> tuple[tuple[StoredRun, ...], str]:
        """A page of decided runs, the newest first, and the token of the next page ("": this is the last)."""
        size, before = page_of(page_size, page_token)
        wanted = select(GATE_RUNS).where(GATE_RUNS.c.project == self._project, GATE_RUNS.c.decision != "")
        if before is not None:
            wanted = wanted.where(GATE_RUNS.c.sequence < before)
        with self._database.read() as rows:
            found = rows.execute(wanted.order_by(GATE_RUNS.c.sequence.desc()).limit(size + 1)).all()
        page = [_stored(row) for row in found[:size]]
        return tuple(page), str(page[-1].sequence) if len(found) > size else ""


def _stored(row: Row[Any]) -> StoredRun:
    return StoredRun(
        id=row.id,
        attempt=row.attempt,
        decision=row.decision,
        body=row.body,
        created=row.created,
        sequence=row.sequence,
    )
