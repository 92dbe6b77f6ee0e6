"""Sets of inputs: balls in a norm, cut by the domain of valid inputs, and boxes."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from verifier.bounds.arithmetic import Arithmetic
from verifier.problem import Norm


@dataclass(frozen=True, eq=False)
class Ball:
    """{x: ||x - centre|| <= eps} for each input, in L1 or L2.

    Args:
        centre: [B, *shape].
        eps: [B].
        norm: L1 or L2.
    """

    centre: Tensor
    eps: Tensor
    norm: Norm

    @property
    def dual(self) -> float:
        """q with 1/p + 1/q = 1."""
        return 2.0 if self.norm is Norm.L2 else torch.inf


@dataclass(frozen=True, eq=False)
class Region:
    """One set for each input: a box, and where there is one also a ball; a point must be in both.

    Args:
        lower, upper: of the box, [B, *shape].
        ball: or None, where the box is all.
        cut: whether the box cuts the ball, and is not just its hull.
    """

    lower: Tensor
    upper: Tensor
    ball: Ball | None = None
    cut: bool = False

    def __len__(self) -> int:
        return len(self.lower)

    def to(self, dtype: torch.dtype) -> "Region":
        """About the same regions, rounded to nearest: for searching."""
        ball = self.ball and Ball(self.ball.centre.to(dtype), self.ball.eps.to(dtype), self.ball.norm)
        return Region(self.lower.to(dtype), self.upper.to(dtype), ball, self.cut)

    def rows(self, chosen: Tensor | slice) -> "Region":
        """The regions of some inputs."""
        ball = self.ball and Ball(self.ball.centre[chosen], self.ball.eps[chosen], self.ball.norm)
        return Region(self.lower[chosen], self.upper[chosen], ball, self.cut)


def box(lower: Tensor, upper: Tensor, arithmetic: Arithmetic) -> Region:
    """Boxes; given in float64 [B, *shape]. In a coarser arithmetic their ends are rounded to the nearest."""
    return Region(lower.to(arithmetic.dtype), upper.to(arithmetic.dtype))


def around(
    x: Tensor,
    eps: Tensor,
    norm: Norm,
    arithmetic: Arithmetic,
    domain: tuple[Tensor, Tensor] | None = None,
    weights: Tensor | None = None,
) -> Region:
    """Balls around inputs, cut by the domain.

    With outward arithmetic, the region contains every x' of the domain with ||x' - x|| <= eps (or, with weights,
    |x'_i - x_i| <= eps weights_i) over the reals.

    Args:
        x: centres [B, *shape], any float datatype.
        eps: radii [B], float64, >= 0.
        norm: of the ball.
        arithmetic: of the result.
        domain: (lower, upper), which broadcast against [*shape]; or None.
        weights: budgets that broadcast against [*shape], for LINF; or None.
    """
    x, radius = x.to(arithmetic.dtype), eps.to(arithmetic.dtype)
    budget = radius.reshape(-1, *[1] * (x.dim() - 1))
    if weights is not None:
        budget = arithmetic.up(budget * weights.to(arithmetic.dtype))
    lower, upper = arithmetic.down(x - budget), arithmetic.up(x + budget)
    if domain is not None:
        low, high = (end.to(arithmetic.dtype) for end in domain)
        lower, upper = torch.maximum(lower, low), torch.minimum(upper, high)
    if norm is Norm.LINF:
        return Region(lower, upper)
    return Region(lower, upper, Ball(x, radius, norm), cut=domain is not None)


def covering_radius(
    x: Tensor, norm: Norm, domain: tuple[Tensor, Tensor] | None, weights: Tensor | None = None
) -> Tensor:
    """The least radius, rounded up, at which the ball covers the whole domain; inf where there is none. [B] float64."""
    if domain is None:
        return torch.full((len(x),), torch.inf, dtype=torch.float64)
    x = x.double()
    low, high = (end.double() for end in domain)
    far = torch.maximum(x - low, high - x).flatten(1)
    if weights is not None:
        share = weights.double().expand(x.shape[1:]).flatten()
        far = torch.where(far > 0, far / share, torch.zeros_like(far)).nan_to_num(0.0, posinf=torch.inf)
    order: Sequence[float] = {Norm.L1: [1.0], Norm.L2: [2.0], Norm.LINF: [torch.inf]}[norm]
    radius: Tensor = torch.linalg.vector_norm(far, order[0], dim=1) * (1 + far.shape[1] * 1e-15)
    return radius
