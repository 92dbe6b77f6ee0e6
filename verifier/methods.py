"""How a question is answered: one frozen parameter class per method, valid by construction."""

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

import numpy as np

from verifier.errors import InvalidProblem

MAX_DRAWS = 2**40
"""Largest n or n0: votes are int64 and counts must stay exact in float64."""

SMALLEST_ALPHA = 1e-100
"""Below, binomial tails lose their digits."""

SMALLEST_SIGMA, LARGEST_SIGMA = 1e-30, 1e30
"""Noise is drawn in float32, and must neither vanish nor overflow there."""


class NoiseFamily(StrEnum):
    """Distribution of the smoothing noise; each brings its own radius theorem (smoothing/radius.py)."""

    GAUSSIAN = "gaussian"


class Selection(StrEnum):
    """How the class whose probability is bounded is chosen."""

    N0 = "n0"
    """From n0 separate draws that the bound never sees (CERTIFY of Cohen et al. 2019)."""
    SINGLE_STAGE = "single_stage"
    """As the most voted class of the n draws themselves, the bound at alpha/2; n0 is not used."""


class Precision(StrEnum):
    """Arithmetic of the model's forward pass. Part of the certified subject: f in bf16 is another f."""

    FLOAT32 = "float32"
    TF32 = "tf32"
    BFLOAT16 = "bfloat16"


class Rng(StrEnum):
    """How a stream's key becomes noise. Certificates name it, so that they can be redrawn."""

    AES128_CTR_BOX_MULLER = "aes128ctr-boxmuller-1"
    """AES-128 in counter mode, 32 bits a number, Box-Muller in float32; the bits are the same on every device."""
    CUDA_PHILOX = "cuda-philox-1"
    """torch's generator on the CUDA device, keyed by 64 bits, chunks of 64 rows."""


@dataclass(frozen=True)
class Smoothing:
    """Monte Carlo randomised smoothing, CERTIFY with a fixed number of draws.

    Guarantee: for each input alone, P[the answer is a class and a radius > 0 that do not hold for the
    smoothed classifier] <= alpha, over the noise draws.

    Args:
        sigma: standard deviation of the noise per coordinate, in the units of the input; 1e-30..1e30.
        n0: draws for selecting the class, 1..2^40; not used with selection="single_stage".
        n: draws for the bound, 1..2^40, and at least `minimum_draws(alpha)`.
        alpha: failure probability per input, 1e-100..0.5.
        selection: "n0" or "single_stage".
        runner_up: also bound the runner-up from above (alpha/2 each); larger radii where p_A is far
            from 1. Not proved together with "single_stage", so refused there.
        precision: arithmetic of the forward pass.
        rng: generator of the noise; None takes the device's default.
        noise: family of the noise.
    Raises:
        InvalidProblem: naming the field.
    Source: Cohen, Rosenfeld, Kolter 2019 (arXiv:1902.02918), section 3.2.
    """

    sigma: float
    n0: int = 100
    n: int = 10_000
    alpha: float = 1e-3
    selection: Selection = Selection.N0
    runner_up: bool = False
    precision: Precision = Precision.FLOAT32
    rng: Rng | None = None
    noise: NoiseFamily = NoiseFamily.GAUSSIAN

    name: ClassVar[str] = "smoothing"

    def __post_init__(self) -> None:
        _make_plain(self, "sigma", "n0", "n", "alpha")
        check_sampling(self.sigma, self.n, self.alpha)
        for name, kind in _CHOICES.items():
            object.__setattr__(self, name, _choice(name, kind, getattr(self, name)))
        if self.selection is Selection.N0:
            _check_draws("n0", self.n0)
        if self.runner_up and self.selection is Selection.SINGLE_STAGE:
            raise InvalidProblem(
                "runner_up is proved only with selection='n0', got selection='single_stage'; drop one of the two",
                field="smoothing.runner_up",
            )
        least = minimum_draws(self.bound_alpha)
        if self.n < least:
            raise InvalidProblem(
                f"n = {self.n} draws cannot certify anything at alpha = {self.alpha:g}, even if all agree: "
                f"at least n = {least} are needed",
                field="smoothing.n",
                reason="INFEASIBLE",
            )

    @property
    def radius_sigma(self) -> float:
        """What radii are computed with: noise is scaled by sigma rounded to float32, which may be the smaller one."""
        return min(self.sigma, float(np.float32(self.sigma)))

    @property
    def bound_alpha(self) -> float:
        """What the lower bound on p_A may spend: alpha, or alpha/2 where it shares or must pay for choosing."""
        shared = self.runner_up or self.selection is Selection.SINGLE_STAGE
        return self.alpha / 2 if shared else self.alpha

    @property
    def selection_draws(self) -> int:
        """Draws spent on choosing the class, 0 with selection="single_stage"."""
        return self.n0 if self.selection is Selection.N0 else 0

    @property
    def draws(self) -> int:
        """Forward passes per input."""
        return self.selection_draws + self.n


@dataclass(frozen=True)
class Prediction:
    """PREDICT of Cohen et al. 2019: the smoothed classifier's answer, or abstention.

    Guarantee: for each input alone, P[the answer is a class other than g(x)] <= alpha over the draws.

    Args: as in `Smoothing`.
    """

    sigma: float
    n: int = 1_000
    alpha: float = 1e-3
    precision: Precision = Precision.FLOAT32
    rng: Rng | None = None
    noise: NoiseFamily = NoiseFamily.GAUSSIAN

    name: ClassVar[str] = "predict"

    def __post_init__(self) -> None:
        _make_plain(self, "sigma", "n", "alpha")
        check_sampling(self.sigma, self.n, self.alpha)
        for name in ("precision", "rng", "noise"):
            object.__setattr__(self, name, _choice(name, _CHOICES[name], getattr(self, name)))

    @property
    def draws(self) -> int:
        """Forward passes per input."""
        return self.n


Method = Smoothing | Prediction

_CHOICES: dict[str, type[StrEnum]] = {
    "selection": Selection,
    "precision": Precision,
    "rng": Rng,
    "noise": NoiseFamily,
}


def minimum_draws(alpha: float) -> int:
    """Least n at which n agreeing votes give a lower bound above 1/2: alpha^(1/n) > 1/2."""
    return max(1, math.floor(-math.log2(alpha)) + 1)


def check_sampling(sigma: float, n: int, alpha: float) -> None:
    """Refuse a noise scale, a number of draws or a failure probability out of range, naming the field."""
    if not (_is_real(sigma) and SMALLEST_SIGMA <= sigma <= LARGEST_SIGMA):
        raise InvalidProblem(
            f"sigma must be > 0 and hold in float32, {SMALLEST_SIGMA:g}..{LARGEST_SIGMA:g}, got {sigma}",
            field="smoothing.sigma",
        )
    _check_draws("n", n)
    if not (_is_real(alpha) and SMALLEST_ALPHA <= alpha <= 0.5):
        raise InvalidProblem(f"alpha must be in [{SMALLEST_ALPHA:g}, 0.5], got {alpha}", field="smoothing.alpha")


def _make_plain(method: Method, *names: str) -> None:
    """numpy's numbers become Python's."""
    for name in names:
        value = getattr(method, name)
        if isinstance(value, np.number):
            object.__setattr__(method, name, value.item())


def _is_real(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_draws(name: str, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_DRAWS:
        raise InvalidProblem(f"{name} must be an integer in 1..2^40, got {value}", field=f"smoothing.{name}")


def _choice(name: str, kind: type[StrEnum], value: Any) -> StrEnum | None:
    if value is None and name == "rng":
        return None
    try:
        return kind(value)
    except ValueError:
        names = ", ".join(member.value for member in kind)
        raise InvalidProblem(f"{name} must be one of {names}, got {value!r}", field=f"smoothing.{name}") from None
