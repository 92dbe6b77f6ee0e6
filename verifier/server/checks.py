"""What several servicers refuse alike."""

import uuid

from verifier.errors import InvalidProblem


def check_request_id(request_id: str, field: str) -> None:
    """Refuse what is no UUID4; empty means that the call may be done twice."""
    try:
        right = not request_id or uuid.UUID(request_id).version == 4
    except ValueError:
        right = False
    if not right:
        raise InvalidProblem(f"request_id must be a UUID4 or empty, got {request_id!r}", field=field)
