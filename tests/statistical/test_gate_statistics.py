"""The errors of gates, computed over every history and not sampled; then whole gates, simulated with a declared error.

Where a probability is computed, it is at the population on the edge of what the threshold refuses, with as many false
certificates as alpha permits, and nothing is compared with a tolerance. The checks are also turned on canaries: a gate
that decides on the plain fraction, one that consumes outcomes as they are completed, one that does not charge alpha.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from verifier.gate.course import GateCourse, InOrder
from verifier.gate.order import Census
from verifier.gate.policy import Criterion, Metric, Policy, Threshold, parse_policy
from verifier.gate.trial import LOOK_STEP, trial_of
from verifier.gating import Decision, Outcome
from verifier.stats.binomial import complement_holds
from verifier.stats.multiplicity import attempt_delta
from verifier.stats.population import (
    RunningBound,
    RunningDifference,
    claims_from_above,
    claims_from_below,
    paired_lower,
    paired_upper,
    population_lower,
    population_upper,
)
from verifier.stats.sequential import boundaries, geometric_plan

FALSE_ALARM = 1e-6

Rule = Callable[[Sequence[bool]], bool]
"""Whether a gate passes on these hits and misses, in the order in which they are committed."""

HEAD = """
schema_version = 1
name = "gate"
dataset = "data"
confidence = {confidence}
charge_predict_alpha = {charge}
[method]
name = "smoothing"
sigma = 1.0
n = 1000
alpha = {alpha}
"""
CERTIFIED = """
[[threshold]]
metric = "certified_accuracy"
norm = "l2"
radius = 0.5
at_least = {bound}
"""


def certified_policy(bound: float, delta: float, alpha: float, charge: bool = False, more: str = "") -> Policy:
    head = HEAD.format(confidence=1 - delta, alpha=alpha, charge=str(charge).lower())
    return parse_policy(head + CERTIFIED.format(bound=bound) + more)


def outcome(position: int, hit: bool, label: int = 0, clean: bool = True) -> Outcome:
    return Outcome(
        position, position, label, label if hit else None, 1.0 if hit else 0.0, False, clean=label if clean else None
    )


def census(inputs: int) -> Census:
    return Census(1, inputs, (inputs,), ())


def gate(policy: Policy, delta: float) -> Rule:
    """The gate itself."""

    def passes(hits: Sequence[bool]) -> bool:
        course = GateCourse(policy, census(len(hits)), delta)
        for position, hit in enumerate(hits):
            course.feed(outcome(position, hit))
            if course.decision is not None:
                break
        return course.decision is Decision.PASS

    return passes


def point_gate(bound: float) -> Rule:
    """A canary: passes at the first look where the plain fraction is large enough."""

    def passes(hits: Sequence[bool]) -> bool:
        looks = geometric_plan(len(hits), LOOK_STEP).looks
        return any(sum(hits[:look]) >= bound * look for look in looks)

    return passes


def in_completion_order(rule: Rule) -> Rule:
    """A canary: robust inputs are decided with few draws, and so are completed first."""
    return lambda hits: rule(sorted(hits, reverse=True))


def edge(bound: float, alpha: float) -> float:
    """P[hit] where what is sought has the threshold's probability, and every certificate that may be false is."""
    return 1 - (1 - bound) * (1 - alpha)


def histories(blocks: int) -> Iterator[tuple[int, ...]]:
    """Hits between one look and the next, in all ways."""
    return itertools.product(range(LOOK_STEP + 1), repeat=blocks)


def as_hits(history: Sequence[int]) -> list[bool]:
    return [place < hits for hits in history for place in range(LOOK_STEP)]


def probability_of_pass(rule: Rule, blocks: int, p: float) -> float:
    """The sum of the probabilities of all histories on which the rule passes."""
    block = stats.binom.pmf(np.arange(LOOK_STEP + 1), LOOK_STEP, p)
    return math.fsum(math.prod(block[list(history)]) for history in histories(blocks) if rule(as_hits(history)))


EDGES = [(0.6, 0.1, 0.001), (0.6, 0.1, 0.2), (0.75, 0.05, 0.01), (0.3, 0.2, 0.1), (0.5, 0.01, 0.05)]
"""Threshold, delta, alpha."""


@pytest.mark.parametrize(("bound", "delta", "alpha"), EDGES)
def test_a_gate_passes_falsely_with_at_most_delta_over_every_history(bound: float, delta: float, alpha: float) -> None:
    policy = certified_policy(bound, delta, alpha)
    passed = probability_of_pass(gate(policy, delta), 3, edge(bound, alpha))
    assert 0 < passed <= delta


@pytest.mark.parametrize(("bound", "delta", "alpha"), EDGES)
def test_deciding_on_the_point_is_caught(bound: float, delta: float, alpha: float) -> None:
    assert probability_of_pass(point_gate(bound), 3, edge(bound, alpha)) > delta


@pytest.mark.parametrize(("bound", "delta", "alpha"), EDGES)
def test_consuming_in_completion_order_is_caught(bound: float, delta: float, alpha: float) -> None:
    rule = in_completion_order(gate(certified_policy(bound, delta, alpha), delta))
    assert probability_of_pass(rule, 3, edge(bound, alpha)) > delta


def test_outcomes_put_back_in_order_give_what_the_committed_order_gives() -> None:
    policy = certified_policy(0.6, 0.1, 0.001)
    rule = gate(policy, 0.1)
    for history in itertools.islice(histories(3), 0, None, 7):
        hits = as_hits(history)
        course, buffer = GateCourse(policy, census(len(hits)), 0.1), InOrder()
        easy_first = sorted(range(len(hits)), key=lambda position: not hits[position])
        for position in easy_first:
            for released in buffer.put(outcome(position, hits[position])):
                if course.decision is None:
                    course.feed(released)
        assert (course.decision is Decision.PASS) == rule(hits)


# Longer gates: the boundary is read off the trial itself, the distribution of the count carried from look to look.


def criterion(bound: float) -> Criterion:
    return Criterion("certified", Threshold(Metric.CERTIFIED_ACCURACY, bound, 0.5))


def passing_counts(policy: Policy, inputs: int, level: float) -> list[int]:
    """The least number of hits, come evenly, with which a trial has passed by each look; look + 1 where none."""
    bound = policy.thresholds[0].bound
    least = []
    for look in geometric_plan(inputs, LOOK_STEP).looks:
        low, high = 0, look + 1
        while low < high:
            hits = (low + high) // 2
            trial = trial_of(criterion(bound), policy, inputs, level, 1e-12)
            for place in range(look):
                trial.feed(outcome(place, (place + 1) * hits // look > place * hits // look))
            low, high = (low, hits) if trial.decision is Decision.PASS else (hits + 1, high)
        least.append(low)
    return least


def crossing(looks: Sequence[int], least: Sequence[int], p: float) -> float:
    """P[the count reaches the least one at some look], for hits of probability p."""
    alive, crossed, before = np.ones(1), 0.0, 0
    for look, count in zip(looks, least, strict=True):
        alive = np.convolve(alive, stats.binom.pmf(np.arange(look - before + 1), look - before, p))
        crossed += float(alive[count:].sum())
        alive, before = alive[:count], look
    return crossed


LONG = [(0.6, 0.05, 0.001, 400), (0.9, 0.05, 0.01, 400), (0.6, 0.025, 0.05, 150), (0.3, 0.1, 0.3, 237)]


@pytest.mark.parametrize(("bound", "delta", "alpha", "inputs"), LONG)
def test_a_long_gate_passes_falsely_with_at_most_delta(bound: float, delta: float, alpha: float, inputs: int) -> None:
    looks = geometric_plan(inputs, LOOK_STEP).looks
    least = passing_counts(certified_policy(bound, delta, alpha), inputs, delta)
    error = crossing(looks, least, edge(bound, alpha))
    assert delta / 2 < error <= delta  # and does not give much away
    point = [math.ceil(bound * look) for look in looks]
    assert crossing(looks, point, edge(bound, alpha)) > delta


@pytest.mark.parametrize(("bound", "delta", "alpha", "inputs"), LONG[1:])
def test_a_gate_that_does_not_charge_alpha_is_caught(bound: float, delta: float, alpha: float, inputs: int) -> None:
    least = passing_counts(certified_policy(bound, delta, 1e-12), inputs, delta)
    assert crossing(geometric_plan(inputs, LOOK_STEP).looks, least, edge(bound, alpha)) > delta


@pytest.mark.parametrize(("bound", "delta", "alpha", "inputs"), LONG)
def test_twice_the_delta_is_caught(bound: float, delta: float, alpha: float, inputs: int) -> None:
    least = passing_counts(certified_policy(bound, delta, alpha), inputs, 2 * delta)
    assert crossing(geometric_plan(inputs, LOOK_STEP).looks, least, edge(bound, alpha)) > delta


def test_predict_charged_is_paid_for() -> None:
    """(1 - a) P[robust] is what is bounded then: with it at the threshold, hits come with a + bound at most."""
    bound, delta, alpha = 0.6, 0.05, 0.05
    looks = geometric_plan(200, LOOK_STEP).looks
    least = passing_counts(certified_policy(bound, delta, alpha, charge=True), 200, delta)
    assert delta / 2 < crossing(looks, least, bound + alpha) <= delta
    uncharged = passing_counts(certified_policy(bound, delta, alpha), 200, delta)
    assert crossing(looks, uncharged, bound + alpha) > delta


PASS_LEVEL, FAIL_LEVEL = 0.1, 0.02


@pytest.mark.parametrize("charge", [False, True])
@pytest.mark.parametrize("bound", [0.3, 0.6])
@pytest.mark.parametrize("metric", [Metric.CERTIFIED_ACCURACY, Metric.CLEAN_ACCURACY, Metric.ABSTENTION_RATE])
def test_each_side_of_each_metric_errs_with_at_most_its_level(metric: Metric, bound: float, charge: bool) -> None:
    """Over every history of 30 inputs, at alpha = 0.1: PASS on the edge of what is sought, FAIL on that of the hits."""
    alpha = 0.1
    policy = certified_policy(0.5, 0.05, alpha, charge)
    asked = Criterion("asked", Threshold(metric, bound, 0.5 if metric.has_radius else None))
    decisions = {}
    for history in histories(3):
        trial = trial_of(asked, policy, 30, PASS_LEVEL, FAIL_LEVEL)
        reached = set()
        for place, hit in enumerate(as_hits(history)):
            each = outcome(place, hit, clean=hit)
            if trial.feed(replace(each, abstained=hit) if metric is Metric.ABSTENTION_RATE else each):
                reached.add(trial.decision)
        decisions[history] = reached
    increments = np.array(list(decisions))
    certified = bound + alpha if charge else edge(bound, alpha)
    edges = {Metric.CERTIFIED_ACCURACY: certified, Metric.CLEAN_ACCURACY: edge(bound, alpha) if charge else bound}
    for decision, p, level in [
        (Decision.PASS, edges.get(metric, bound), PASS_LEVEL),
        (Decision.FAIL, bound, FAIL_LEVEL),
    ]:
        weights = stats.binom.pmf(increments, LOOK_STEP, p).prod(axis=1)
        error = math.fsum(weights[[decision in reached for reached in decisions.values()]])
        assert level / 4 < error <= level


# Running bounds: every claim, not only the threshold's.


@pytest.mark.parametrize("level", [0.2, 0.05, 0.01])
@pytest.mark.parametrize("above", [False, True])
def test_a_running_bound_is_wrong_at_any_time_with_at_most_its_level(level: float, above: bool) -> None:
    """Over every history of 30 trials; at each population just below (above) what is claimed somewhere."""
    plan = geometric_plan(30, LOOK_STEP)
    claims = claims_from_above(30, 0.37) if above else claims_from_below(30, 0.37)
    found = {}
    for history in histories(3):
        bound = RunningBound(claims, plan, level)
        for hit in as_hits(history):
            bound.feed(hit)
        found[history] = bound.value
    claimed = np.array(list(found.values()))
    increments = np.array(list(found))
    for claim in sorted(set(claimed) - {claims.values[0]}):  # the first claim is always true
        truth = math.nextafter(claim, 2 if above else -1)
        p = 1 - truth if above else truth
        weights = stats.binom.pmf(increments, LOOK_STEP, p).prod(axis=1)
        wrong = claimed < truth if above else claimed > truth
        assert math.fsum(weights[wrong]) <= level


@pytest.mark.parametrize("inputs", [37, 400, 3_000])
@pytest.mark.parametrize("level", [0.3, 0.05, 1e-6])
def test_what_a_fixed_test_confirms_has_crossed_its_boundary(inputs: int, level: float) -> None:
    """What lets a running bound skip claims: they have crossed there, or no path comes there that had not before."""
    plan = geometric_plan(inputs, LOOK_STEP)
    spend = (0.0, *plan.spend)
    for miss in np.linspace(0.013, 0.987, 40):
        boundary = boundaries(float(miss), level, plan)
        alive = before = 0  # the most hits of a path that has not crossed
        for place, look in enumerate(plan.looks):
            alive, before = alive + look - before, look
            own = level * (spend[place + 1] - spend[place]) * (1 - 1e-6)
            confirmed = complement_holds(np.arange(look + 1), look, own, float(miss))
            assert not (np.flatnonzero(confirmed[: alive + 1]) < boundary[place]).any()
            alive = min(alive, int(boundary[place]) - 1)


def test_a_running_bound_stays_close_to_one_that_looks_once() -> None:
    """What looking all the time costs: less than one standard error and a half."""
    for inputs, hits in [(100, 70), (1_000, 900), (5_000, 3_100)]:
        bound = RunningBound(claims_from_below(inputs, 0.5), geometric_plan(inputs, LOOK_STEP), 0.05)
        for place in range(inputs):
            bound.feed((place + 1) * hits // inputs > place * hits // inputs)
        once = float(population_lower(hits, inputs, 0.05)[0])
        spread = math.sqrt(hits / inputs * (1 - hits / inputs) / inputs)
        assert once - 1.5 * spread < bound.value <= once


# Bounds for a fixed number of inputs.


def tail(k: int, n: int, p: Fraction) -> Fraction:
    return sum((math.comb(n, j) * p**j * (1 - p) ** (n - j) for j in range(k, n + 1)), Fraction(0))


@pytest.mark.parametrize("delta", [0.5, 0.05, 1e-3])
@pytest.mark.parametrize(("alpha", "toll"), [(0.0, 0.0), (0.001, 0.0), (0.2, 0.0), (0.1, 0.1)])
def test_a_population_bound_covers(alpha: float, toll: float, delta: float) -> None:
    """Exactly: at what is sought just below each bound, with every false hit there may be."""
    m = 30
    bounds = population_lower(np.arange(m + 1), m, delta, alpha, toll)
    for hits, bound in enumerate(bounds.tolist()):
        if bound > 0:
            sought = Fraction(bound) / (1 - Fraction(toll))
            p = Fraction(alpha) + (1 - Fraction(alpha)) * sought
            assert tail(hits, m, p) <= delta
    assert (bounds[1:] >= bounds[:-1]).all()


def test_the_sharper_bound_is_that_of_the_note() -> None:
    plain = population_lower(60, 100, 0.05)[0]
    assert population_lower(60, 100, 0.05, 0.001)[0] == pytest.approx((plain - 0.001) / 0.999, rel=1e-12)
    assert population_lower(60, 100, 0.05, 0.001, 0.001)[0] == pytest.approx(plain - 0.001, rel=1e-12)
    assert population_lower(60, 100, 0.05, 0.001)[0] > plain - 0.001
    assert population_upper(60, 100, 0.05)[0] == pytest.approx(1 - population_lower(40, 100, 0.05)[0], rel=1e-12)


PAIRS = [(a / 32, b / 32) for a in range(33) for b in range(33 - a)]
"""P[gained], P[lost]; their differences are exact in float64."""


def trinomial(m: int) -> tuple[NDArray[np.int64], Callable[[float, float], NDArray[np.float64]]]:
    """All (gained, lost) of m pairs, and their probabilities."""
    counts = np.array([(a, b) for a in range(m + 1) for b in range(m + 1 - a)])
    rest = m - counts.sum(axis=1)
    ways = np.array([math.comb(m, a) * math.comb(m - a, b) for a, b in counts.tolist()], dtype=np.float64)
    return counts, lambda p, q: ways * p ** counts[:, 0] * q ** counts[:, 1] * max(0.0, 1 - p - q) ** rest


@pytest.mark.parametrize("delta", [0.3, 0.1, 0.01])
@pytest.mark.parametrize("m", [12, 25])
def test_paired_bounds_cover(m: int, delta: float) -> None:
    counts, probabilities = trinomial(m)
    lower = np.array([paired_lower(a, b, m, delta) for a, b in counts.tolist()])
    upper = np.array([paired_upper(a, b, m, delta) for a, b in counts.tolist()])
    for gained, lost in PAIRS:
        weights = probabilities(gained, lost)
        assert math.fsum(weights[lower > gained - lost]) <= delta
        assert math.fsum(weights[upper < gained - lost]) <= delta


@pytest.mark.parametrize("delta", [0.3, 0.1, 0.02])
def test_a_running_difference_is_wrong_at_any_time_with_at_most_its_level(delta: float) -> None:
    """Over every history of 20 pairs, looked at twice; a difference of fractions read at the looks is caught."""
    counts, probabilities = trinomial(LOOK_STEP)
    plan = geometric_plan(2 * LOOK_STEP, LOOK_STEP)
    pairs = list(itertools.product(range(len(counts)), repeat=2))
    lower, upper, plain = np.empty(len(pairs)), np.empty(len(pairs)), np.empty(len(pairs))
    for place, (first, second) in enumerate(pairs):
        blocks = [counts[first].tolist(), counts[second].tolist()]
        bound = RunningDifference(plan.n, plan, delta, delta)
        for gained, lost in blocks:
            for pair in range(LOOK_STEP):
                bound.feed(pair < gained, gained <= pair < gained + lost)
        lower[place], upper[place] = bound.lower, bound.upper
        early = (blocks[0][0] - blocks[0][1]) / LOOK_STEP
        late = sum(gained - lost for gained, lost in blocks) / (2 * LOOK_STEP)
        plain[place] = max(early, late)
    assert lower.max() > 0 > upper.min()
    errors, errors_of_plain = [], []
    for gained, lost in PAIRS:
        weights = np.outer(probabilities(gained, lost), probabilities(gained, lost)).ravel()
        errors += [math.fsum(weights[lower > gained - lost]), math.fsum(weights[upper < gained - lost])]
        errors_of_plain.append(math.fsum(weights[plain > gained - lost]))
    assert max(errors) <= delta
    assert max(errors_of_plain) > delta


# What stopping early saves: the table of docs/gates.md, computed.

DOCS = Path(__file__).parents[2] / "docs" / "gates.md"


def course_of(p: float, inputs: int) -> tuple[float, float, float]:
    """(P[pass], P[fail], mean inputs) of a gate "certified accuracy at least 0.6", delta 0.05, alpha 0.001."""
    plan = geometric_plan(inputs, LOOK_STEP)
    passing = boundaries(0.4 * 0.999, 0.05, plan)
    failing = boundaries(0.6, 0.05, plan)  # in misses
    alive, offset, before = np.ones(1), 0, 0
    passed, failed, mean = 0.0, 0.0, 0.0
    for look, least, most_missed in zip(plan.looks, passing.tolist(), failing.tolist(), strict=True):
        mean += float(alive.sum()) * (look - before)
        alive = np.convolve(alive, stats.binom.pmf(np.arange(look - before + 1), look - before, p))
        low = max(look - most_missed + 1 - offset, 0)  # so few hits fail
        passed += float(alive[max(least - offset, 0) :].sum())
        failed += float(alive[:low].sum())
        alive = alive[low : max(least - offset, low)]
        offset, before = offset + low, look
    return passed, failed, mean


def rows() -> list[list[str]]:
    """Of the table of the docs."""
    table = DOCS.read_text().split("| certified fraction |")[1].split("\n\n")[0]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()[2:]]


@pytest.mark.parametrize("row", rows(), ids=repr)
def test_the_table_of_savings(row: list[str]) -> None:
    passed, failed, mean = course_of(float(row[0]), int(row[1].replace(",", "")))
    assert row[2:] == [f"{passed:.3f}", f"{failed:.3f}", f"{mean:,.0f}", f"{mean / int(row[1].replace(',', '')):.0%}"]


def test_a_difference_pays_for_both_of_its_bounds() -> None:
    """Half of the level for each: the enumeration above would not see more, a difference of two bounds errs less."""
    gained, lost, m, delta = 9, 4, 40, 0.1
    half = [float(bound[0]) for bound in (population_lower(gained, m, delta / 2), population_upper(lost, m, delta / 2))]
    assert paired_lower(gained, lost, m, delta) == math.nextafter(half[0] - half[1], -1)
    assert paired_upper(gained, lost, m, delta) == -paired_lower(lost, gained, m, delta)
    plan = geometric_plan(m, LOOK_STEP)
    difference = RunningDifference(m, plan, delta, delta / 10)
    below, above = claims_from_below(m, 0.0), claims_from_above(m, 1.0)
    bounds = [RunningBound(claims, plan, level) for level in (delta / 2, delta / 20) for claims in (below, above)]
    for pair in range(m):
        hits = (pair < gained, not gained <= pair < gained + lost, gained <= pair < gained + lost, not pair < gained)
        difference.feed(hits[0], hits[2])
        for bound, hit in zip(bounds, hits, strict=True):
            bound.feed(hit)
    values = [bound.value for bound in bounds]
    assert difference.lower == math.nextafter(values[0] - values[1], -2)
    assert difference.upper == math.nextafter(values[3] - values[2], 2)


# Whole gates, simulated.

RUNS = 400
TWO = """
[[threshold]]
metric = "clean_accuracy"
at_least = 0.8
"""
PER_CLASS = "per_class = true\n"


def simulated(policy: Policy, certified: Sequence[float], clean: float, inputs: int, seed: int) -> dict[Decision, int]:
    """Decisions of so many gates; `certified` is P[hit] of each class, classes are equally probable."""
    rng = np.random.default_rng(seed)
    classes = len(certified)
    decisions = dict.fromkeys(Decision, 0)
    for _ in range(RUNS):
        labels = rng.integers(0, classes, inputs)
        hits = rng.random(inputs) < np.array(certified)[labels]
        right = rng.random(inputs) < clean
        course = GateCourse(policy, Census.of(policy, range(inputs), labels.tolist(), classes), policy.delta)
        for position in range(inputs):
            course.feed(
                outcome(position, bool(hits[position]), label=int(labels[position]), clean=bool(right[position]))
            )
            if course.decision is not None:
                break
        assert course.decision is not None
        decisions[course.decision] += 1
    return decisions


DELTA = 0.1
ALARM = int(stats.binom.isf(FALSE_ALARM, RUNS, DELTA))  # 71: gates that err in 0.25 of runs slip through with 4e-4


def test_two_thresholds_one_of_them_violated() -> None:
    policy = certified_policy(0.6, DELTA, 0.01, more=TWO)
    decisions = simulated(policy, [edge(0.6, 0.01)], 0.95, 300, 1)
    assert decisions[Decision.PASS] <= ALARM
    assert decisions[Decision.PASS] > 0  # the error is there to be bounded


def test_two_thresholds_both_just_met() -> None:
    policy = certified_policy(0.6, DELTA, 0.01, more=TWO)
    assert simulated(policy, [0.6], 0.8, 300, 2)[Decision.FAIL] <= ALARM


def test_a_class_that_is_violated_among_others() -> None:
    """Numbers of inputs of a class are random: looks of the class are numbers of its own inputs."""
    head = certified_policy(0.5, DELTA, 0.01).text
    policy = parse_policy(head + PER_CLASS)
    decisions = simulated(policy, [0.9, edge(0.5, 0.01), 0.9], 1.0, 300, 3)
    assert decisions[Decision.PASS] <= ALARM
    assert decisions[Decision.PASS] > 0


def test_clear_models_are_decided() -> None:
    """Power: a clear model passes, and a clearly bad one fails, nearly always."""
    policy = certified_policy(0.6, DELTA, 0.01, more=TWO)
    assert simulated(policy, [0.8], 0.95, 300, 4)[Decision.PASS] > 0.95 * RUNS
    assert simulated(policy, [0.4], 0.95, 300, 5)[Decision.FAIL] > 0.95 * RUNS


def test_all_attempts_together_err_with_at_most_three_halves_of_delta() -> None:
    deltas = [Fraction(attempt_delta(0.05, attempt)) for attempt in range(1, 2_000)]
    assert deltas[0] == Fraction(0.05)
    assert all(delta <= Fraction(0.05) / (j * (j + 1)) for j, delta in enumerate(deltas[1:], 2))
    assert sum(deltas) < Fraction(3, 2) * Fraction(0.05)
