"""The course of one input, step by step, against margins that are functions of eps."""

import math
from collections.abc import Callable

import pytest

from verifier.backends.course import MOST_PROOFS, Course, Stage, rungs
from verifier.methods import AlphaCrown, BoundMethod, Crown, CrownIbp, Ibp, Ladder

Margins = dict[str, Callable[[float], float]]


def falling(root: float) -> Callable[[float], float]:
    """A margin of 1 at the centre and 0 at the root."""
    return lambda eps: 1 - eps / root


ROOTS = {"ibp": 0.1, "crown-ibp": 0.3, "crown": 0.5, "alpha-crown": 0.6}
MARGINS: Margins = {bound: falling(root) for bound, root in ROOTS.items()}


def run(
    method: BoundMethod,
    eps: float | None,
    margins: Margins = MARGINS,
    proved: Margins | None = None,
    limit: float = math.inf,
    stop_after: int = 10_000,
) -> Course:
    """The end of the course of an input whose float32 margins and rigorous margins are these."""
    course = Course(method, eps, limit)
    tasks = 0
    while course.stage is not Stage.DONE:
        tasks += 1
        assert tasks < 500
        stop = tasks > stop_after
        match course.stage:
            case Stage.CENTRE:
                course = course.after_centre(3, 1.0, 1.0, stop=stop)
            case Stage.SEARCH:
                course = course.after_search(margins[course.bound](course.next_eps), stop=stop)
            case Stage.PROVE:
                course = course.after_proof(((proved or margins)[course.bound](course.next_eps), 7.0), stop=stop)
            case _:
                assert course.proof is not None
                course = course.after_audit(16, doubtful=False)
    return course


@pytest.mark.parametrize("method", [Ibp(), CrownIbp(), Crown(), AlphaCrown(), Ladder()])
def test_finds_the_radius_of_the_best_bound(method: BoundMethod) -> None:
    course = run(method, None)
    best = rungs(method)[-1]
    assert course.certified
    assert course.prediction == 3
    assert course.proof is not None
    assert course.proof.bound == best
    assert ROOTS[best] * (1 - 2e-4) <= course.proof.eps < ROOTS[best]
    assert course.audited == 16


def test_an_island_above_the_bracket_is_found() -> None:
    def margin(eps: float) -> float:
        return 1 - eps / 0.5 if not 0.501 < eps < 0.502 else 1e-3

    course = run(Crown(), None, MARGINS | {"crown": margin})
    assert course.proof is not None
    assert 0.501 < course.proof.eps < 0.502
    plain = run(Crown(), None)
    assert plain.proof is not None
    assert 0.5 * (1 - 2e-4) < plain.proof.eps < 0.5


def test_the_ladder_keeps_the_bound_that_won() -> None:
    margins = MARGINS | {"ibp": falling(0.9)}
    course = run(Ladder(), None, margins)
    assert course.proof is not None
    assert course.proof.bound == "ibp"
    assert course.proof.eps == pytest.approx(0.9, rel=2e-4)
    assert course.evaluations <= 20  # the other rungs are given up after one evaluation each


@pytest.mark.parametrize(
    ("eps", "bound", "evaluations"),
    [(0.05, "ibp", 1), (0.2, "crown-ibp", 2), (0.4, "crown", 3), (0.55, "alpha-crown", 4)],
)
def test_the_ladder_climbs_no_further_than_it_must(eps: float, bound: str, evaluations: int) -> None:
    course = run(Ladder(), eps)
    assert course.certified
    assert course.proof is not None
    assert (course.proof.bound, course.proof.eps, course.evaluations) == (bound, eps, evaluations)


def test_an_eps_out_of_reach_is_not_certified_and_the_best_margins_stay() -> None:
    course = run(Ladder(), 0.7)
    assert not course.certified
    assert course.proof is not None
    assert course.proof.bound == "alpha-crown"
    assert course.proof.margins == pytest.approx((1 - 0.7 / 0.6, 7.0))


def test_a_radius_that_only_float32_certified_is_stepped_down_until_it_is_proved() -> None:
    proved = MARGINS | {"ibp": falling(0.1 * (1 - 1e-3))}
    course = run(Ibp(), None, proved=proved)
    assert course.certified
    assert course.proof is not None
    assert 0.1 * (1 - 4e-3) < course.proof.eps < 0.1 * (1 - 1e-3)


def test_where_the_best_bound_cannot_be_proved_a_cheaper_one_is() -> None:
    proved = MARGINS | {"alpha-crown": lambda _eps: -1.0}
    course = run(Ladder(), None, proved=proved)
    assert course.proof is not None
    assert course.proof.bound == "crown"
    assert course.proof.eps == pytest.approx(ROOTS["crown"], rel=2e-4)


def test_out_of_time_the_next_cheaper_bound_is_proved_at_once() -> None:
    proved = MARGINS | {"alpha-crown": lambda _eps: -1.0, "crown": lambda _eps: -1.0}
    searched = Course(Ladder(), None, math.inf)
    tasks = 0
    while searched.stage is not Stage.PROVE:
        searched = (
            searched.after_centre(3, 1.0, 1.0, stop=False)
            if searched.stage is Stage.CENTRE
            else searched.after_search(MARGINS[searched.bound](searched.next_eps), stop=False)
        )
        tasks += 1
    course = run(Ladder(), None, proved=proved, stop_after=tasks)
    assert course.proof is not None
    assert course.proof.bound == "crown-ibp"
    assert course.evaluations == tasks - 1 + 3  # the searches, two failed proofs and one that holds


def test_nothing_is_certified_that_was_not_proved() -> None:
    proved = MARGINS | {"ibp": lambda _eps: -1.0}
    course = run(Ibp(), None, proved=proved)
    assert not course.certified
    assert course.failures == MOST_PROOFS - 1


@pytest.mark.parametrize("margin", [0.0, -1.0, math.nan, math.inf])
def test_a_centre_without_a_certain_class_ends_the_course(margin: float) -> None:
    course = Course(Ibp(), None, math.inf).after_centre(3, margin, 1.0, stop=False)
    assert course.stage is Stage.DONE
    assert course.prediction is None
    assert not course.certified


@pytest.mark.parametrize("values", [(math.nan, 1.0), (0.0, 1.0), (-math.inf, 1.0), (math.inf, 1.0)])
def test_margins_that_are_not_all_above_zero_prove_nothing(values: tuple[float, ...]) -> None:
    course = Course(Ibp(), 0.1, math.inf).after_centre(3, 1.0, 1.0, stop=False).after_proof(values, stop=False)
    assert course.stage is Stage.DONE
    assert not course.certified


def test_a_doubtful_audit_withholds_the_certificate() -> None:
    course = Course(Ibp(), 0.1, math.inf).after_centre(3, 1.0, 1.0, stop=False).after_proof((1.0,), stop=False)
    assert course.stage is Stage.AUDIT
    assert not course.after_audit(16, doubtful=True).certified
    assert course.after_audit(16, doubtful=False).certified


@pytest.mark.parametrize("tasks", range(1, 12))
def test_stopped_early_it_answers_with_what_it_can_prove(tasks: int) -> None:
    course = run(Ladder(), None, stop_after=tasks)
    if course.certified:
        assert course.proof is not None
        assert 0 < course.proof.eps < ROOTS[course.proof.bound]


def test_the_ball_that_covers_the_domain_ends_the_search() -> None:
    course = run(Ladder(), None, limit=0.05)
    assert course.proof is not None
    assert (course.proof.bound, course.proof.eps) == ("ibp", 0.05)


def test_a_box_is_proved_once() -> None:
    course = run(Ladder(), 0.0)
    assert course.certified
    assert course.proof is not None
    assert (course.proof.eps, course.evaluations) == (0.0, 1)


def test_a_gradient_of_zero_suggests_no_radius_and_stops_nothing() -> None:
    for suggested in (math.inf, math.nan, 0.0):
        course = Course(Ibp(), None, math.inf).after_centre(3, 1.0, suggested, stop=False)
        assert course.stage is Stage.SEARCH
        assert course.next_eps > 0
