"""What many certificates say together: certified accuracy at radii, abstentions, average radius, work spent.

A certificate *counts at radius r* where it proves its prediction within a radius >= r and, where there are labels,
the prediction is the label. Everything else, abstentions included, counts at no radius. That a radius is proved does
not depend on the `eps` that was asked about, so a verdict UNKNOWN with a radius counts.

Nothing is audited here: run `check.check_all` on certificates from elsewhere first.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from verifier import guarantee
from verifier.certificate import BoundEvidence, Certificate, SamplingEvidence, Stopped, Subject, Verdict
from verifier.chain import chain_of
from verifier.errors import InvalidProblem
from verifier.methods import Smoothing, Stopping

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

INTERVAL_LEVEL = 0.95
"""Confidence of the intervals; two-sided."""

P_A_EDGES = (0.0, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 1.0)
"""Edges of the buckets of p_a_lower, closed below and open above: the bound is never 1."""

_SATURATED_SHARE = 0.1
"""Share of inputs with every draw for one class from which on more draws are worth a warning."""


@dataclass(frozen=True)
class CurvePoint:
    """Certified accuracy (without labels: the certified fraction) at one radius.

    Args:
        radius: r, in the units of the input.
        count: certificates that count at r.
        fraction: count over all inputs.
        lower, upper: two-sided 95 % Clopper-Pearson interval of that fraction in the population of which the inputs
            are an independent sample. It is a property of the procedure; to speak of the robust accuracy of the
            smoothed classifier itself, take another alpha off `lower`.
    """

    radius: float
    count: int
    fraction: float
    lower: float
    upper: float


@dataclass(frozen=True)
class Summary:
    """Figures over all certificates of one subject.

    Args:
        subject: what all of them speak about.
        method: "smoothing", or the deterministic method; None where the certificates differ.
        stopping: when the draws ended ("fixed", "decide", "grid", "anytime"); None for bounds, and where they differ.
        grade: of the certificates; None where they differ.
        norm: of the radii; None where the certificates differ.
        n, alpha: draws for the bound and failure probability per input; None where the certificates differ.
        inputs: how many certificates there are. All rates are over all of them.
        boxes: how many of them are about boxes, which have no radius: they count at radius 0.
        certified, abstained, unknown, falsified: verdicts; they sum to `inputs`.
        labelled: whether all inputs have labels; otherwise labels are ignored.
        correct: inputs with the right prediction and any radius > 0, or a box; None without labels.
        average_radius: mean over all inputs, 0 for those that count nowhere (ACR).
        median_radius: median over the same numbers.
        largest_possible_radius: what the most generous of the methods could have proved, had all draws agreed; None
            for deterministic methods.
        draws: forward passes spent; of deterministic methods, bounds computed.
        draws_per_second: over the time in which any of the requests ran; None where none was measured.
        curve: certified accuracy at rising radii.
        p_a_histogram: certificates by p_a_lower, in the buckets of P_A_EDGES; empty for deterministic methods.
        bounds: how many of those that count were proved by each bound; empty for smoothing.
        warnings: what a reader of these figures should know.
    """

    subject: Subject
    method: str | None
    stopping: str | None
    grade: str | None
    norm: str | None
    n: int | None
    alpha: float | None
    inputs: int
    boxes: int
    certified: int
    abstained: int
    unknown: int
    falsified: int
    labelled: bool
    correct: int | None
    average_radius: float
    median_radius: float
    largest_possible_radius: float | None
    draws: int
    draws_per_second: float | None
    curve: tuple[CurvePoint, ...]
    p_a_histogram: tuple[int, ...]
    bounds: dict[str, int]
    warnings: tuple[str, ...]

    @property
    def clean_accuracy(self) -> float | None:
        """Accuracy of the smoothed classifier, abstentions counted as wrong.

        None without labels, for bounds, and where only radii > 0 were asked about.
        """
        return self.certified_accuracy if self.stopping in (Stopping.FIXED, Stopping.ANYTIME) else None

    @property
    def certified_accuracy(self) -> float | None:
        """Share of inputs with the right prediction and any radius > 0, or a box; None without labels."""
        return None if self.correct is None else self.correct / self.inputs

    @property
    def abstention_rate(self) -> float:
        """Share of inputs whose votes were too divided."""
        return self.abstained / self.inputs

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values at fixed names; the curve and the bounds as lists of equal length."""
        own = {name: value for name, value in vars(self).items() if name not in ("subject", "curve", "bounds")}
        return {
            "model": self.subject.model_digest,
            "precision": self.subject.precision,
            "noise": self.subject.noise,
            "sigma": self.subject.sigma,
            **own,
            "clean_accuracy": self.clean_accuracy,
            "certified_accuracy": self.certified_accuracy,
            "abstention_rate": self.abstention_rate,
            "radii": [point.radius for point in self.curve],
            "certified_counts": [point.count for point in self.curve],
            "certified_fractions": [point.fraction for point in self.curve],
            "certified_fractions_lower": [point.lower for point in self.curve],
            "certified_fractions_upper": [point.upper for point in self.curve],
            "p_a_histogram": list(self.p_a_histogram),
            "p_a_histogram_edges": list(P_A_EDGES),
            "bounds": list(self.bounds),
            "bounds_counts": list(self.bounds.values()),
            "warnings": list(self.warnings),
        }


def summarise(certificates: Sequence[Certificate], radii: Sequence[float] | None = None) -> Summary:
    """The figures of certificates of one subject.

    Args:
        certificates: at least one.
        radii: at which to count, each finite and >= 0; None takes multiples of sigma/2 up to the largest possible; of
            deterministic certificates the eps that was asked about, or multiples of a round number.
    Raises:
        InvalidProblem: none at all, certificates of several subjects or kinds, or a radius out of range.
    """
    subject = common_subject(certificates)
    sampled = is_sampled(certificates)
    labelled = all(c.label is not None for c in certificates)
    counting = counting_radii(certificates, labelled=labelled)
    verdicts = [c.verdict for c in certificates]
    draws = sum(c.spent for c in certificates)
    seconds = _busy_seconds(certificates)
    return Summary(
        subject=subject,
        method=_common([c.method.name for c in certificates]),
        stopping=_common([c.smoothing.stopping.value for c in certificates]) if sampled else None,
        grade=_common([c.guarantee.grade.value for c in certificates]),
        norm=_common([c.norm.value for c in certificates]),
        n=_common([c.smoothing.n for c in certificates]) if sampled else None,
        alpha=_common([c.guarantee.alpha for c in certificates]),
        inputs=len(certificates),
        boxes=sum(c.is_box for c in certificates),
        certified=verdicts.count(Verdict.CERTIFIED),
        abstained=verdicts.count(Verdict.ABSTAINED),
        unknown=verdicts.count(Verdict.UNKNOWN),
        falsified=verdicts.count(Verdict.FALSIFIED),
        labelled=labelled,
        correct=int((counting >= 0).sum()) if labelled else None,
        average_radius=average_radius(counting),
        median_radius=float(np.median(np.maximum(counting, 0))),
        largest_possible_radius=largest_possible_radius(certificates) if sampled else None,
        draws=draws,
        draws_per_second=draws / seconds if seconds else None,
        curve=curve(counting, _grid(certificates) if radii is None else radii),
        p_a_histogram=p_a_histogram(certificates) if sampled else (),
        bounds={} if sampled else _bounds_that_won(certificates, counting),
        warnings=tuple(_warnings(certificates, labelled)),
    )


# -- figures -------------------------------------------------------------------------------------------


def common_subject(certificates: Sequence[Certificate]) -> Subject:
    """The one subject that all certificates speak about.

    Raises:
        InvalidProblem: there are no certificates, or they speak about several; the message names them.
    """
    subjects = list(dict.fromkeys(c.subject for c in certificates))
    if not subjects:
        raise InvalidProblem("there are no certificates to summarise")
    if len(subjects) > 1:
        named = "; ".join(str(subject) for subject in subjects)
        raise InvalidProblem(f"certificates of {len(subjects)} subjects have no common accuracy, split them: {named}")
    return subjects[0]


def is_sampled(certificates: Sequence[Certificate]) -> bool:
    """Whether certificates of one subject rest on votes; otherwise they rest on bounds.

    Raises:
        InvalidProblem: some rest on votes and some on bounds, so that not all can be what they say.
    """
    parts = [part for c in certificates for part in (c.method, c.evidence)]
    sampled = {isinstance(part, Smoothing | SamplingEvidence) for part in parts}
    if len(sampled) > 1:
        raise InvalidProblem("votes and bounds cannot speak about one subject: `verifier check` tells which are wrong")
    return sampled == {True}


def counting_radii(certificates: Sequence[Certificate], *, labelled: bool) -> Floats:
    """The radius up to which each certificate counts, [B]; -1 where it counts at no radius.

    Args:
        labelled: whether only right predictions count.
    """
    return np.array([c.radius if _counts(c, labelled) else -1.0 for c in certificates])


def counts_at(counting: Floats, radii: ArrayLike) -> Integers:
    """How many certificates count at each radius: #(counting >= r).

    Args:
        counting: from `counting_radii`, [B].
        radii: r >= 0, [R].
    """
    return len(counting) - np.searchsorted(np.sort(counting), np.asarray(radii), side="left")


def curve(counting: Floats, radii: Sequence[float]) -> tuple[CurvePoint, ...]:
    """Certified accuracy at radii, with its interval.

    Args:
        counting: from `counting_radii`, [B], B >= 1.
        radii: each finite and >= 0.
    Raises:
        InvalidProblem: a radius outside its range.
    """
    for r in radii:
        if not (math.isfinite(r) and r >= 0):
            raise InvalidProblem(f"radii must be finite and >= 0, got {r}", field="radii")
    counts = counts_at(counting, radii)
    lower, upper = interval(counts, len(counting))
    return tuple(
        CurvePoint(float(r), int(k), int(k) / len(counting), float(low), float(high))
        for r, k, low, high in zip(radii, counts, lower, upper, strict=True)
    )


def interval(counts: Integers, total: int) -> tuple[Floats, Floats]:
    """Two-sided 95 % Clopper-Pearson intervals of proportions, [R] each."""
    from statsmodels.stats.proportion import proportion_confint  # here, because importing it takes a second

    lower, upper = proportion_confint(counts, total, 1 - INTERVAL_LEVEL, "beta")
    return np.asarray(lower), np.asarray(upper)


def average_radius(counting: Floats) -> float:
    """Mean radius over all inputs, 0 for those that count at no radius (ACR)."""
    return math.fsum(np.maximum(counting, 0)) / len(counting)


def largest_possible_radius(certificates: Sequence[Certificate]) -> float:
    """The radius that n agreeing draws would have proved, under the most generous of the methods."""
    methods = {(c.smoothing.radius_sigma, c.smoothing.n, c.smoothing.bound_alpha) for c in certificates}
    return max(guarantee.largest_radius(sigma, n, alpha) for sigma, n, alpha in methods)


def p_a_histogram(certificates: Sequence[Certificate]) -> tuple[int, ...]:
    """How many certificates have their p_a_lower in each bucket of P_A_EDGES."""
    counts, _ = np.histogram([c.sampling.p_a_lower for c in certificates], bins=P_A_EDGES)
    return tuple(int(count) for count in counts)


def _counts(c: Certificate, labelled: bool) -> bool:
    proved = c.prediction is not None and (c.radius > 0 or c.is_box)
    claims = proved and c.verdict in (Verdict.CERTIFIED, Verdict.UNKNOWN)
    return claims and (c.correct is True or not labelled)


def _grid(certificates: Sequence[Certificate]) -> list[float]:
    """0 and multiples of a step up to the largest radius, as numbers of at most six digits: a table shows them whole.

    The step is sigma/2, or for bounds a round number. Bounds at one eps are counted at that very number.
    """
    asked = _common([_asked(c) for c in certificates])
    if asked:
        return list(asked)
    if is_sampled(certificates):
        step, largest = max(c.smoothing.sigma for c in certificates) / 2, largest_possible_radius(certificates)
    elif (eps := _common([c.eps for c in certificates])) is not None:
        return [0.0, eps]
    else:
        largest = max((c.radius for c in certificates if math.isfinite(c.radius)), default=0.0)
        step = _round_step(largest)
    return [float(f"{number * step:.6g}") for number in range(math.floor(largest / step * (1 + 1e-9)) + 1)]


def _asked(c: Certificate) -> tuple[float, ...]:
    """The radii that the method itself asks about."""
    if not isinstance(c.method, Smoothing):
        return ()
    if c.method.grid is None:
        return c.method.decide
    radii = chain_of(c.method)
    return tuple(radii.radius(number) for number in range(len(radii)))


def _round_step(largest: float) -> float:
    """1, 2 or 5 times a power of ten, of which five to a dozen reach the largest; 1 for boxes, which have no radius."""
    if largest <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(largest))
    return power * next(share for share in (1.0, 0.5, 0.2, 0.1) if share == 0.1 or largest / (power * share) >= 5)


def _bounds_that_won(certificates: Sequence[Certificate], counting: Floats) -> dict[str, int]:
    """Bound -> how many of the certificates that count it proved, the most frequent first."""
    won = Counter(c.bounds.bound for c, radius in zip(certificates, counting, strict=True) if radius >= 0)
    return dict(won.most_common())


def _is_unfinished(c: Certificate) -> bool:
    """Whether an input's draws ended before something was decided about it."""
    sequential = c.sampling.sequential
    if sequential is None:
        return c.sampling.estimation.n < c.smoothing.n
    undecided = sequential.stopped is Stopped.DRAWS and c.smoothing.stopping is not Stopping.ANYTIME
    return undecided or sequential.stopped is Stopped.EARLY


def _busy_seconds(certificates: Sequence[Certificate]) -> float:
    """Length of the union of [started, verdict] over all certificates."""
    busy, until = 0.0, -math.inf
    for started, seconds in sorted({(c.execution.started, c.execution.seconds) for c in certificates}):
        busy += max(0.0, started + seconds - max(started, until))
        until = max(until, started + seconds)
    return busy


def _weights(c: Certificate) -> str:
    return c.evidence.region.weights_digest if isinstance(c.evidence, BoundEvidence) else ""


def _common(values: Sequence[Any]) -> Any:
    """The value that all have, or None."""
    return values[0] if len(set(values)) == 1 else None


def _warnings(certificates: Sequence[Certificate], labelled: bool) -> Iterator[str]:
    total = len(certificates)
    with_label = sum(c.label is not None for c in certificates)
    if with_label and not labelled:
        yield f"only {with_label} of {total} inputs have labels: these figures ignore them, and are no accuracy"
    if len({c.method for c in certificates}) > 1:
        yield "the certificates were made with different parameters: their radii are not comparable one to one"
    if len({(c.norm, _weights(c)) for c in certificates if not c.is_box}) > 1:
        yield "the radii are in several norms or weights: they are not comparable one to one"
    boxes = sum(c.is_box for c in certificates)
    if 0 < boxes < total:
        yield f"{boxes} of {total} certificates are about boxes, which have no radius: they count at radius 0 only"
    repeated = total - len({c.input_digest for c in certificates})
    if repeated:
        yield f"{repeated} of {total} inputs repeat earlier ones: the intervals take inputs for independent"
    if not is_sampled(certificates):
        return
    unfinished = sum(_is_unfinished(c) for c in certificates)
    if unfinished:
        yield f"{unfinished} of {total} inputs stopped before they were decided: more draws or time may prove more"
    repeated = sum(c.sampling.attempt is not None and c.sampling.attempt.number > 1 for c in certificates)
    if repeated:
        spent = max(c.sampling.attempt.alpha_spent for c in certificates if c.sampling.attempt)
        yield (
            f"{repeated} of {total} inputs had been tried before: the best of all attempts on one of them is wrong "
            f"with probability up to {spent:.3g}"
        )
    saturated = sum(c.sampling.estimation.top_count == c.smoothing.n for c in certificates)
    if saturated >= _SATURATED_SHARE * total:
        yield f"{saturated} of {total} inputs have the largest radius that n draws can prove: more would prove more"
