"""What a build can certify, what a request costs, and how it gets on, as told to users."""

from dataclasses import dataclass

from verifier.certificate import Certificate, Grade, SmoothedPrediction
from verifier.problem import Norm


@dataclass(frozen=True)
class MethodInfo:
    """What one method certifies.

    Args:
        name: as in requests.
        summary: what it does, in a sentence.
        norms: that it treats.
        grade: of its certificates.
        guarantee: what exactly is guaranteed.
        parameters: name -> meaning, range, default.
    """

    name: str
    summary: str
    norms: tuple[Norm, ...]
    grade: Grade
    guarantee: str
    parameters: dict[str, str]


@dataclass(frozen=True)
class Price:
    """What a request costs and can reach.

    Args:
        forward_passes: of all its inputs together; where draws end early, the most that they may take.
        largest_radius: that its parameters can prove, were all votes to agree.
        seconds: at the rate measured last on this model; None where none was measured yet.
        warnings: what is allowed but probably not meant.
        expected_passes: about what it will take, `seconds` and admission go by it; None: `forward_passes`.
    """

    forward_passes: int
    largest_radius: float
    seconds: float | None = None
    warnings: tuple[str, ...] = ()
    expected_passes: int | None = None

    @property
    def passes(self) -> int:
        """Forward passes, as far as can be told."""
        return self.forward_passes if self.expected_passes is None else self.expected_passes


@dataclass(frozen=True)
class Progress:
    """What a device step brought to a call.

    Args:
        digest: of the model version that the name resolved to.
        results: decided since the last one, in any order, each with its index.
        inputs: received so far.
        forward_passes: done so far.
        price: of the inputs received last; None where the server did not say it again.
        partial: what undecided inputs have proved by now, where that was asked for and has grown since the last one.
            Each is a certificate; a later one of its input proves more.
    """

    digest: str
    results: tuple[Certificate | SmoothedPrediction, ...]
    inputs: int
    forward_passes: int
    price: Price | None = None
    partial: tuple[Certificate, ...] = ()
