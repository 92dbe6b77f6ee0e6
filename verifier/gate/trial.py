"""One threshold on trial: what each outcome counts for it, and what the counts prove."""

from typing import Protocol

from verifier.gate.policy import Criterion, Metric, Policy
from verifier.gating import Decision, Outcome
from verifier.rounding import down, up
from verifier.stats.population import (
    Claims,
    RunningBound,
    RunningDifference,
    claims_from_above,
    claims_from_below,
)
from verifier.stats.sequential import SpendingPlan, geometric_plan

LOOK_STEP = 10
"""Looks fall on multiples of so many inputs of a group."""


class Trial(Protocol):
    """Evidence on one criterion, at any time while inputs come in the committed order.

    If the criterion's statement is false of the population, P[`decision` is ever PASS] <= pass_level; if it is true,
    P[`decision` is ever FAIL] <= fail_level. The bounds hold at these levels, at all times.
    """

    @property
    def trials(self) -> int:
        """Inputs of the group so far."""

    @property
    def hits(self) -> int:
        """Of these, those that add to the fraction; for a regression, to the model's."""

    @property
    def gained(self) -> int | None:
        """Pairs that only the model got; None for a plain fraction."""

    @property
    def lost(self) -> int | None:
        """Pairs that only the baseline got; None for a plain fraction."""

    def feed(self, outcome: Outcome) -> bool:
        """Count an outcome of its group; whether it was one at which there is a look."""

    @property
    def lower(self) -> float:
        """At least this is the population's value."""

    @property
    def upper(self) -> float:
        """At most this is the population's value."""

    @property
    def value(self) -> float | None:
        """The plain fraction, or difference of fractions; None before the first input."""

    @property
    def decision(self) -> Decision:
        """What the bounds say; FAIL, if they contradict each other."""

    def reachable(self) -> bool:
        """Whether any outcomes of the planned number of inputs would pass."""


def trial_of(criterion: Criterion, policy: Policy, inputs: int, pass_level: float, fail_level: float) -> Trial:
    """The trial of a criterion.

    Args:
        criterion: of the policy.
        policy: says which errors of certificates and predictions are charged.
        inputs: of its group that can come, >= 1; known from labels and indices alone.
        pass_level, fail_level: most probability of a false PASS, and of a false FAIL.
    """
    plan = geometric_plan(inputs, LOOK_STEP)
    metric, bound = criterion.threshold.metric, criterion.threshold.bound
    if metric is Metric.REGRESSION:
        return DifferenceTrial(criterion, plan, pass_level, fail_level)
    if metric is Metric.ABSTENTION_RATE:
        lower, upper = claims_from_below(inputs, float(up(bound))), claims_from_above(inputs, bound)
        return ProportionTrial(criterion, plan, lower, upper, fail_level, pass_level)
    lower = claims_from_below(inputs, bound, *_charges(policy, metric))
    upper = claims_from_above(inputs, float(down(bound)))
    return ProportionTrial(criterion, plan, lower, upper, pass_level, fail_level)


def _charges(policy: Policy, metric: Metric) -> tuple[float, float]:
    """(most probability of a false hit, most probability of losing a true one to PREDICT) that the bound pays for."""
    charged = policy.predict_alpha if policy.charge_predict_alpha else 0.0
    return (charged, 0.0) if metric is Metric.CLEAN_ACCURACY else (policy.alpha, charged)


def is_hit(outcome: Outcome, criterion: Criterion) -> bool:
    """Whether an outcome adds to the fraction that the criterion is about; for a regression, to the model's."""
    metric, radius = criterion.threshold.metric, criterion.threshold.radius
    if metric is Metric.ABSTENTION_RATE:
        return outcome.abstained or outcome.failed
    if outcome.failed:
        return False
    if metric is Metric.CLEAN_ACCURACY:
        return outcome.clean == outcome.label
    assert radius is not None
    return not outcome.abstained and outcome.prediction == outcome.label and outcome.radius >= radius


def baseline_hits(outcome: Outcome, criterion: Criterion) -> bool:
    """Whether the baseline got it; yes where nothing is known of it, which speaks against the model."""
    radius = criterion.threshold.radius
    assert radius is not None
    if outcome.baseline_radius is None:
        return True
    return outcome.baseline_prediction == outcome.label and outcome.baseline_radius >= radius


class ProportionTrial:
    """A threshold on one fraction.

    Args:
        criterion: on trial.
        plan: over the inputs of its group.
        lower, upper: what may be claimed; each has the threshold among its values, on the side that decides.
        lower_level, upper_level: most probability that the bound is ever wrong.
    """

    gained: None = None
    lost: None = None

    def __init__(
        self,
        criterion: Criterion,
        plan: SpendingPlan,
        lower: Claims,
        upper: Claims,
        lower_level: float,
        upper_level: float,
    ) -> None:
        self._criterion = criterion
        self._lower = RunningBound(lower, plan, lower_level)
        self._upper = RunningBound(upper, plan, upper_level)
        bound = criterion.threshold.bound
        floor = criterion.threshold.metric.is_floor
        self._lower_place = lower.place(bound if floor else float(up(bound)))
        self._upper_place = upper.place(float(down(bound)) if floor else bound)

    @property
    def trials(self) -> int:
        """See `Trial`."""
        return self._lower.trials

    @property
    def hits(self) -> int:
        """See `Trial`."""
        return self._lower.hits

    def feed(self, outcome: Outcome) -> bool:
        """See `Trial`."""
        hit = is_hit(outcome, self._criterion)
        self._upper.feed(not hit)
        return self._lower.feed(hit)

    @property
    def lower(self) -> float:
        """See `Trial`."""
        return self._lower.value

    @property
    def upper(self) -> float:
        """See `Trial`."""
        return self._upper.value

    @property
    def value(self) -> float | None:
        """See `Trial`."""
        return self.hits / self.trials if self.trials else None

    @property
    def decision(self) -> Decision:
        """See `Trial`."""
        bound = self._criterion.threshold.bound
        floor = self._criterion.threshold.metric.is_floor
        # The threshold's own test is looked at first: where it has not crossed, the bound need not be worked out.
        above = self._lower.crossed(self._lower_place)
        below = self._upper.crossed(self._upper_place)
        if floor:
            return _decided(below and self.upper < bound, above and self.lower >= bound)
        return _decided(above and self.lower > bound, below and self.upper <= bound)

    def reachable(self) -> bool:
        """See `Trial`."""
        bound = self._criterion.threshold.bound
        if self._criterion.threshold.metric.is_floor:
            return self._lower.best() >= bound
        return self._upper.best() <= bound


class DifferenceTrial:
    """A threshold on the difference of two models' fractions over the same inputs.

    Args: as in `ProportionTrial`; the lower bound is the one that passes.
    """

    def __init__(self, criterion: Criterion, plan: SpendingPlan, lower_level: float, upper_level: float) -> None:
        self._criterion = criterion
        self._difference = RunningDifference(plan.n, plan, lower_level, upper_level)
        self.trials = 0
        self.hits = 0
        self.gained = 0
        self.lost = 0

    def feed(self, outcome: Outcome) -> bool:
        """See `Trial`."""
        ours, theirs = is_hit(outcome, self._criterion), baseline_hits(outcome, self._criterion)
        self.trials += 1
        self.hits += ours
        self.gained += ours and not theirs
        self.lost += theirs and not ours
        return self._difference.feed(ours and not theirs, theirs and not ours)

    @property
    def lower(self) -> float:
        """See `Trial`."""
        return self._difference.lower

    @property
    def upper(self) -> float:
        """See `Trial`."""
        return self._difference.upper

    @property
    def value(self) -> float | None:
        """See `Trial`."""
        return (self.gained - self.lost) / self.trials if self.trials else None

    @property
    def decision(self) -> Decision:
        """See `Trial`."""
        margin = self._criterion.threshold.bound
        return _decided(self.upper < -margin, self.lower >= -margin)

    def reachable(self) -> bool:
        """See `Trial`."""
        return self._difference.best() >= -self._criterion.threshold.bound


def _decided(fails: bool, passes: bool) -> Decision:
    return Decision.FAIL if fails else Decision.PASS if passes else Decision.INCONCLUSIVE
