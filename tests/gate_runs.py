"""Small runs of a gate for tests of its reports and attestations: outcomes by a seed, results from their counts."""

from dataclasses import replace
from typing import Any

import numpy as np
from builders import MODEL_DIGEST, certificate, votes_for

from verifier.certificate import Certificate
from verifier.gate.course import GateCourse
from verifier.gate.order import Census, committed_order
from verifier.gate.outcomes import Record, recompute
from verifier.gate.policy import parse_policy
from verifier.gate.report_images import ShownInput
from verifier.gating import Decision, GateRun, Outcome, ThresholdResult
from verifier.methods import Smoothing

POLICY = """\
schema_version = 1
name = "digits-live"
dataset = "digits-test"
confidence = 0.95

[method]
name = "smoothing"
sigma = 0.5
n0 = 10
n = 1000
alpha = 0.001

[[threshold]]
metric = "certified_accuracy"
norm = "l2"
radius = 0.25
at_least = 0.60

[[threshold]]
metric = "abstention_rate"
at_most = 0.2
"""

METHOD = Smoothing(sigma=0.5, n0=10, n=1000, alpha=1e-3)


def certificates_for(inputs: int, seed: int = 1, classes: int = 10) -> list[Certificate]:
    """Of inputs whose votes a generator drew; about one in ten is predicted wrongly."""
    draw = np.random.default_rng(seed)
    made = []
    for index in range(inputs):
        top = int(1000 * draw.beta(6, 1)) if draw.random() < 0.85 else 1000
        label = int(draw.integers(classes))
        cls = label if draw.random() < 0.9 else int(draw.integers(classes))
        votes = votes_for(top, 1000, cls=cls, classes=classes)
        made.append(certificate(votes, METHOD, label=label, index=index))
    return made


def outcomes_of(certificates: list[Certificate], baseline: bool = False) -> list[Outcome]:
    """What these certificates come to, consumed in their order."""
    return [
        Outcome(
            position=position,
            index=c.index,
            label=c.label or 0,
            prediction=c.prediction,
            radius=c.radius,
            abstained=c.verdict.value == "abstained",
            baseline_prediction=c.prediction if baseline and position % 3 else None,
            baseline_radius=(0.8 * c.radius if position % 3 else 0.0) if baseline else None,
            forward_passes=1010,
        )
        for position, c in enumerate(certificates)
    ]


def threshold(decision: Decision = Decision.PASS, **changes: Any) -> ThresholdResult:
    whole = ThresholdResult(
        name="certified_accuracy_l2_0.5",
        metric="certified_accuracy",
        group="",
        norm="l2",
        radius=0.5,
        at_least=0.6,
        at_most=None,
        value=0.7123456,
        lower=0.6123456,
        upper=0.8123456,
        confidence=0.95,
        successes=71,
        trials=100,
        gained=None,
        lost=None,
        look=100,
        decision=decision,
        reason="the lower bound 0.6123 is at least 0.6",
    )
    return replace(whole, **changes)


def gate_run(*thresholds: ThresholdResult, **changes: Any) -> GateRun:
    whole = GateRun(
        id="ab" * 16,
        project="default",
        policy_name="digits-live",
        policy_digest="ba" * 32,
        policy_text='name = "digits-live"\n',
        model="digits",
        model_digest=MODEL_DIGEST,
        baseline="",
        baseline_digest="",
        dataset="digits-test",
        dataset_digest="da" * 32,
        order_seed=42,
        attempt=1,
        delta=0.05,
        alpha=0.001,
        decision=Decision.PASS,
        reason="every threshold passes",
        thresholds=thresholds or (threshold(),),
        inputs=500,
        used=100,
        forward_passes=101_000,
        forward_passes_all=505_000,
        counts_digest="0c" * 32,
        started=1_750_000_000.25,
        seconds=12.5,
        versions={"verifier": "0.1.0"},
    )
    return replace(whole, **changes)


def shown_of(certificates: list[Certificate], shape: tuple[int, ...] = (8, 8)) -> list[ShownInput]:
    draw = np.random.default_rng(3)
    return [ShownInput(c.index, draw.random(shape).astype(np.float32), c.label, c) for c in certificates]


def decided(
    inputs: int = 300,
    *,
    attempt: int = 1,
    delta: float = 0.05,
    seed: int = 1,
    policy_text: str = POLICY,
    **changes: Any,
) -> tuple[GateRun, Record, list[Certificate]]:
    """A run as a gate makes it: its inputs in the committed order, until it decides."""
    policy = parse_policy(policy_text)
    certificates = certificates_for(inputs, seed)
    order = committed_order(policy, inputs, 42).tolist()
    census = Census.of(policy, order, [certificates[index].label or 0 for index in order], 10)
    outcomes = tuple(outcomes_of([certificates[index] for index in order], policy.needs_baseline))
    ends = consumed(policy_text, census, outcomes, delta)
    record = Record(census, outcomes[:ends])
    again = recompute(policy_text, record.to_text(), delta)
    run = gate_run(
        *again.thresholds,
        policy_name=policy.name,
        policy_text=policy_text,
        policy_digest=policy.digest,
        decision=again.decision,
        reason=f"{again.decision.value} after {ends} inputs",
        attempt=attempt,
        delta=delta,
        inputs=inputs,
        used=ends,
        forward_passes=again.forward_passes,
        forward_passes_all=1010 * inputs,
        counts_digest=again.counts_digest,
        **changes,
    )
    return run, record, [certificates[index] for index in order[:ends]]


def consumed(text: str, census: Census, outcomes: tuple[Outcome, ...], delta: float) -> int:
    """How many of these outcomes a gate consumes."""
    course = GateCourse(parse_policy(text), census, delta)
    for outcome in outcomes:
        course.feed(outcome)
        if course.decision is not None:
            break
    return course.used
