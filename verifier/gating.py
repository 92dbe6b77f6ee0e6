"""What a deployment gate answers: a decision for each threshold, and one for all, with the numbers behind it."""

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from verifier.certificate import Certificate


class Decision(StrEnum):
    """Of a threshold, or of a gate. In any doubt: inconclusive."""

    PASS = "pass"  # noqa: S105 - a decision, no password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class ThresholdResult:
    """What became of one threshold (of one class or slice, where it is asked of each).

    Args:
        name: unique in its gate, a flat identifier: "certified_accuracy_l2_0.5", "certified_accuracy_l2_0.5.class_3".
        metric: "certified_accuracy", "clean_accuracy", "abstention_rate" or "regression".
        group: "" for all inputs, "class 3", or the name of a slice.
        norm, radius: of certified accuracy and of regressions; None otherwise.
        at_least, at_most: the threshold; exactly one of them is given.
        value: the plain fraction; for a regression the difference of fractions, model minus baseline.
        lower, upper: confidence bounds of the population's value, those that the decision rests on, alpha included.
        confidence: of the bound that decided; of `lower` for at_least and of `upper` for at_most where none did.
        successes, trials: counts over the inputs consumed; for a regression `trials` is of pairs.
        gained, lost: pairs that only the model, only the baseline got; None but for regressions.
        look: number of inputs consumed when it was decided; None where it was not.
        decision: of this threshold alone.
        reason: in words.
    """

    name: str
    metric: str
    group: str
    norm: str | None
    radius: float | None
    at_least: float | None
    at_most: float | None
    value: float | None
    lower: float
    upper: float
    confidence: float
    successes: int
    trials: int
    gained: int | None
    lost: int | None
    look: int | None
    decision: Decision
    reason: str


@dataclass(frozen=True)
class GateRun:
    """One run of a gate, as it is stored.

    Args:
        id: 32 hex digits, drawn by the server.
        project: whose.
        policy_name, policy_digest, policy_text: the policy; the digest is the SHA-256 of the text's bytes.
        model, baseline: as they were named; "" where there is no baseline.
        model_digest, baseline_digest: what these resolved to; baseline_digest "" where there is none.
        dataset, dataset_digest: likewise.
        order_seed: of the committed order of the inputs, drawn by the server before any outcome.
        attempt: 1 for the first run on this (model, baseline, data, policy); j for the j-th.
        delta: of this attempt; of the policy for the first, delta / (j (j + 1)) for the j-th.
        alpha: per input, of the certificates.
        decision: of the gate: pass where every threshold passes, fail where one fails, inconclusive otherwise.
        reason: in words.
        thresholds: in the order of the policy.
        inputs: of the data set (selection); used: consumed in the committed order.
        forward_passes: spent. forward_passes_all: what all inputs would have cost at the mean of those used.
        counts_digest: SHA-256 of the outcomes that were consumed, see `verifier.gate.outcomes`.
        started: seconds since the epoch; seconds: it took.
        versions: of the software.
    """

    id: str
    project: str
    policy_name: str
    policy_digest: str
    policy_text: str
    model: str
    model_digest: str
    baseline: str
    baseline_digest: str
    dataset: str
    dataset_digest: str
    order_seed: int
    attempt: int
    delta: float
    alpha: float
    decision: Decision
    reason: str
    thresholds: tuple[ThresholdResult, ...]
    inputs: int
    used: int
    forward_passes: int
    forward_passes_all: int
    counts_digest: str
    started: float
    seconds: float
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What one input of a gate came to, in the committed order.

    Args:
        position: in the committed order, 0, 1, 2, ...
        index: of the input in the data set.
        label: its true class.
        prediction: of the model's certificate; None where it claims nothing.
        radius: proved, in `norm` of the gate's method; 0 where nothing is.
        abstained: whether the verdict is ABSTAINED.
        failed: whether the input could not be treated at all; counts as wrong everywhere.
        clean: the smoothed classifier's answer by PREDICT, where the policy asks for clean accuracy; None: abstained.
        baseline_prediction, baseline_radius: the same of the baseline's certificate; None where there is no baseline.
        forward_passes: spent on it, all methods and both models.
    """

    position: int
    index: int
    label: int
    prediction: int | None
    radius: float
    abstained: bool
    failed: bool = False
    clean: int | None = None
    baseline_prediction: int | None = None
    baseline_radius: float | None = None
    forward_passes: int = 0


@dataclass(frozen=True)
class GateProgress:
    """How a gate gets on.

    Args:
        used, inputs: consumed so far, of those that may be.
        forward_passes: spent so far on those.
        run: the decision; None before.
        stored: whether it is one that was there already.
    """

    used: int
    inputs: int
    forward_passes: int
    run: GateRun | None = None
    stored: bool = False


@dataclass(frozen=True, eq=False)
class GateEvidence:
    """What a run rests on.

    Args:
        record: of the outcomes consumed (`gate.outcomes`, docs/gate-report.md).
        certificates: of the model, in the committed order.
        shown: (index, input, label) of the smallest radii.
        manifest: of the model, JSON.
        dataset_size: inputs of the whole data set.
    """

    record: str
    certificates: tuple[Certificate, ...]
    shown: tuple[tuple[int, NDArray[np.float32], int], ...]
    manifest: str
    dataset_size: int
