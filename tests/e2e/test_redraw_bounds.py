"""Deterministic certificates, from a question on the wire to the bounds that are computed again."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import verifier
from verifier.certificate import Certificate, RegionKind, Verdict
from verifier.check import check_all
from verifier.client import remote
from verifier.client.asked import Asked, Regions
from verifier.client.redraw import redraw
from verifier.demo.digits import network
from verifier.errors import InvalidProblem, Unsupported
from verifier.methods import BOUND_METHODS, BoundMethod, CrownIbp, Ibp, Rounding, Semantics, Smoothing
from verifier.model import ModelFormat
from verifier.problem import Norm
from verifier.wire import certificates as wire

MODEL = "digits_std"
IBP = Ibp(audit=4)


def by_index(certificates: Iterable[Certificate]) -> list[Certificate]:
    return sorted(certificates, key=lambda certificate: certificate.index)


def stated(certificate: Certificate) -> tuple[Any, ...]:
    """All but numbers that round differently with the batch, and what came on the way to them."""
    c = certificate
    region = (c.norm, c.eps, c.is_box, c.bounds.region)
    return (c.index, c.input_digest, c.label, c.verdict, c.prediction, c.subject, c.guarantee, c.method, *region)


def assert_same(certificates: Iterable[Certificate], expected: Sequence[Certificate]) -> None:
    ordered = by_index(certificates)
    assert [stated(c) for c in ordered] == [stated(c) for c in expected]
    assert [c.radius for c in ordered] == pytest.approx([c.radius for c in expected], rel=10 * IBP.tolerance)


def asked_of(kind: str, x: Any) -> tuple[Any, Asked]:
    """(inputs or None, what is asked about them)."""
    ends, weights = (np.zeros((1, 8, 8)), np.ones((1, 8, 8))), np.linspace(0, 1, 64).reshape(1, 8, 8)
    questions: dict[str, Asked] = {
        "ball": {},
        "eps": {"eps": 1e-3, "labels": [0] * len(x)},
        "l2": {"norm": "l2"},
        "domain": {"domain": (0.0, 1.0)},
        "domain of features": {"domain": ends, "weights": weights},
        "box": {"lower": x - 1e-3, "upper": x + 1e-3},
    }
    return (None if kind == "box" else x), questions[kind]


def regions_of(asked: Asked) -> Regions:
    domain = asked.get("domain")
    return Regions(
        None if domain is None else (np.asarray(domain[0]), np.asarray(domain[1])),
        *(asked.get(name) for name in ("weights", "lower", "upper")),  # type: ignore[arg-type]
    )


KINDS = ["ball", "eps", "l2", "domain", "domain of features", "box"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_wire_changes_nothing(
    client: verifier.Client, embedded: verifier.Client, digits: Any, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one message, in a stream of small ones, and in this process: the same certificates, which hold again."""
    x, asked = asked_of(kind, digits.x[:7])
    expected = by_index(embedded.certify(MODEL, x, IBP, seed=1, **asked))
    assert [c.index for c in expected] == list(range(7))
    assert check_all(expected).holds
    assert all(c.is_box == (kind == "box") for c in expected)
    assert_same(client.certify(MODEL, x, IBP, seed=1, **asked), expected)
    monkeypatch.setattr(remote, "INLINE_BYTES", 1024)
    assert_same(client.certify(MODEL, x, IBP, seed=1, **asked), expected)
    price = embedded.price(MODEL, x, IBP, **asked).forward_passes
    assert client.price(MODEL, x, IBP, **asked).forward_passes == price
    for service in (embedded, client):
        answers = redraw(service, MODEL, x, expected, regions_of(asked))
        assert [a.index for a in answers] == [c.index for c in expected if c.certified]
        assert all(a.equal for a in answers)


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, id=kind.name) for kind in BOUND_METHODS],
)
def test_every_method_walks(client: verifier.Client, digits: Any, kind: type[BoundMethod]) -> None:
    method = kind(Semantics.FLOAT32_EXEC, Rounding.OUTWARD, tolerance=0.5, audit=2)
    certificates = list(client.certify(MODEL, digits.x[:2], method))
    assert all(c.method == method and c.norm is Norm.LINF for c in certificates)
    assert all(c.bounds.region.kind is RegionKind.BALL for c in certificates)
    assert check_all(certificates).holds
    lines = [wire.certificate_to_json(c) for c in certificates]
    assert wire.certificates_from_lines(lines) == certificates
    certified = [c for c in certificates if c.certified]
    assert certified
    assert all(a.equal for a in redraw(client, MODEL, digits.x, certified))


def test_both_kinds_in_one_file(embedded: verifier.Client, digits: Any) -> None:
    votes = list(embedded.certify(MODEL, digits.x[:2], Smoothing(sigma=0.25, n0=20, n=200), seed=3))
    bounds = list(embedded.certify(MODEL, digits.x[2:4], CrownIbp(audit=4, tolerance=0.1), eps=1e-4))
    moved = [replace(c, index=c.index + 2) for c in bounds]
    answers = redraw(embedded, MODEL, digits.x, [*moved, *votes])
    assert [a.index for a in answers] == [0, 1, *(c.index for c in moved if c.certified)]
    assert all(a.equal for a in answers)


def test_what_is_claimed_too_large_is_seen(embedded: verifier.Client, digits: Any) -> None:
    honest = next(c for c in embedded.certify(MODEL, digits.x[:5], IBP) if c.certified)
    forged = replace(honest, radius=4 * honest.radius, evidence=replace(honest.bounds, eps=4 * honest.radius))
    assert check_all([forged]).holds, "arithmetic alone cannot see it"
    (answer,) = redraw(embedded, MODEL, digits.x, [forged])
    assert (answer.equal, answer.comparable) == (False, True)
    assert "ibp" in answer.difference


def test_what_is_not_decided_travels_too(client: verifier.Client, digits: Any) -> None:
    (answer,) = client.certify(MODEL, digits.x[:1], IBP, eps=100.0)
    assert (answer.verdict, answer.radius, answer.prediction) == (Verdict.UNKNOWN, 0.0, None)
    assert redraw(client, MODEL, digits.x, [answer]) == []


@pytest.mark.parametrize("kind", ["domain", "domain of features", "box"])
def test_smoothing_takes_no_regions(client: verifier.Client, embedded: verifier.Client, digits: Any, kind: str) -> None:
    x, asked = asked_of(kind, digits.x[:2])
    if x is not None:
        asked["norm"] = "linf"  # weights are for no other
    for service in (client, embedded):
        with pytest.raises(Unsupported):
            list(service.certify(MODEL, x, Smoothing(sigma=0.25), **asked))


def test_regions_of_other_inputs_are_refused(client: verifier.Client, digits: Any) -> None:
    regions: list[Asked] = [
        {"domain": (0.5, 1.0)},
        {"domain": (np.zeros(64), np.ones(64))},
        {"weights": np.zeros((1, 8, 8))},
        {"weights": np.ones(64)},
    ]
    for asked in regions:
        with pytest.raises(InvalidProblem):
            list(client.certify(MODEL, digits.x[:2], IBP, **asked))


def test_a_model_file_is_enough(digits: Any, tmp_path: Path) -> None:
    with verifier.local(data_dir=tmp_path, device="cpu") as client:
        file = network(MODEL, ModelFormat.ONNX)
        certificates = list(client.certify(file, digits.x[:2], IBP))
        assert len(redraw(client, file, digits.x, certificates)) == sum(c.certified for c in certificates)
