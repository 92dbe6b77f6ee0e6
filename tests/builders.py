"""Certificates from vote counts, made by the very functions that the service runs."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from verifier.backends.conclusion import certify, prove
from verifier.backends.draws import SmoothingState
from verifier.certificate import Certificate, Execution
from verifier.chain import Reached, chain_of
from verifier.methods import Rng, Smoothing
from verifier.problem import Norm, Problem, digest_of
from verifier.seeds import Seed

MODEL_DIGEST = "c0ffee" + 58 * "0"


def execution(started: float = 1_750_000_000.0, seconds: float = 1.5) -> Execution:
    return Execution("cpu", "a processor", 256, "eager", True, {"verifier": "0.1.0"}, started, seconds)


def certificate(
    estimation: Sequence[int],
    method: Smoothing,
    selection: Sequence[int] | None = None,
    *,
    label: int | None = None,
    eps: float | None = None,
    index: int = 0,
    seed: int = 7,
    model_digest: str = MODEL_DIGEST,
    ran: Execution | None = None,
    counts: Sequence[int] = (),
) -> Certificate:
    """What the smoothing backend concludes from votes [K + 1], of which the last are invalid draws.

    Where the method selects and no selection votes are given, all n0 draws chose the class that `estimation` has most.
    Fewer votes than the method draws make the certificate of work that stopped early.

    Args:
        counts: votes for the class at the looks taken, where draws end early.
    """
    tables = [np.array(estimation, dtype=np.int64)]
    if method.selection_draws:
        tables.insert(0, _unanimous(tables[0], method.n0) if selection is None else np.array(selection))
    x = np.full((1, 2), index, dtype=np.float32)
    labels = None if label is None else np.array([label])
    votes = np.stack(tables)
    state = SmoothingState(
        problem=Problem(x, Norm.L2, labels, eps, first_index=index),
        row=0,
        input_digest=digest_of(x[0]),
        x=torch.tensor(x[0]),
        method=replace(method, rng=Rng.AES128_CTR_BOX_MULLER),
        seed=Seed(seed, "client"),
        rng=Rng.AES128_CTR_BOX_MULLER,
        model_digest=model_digest,
        drawn=int(votes.sum()),
        votes=votes,
        execution=execution(),
        counts=tuple(counts),
        reached=chain_of(method).replay(counts) if counts else Reached(),
    )
    assert isinstance(state.method, Smoothing)
    return certify(state, state.method, prove([state])[0], ran or execution())


def votes_for(top: int, n: int, *, cls: int = 0, classes: int = 3) -> list[int]:
    """A table [K + 1] with `top` votes for a class and the other n - top for the next one; no invalid draws."""
    table = [0] * (classes + 1)
    table[cls], table[(cls + 1) % classes] = top, n - top
    return table


def _unanimous(estimation: np.ndarray, draws: int) -> np.ndarray:
    votes = np.zeros_like(estimation)
    votes[int(estimation[:-1].argmax())] = draws
    return votes
