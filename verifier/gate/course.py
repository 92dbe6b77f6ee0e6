"""A gate in its course: outcomes go in, in the committed order and in no other, and a decision comes out.

It knows no model, no job and no clock. Whatever decides here can be decided again from the recorded outcomes.
"""

import math

from verifier.errors import InvalidProblem
from verifier.gate.order import Census
from verifier.gate.policy import Criterion, Policy
from verifier.gate.trial import Trial, trial_of
from verifier.gating import Decision, Outcome, ThresholdResult
from verifier.problem import Norm
from verifier.rounding import format_down
from verifier.stats.multiplicity import share

_DIGITS = 4


class InOrder:
    """Takes outcomes as they are completed and releases them as they are committed: one that is missing holds up all
    that come after it. Easy inputs are completed first, and a gate that consumed them first would pass falsely.
    """

    def __init__(self) -> None:
        self._next = 0
        self._waiting: dict[int, Outcome] = {}

    def put(self, outcome: Outcome) -> tuple[Outcome, ...]:
        """Those that may be consumed now, in order.

        Raises:
            ValueError: an outcome for that position came before.
        """
        if outcome.position < self._next or outcome.position in self._waiting:
            raise ValueError(f"there is an outcome for position {outcome.position} already")
        self._waiting[outcome.position] = outcome
        released = []
        while self._next in self._waiting:
            released.append(self._waiting.pop(self._next))
            self._next += 1
        return tuple(released)

    @property
    def waiting(self) -> int:
        """Outcomes that wait for an earlier one."""
        return len(self._waiting)


class GateCourse:
    """A gate, from its first outcome to its decision.

    For every population and model, where the noise of inputs is independent and their order is random:

        P[decision is PASS although a threshold does not hold] <= delta,
        P[decision is FAIL although all thresholds hold]       <= delta,

    in the sense of docs/gates.md. PASS needs every threshold to have passed, each at delta; FAIL needs one to have
    failed, each at delta / (number of them).

    Args:
        policy: of the gate.
        census: of the inputs that may come.
        delta: of this attempt, in (0, 1).
    Raises:
        InvalidProblem: a threshold is on a group of which no input can come.
    """

    def __init__(self, policy: Policy, census: Census, delta: float) -> None:
        self.policy = policy
        self.census = census
        self.delta = delta
        self.used = 0
        self.forward_passes = 0
        self.decision: Decision | None = None
        self.reason = ""
        criteria = policy.criteria(census.classes)
        self._fail_level = share(delta, len(criteria))
        self._trials = [(each, self._trial(each)) for each in criteria]
        self._decisions: dict[str, Decision] = {}
        self._looks: dict[str, int] = {}
        self._indices: set[int] = set()

    def _trial(self, criterion: Criterion) -> Trial:
        inputs = self.census.count(self.policy, criterion)
        if not inputs:
            raise InvalidProblem(
                f"{criterion.name} is about {criterion.group}, of which none of the {self.census.inputs} inputs is: "
                "drop it, or let the gate draw more inputs",
                field="policy",
                reason="EMPTY_GROUP",
            )
        return trial_of(criterion, self.policy, inputs, self.delta, self._fail_level)

    def feed(self, outcome: Outcome) -> None:
        """Consume the next outcome; `decision` says whether it was the last.

        Raises:
            ValueError: it is not the next in the committed order, or no outcome of this gate, or the gate has decided.
        """
        self._refuse(outcome)
        self.used += 1
        self.forward_passes += outcome.forward_passes
        self._indices.add(outcome.index)
        looked = False
        for criterion, trial in self._trials:
            if criterion.covers(outcome.index, outcome.label) and trial.feed(outcome):
                looked = True
                self._note(criterion, trial.decision)
        if looked:
            self._decide()
        self._end_if_exhausted()

    def finish(self, reason: str) -> None:
        """End without a decision, for a reason outside of the outcomes; nothing where there is a decision already."""
        if self.decision is None:
            self.decision, self.reason = Decision.INCONCLUSIVE, reason

    def results(self) -> tuple[ThresholdResult, ...]:
        """Of each threshold, in the policy's order; at any time."""
        return tuple(self._result(criterion, trial) for criterion, trial in self._trials)

    def out_of_reach(self) -> tuple[str, ...]:
        """Names of the thresholds that no outcomes can pass with so few inputs at this delta."""
        return tuple(criterion.name for criterion, trial in self._trials if not trial.reachable())

    def _refuse(self, outcome: Outcome) -> None:
        """See `feed`."""
        if self.decision is not None:
            raise ValueError(f"the gate has ended ({self.decision.value}): no outcome can be added")
        if outcome.position != self.used:
            raise ValueError(f"outcomes go in in the committed order: expected {self.used}, got {outcome.position}")
        if outcome.index < 0 or outcome.index in self._indices:
            raise ValueError(f"input {outcome.index} is none, or was consumed before: each counts once")
        if not 0 <= outcome.label < self.census.classes:
            raise ValueError(f"a label must be in 0..{self.census.classes - 1}, got {outcome.label}")
        radii = (outcome.radius, 0.0 if outcome.baseline_radius is None else outcome.baseline_radius)
        if not all(math.isfinite(radius) and radius >= 0 for radius in radii) or outcome.forward_passes < 0:
            raise ValueError(f"radii must be finite and >= 0, forward passes >= 0, got {outcome}")
        if self.policy.needs_baseline and outcome.baseline_radius is None and not outcome.failed:
            raise ValueError(f"the policy compares with a baseline: position {outcome.position} has none")

    def _note(self, criterion: Criterion, decision: Decision) -> None:
        """What a threshold has come to at one of its looks; between them nothing changes."""
        if decision is not self._decisions.get(criterion.name, Decision.INCONCLUSIVE):
            self._looks[criterion.name] = self.used
        self._decisions[criterion.name] = decision

    def _decide(self) -> None:
        """At a look: fail where one threshold fails, pass where all pass."""
        failed = [name for name, decision in self._decisions.items() if decision is Decision.FAIL]
        passed = sum(decision is Decision.PASS for decision in self._decisions.values())
        if failed:
            self.decision, self.reason = Decision.FAIL, f"violated: {', '.join(failed)}"
        elif passed == len(self._trials):
            many = f"all {passed} thresholds hold" if passed > 1 else "the threshold holds"
            self.decision, self.reason = Decision.PASS, f"{many}, after {self.used} of {self.census.inputs} inputs"

    def _end_if_exhausted(self) -> None:
        budget = self.policy.max_forward_passes
        if self.used == self.census.inputs:
            self.finish(f"all {self.used} inputs are consumed, and neither pass nor fail is proved")
        elif budget is not None and self.forward_passes >= budget:
            self.finish(f"the {budget} forward passes of the policy are spent after {self.used} inputs")

    def _result(self, criterion: Criterion, trial: Trial) -> ThresholdResult:
        threshold = criterion.threshold
        norm = (self.policy.norm or Norm.L2).value if threshold.metric.has_radius else None
        decision = trial.decision
        level = self._fail_level if decision is Decision.FAIL else self.delta
        floor = threshold.metric.is_floor
        return ThresholdResult(
            name=criterion.name,
            metric=threshold.metric.value,
            group=criterion.group,
            norm=norm,
            radius=threshold.radius,
            at_least=threshold.bound if floor else None,
            at_most=None if floor else threshold.bound,
            value=trial.value,
            lower=trial.lower,
            upper=trial.upper,
            confidence=1 - level,
            successes=trial.hits,
            trials=trial.trials,
            gained=trial.gained,
            lost=trial.lost,
            look=self._looks.get(criterion.name) if decision is not Decision.INCONCLUSIVE else None,
            decision=decision,
            reason=_reason(criterion, trial, decision),
        )


def _reason(criterion: Criterion, trial: Trial, decision: Decision) -> str:
    """The deciding bound beside the threshold, in words."""
    threshold = criterion.threshold
    asked = f"{'at least' if threshold.metric.is_floor else 'at most'} {threshold.bound:g}"
    lower, upper = format_down(trial.lower, _DIGITS), _format_up(trial.upper)
    if threshold.metric.has_radius and not threshold.metric.is_floor:
        asked = f"a loss of at most {threshold.bound:g}"
    if decision is Decision.INCONCLUSIVE:
        return f"undecided after {trial.trials} inputs: between {lower} and {upper}, asked is {asked}"
    verb = "proved" if decision is Decision.PASS else "refuted"
    shown = f"at least {lower}" if (decision is Decision.PASS) == _passes_by_lower(criterion) else f"at most {upper}"
    return f"{verb}: it is {shown}, asked is {asked}"


def _passes_by_lower(criterion: Criterion) -> bool:
    return criterion.threshold.metric.is_floor or criterion.threshold.metric.has_radius


def _format_up(value: float) -> str:
    text = format_down(-value, _DIGITS)
    return text.removeprefix("-") if text.startswith("-") else f"-{text}" if value else text
