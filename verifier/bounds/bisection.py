"""The largest eps that a yes/no bound certifies: a bracket for each input, narrowed by one evaluation after another.

Adaptive relaxations are not monotone in eps, nor are floats: the answer is an eps that was itself certified.
"""

import math
from dataclasses import dataclass, replace

SMALLEST_SHARE = 2.0**-80
"""Of the first guess: an input that is not certified there is given up."""

_LARGEST = 1e30
"""Where nothing limits a radius, it is not searched beyond."""

_MARGIN = 0.9
"""Of the tolerance: how far from an end of the bracket the next eps is at least."""

_FEWEST_EXPONENT, _LARGEST_EXPONENT = 0.5, 8.0
_GROWTH = 64.0


@dataclass(frozen=True)
class Trial:
    """What a bound gave at one eps.

    Args:
        eps: where.
        loss: margin at the centre minus margin bound at eps, > 0; inf where the bound was NaN or minus infinity.
    """

    eps: float
    loss: float


@dataclass(frozen=True)
class Bracket:
    """The largest certified and the smallest not certified eps of one input.

    The margin's bound falls about like a power of eps below the margin at the centre; the next eps is where that
    power would use the margin up, kept off the ends, and the (geometric) middle where the bracket does not shrink.

    Args:
        margin: at the centre, > 0.
        tolerance: relative width at which the search is settled.
        limit: eps beyond which there is nothing to certify: the ball covers the domain.
        guess: the first eps to try, > 0.
        low: the largest certified so far, or None.
        high: the smallest not certified so far, or None.
        stalled: steps since the bracket was last halved.
    """

    margin: float
    tolerance: float
    limit: float
    guess: float
    low: Trial | None = None
    high: Trial | None = None
    stalled: int = 0

    @property
    def certified(self) -> float:
        """The largest eps certified so far; 0 where there is none."""
        return self.low.eps if self.low else 0.0

    @property
    def settled(self) -> bool:
        """Whether no further evaluation is wanted."""
        if self.low is None:
            return self.high is not None and self.high.eps <= self.guess * SMALLEST_SHARE
        return self.low.eps >= self.ceiling or (
            self.high is not None and self.high.eps <= self.low.eps * (1 + self.tolerance)
        )

    @property
    def ceiling(self) -> float:
        """The largest eps that is ever tried."""
        return min(self.limit, _LARGEST)

    @property
    def next(self) -> float:
        """The eps to try next."""
        return min(self._proposal(), self.ceiling)

    def after(self, margin: float) -> "Bracket":
        """The bracket once the bound at `next` is known."""
        eps = self.next
        certified = margin > 0
        loss = self.margin - margin
        trial = Trial(eps, loss if loss > 0 else 0.0 if certified else math.inf)
        before = self._width()
        narrowed = replace(self, low=trial) if certified else replace(self, high=trial)
        halved = narrowed._width() <= before / 2
        return replace(narrowed, stalled=0 if halved else self.stalled + 1)

    def reopened(self, eps: float, margin: float) -> "Bracket":
        """The bracket from an eps above it that is certified: what was not certified below it is forgotten.

        Args:
            margin: bound at eps, > 0.
        """
        return replace(self, low=Trial(eps, max(0.0, self.margin - margin)), high=None, stalled=0)

    def _width(self) -> float:
        """Of the bracket, in powers of e."""
        if self.low is None or self.high is None:
            return math.inf
        return math.log(self.high.eps / self.low.eps)

    def _proposal(self) -> float:
        low, high = self.low, self.high
        if low is None and high is None:
            return self.guess
        if low is None:
            assert high is not None
            return self._bounded(high.eps * self._share(high, 2.0), high.eps / _GROWTH**2, high.eps / 1.5)
        if high is None:
            return self._bounded(low.eps * self._share(low, 1.0), low.eps * 1.5, low.eps * _GROWTH)
        if self.stalled >= 2:
            return math.sqrt(low.eps * high.eps)
        nearest, farthest = low.eps * (1 + _MARGIN * self.tolerance), high.eps * (1 - _MARGIN * self.tolerance)
        if nearest >= farthest:
            return math.sqrt(low.eps * high.eps)
        return self._bounded(self._crossing(low, high), nearest, farthest)

    def _share(self, trial: Trial, exponent: float) -> float:
        """What an eps is multiplied with to use the margin up, were the loss a power of eps."""
        if trial.loss <= 0:
            return math.inf
        return float((self.margin / trial.loss) ** (1 / exponent)) if math.isfinite(trial.loss) else 0.0

    def _crossing(self, low: Trial, high: Trial) -> float:
        """Where the power of eps through both trials uses the margin up."""
        if not (low.loss > 0 and math.isfinite(high.loss) and high.loss > low.loss):
            return math.sqrt(low.eps * high.eps)
        exponent = math.log(high.loss / low.loss) / math.log(high.eps / low.eps)
        exponent = min(max(exponent, _FEWEST_EXPONENT), _LARGEST_EXPONENT)
        nearer = low if self.margin - low.loss < high.loss - self.margin else high
        return nearer.eps * self._share(nearer, exponent)

    def _bounded(self, eps: float, least: float, most: float) -> float:
        return min(max(eps, least), most)


def step_down(eps: float, failures: int) -> float:
    """The eps to prove next, where `failures` proofs failed at larger ones: a little less, then much less."""
    return eps * max(0.5, 1 - 1e-7 * 4.0**failures)
