"""Certificates that are computed again: what is asked, how the answers are compared, and what is refused before."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from verifier.certificate import (
    BoundEvidence,
    Certificate,
    Execution,
    Grade,
    Guarantee,
    RegionKind,
    RegionNote,
    Subject,
    Verdict,
)
from verifier.client.asked import Asked, Regions, problem_of
from verifier.client.client import Client
from verifier.client.redraw import Redrawn, redraw
from verifier.errors import InvalidProblem
from verifier.methods import AlphaCrown, BoundMethod, Crown, Ibp, Ladder, Rounding, Semantics
from verifier.problem import Norm, box_digest, digest_of

MODEL = "c0ffee" + 58 * "0"
X = np.arange(12, dtype=np.float32).reshape(4, 3) / 12
LOWER, UPPER = X - 0.125, X + 0.125
WEIGHTS = np.array([0.0, 1.0, 2.0])
ENDS = (np.zeros(3), np.ones(3))
HERE = Execution("cpu", "a processor", 0, "bounds", False, {"torch": "2", "verifier": "1"}, 1.0, 2.0)
LADDER = Ladder(Semantics.FLOAT32_EXEC, Rounding.NEAREST, tolerance=0.5, audit=3, max_seconds=9.0, steps=4)


def ball(index: int, radius: float = 0.25, bound: str = "crown", **more: Any) -> Certificate:
    region = RegionNote(**more.pop("region", {}))
    certificate = Certificate(
        index=index,
        input_digest=digest_of(X[index]),
        label=None,
        verdict=Verdict.CERTIFIED,
        prediction=2,
        norm=Norm.LINF,
        radius=radius,
        eps=None,
        subject=Subject(MODEL, "real"),
        guarantee=Guarantee(Grade.FLOAT_SOUND),
        method=LADDER,
        evidence=BoundEvidence(bound, radius, (0.5, 1.0), region, 3, 5, 3),
        execution=HERE,
    )
    return replace(certificate, **more)


def box(index: int) -> Certificate:
    evidence = BoundEvidence("ibp", 0.0, (0.5, 1.0), RegionNote(RegionKind.BOX), 3, 1, 3)
    digest = box_digest(LOWER[index], UPPER[index])
    return replace(ball(index), radius=0.0, evidence=evidence, input_digest=digest)


class Proving:
    """A client whose service certifies whatever it is asked, with answers in reverse order.

    Args:
        change: what else its certificates say.
    """

    def __init__(self, **change: Any) -> None:
        self.change = change
        self.calls: list[tuple[NDArray[Any] | None, BoundMethod, Asked]] = []

    def resolve(self, model: str) -> str:
        return model

    def certify(self, _model: str, x: NDArray[Any] | None, method: BoundMethod, **asked: Any) -> Iterator[Certificate]:
        self.calls.append((x, method, cast(Asked, asked)))
        for index in reversed(range(len(problem_of(x, method, cast(Asked, asked))))):
            answer: dict[str, Any] = {"index": index, "method": method} | self.change
            yield replace(ball(0), **answer)


def again(
    service: Proving, certificates: list[Certificate], regions: Regions | None = None, x: Any = X
) -> list[Redrawn]:
    return redraw(cast(Client, service), MODEL, x, certificates, regions)


def test_the_bound_that_won_is_computed_at_the_radius() -> None:
    service = Proving()
    answers = again(service, [ball(2, 0.125, norm=Norm.L2), ball(1, 0.25, "alpha-crown")])
    assert answers == [Redrawn(1, True, True, ""), Redrawn(2, True, True, "")]
    (first, crown, of_two), (second, alpha, of_one) = service.calls
    assert crown == Crown(Semantics.FLOAT32_EXEC, Rounding.NEAREST, tolerance=0.5, audit=3)
    assert alpha == AlphaCrown(Semantics.FLOAT32_EXEC, Rounding.NEAREST, tolerance=0.5, audit=3, steps=5 * LADDER.steps)
    assert (type(crown), type(alpha)) == (Crown, AlphaCrown)
    assert (of_two, of_one) == ({"norm": "l2", "eps": 0.125}, {"norm": "linf", "eps": 0.25})
    assert first is not None
    assert second is not None
    assert (first.tolist(), second.tolist()) == (X[2:3].tolist(), X[1:2].tolist())


def test_an_ascent_that_its_method_does_not_make() -> None:
    service = Proving()
    again(service, [ball(0, bound="alpha-crown", method=Crown())])
    assert service.calls[0][1] == AlphaCrown(steps=5 * AlphaCrown.steps)


def test_certificates_of_one_radius_are_computed_together() -> None:
    service = Proving()
    answers = again(service, [ball(3), ball(0), ball(1, 0.5), ball(2, bound="ibp"), ball(2)])
    assert [answer.index for answer in answers] == [0, 1, 2, 2, 3]
    assert all(answer.equal for answer in answers)
    assert [len(x) for x, _, _ in service.calls if x is not None] == [3, 1, 1]
    x = service.calls[0][0]
    assert x is not None
    assert x.tolist() == X[[3, 0, 2]].tolist()


def test_regions_are_rebuilt() -> None:
    service = Proving()
    scalar = ball(0, region={"domain": (0.0, 1.0)})
    each = ball(1, region={"domain_digest": box_digest(*ENDS), "weights_digest": digest_of(WEIGHTS)})
    again(service, [scalar])
    again(service, [scalar], Regions(domain=(np.asarray(0), np.asarray(1))))
    again(service, [each, box(2), box(3)], Regions(ENDS, WEIGHTS, LOWER, UPPER))
    whole, same, weighted, boxes = (asked for _, _, asked in service.calls)
    assert whole == same == {"norm": "linf", "eps": 0.25, "domain": (0.0, 1.0)}
    assert np.array_equal(np.asarray(weighted["domain"]), np.asarray(ENDS))
    assert np.array_equal(np.asarray(weighted["weights"]), WEIGHTS)
    assert boxes.keys() == {"lower", "upper"}
    assert np.array_equal(np.asarray(boxes["lower"]), LOWER[2:])
    assert np.array_equal(np.asarray(boxes["upper"]), UPPER[2:])
    assert service.calls[3][:2] == (None, Ibp(LADDER.semantics, LADDER.rounding, tolerance=0.5, audit=3))


def test_boxes_need_no_inputs() -> None:
    (answer,) = again(Proving(), [box(1)], Regions(lower=LOWER, upper=UPPER), x=None)
    assert answer.equal


def test_what_certifies_nothing_is_left_out() -> None:
    undecided = replace(ball(0), verdict=Verdict.UNKNOWN, prediction=None, radius=0.0)
    assert again(Proving(), [undecided]) == []


ELSEWHERE = replace(HERE, device_name="another processor")
FAILED = {"verdict": Verdict.UNKNOWN, "prediction": None, "radius": 0.0}


@pytest.mark.parametrize(
    ("change", "bound", "comparable", "says"),
    [
        (FAILED, "crown", True, "crown does not certify class 2 again, its least margin being 0.5, over radius 0.25"),
        ({"prediction": 1}, "ibp", True, "ibp certifies class 1, not 2, over radius 0.25"),
        (FAILED, "alpha-crown", False, "alpha-crown does not"),
        (FAILED | {"execution": ELSEWHERE}, "ibp", False, "computed on a processor, torch 2"),
        (FAILED | {"execution": replace(HERE, versions={"torch": "2", "verifier": "2"})}, "ibp", False, "ibp does not"),
        (FAILED | {"execution": replace(HERE, versions={"torch": "3", "verifier": "1"})}, "ibp", False, "now on"),
    ],
    ids=["fails", "another class", "an ascent", "another device", "another version", "another torch"],
)
def test_differences(change: Any, bound: str, comparable: bool, says: str) -> None:
    (answer,) = again(Proving(**change), [ball(1, bound=bound)])
    assert (answer.index, answer.equal, answer.comparable) == (1, False, comparable)
    assert says in answer.difference


CUT = ball(0, region={"domain_digest": box_digest(*ENDS)})
WEIGHTED = ball(0, region={"weights_digest": digest_of(WEIGHTS)})


@pytest.mark.parametrize(
    ("certificate", "regions", "x", "field"),
    [
        (ball(0, subject=Subject("0" * 64, "real")), Regions(), X, "model"),
        (ball(0), Regions(), None, "inputs"),
        (ball(3), Regions(), X[:3], "inputs[3]"),
        (ball(0), Regions(), X[::-1], "inputs[0]"),
        (replace(ball(3), index=-1), Regions(), X, "inputs[-1]"),
        (ball(0, bound="clown"), Regions(), X, "bounds.bound"),
        (ball(0, bound="ladder"), Regions(), X, "bounds.bound"),
        (CUT, Regions(), X, "bounds"),
        (CUT, Regions(domain=(np.asarray(0.0), np.asarray(1.0))), X, "bounds"),
        (CUT, Regions(domain=(ENDS[0], ENDS[1] * 2)), X, "bounds"),
        (CUT, Regions(domain=(ENDS[0], ENDS[1][:2])), X, "bounds.upper"),
        (ball(0, region={"domain": (0.0, 1.0)}), Regions(domain=(np.asarray(0), np.asarray(2))), X, "bounds"),
        (WEIGHTED, Regions(), X, "weights"),
        (WEIGHTED, Regions(weights=WEIGHTS * 2), X, "weights"),
        (box(0), Regions(), X, "box.lower"),
        (box(0), Regions(lower=LOWER), X, "box.lower"),
        (box(0), Regions(lower=LOWER, upper=UPPER[:, :2]), X, "box.upper"),
        (box(0), Regions(lower=LOWER[0], upper=UPPER[0]), X, "box.lower"),
        (box(0), Regions(lower=LOWER, upper=UPPER + 1), X, "box.lower[0]"),
        (box(3), Regions(lower=LOWER[:3], upper=UPPER[:3]), X, "box.lower[3]"),
        (replace(box(3), index=-1), Regions(lower=LOWER, upper=UPPER), X, "box.lower[-1]"),
    ],
)
def test_refusals(certificate: Certificate, regions: Regions, x: Any, field: str) -> None:
    with pytest.raises(InvalidProblem) as refused:
        again(Proving(), [certificate], regions, x)
    assert [violation.field for violation in refused.value.violations] == [field]


def test_refusals_come_before_any_work() -> None:
    service = Proving()
    with pytest.raises(InvalidProblem):
        again(service, [ball(1), ball(2, 0.5), CUT])
    assert service.calls == []
