"""Stream keys: which noise belongs to which input.

An input's noise is a function of (seed, input digest, index, phase, chunk) alone. It never depends on
the inputs that share a batch, on the batch size, or on the order of work.
"""

import hashlib
import secrets
from dataclasses import dataclass
from enum import StrEnum

from verifier.errors import InvalidProblem

SEED_BITS = 63
"""Seeds are integers in 0..2^63-1, so that they fit a signed 64-bit field."""


class Phase(StrEnum):
    """What draws are for. Draws of two phases are independent."""

    SELECT = "select"
    ESTIMATE = "estimate"
    PREDICT = "predict"


@dataclass(frozen=True)
class Stream:
    """The draws of one input for one purpose: an endless sequence of rows of noise.

    Args:
        seed: the request's seed, 0..2^63-1.
        input_digest: SHA-256 of the input, hex.
        index: the input's index in the request, >= 0.
        phase: what the draws are for.
    """

    seed: int
    input_digest: str
    index: int
    phase: Phase

    def key(self, chunk: int = 0) -> bytes:
        """A 256-bit key; generators that cannot jump take one a chunk, counter-based ones use chunk 0."""
        text = f"verifier.noise.1\0{self.seed}\0{self.input_digest}\0{self.index}\0{self.phase.value}\0{chunk}"
        return hashlib.sha256(text.encode()).digest()


@dataclass(frozen=True)
class Seed:
    """A request's seed and where it came from.

    Args:
        value: 0..2^63-1.
        origin: "client" or "server". A client that keeps the best of k seeds multiplies alpha by k.
    Raises:
        InvalidProblem: a value out of range.
    """

    value: int
    origin: str

    def __post_init__(self) -> None:
        whole = isinstance(self.value, int) and not isinstance(self.value, bool)
        if not (whole and 0 <= self.value < 2**SEED_BITS):
            raise InvalidProblem(f"seed must be an integer in 0..2^63-1, got {self.value}", field="spec.seed")


def seed_or_fresh(value: int | None) -> Seed:
    """The client's seed, or an unpredictable one where it brings none."""
    return Seed(secrets.randbits(SEED_BITS), "server") if value is None else Seed(value, "client")
