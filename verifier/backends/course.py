"""The course of one input through deterministic bounds: pure steps from one task to the next.

centre -> (search, rung by rung) -> prove -> audit -> done. With an eps asked about, or a box, there is nothing to
search: rungs are proved one after another until one certifies.
"""

import math
from dataclasses import dataclass, replace
from enum import StrEnum

from verifier.bounds.bisection import Bracket, step_down
from verifier.methods import AlphaCrown, BoundMethod, Crown, CrownIbp, Ibp, Ladder

MOST_PROOFS = 30
"""Failed proofs at ever smaller radii after which an input is given up."""

_FIRST_SHARE = {"ibp": 0.1, "crown-ibp": 0.2, "crown": 0.5, "alpha-crown": 0.5}
"""Of the radius that the gradient at the input suggests: where a search begins."""


_LAST_RESORT = 1e-6
"""Of that radius: what is tried to prove where float32 is too coarse to find anything."""


_SMALLEST, _LARGEST = 1e-30, 1e30
"""Radii beyond are not tried first."""


_PROBE = 1.0028
"""Times the radius that a search ended on: where it is probed once more. CROWN's slopes turn with eps, so that a margin
that has fallen below 0 may rise above it again; on networks trained for intervals it does, some 0.2 % further up."""


class Stage(StrEnum):
    """What is done next for an input."""

    CENTRE = "centre"
    SEARCH = "search"
    PROVE = "prove"
    AUDIT = "audit"
    DONE = "done"


def rungs(method: BoundMethod) -> tuple[str, ...]:
    """The bounds that a method climbs, in order of cost. alpha-CROWN begins where CROWN ended."""
    if isinstance(method, Ladder):
        return ("ibp", "crown-ibp", "crown", "alpha-crown")
    if isinstance(method, AlphaCrown):
        return ("crown", "alpha-crown")
    return {Ibp: ("ibp",), CrownIbp: ("crown-ibp",), Crown: ("crown",)}[type(method)]


@dataclass(frozen=True)
class Proof:
    """Margins that were bounded over one region.

    Args:
        bound: by which bound.
        eps: of the ball; 0 for boxes.
        margins: lower bounds, [K-1].
    """

    bound: str
    eps: float
    margins: tuple[float, ...]

    @property
    def holds(self) -> bool:
        """Whether every lower bound is > 0 and finite. NaN and infinity, from overflow, prove nothing."""
        return all(0 < margin < math.inf for margin in self.margins)

    @property
    def least(self) -> float:
        """The least margin's lower bound; minus infinity where one is NaN."""
        return -math.inf if any(math.isnan(margin) for margin in self.margins) else min(self.margins)


@dataclass(frozen=True)
class Course:
    """Where an input is.

    Args:
        method: as asked.
        eps: asked about; None where the largest radius is wanted; 0 for a box.
        limit: radius at which the ball covers the whole domain, > 0, or inf.
        stage: what is next.
        rung: index of the bound in `rungs(method)`.
        prediction: the class at the centre; None before, and where it is not certain.
        bracket: of the search on this rung.
        probe: radius above the settled bracket that is tried once more; 0 before, and minus 1 after.
        candidates: (radius, rung) of what searches found in float32, the last one the best.
        guess: radius that the gradient at the centre suggests.
        margin: least margin at the centre.
        trial: radius to prove next.
        failures: proofs that failed.
        proof: the best bounds that were computed rigorously; None before.
        evaluations: bounds computed.
        audited: points evaluated.
        withheld: whether the audit could not confirm the proof.
    """

    method: BoundMethod
    eps: float | None
    limit: float
    stage: Stage = Stage.CENTRE
    rung: int = 0
    prediction: int | None = None
    bracket: Bracket | None = None
    probe: float = 0.0
    candidates: tuple[tuple[float, int], ...] = ()
    guess: float = 0.0
    margin: float = 0.0
    trial: float = 0.0
    failures: int = 0
    proof: Proof | None = None
    evaluations: int = 0
    audited: int = 0
    withheld: bool = False

    @property
    def bound(self) -> str:
        """Name of the bound of this rung."""
        return rungs(self.method)[self.rung]

    @property
    def next_eps(self) -> float:
        """The radius of the next task."""
        if self.stage is Stage.SEARCH:
            assert self.bracket is not None
            return self.probe if self.probe > 0 else self.bracket.next
        if self.stage is Stage.AUDIT:
            assert self.proof is not None
            return self.proof.eps
        return self.trial if self.stage is Stage.PROVE else 0.0

    @property
    def certified(self) -> bool:
        """Whether a proof stands."""
        return self.proof is not None and self.proof.holds and not self.withheld

    def after_centre(self, prediction: int, margin: float, suggested: float, *, stop: bool) -> "Course":
        """The class at the centre is known.

        Args:
            margin: its least margin there, as float64 has it.
            suggested: radius at which the gradient would have used the margin up.
            stop: whether the time is over.
        """
        if not (margin > 0 and math.isfinite(margin)) or stop:
            return replace(self, stage=Stage.DONE)
        guess = suggested if math.isfinite(suggested) else 1.0
        guess = min(max(guess, _SMALLEST), self.limit, _LARGEST)
        started = replace(self, prediction=prediction, margin=margin, guess=guess)
        if self.eps is not None:
            rung = len(rungs(self.method)) - 1 if type(self.method) is AlphaCrown else 0
            return replace(started, stage=Stage.PROVE, trial=self.eps, rung=rung)
        return started._searching(0)

    def after_search(self, margin: float, *, stop: bool) -> "Course":
        """A bound in float32 is known at the bracket's next eps."""
        assert self.bracket is not None
        if self.probe > 0:
            bracket = self.bracket.reopened(self.probe, margin) if margin > 0 else self.bracket
        else:
            bracket = self.bracket.after(margin)
        probe = -1.0 if self.probe else 0.0
        course = replace(self, bracket=bracket, probe=probe, evaluations=self.evaluations + 1)
        others = tuple(found for found in self.candidates if found[1] != self.rung)
        best = others[-1][0] if others else 0.0
        if bracket.certified > best:
            course = replace(course, candidates=(*others, (bracket.certified, self.rung)))
        hopeless = bracket.high is not None and bracket.high.eps <= best * (1 + self.method.tolerance)
        if not (bracket.settled or hopeless or stop):
            return course
        above = bracket.certified * _PROBE
        if probe == 0 and not (stop or hopeless) and self.bound != Ibp.name and 0 < above < bracket.ceiling:
            return replace(course, probe=above)
        return course._after_rung(stop=stop)

    def after_proof(self, margins: tuple[float, ...], *, stop: bool) -> "Course":
        """A rigorous bound is known at the trial eps."""
        proof = Proof(self.bound, self.trial, margins)
        better = self.proof is None or proof.holds or proof.least > self.proof.least
        course = replace(self, proof=proof if better else self.proof, evaluations=self.evaluations + 1)
        if proof.holds:
            return replace(course, stage=Stage.AUDIT if self.method.audit else Stage.DONE)
        if self.eps is not None:
            if stop or self.rung + 1 == len(rungs(self.method)):
                return replace(course, stage=Stage.DONE)
            return replace(course, rung=self.rung + 1)
        return course._after_failure(stop=stop)

    def after_audit(self, points: int, *, doubtful: bool) -> "Course":
        """Points of the region were evaluated."""
        return replace(self, stage=Stage.DONE, audited=points, withheld=doubtful)

    def _searching(self, rung: int) -> "Course":
        """The search on a rung begins: just above what the rungs below reached, or where the gradient suggests."""
        bound = rungs(self.method)[rung]
        guess = self.guess * _FIRST_SHARE[bound]
        if self.candidates:
            guess = self.candidates[-1][0] * (1 + 2 * self.method.tolerance)
        bracket = Bracket(self.margin, self.method.tolerance, self.limit, min(guess, self.limit))
        return replace(self, stage=Stage.SEARCH, rung=rung, bracket=bracket, probe=0.0)

    def _after_rung(self, *, stop: bool) -> "Course":
        at_limit = bool(self.candidates) and self.candidates[-1][0] >= self.limit
        if self.rung + 1 < len(rungs(self.method)) and not (stop or at_limit):
            return self._searching(self.rung + 1)
        if not self.candidates:
            return replace(self, stage=Stage.PROVE, trial=self.guess * _LAST_RESORT)
        return self._proving()

    def _proving(self) -> "Course":
        """The best candidate is to be proved; it is a candidate no more."""
        *rest, (eps, rung) = self.candidates
        return replace(self, stage=Stage.PROVE, rung=rung, trial=eps, candidates=tuple(rest))

    def _after_failure(self, *, stop: bool) -> "Course":
        """Step down; or, where that falls below what a cheaper bound found, or the time is up, prove that instead."""
        failures = self.failures + 1
        below = step_down(self.trial, failures)
        if self.candidates and (stop or self.candidates[-1][0] >= below):
            return replace(self, failures=0)._proving()
        if failures >= MOST_PROOFS or (stop and failures > 2):
            return replace(self, stage=Stage.DONE)
        return replace(self, failures=failures, trial=below)
