"""A plain implementation of CERTIFY (Cohen et al. 2019, section 3.2), as research code does it: the baseline.

One input at a time, batches of 1000, the votes counted in Python, the host waiting for the device at every
batch. Rewritten from the paper's pseudocode; only for benchmarks.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import norm
from statsmodels.stats.proportion import proportion_confint
from torch import Tensor, nn

BATCH = 1000


def certify(model: nn.Module, x: Tensor, sigma: float, n0: int, n: int, alpha: float) -> tuple[int, float]:
    """(class, radius), or (-1, 0.0)."""
    with torch.no_grad():
        classes = model(x[None]).shape[1]
    selection = sample(model, x, sigma, n0, classes)
    chosen = int(selection.argmax())
    estimation = sample(model, x, sigma, n, classes)
    p_a = proportion_confint(int(estimation[chosen]), n, alpha=2 * alpha, method="beta")[0]
    return (-1, 0.0) if p_a < 0.5 else (chosen, float(sigma * norm.ppf(p_a)))


def sample(model: nn.Module, x: Tensor, sigma: float, n: int, classes: int) -> NDArray[np.int64]:
    """Class counts of n noisy copies."""
    counts = np.zeros(classes, dtype=np.int64)
    with torch.no_grad():
        while n > 0:
            size = min(BATCH, n)
            n -= size
            batch = x.repeat((size, *[1] * x.dim()))
            predictions = model(batch + torch.randn_like(batch) * sigma).argmax(1)
            for prediction in predictions.cpu().numpy():
                counts[prediction] += 1
    return counts
