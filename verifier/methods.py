"""How a question is answered: one frozen parameter class per method, valid by construction."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Any, ClassVar, cast

import numpy as np

from verifier.errors import InvalidProblem

FIXED_DRAWS, MOST_DRAWS = 10_000, 100_000
"""Defaults of n: a fixed number, and the most where draws end early."""

LOOK_STEP = 50
"""Draws that end early are looked at after multiples of so many."""

MOST_LOOKED_AT = 10_000_000
"""Largest n where draws end early: the boundaries of more take minutes."""

MOST_RADII = 64
"""That one request may ask to decide."""

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


class Target(StrEnum):
    """Which class is certified."""

    TOP = "top"
    """The one that the smoothed classifier seems to answer; see `Selection`."""
    LABEL = "label"
    """The input's label. It is fixed before any draw, so nothing has to be selected."""


class Stopping(StrEnum):
    """When the draws of an input end."""

    FIXED = "fixed"
    """After n of them; nothing is proved before."""
    DECIDE = "decide"
    """When each radius asked about is certified or given up."""
    GRID = "grid"
    """When the largest multiple of a step that can be certified is found."""
    ANYTIME = "anytime"
    """After n of them, or a budget, or a deadline; the radius grows meanwhile and is proved at each look."""


class Precision(StrEnum):
    """Arithmetic of the model's forward pass. Part of the certified subject: f in bf16 is another f."""

    FLOAT32 = "float32"
    TF32 = "tf32"
    BFLOAT16 = "bfloat16"
    REAL = "real"
    """Over the real numbers, with the weights as they are: no execution's, and only ever proved about."""


class Rng(StrEnum):
    """How a stream's key becomes noise. Certificates name it, so that they can be redrawn."""

    AES128_CTR_BOX_MULLER = "aes128ctr-boxmuller-1"
    """AES-128 in counter mode, 32 bits a number, Box-Muller in float32; the bits are the same on every device."""
    CUDA_PHILOX = "cuda-philox-1"
    """torch's generator on the CUDA device, keyed by 64 bits, chunks of 64 rows."""


class Semantics(StrEnum):
    """Which network a deterministic certificate speaks about."""

    REAL = "real"
    """The network over the real numbers, with the float weights as given."""
    FLOAT32_EXEC = "float32_exec"
    """The same, and every float32 execution of it by plain kernels, in any order of their sums."""


class Rounding(StrEnum):
    """What deterministic bounds do about their own rounding."""

    OUTWARD = "outward"
    """float64, every error paid for: a theorem."""
    NEAREST = "nearest"
    """float64 as it comes; for comparison."""


@dataclass(frozen=True)
class Smoothing:
    """Monte Carlo randomised smoothing: CERTIFY with a fixed number of draws, or as few as the question needs.

    Guarantee: for each input alone, P[the answer is a class and a radius > 0 that do not hold for the
    smoothed classifier] <= alpha, over the noise draws; however many radii are asked about, whenever the draws end.

    Args:
        sigma: standard deviation of the noise per coordinate, in the units of the input; 1e-30..1e30.
        n0: draws for selecting the class, 1..2^40; not used with selection="single_stage" or target="label".
        n: draws for the bound, 1..2^40, and at least `minimum_draws(alpha)`; with `decide`, `grid` or `anytime` the
            most that are taken. None: 10,000, or 100,000 with these.
        alpha: failure probability per input, 1e-100..0.5.
        selection: "n0" or "single_stage".
        runner_up: also bound the runner-up from above (alpha/2 each); larger radii where p_A is far
            from 1. Not proved together with "single_stage" or with early stopping, so refused there.
        target: "top", or "label": whether the input's label is certified; all inputs then need labels.
        decide: radii, rising: each is certified, given up, or undecided when n is spent. At most 64.
        grid: the largest multiple of this step is found.
        anytime: the radius grows with the draws, in steps of sigma / sqrt(n) (between sigma/50 and sigma/400).
        futility: a radius is given up where draws like these have at most this probability in total, were it true;
            0..0.5, 0 gives up nothing. Not used by `anytime`.
        max_forward_passes: of one input, selection included; the draws end at the last look within it.
        max_seconds: after which every input is answered with what is proved by then.
        precision: arithmetic of the forward pass.
        rng: generator of the noise; None takes the device's default.
        noise: family of the noise.
    Raises:
        InvalidProblem: naming the field.
    Source: Cohen, Rosenfeld, Kolter 2019 (arXiv:1902.02918), section 3.2.
    """

    sigma: float
    n0: int = 100
    n: int = cast(int, None)
    alpha: float = 1e-3
    selection: Selection = Selection.N0
    runner_up: bool = False
    precision: Precision = Precision.FLOAT32
    rng: Rng | None = None
    noise: NoiseFamily = NoiseFamily.GAUSSIAN
    target: Target = Target.TOP
    decide: tuple[float, ...] = ()
    grid: float | None = None
    anytime: bool = False
    futility: float = 0.05
    max_forward_passes: int | None = None
    max_seconds: float | None = None

    name: ClassVar[str] = "smoothing"

    def __post_init__(self) -> None:
        _make_plain(self, "sigma", "n0", "n", "alpha", "grid", "futility", "max_forward_passes", "max_seconds")
        object.__setattr__(self, "decide", _radii(self.decide))
        self._check_stopping()
        if self.n is None:
            object.__setattr__(self, "n", FIXED_DRAWS if self.stopping is Stopping.FIXED else MOST_DRAWS)
        check_sampling(self.sigma, self.n, self.alpha)
        for name, kind in _CHOICES.items():
            object.__setattr__(self, name, _choice(name, kind, getattr(self, name)))
        if self.selection is Selection.N0 and self.target is Target.TOP:
            _check_draws("n0", self.n0)
        self._check_combination()
        self._check_budget()

    def _check_stopping(self) -> None:
        """Refuse more than one way to stop, and steps, shares and times out of range."""
        given = [name for name in ("decide", "grid", "anytime") if getattr(self, name) not in ((), None, False)]
        if len(given) > 1:
            message = f"draws end in one way, got {' and '.join(given)}: choose one"
            raise InvalidProblem(message, field=f"smoothing.{given[0]}")
        if self.grid is not None and not (_is_real(self.grid) and 0 < self.grid < math.inf):
            raise InvalidProblem(f"grid must be a step > 0, got {self.grid}", field="smoothing.grid")
        if not (_is_real(self.futility) and 0 <= self.futility <= 0.5):
            raise InvalidProblem(f"futility must be in 0..0.5, got {self.futility}", field="smoothing.futility")
        if self.max_seconds is not None:
            _check_range("max_seconds", *_BOUND_RANGES["max_seconds"], self.max_seconds, "smoothing")
        if self.max_forward_passes is not None:
            _check_draws("max_forward_passes", self.max_forward_passes)

    def _check_combination(self) -> None:
        """Refuse what is not proved together."""
        if self.runner_up and self.selection is Selection.SINGLE_STAGE:
            raise InvalidProblem(
                "runner_up is proved only with selection='n0', got selection='single_stage'; drop one of the two",
                field="smoothing.runner_up",
            )
        if self.stopping is not Stopping.FIXED and (self.runner_up or self.selection is Selection.SINGLE_STAGE):
            field, other = ("runner_up",) * 2 if self.runner_up else ("selection", "single_stage")
            raise InvalidProblem(
                f"{self.stopping.value} tests one class that is chosen before its draws: it is not proved together "
                f"with {other}; drop one of the two",
                field=f"smoothing.{field}",
            )
        if self.target is Target.LABEL and self.selection is Selection.SINGLE_STAGE:
            raise InvalidProblem(
                "target='label' selects nothing, got selection='single_stage'; drop one of the two",
                field="smoothing.selection",
            )

    def _check_budget(self) -> None:
        """Refuse draws that could not certify anything, whatever they show."""
        least = minimum_draws(self.bound_alpha)
        if self.n < least:
            raise InvalidProblem(
                f"n = {self.n} draws cannot certify anything at alpha = {self.alpha:g}, even if all agree: "
                f"at least n = {least} are needed",
                field="smoothing.n",
                reason="INFEASIBLE",
            )
        first = self.n if self.stopping is Stopping.FIXED else LOOK_STEP
        if self.stopping is not Stopping.FIXED and self.n > MOST_LOOKED_AT:
            raise InvalidProblem(
                f"draws that end early are at most {MOST_LOOKED_AT:,}, got n = {self.n:,}: draw a fixed number",
                field="smoothing.n",
            )
        if self.n < first:
            raise InvalidProblem(
                f"n = {self.n} is less than one step of {LOOK_STEP} draws: allow more, or draw a fixed number",
                field="smoothing.n",
                reason="INFEASIBLE",
            )
        if self.max_forward_passes is not None and self.max_forward_passes < self.selection_draws + first:
            what = "the draws, which prove nothing before the last" if first == self.n else f"one step of {first} draws"
            raise InvalidProblem(
                f"max_forward_passes = {self.max_forward_passes} ends before {what}: at least "
                f"{self.selection_draws + first} are needed",
                field="smoothing.max_forward_passes",
                reason="INFEASIBLE",
            )

    @property
    def stopping(self) -> Stopping:
        """When the draws end."""
        if self.decide:
            return Stopping.DECIDE
        if self.grid is not None:
            return Stopping.GRID
        return Stopping.ANYTIME if self.anytime else Stopping.FIXED

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
        """Draws spent on choosing the class, 0 with selection="single_stage" and target="label"."""
        return self.n0 if self.selection is Selection.N0 and self.target is Target.TOP else 0

    @property
    def draws(self) -> int:
        """Forward passes per input, or the most that it may take."""
        passes = self.selection_draws + self.n
        return passes if self.max_forward_passes is None else min(passes, self.max_forward_passes)


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


@dataclass(frozen=True)
class BoundMethod:
    """What all deterministic methods share: lower bounds of every margin f_y - f_j over the whole region.

    Guarantee (rounding="outward"): the network answers the prediction at every point of the region, over the real
    numbers; with semantics="float32_exec", in every float32 execution by plain kernels too.

    Args:
        semantics: "real" or "float32_exec".
        rounding: "outward", or "nearest", which proves less (grade real_arithmetic).
        tolerance: relative width of the bracket at which the search for the largest radius ends, 1e-9..1.
        audit: random points and corners inside every certified region at which the network is evaluated,
            0..2^20. A certificate that one of them refutes is withheld, as `Unsound`.
        memory_bytes: of the temporary tensors of one step together, 2^20..2^50.
        max_seconds: after which the best that is proved is answered, > 0; None: as long as it takes.
    Raises:
        InvalidProblem: naming the field.
    """

    semantics: Semantics = Semantics.REAL
    rounding: Rounding = Rounding.OUTWARD
    tolerance: float = 1e-4
    audit: int = 16
    memory_bytes: int = 2**30
    max_seconds: float | None = None

    name: ClassVar[str]

    def __post_init__(self) -> None:
        _make_plain(self, *_BOUND_RANGES)
        object.__setattr__(self, "semantics", _choice("semantics", Semantics, self.semantics, "bounds"))
        object.__setattr__(self, "rounding", _choice("rounding", Rounding, self.rounding, "bounds"))
        for name, (kind, least, most) in _BOUND_RANGES.items():
            value = getattr(self, name, None)
            if value is not None:
                _check_range(name, kind, least, most, value)

    @property
    def precision(self) -> Precision:
        """Arithmetic of the network that certificates speak about."""
        return Precision.REAL if self.semantics is Semantics.REAL else Precision.FLOAT32


@dataclass(frozen=True)
class Ibp(BoundMethod):
    """Interval bound propagation: as cheap as two forward passes, tight on networks trained for it.

    Args: as in `BoundMethod`.
    Source: Gowal et al. 2018 (arXiv:1810.12715).
    """

    name: ClassVar[str] = "ibp"


@dataclass(frozen=True)
class CrownIbp(BoundMethod):
    """CROWN for the margins, over intermediate bounds by IBP.

    Args: as in `BoundMethod`.
    Source: Zhang et al. 2019 (arXiv:1906.06316).
    """

    name: ClassVar[str] = "crown-ibp"


@dataclass(frozen=True)
class Crown(BoundMethod):
    """CROWN: linear bounds carried backwards, intermediate bounds likewise.

    Args: as in `BoundMethod`.
    Source: Zhang et al. 2018 (arXiv:1811.00866), Xu et al. 2020 (arXiv:2002.12920).
    """

    name: ClassVar[str] = "crown"


@dataclass(frozen=True)
class AlphaCrown(BoundMethod):
    """CROWN with lower lines optimised, neuron by neuron.

    Args: as in `BoundMethod`, and:
        steps: of Adam, 1..10,000, for each evaluation.
        learning_rate: of Adam, > 0, at most 1.
    Source: Xu et al. 2021 (arXiv:2011.13824).
    """

    steps: int = 20
    learning_rate: float = 0.25

    name: ClassVar[str] = "alpha-crown"


@dataclass(frozen=True)
class Ladder(AlphaCrown):
    """IBP, CROWN-IBP, CROWN and alpha-CROWN in order of cost: the best is answered, with the bound that won.

    With an eps asked about, an input climbs no further than it must.

    Args: as in `AlphaCrown`.
    """

    name: ClassVar[str] = "ladder"


BOUND_METHODS: tuple[type[BoundMethod], ...] = (Ibp, CrownIbp, Crown, AlphaCrown, Ladder)
"""The deterministic methods, in order of cost."""

CertifyingMethod = Smoothing | BoundMethod
"""Methods whose answers are certificates."""

Method = CertifyingMethod | Prediction

_BOUND_RANGES: dict[str, tuple[type, float, float]] = {
    "tolerance": (float, 1e-9, 1.0),
    "audit": (int, 0, 2**20),
    "memory_bytes": (int, 2**20, 2**50),
    "max_seconds": (float, 1e-3, 1e9),
    "steps": (int, 1, 10_000),
    "learning_rate": (float, 1e-6, 1.0),
}

_CHOICES: dict[str, type[StrEnum]] = {
    "selection": Selection,
    "precision": Precision,
    "rng": Rng,
    "noise": NoiseFamily,
    "target": Target,
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
        value = getattr(method, name, None)
        if isinstance(value, np.number):
            object.__setattr__(method, name, value.item())


def _is_real(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_draws(name: str, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_DRAWS:
        raise InvalidProblem(f"{name} must be an integer in 1..2^40, got {value}", field=f"smoothing.{name}")


def _radii(radii: Any) -> tuple[float, ...]:
    """Radii to decide, as they came in any sequence; InvalidProblem where they do not rise from above 0."""
    values = tuple(radii) if isinstance(radii, Iterable) and not isinstance(radii, str) else (radii,)
    plain = tuple(value.item() if isinstance(value, np.number) else value for value in values)
    if not all(_is_real(radius) and 0 < radius < math.inf for radius in plain):
        raise InvalidProblem(f"radii to decide must be finite and > 0, got {list(plain)}", field="smoothing.decide")
    if any(after <= before for before, after in pairwise(plain)):
        raise InvalidProblem(f"radii to decide must rise, got {list(plain)}: sort them", field="smoothing.decide")
    if len(plain) > MOST_RADII:
        raise InvalidProblem(
            f"at most {MOST_RADII} radii are decided at once, got {len(plain)}: use a grid", field="smoothing.decide"
        )
    return tuple(float(radius) for radius in plain)


def _told(end: float) -> str:
    """Whole numbers as they are."""
    return f"{end:,}" if isinstance(end, int) else f"{end:g}"


def _check_range(name: str, kind: type, least: float, most: float, value: Any, method: str = "bounds") -> None:
    right = isinstance(value, int) and not isinstance(value, bool) if kind is int else _is_real(value)
    if not (right and least <= value <= most):
        noun = "an integer" if kind is int else "a number"
        message = f"{name} must be {noun} in {_told(least)}..{_told(most)}, got {value}"
        raise InvalidProblem(message, field=f"{method}.{name}")


def _choice(name: str, kind: type[StrEnum], value: Any, method: str = "smoothing") -> StrEnum | None:
    if value is None and name == "rng":
        return None
    choices = [member for member in kind if member is not Precision.REAL]
    if value not in choices:
        names = ", ".join(member.value for member in choices)
        raise InvalidProblem(f"{name} must be one of {names}, got {value!r}", field=f"{method}.{name}")
    return kind(value)
