"""The table of the field."""

import numpy as np
import pytest

from verifier.audit.scores import score, table_radii


def test_scores_by_hand() -> None:
    scores = score(np.array([0.25, 0.5, -1.0, 0.0]), (0.0, 0.25, 0.5, 0.75))
    assert (scores.inputs, scores.correct, scores.clean_accuracy) == (4, 3, 0.75)
    assert (scores.average_radius, scores.median_radius) == (0.1875, 0.125)
    assert scores.counts == (3, 2, 1, 0)
    assert scores.certified_accuracy == (0.75, 0.5, 0.25, 0.0)
    assert scores.to_dict()["counts"] == [3, 2, 1, 0]


@pytest.mark.parametrize(
    ("largest", "radii"),
    [
        (0.0, [0.0]),
        (0.9528, [0.0, 0.25, 0.5, 0.75]),
        (0.25, [0.0, 0.25]),
        (0.03, [0.0, *(round(0.002 * i, 6) for i in range(1, 16))]),
        (95.0, [5.0 * i for i in range(20)]),
    ],
)
def test_radii_of_the_table(largest: float, radii: list[float]) -> None:
    assert list(table_radii(largest)) == radii
