"""Sizes on the wire."""

MAX_MESSAGE_BYTES = 64 * 2**20
"""Of one gRPC message, both ways."""

CHUNK_BYTES = 2**20
"""Of one piece of an uploaded file."""

INLINE_BYTES = 32 * 2**20
"""Inputs up to this size travel in one message; larger ones as a stream of parts of half of it."""
