"""The answer: a verdict about one input, the statement it proves, and the evidence to check it."""

import math
import re
from dataclasses import dataclass
from enum import StrEnum

from verifier.methods import CertifyingMethod, Rng, Smoothing
from verifier.problem import Norm

SHA256 = re.compile(r"[0-9a-f]{64}")
"""What digests of models and inputs look like."""


class Verdict(StrEnum):
    """What was decided about one input. "Could not decide" is an answer, not an error."""

    CERTIFIED = "certified"
    """The prediction holds within the radius (and the radius reaches eps, where one was asked about)."""
    ABSTAINED = "abstained"
    """The votes are too divided: no class has a lower bound above 1/2 (or above the runner-up's upper bound)."""
    UNKNOWN = "unknown"
    """Not decided: the bound is too loose for eps, or the work stopped before its end."""
    FALSIFIED = "falsified"
    """A counterexample within eps was found and evaluated again."""


class Grade(StrEnum):
    """In which sense a certificate is true."""

    STATISTICAL = "statistical"
    """True except with probability at most alpha over the draws."""
    FLOAT_SOUND = "float_sound"
    """A theorem about the network over the reals, every rounding accounted for."""
    REAL_ARITHMETIC = "real_arithmetic"
    """A theorem if the computation had been exact; roundings are not accounted for."""
    SOLVER_TOLERANCE = "solver_tolerance"
    """True up to the stated tolerance of a numerical solver."""


class NoiseModel(StrEnum):
    """Whether the noise that was drawn is the noise of the theorem."""

    IDEAL = "ideal"
    """Drawn in floating point, the theorem applied as if it were exactly Gaussian and the sums exact."""
    EXACT = "exact"
    """Drawn exactly from the distribution that the theorem speaks about."""


@dataclass(frozen=True)
class Guarantee:
    """Grade of a certificate.

    Args:
        grade: in which sense it is true.
        alpha: failure probability for this input; None for deterministic grades.
        noise_model: None where no noise is involved.
    """

    grade: Grade
    alpha: float | None = None
    noise_model: NoiseModel | None = None


@dataclass(frozen=True)
class Subject:
    """Which classifier the certificate speaks about. Base and smoothed classifier are different subjects.

    Args:
        model_digest: id of the model version f.
        sigma: of the smoothing noise; None where the subject is f itself.
        noise: family of the smoothing noise, or None.
        precision: arithmetic of f.
    """

    model_digest: str
    precision: str
    noise: str | None = None
    sigma: float | None = None

    def __str__(self) -> str:
        base = f"model {self.model_digest[:12]} in {self.precision}"
        if self.noise is None:
            return base
        return f"{base}, smoothed with {self.noise} noise, sigma {self.sigma:g}"


@dataclass(frozen=True)
class Votes:
    """Counts of one phase of draws.

    Args:
        n: draws counted.
        top: the class whose probability is bounded (for selection: the most voted), or None if no draw was valid.
        top_count: its votes.
        runner_up: the most voted other class; None where nothing else occurred, or invalid draws outnumber it.
        runner_up_count: votes of the strongest rival; invalid draws together count as one.
        invalid_count: draws whose logits were NaN or infinite. Never votes for a class.
    """

    n: int
    top: int | None
    top_count: int
    runner_up: int | None
    runner_up_count: int
    invalid_count: int


class RadiusVerdict(StrEnum):
    """What was decided about one radius."""

    CERTIFIED = "certified"
    """It holds, and so does every smaller one that was asked about."""
    NOT_CERTIFIED = "not_certified"
    """Given up: were it true, draws like these had at most the futility level's probability. No disproof."""
    UNDECIDED = "undecided"
    """The draws, a budget or the time were spent before."""


@dataclass(frozen=True)
class RadiusDecision:
    """What became of one radius.

    Args:
        radius: in the units of the input.
        verdict: what was decided.
        draws: for the bound, after which it was; of an undecided one, all that were looked at.
    """

    radius: float
    verdict: RadiusVerdict
    draws: int


class Stopped(StrEnum):
    """Why the draws of an input ended."""

    DECIDED = "decided"
    """Everything was decided, or no draw was valid."""
    DRAWS = "draws"
    """n or max_forward_passes was spent."""
    EARLY = "early"
    """By max_seconds or a deadline, or this is a partial answer: asked again, the request may end elsewhere."""


@dataclass(frozen=True)
class SequentialEvidence:
    """How the draws of one input ended. From it the boundaries can be computed again, and the decisions with them.

    Args:
        plan: name of the looks and of how alpha is spent over them (`chain.PLAN`).
        looks: draws for the bound after which the votes were looked at, in order; the last one ended them.
        counts: votes for the class at each of these looks.
        decisions: of every radius asked about; of a grid, and of a radius at any time, of the largest certified one
            and of the next.
        stopped: why they ended.
    """

    plan: str
    looks: tuple[int, ...]
    counts: tuple[int, ...]
    decisions: tuple[RadiusDecision, ...]
    stopped: Stopped


@dataclass(frozen=True)
class Attempt:
    """Which attempt on an input a certificate comes from, as the server's ledger has it.

    Attempts on one input, model and noise are counted whatever their n, method or seed. The same question with the same
    seed is the same attempt.

    Args:
        number: 1 for the first.
        alpha_spent: by all attempts so far, this one included: with at most this probability one of their certificates
            is false. Whoever keeps the best of them has this failure probability, not the certificate's.
    """

    number: int
    alpha_spent: float


@dataclass(frozen=True)
class SamplingEvidence:
    """Everything that a sampling certificate rests on.

    Args:
        selection: votes of the n0 draws; None where nothing was selected by draws of its own.
        estimation: votes of the n draws.
        p_a_lower: lower bound on the probability of the top class; 0 while nothing is proved.
        p_b_upper: upper bound on the runner-up's; None where it was not bounded.
        classes: K of the model.
        seed: of the request.
        seed_origin: "client" or "server". Trying several seeds and keeping the best multiplies alpha.
        rng: generator of the noise.
        sequential: looks and decisions; None where a fixed number is drawn.
        attempt: None where no ledger was kept.
    """

    selection: Votes | None
    estimation: Votes
    p_a_lower: float
    p_b_upper: float | None
    classes: int
    seed: int
    seed_origin: str
    rng: Rng
    sequential: SequentialEvidence | None = None
    attempt: Attempt | None = None


class RegionKind(StrEnum):
    """Over which set of inputs a bound holds."""

    BALL = "ball"
    """The ball of the certificate's norm and radius, within the domain where one was given."""
    BOX = "box"
    """The box that was asked about; there is no radius."""


@dataclass(frozen=True)
class RegionNote:
    """What else decides the region, besides input, norm and radius.

    Args:
        kind: ball or box. The input's digest of a box is `problem.box_digest` of its ends.
        domain: (lowest, highest) valid value of every feature, with which the ball was cut; None where there is no
            domain, or one feature by feature.
        domain_digest: `problem.box_digest` of a domain feature by feature, or "".
        weights_digest: `digest_of` the budgets of a weighted box |x'_i - x_i| <= radius weights_i, or "".
    """

    kind: RegionKind = RegionKind.BALL
    domain: tuple[float, float] | None = None
    domain_digest: str = ""
    weights_digest: str = ""


@dataclass(frozen=True)
class BoundEvidence:
    """What a deterministic certificate rests on. It is checked by computing the bound again at `eps`.

    Args:
        bound: name of the method whose bound is stated: "ibp", "crown-ibp", "crown" or "alpha-crown".
        eps: where the margins were bounded; 0 for boxes, and where nothing could be bounded.
        margins: lower bounds over the region of f_y - f_j for every class j but the prediction y, in the order of the
            classes, [K-1].
        region: what else decides the region.
        classes: K of the model.
        evaluations: bounds computed for this input.
        audited: points of the region at which the network was evaluated; none refuted the certificate.
    """

    bound: str
    eps: float
    margins: tuple[float, ...]
    region: RegionNote
    classes: int
    evaluations: int
    audited: int

    @property
    def holds(self) -> bool:
        """Whether every margin's lower bound is > 0 and finite. NaN and infinity prove nothing."""
        return len(self.margins) == self.classes - 1 and all(0 < margin < math.inf for margin in self.margins)


Evidence = SamplingEvidence | BoundEvidence


@dataclass(frozen=True)
class Execution:
    """How it was computed: what a rerun needs to reach the same votes.

    Args:
        device: "cpu" or "cuda:0"; device_name: the processor's own name.
        batch_rows: rows of every forward pass (padded to).
        form: executed form of the model: "eager", "torchscript" or "inductor".
        row_exact: whether a row's logits were seen not to depend on its place in the batch; then a rerun
            on this device reaches the same votes whatever else shares the batch.
        versions: of this package, torch, numpy and scipy.
        started: seconds since the epoch; seconds: from the request's start to the verdict.
    """

    device: str
    device_name: str
    batch_rows: int
    form: str
    row_exact: bool
    versions: dict[str, str]
    started: float
    seconds: float


@dataclass(frozen=True)
class Certificate:
    """One input's certificate.

    Guarantee (grade statistical): with probability at least 1 - alpha over the draws, either the verdict
    claims nothing, or the subject answers `prediction` for every input closer than `radius` in `norm`.

    Guarantee (grade float_sound): the subject answers `prediction` at every input of the region: the closed ball of
    `radius` within the domain, or the box (`evidence.region`).

    Args:
        index: of the input in the request.
        input_digest: SHA-256 of the input (see `problem.digest_of`).
        label: the true class, where it was given.
        verdict: what was decided.
        prediction: the class that holds; None when abstained or unknown without a bound.
        norm: of the radius.
        radius: proved, in the units of the input; rounded down; 0 where nothing is proved, and for boxes.
        eps: the radius asked about, or None.
        subject: the classifier that it speaks about.
        guarantee: in which sense.
        method: the parameters.
        evidence: counts, bounds and seed, or margins.
        execution: device, versions, times.
    """

    index: int
    input_digest: str
    label: int | None
    verdict: Verdict
    prediction: int | None
    norm: Norm
    radius: float
    eps: float | None
    subject: Subject
    guarantee: Guarantee
    method: CertifyingMethod
    evidence: Evidence
    execution: Execution

    def __post_init__(self) -> None:
        if math.isnan(self.radius) or self.radius < 0:
            raise ValueError(f"radius must be >= 0, got {self.radius}")
        if self.is_box and self.radius > 0:
            raise ValueError(f"a box has no radius, got {self.radius}")
        if self.verdict is Verdict.CERTIFIED and (self.prediction is None or not (self.radius > 0 or self.is_box)):
            raise ValueError("a certified verdict needs a prediction, and a radius > 0 where the region is a ball")

    @property
    def is_box(self) -> bool:
        """Whether the region is a box, so that there is no radius."""
        return isinstance(self.evidence, BoundEvidence) and self.evidence.region.kind is RegionKind.BOX

    @property
    def certified(self) -> bool:
        """Whether the verdict is CERTIFIED."""
        return self.verdict is Verdict.CERTIFIED

    @property
    def smoothing(self) -> Smoothing:
        """The method of a sampling certificate; TypeError where it is another."""
        if not isinstance(self.method, Smoothing):
            raise TypeError(f"made by {self.method.name}, not by smoothing")
        return self.method

    @property
    def sampling(self) -> SamplingEvidence:
        """The evidence of a sampling certificate; TypeError where it is another."""
        if not isinstance(self.evidence, SamplingEvidence):
            raise TypeError(f"made by {self.method.name}: there are no votes")
        return self.evidence

    @property
    def bounds(self) -> BoundEvidence:
        """The evidence of a deterministic certificate; TypeError where it is another."""
        if not isinstance(self.evidence, BoundEvidence):
            raise TypeError(f"made by {self.method.name}: there are no bounds")
        return self.evidence

    @property
    def spent(self) -> int:
        """Forward passes that its votes took; of deterministic methods, bounds computed."""
        if isinstance(self.evidence, BoundEvidence):
            return self.evidence.evaluations
        selection = self.evidence.selection
        return self.evidence.estimation.n + (0 if selection is None else selection.n)

    @property
    def correct(self) -> bool | None:
        """Whether the prediction is the label; None without a label. An abstention is not correct."""
        return None if self.label is None else self.prediction == self.label


@dataclass(frozen=True)
class SmoothedPrediction:
    """PREDICT's answer for one input.

    Guarantee: with probability at least 1 - alpha over the draws, prediction is None or g(x).

    Args:
        prediction: the class, or None when abstained.
        p_value: two-sided, of the top two counts at 1/2, rounded up.
        votes: of the n draws.
    """

    index: int
    input_digest: str
    label: int | None
    prediction: int | None
    p_value: float
    votes: Votes
    subject: Subject
    alpha: float
    seed: int
    seed_origin: str
    rng: Rng
    execution: Execution

    @property
    def correct(self) -> bool | None:
        """Whether the prediction is the label; None without a label."""
        return None if self.label is None else self.prediction == self.label
