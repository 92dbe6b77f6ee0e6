"""Answers to mutating requests, remembered under the id that the client chose, inside a transaction of the caller."""

from sqlalchemy import Connection, select

from verifier.errors import AlreadyExists
from verifier.storage.schema import REQUESTS
from verifier.storage.upsert import insert


def remembered(rows: Connection, request_id: str, fingerprint: str) -> str | None:
    """The stored answer to a request that came before; None for a new one.

    Args:
        rows: the transaction.
        request_id: chosen by the client.
        fingerprint: SHA-256 (hex) of the request's body.
    Raises:
        AlreadyExists: the id came with another body; reason REQUEST_ID_REUSED.
    """
    stored = rows.execute(select(REQUESTS).where(REQUESTS.c.request_id == request_id)).first()
    if stored is None:
        return None
    if stored.fingerprint != fingerprint:
        raise AlreadyExists(
            f"request_id {request_id!r} was used for another request: use a fresh UUID for each request, and the same "
            "one only to retry it unchanged",
            field="request_id",
            reason="REQUEST_ID_REUSED",
        )
    response: str = stored.response
    return response


def remember(rows: Connection, request_id: str, fingerprint: str, response: str, now: float) -> str:
    """Store the answer to a request, unless one is stored; the answer that stands. Errors as `remembered`.

    Of several transactions that remember the same id at once, one stores its answer, and the others wait for it.
    """
    rows.execute(
        insert(rows, REQUESTS)
        .values(request_id=request_id, fingerprint=fingerprint, response=response, created=now)
        .on_conflict_do_nothing()
    )
    stands = remembered(rows, request_id, fingerprint)
    assert stands is not None
    return stands
