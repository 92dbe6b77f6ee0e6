"""Known answers, for this very installation of SciPy and statsmodels. A server that fails them must not serve.

SciPy has shipped releases whose beta quantiles were wrong (1.14.0: NaN in symmetric cases). A build for another
processor, another libm or a new release can be wrong in its own way, and every certificate rests on these functions.

How the references were computed: with mpmath 1.3.0 at 70 digits, from the float64 value of alpha. p_lower solves
P[Bin(n, p_lower) >= k] = alpha by Newton's method on the continued fraction of the incomplete beta function (DLMF
8.17.22); the residual is below 1e-35, and for n <= 10^6 a direct summation of the binomial terms agrees to 1e-35.
Quantiles by Newton's method on mpmath's normal distribution function.
"""

import decimal
from decimal import Decimal

import numpy as np
import scipy
from scipy.special import ndtri

from verifier.errors import Unsound
from verifier.stats.binomial import clopper_pearson_lower

REFERENCE_BOUNDS = (
    (0, 100, 1e-3, "0"),
    (1, 1, 1e-2, "0.01000000000000000020816681711721685132943"),
    (1, 10, 1e-2, "0.001004528708249948935773911849157985511958"),
    (1, 1_000_000_000, 1e-9, "1.000000000500000062114924853144781209919e-18"),
    (3, 5, 1e-3, "0.04755189817545767298478042036503611251751"),
    (50, 99, 1e-4, "0.3198830169960441187928404242313403884762"),
    (5_001, 10_001, 1e-2, "0.488370706144743354134186577735055540576"),
    (500_000, 999_999, 1e-3, "0.4984548871494182103558818687650952372151"),
    (99, 100, 1e-3, "0.9113731112960424288909248278731099714274"),
    (100, 100, 1e-3, "0.9332543007969910437263691890415117245391"),
    (560, 1_000, 1e-4, "0.5007635025564464221905994708602139886767"),
    (990, 1_000, 1e-9, "0.9570991977102472874142503990670674294411"),
    (5_200, 10_000, 1e-3, "0.5045018488791798854175958247930055416285"),
    (9_990, 10_000, 5e-4, "0.9974763699815818712964985246757708546616"),
    (10_000, 10_000, 1e-3, "0.9993094630025899216890180077274095566523"),
    (60_000, 100_000, 5e-4, "0.594889923942066227311520519596811730518"),
    (100_000, 100_000, 1e-6, "0.9998618544373974807227348076915823846216"),
    (999_990, 1_000_000, 1e-5, "0.9999688298358987080580791599668785727155"),
    (100_000_000, 1_000_000_000, 1e-3, "0.09997068566219218936994344964245091459331"),
    (500_100_000, 1_000_000_000, 1e-6, "0.500024841262901368504770394325039007541"),
    (999_999_998, 1_000_000_000, 1e-3, "0.9999999887711278094022509348366938490541"),
    (1_000_000_000, 1_000_000_000, 1e-9, "0.999999979276734377780460897214100405351"),
)
"""(k, n, alpha, exact lower bound), the bound to 40 digits."""

REFERENCE_QUANTILES = (
    (0.5 - 2.0**-20, "0.00000239050700629557406128172002078"),
    (2.0**-2, "0.674489750196081743202227014541"),
    (2.0**-7, "2.41755901623650506184915115196"),
    (2.0**-14, "3.84193068550191087084325796575"),
    (2.0**-28, "5.78043932447893422669414983703"),
    (2.0**-42, "7.23817949554406585369903444731"),
)
"""(q, exact Phi^-1(1 - q)); each q is a float64 exactly."""

_LARGEST_LOSS = 1e-7
"""Relative loss in the bound's normal quantile, and so in the radius. A bound that loses more is true but useless."""

_STATSMODELS_AGREES = 1e-10
"""Absolute: 50 times the largest difference on these references (1.8e-12 at k = n/10, n = 10^9, where the inversion
that statsmodels calls converges worst)."""

_QUANTILE_ERROR = 5e-15
"""Relative: half of what the radius takes off every quantile."""


def self_test() -> None:
    """Compute the references and compare. Takes some ten milliseconds once statsmodels is imported.

    Raises:
        Unsound: a bound above the true one, or far below it; statsmodels or a normal quantile off. The message names
            the case and the versions of SciPy and statsmodels.
    """
    for k, n, alpha, exact in REFERENCE_BOUNDS:
        _check_bound(k, n, alpha, exact)
        _check_statsmodels(k, n, alpha, exact)
    for q, exact in REFERENCE_QUANTILES:
        _check_quantile(q, exact)


def _check_bound(k: int, n: int, alpha: float, exact: str) -> None:
    bound = clopper_pearson_lower(np.array([k]), n, alpha)
    p, q = float(bound.p[0]), float(bound.q[0])
    ours = f"the lower bound for k = {k}, n = {n}, alpha = {alpha:g} is p = {p!r}, q = {q!r}"
    with decimal.localcontext(prec=60):
        exact_p = Decimal(exact)
        exact_q = 1 - exact_p
        if not (Decimal(p) <= exact_p and Decimal(q) >= exact_q):
            raise _unsound(f"{ours}, above {exact}")
    best = _quantile(float(exact_p), float(exact_q))
    if k > 0 and not best - _quantile(p, q) <= _LARGEST_LOSS * abs(best):
        raise _unsound(f"{ours}, far below {exact}")


def _check_statsmodels(k: int, n: int, alpha: float, exact: str) -> None:
    from statsmodels.stats.proportion import proportion_confint  # here, because importing it takes a second

    p = float(proportion_confint(k, n, 2 * alpha, "beta")[0])
    if not abs(p - float(exact)) <= _STATSMODELS_AGREES:
        raise _unsound(f"statsmodels' bound for k = {k}, n = {n}, alpha = {alpha:g} is {p!r} instead of {exact}")


def _check_quantile(q: float, exact: str) -> None:
    z = -float(ndtri(q))
    if not abs(z - float(exact)) <= _QUANTILE_ERROR * float(exact):
        raise _unsound(f"the normal quantile at q = {q!r} is {z!r} instead of {exact}")


def _quantile(p: float, q: float) -> float:
    """Phi^-1(p) from the smaller of p and q = 1 - p."""
    return float(ndtri(p) if p < 0.5 else -ndtri(q))


def _unsound(what: str) -> Unsound:
    import statsmodels

    return Unsound(
        f"self-test failed: {what} (scipy {scipy.__version__}, statsmodels {statsmodels.__version__}); "
        "install versions that pass, and do not trust certificates made with these"
    )
