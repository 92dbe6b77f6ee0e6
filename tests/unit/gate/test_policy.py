"""A policy file is read whole or refused, with the line and the field of every mistake."""

import hashlib
import re
from fractions import Fraction
from pathlib import Path

import pytest
from gates import ABSTENTION, BASELINE, POLICY, policy

from verifier.errors import InvalidProblem
from verifier.gate.policy import Metric, PolicySelection, Slice, parse_policy
from verifier.methods import AlphaCrown, Precision, Prediction, Smoothing
from verifier.problem import Norm


def test_a_policy_is_what_the_file_says() -> None:
    found = parse_policy(POLICY)
    assert (found.name, found.dataset, found.confidence, found.delta) == ("digits", "digits-test", 0.95, 0.05)
    assert found.selection == PolicySelection(10, 500)
    assert found.method == Smoothing(0.5, n=1000)
    assert found.predict == Prediction(0.5, alpha=0.001)
    assert (found.alpha, found.predict_alpha, found.charge_predict_alpha) == (0.001, 0.001, True)
    assert (found.norm, found.radii) == (Norm.L2, (0.5,))
    assert [threshold.bound for threshold in found.thresholds] == [0.6, 0.7]
    assert (found.needs_baseline, found.needs_clean, found.needs_certificates) == (False, True, True)
    assert found.digest == hashlib.sha256(POLICY.encode()).hexdigest()
    assert found.text == POLICY


def test_names_of_thresholds() -> None:
    more = BASELINE + 'slice = "night"\n' + ABSTENTION + "per_class = true\n" + '[slices]\nnight = [3, "0:2", 2, 9]\n'
    found = policy(more)
    assert [criterion.name for criterion in found.criteria(2)] == [
        "certified_accuracy_l2_0.5",
        "clean_accuracy",
        "regression_l2_0.5.slice_night",
        "abstention_rate.class_0",
        "abstention_rate.class_1",
    ]
    assert [criterion.group for criterion in found.criteria(2)] == ["", "", "night", "class 0", "class 1"]
    assert found.slices == (Slice("night", ((0, 4), (9, 10))),)
    night = found.criteria(2)[2]
    assert [index for index in range(12) if night.covers(index, 1)] == [0, 1, 2, 3, 9]
    assert found.needs_baseline


def test_methods_with_their_parameters() -> None:
    text = POLICY.replace('"smoothing"\nsigma = 0.5\nn = 1000', '"alpha-crown"\nsteps = 5\nmax_seconds = 2')
    found = parse_policy(text.replace('"l2"', '"linf"'))
    assert found.method == AlphaCrown(steps=5, max_seconds=2.0)
    assert (found.alpha, found.predict_alpha, found.predict) == (0.0, 0.0, None)
    assert found.norm is Norm.LINF
    wide = parse_policy(POLICY.replace("n = 1000", 'n = 1000\nprecision = "bfloat16"\nrunner_up = true'))
    assert wide.method == Smoothing(0.5, n=1000, precision=Precision.BFLOAT16, runner_up=True)
    assert wide.predict == Prediction(0.5, precision=Precision.BFLOAT16)
    predicted = policy("[predict]\nn = 500\nalpha = 0.01\n")
    assert predicted.predict == Prediction(0.5, n=500, alpha=0.01)


@pytest.mark.parametrize("confidence", ["0.95", "0.9", "0.99", "0.999", "0.5", "0.7", "0.975"])
def test_delta_is_what_the_decimals_of_the_file_say(confidence: str) -> None:
    delta = parse_policy(POLICY.replace("0.95", confidence)).delta
    assert abs(Fraction(delta) / (1 - Fraction(confidence)) - 1) <= Fraction(1, 2**53)


WRONG: list[tuple[str, str, str]] = [
    # what is replaced, by what, the message
    ("schema_version = 1", "schema_version = 2", "1: schema_version must be an integer in 1..1, got 2"),
    ("schema_version = 1", "", "1: schema_version is missing"),
    ('name = "digits"', "name = 3", "2: name must be a string that is not empty, got 3"),
    ('name = "digits"', 'name = " "', "2: name must be a string that is not empty, got ' '"),
    ('dataset = "digits-test"', "", "1: dataset is missing"),
    ("confidence = 0.95", "confidence = 95", "4: confidence must be a number in 0.5..1, got 95"),
    ("confidence = 0.95", "confidence = nan", "4: confidence must be a number in 0.5..1, got nan"),
    ("confidence = 0.95", "confidence = true", "4: confidence must be a number in 0.5..1, got True"),
    ("confidence = 0.95", "confidence = 1", "4: confidence must be a number in 0.5..1, got 1"),
    ("confidence = 0.95", "confidence = 0.95\nseed = 3", "5: seed is not known here: use one of"),
    ("confidence = 0.95", "confidence = 0.95\nmax_inputs = 0", "5: max_inputs must be an integer in 1.."),
    ("confidence = 0.95", "confidence = 0.95\nmax_inputs = 1.0", "5: max_inputs must be an integer in 1.."),
    ("confidence = 0.95", "confidence = 0.95\nmax_forward_passes = -1", "5: max_forward_passes must be an integer"),
    ("confidence = 0.95", "confidence = 0.95\ncharge_predict_alpha = 1", "5: charge_predict_alpha must be true or fal"),
    ("start = 10", "start = -1", "7: selection.start must be an integer in 0.."),
    ("stop = 500", "stop = 10", "8: selection.stop must be above start = 10, got 10"),
    ("stop = 500", "stride = 0", "8: selection.stride must be an integer in 1.."),
    ("stop = 500", "seed = 1", "8: selection.seed is not known here: use one of sample, start, stop, stride"),
    ("[selection]\nstart = 10\nstop = 500", "selection = 3\n", "6: selection must be a table, [selection], got 3"),
    ('"smoothing"', '"magic"', "11: method.name must be one of smoothing, ibp, crown-ibp, crown, alpha-crown, ladder"),
    ("sigma = 0.5\n", "", "10: method.sigma is missing: smoothing needs it"),
    ("sigma = 0.5", 'sigma = "0.5"', "12: method.sigma must be a number, got '0.5'"),
    ("sigma = 0.5", "sigma = -1", "12: method.sigma is refused: sigma must be > 0"),
    ("n = 1000", "n = 9", "13: method.n is refused: n = 9 draws cannot certify anything"),
    ("n = 1000", "n = 10.0", "13: method.n must be an integer, got 10.0"),
    ("n = 1000", "n = 1000\nseed = 4", "14: method.seed is not known here: use one of alpha, anytime, decide"),
    ("n = 1000", "n = 1000\nrunner_up = 1", "14: method.runner_up must be true or false, got 1"),
    ("n = 1000", 'n = 1000\nprecision = "half"', "14: method.precision is refused: precision must be one of"),
    ("n = 1000", "n = 1000\nalpha = 0.7", "14: method.alpha is refused: alpha must be in"),
    ("n = 1000", "n = 1000\ndecide = 0.5", "14: method.decide must be a list of numbers, got 0.5"),
    (
        "n = 1000",
        "n = 1000\ndecide = [0.25]",
        "19: threshold[0].radius must be at most 0.25, the largest that the method",
    ),
    ("n = 1000", "n = 1000\ndecide = [0.5, 0.25]", "14: method.decide is refused: radii to decide must rise"),
    ("n = 1000", "n = 1000\n[predict]\nn = 0", "15: predict.n must be an integer in 1..1099511627776, got 0"),
    ("n = 1000", "n = 1000\n[predict]\nsigma = 1", "15: predict.sigma is not known here: use one of alpha, n"),
    ('"certified_accuracy"', '"accuracy"', "16: threshold[0].metric must be one of certified_accuracy, clean_accuracy"),
    ('metric = "certified_accuracy"\n', "", "15: threshold[0].metric is missing"),
    ('norm = "l2"\n', "", "15: threshold[0].norm is missing"),
    ('norm = "l2"', 'norm = "l7"', "17: threshold[0].norm must be one of l1, l2, linf, got 'l7'"),
    ('norm = "l2"', 'norm = "linf"', "17: threshold[0].norm must be l2, the norm of Gaussian smoothing, got 'linf'"),
    ("radius = 0.5", "radius = 0", "18: threshold[0].radius must be a number finite and > 0, got 0"),
    ("radius = 0.5", "radius = inf", "18: threshold[0].radius must be a number finite and > 0, got inf"),
    ("radius = 0.5", "radius = 2", "18: threshold[0].radius must be at most 1.2316, the largest that n = 1000 draws"),
    (
        "at_least = 0.60",
        "at_least = 1.0",
        "19: threshold[0].at_least must be a number between 0 and 1, neither of them",
    ),
    ("at_least = 0.60", "at_least = 60", "19: threshold[0].at_least must be a number between 0 and 1, neither"),
    (
        "at_least = 0.60",
        "at_most = 0.60",
        "19: threshold[0].at_most does not belong to certified_accuracy: use",
    ),
    (
        "at_least = 0.60",
        "at_least = 0.6\nat_most = 0.7",
        "20: threshold[0].at_most does not belong to certified",
    ),
    ("at_least = 0.60\n", "", "15: threshold[0].at_least is missing"),
    ("at_least = 0.60", "at_least = 0.6\nraduis = 1", "20: threshold[0].raduis is not known here: use one of at_least"),
    ("at_least = 0.60", "at_least = 0.6\nper_class = 'y'", "20: threshold[0].per_class must be true or false, got 'y'"),
    ("at_least = 0.60", "at_least = 0.6\nslice = 'x'", "20: threshold[0].slice must be the name of a slice (none is"),
    ("at_least = 0.70", "at_least = 0.7\nradius = 1", "24: threshold[1].radius does not belong to clean_accuracy"),
    ('"clean_accuracy"', '"abstention_rate"', "23: threshold[1].at_least does not belong to abstention_rate: use at_m"),
]


@pytest.mark.parametrize(("old", "new", "message"), WRONG, ids=[message[:60] for *_, message in WRONG])
def test_a_mistake_is_named_with_its_line_and_field(old: str, new: str, message: str) -> None:
    assert POLICY.count(old), old
    with pytest.raises(InvalidProblem) as caught:
        parse_policy(POLICY.replace(old, new, 1))
    (violation,) = caught.value.violations
    assert violation.description.startswith(f"gate.toml:{message}")
    assert violation.field == message.split(" ")[1]
    assert caught.value.reason == "INVALID_POLICY"


ADDED: list[tuple[str, str]] = [
    (BASELINE.replace("0.1", "1"), "29: threshold[2].at_most must be below 1"),
    (BASELINE.replace("0.1", "-0.1"), "29: threshold[2].at_most must be a number in 0..1, got -0.1"),
    (BASELINE.replace("at_most", "at_least"), "29: threshold[2].at_least does not belong to regression: use at_most"),
    (ABSTENTION.replace("0.2", "0"), "27: threshold[2].at_most must be a number between 0 and 1, neither"),
    (BASELINE + BASELINE, "31: threshold[3] asks the same as threshold[2], of the same inputs"),
    (BASELINE + "per_class = true\nslice = 'a'\n[slices]\na = [1]\n", "31: threshold[2].slice and per_class exclude"),
    ("[slices]\na = []\n", "25: slices.a must list indices or ranges"),
    ("[slices]\na = 3\n", "25: slices.a must list indices or ranges"),
    ("[slices]\n'a b' = [3]\n", "25: slices.a b is no name of a slice"),
    ('[slices]\na = [3,\n"5:5"]\n', "26: slices.a[1] must be an index >= 0 or a range"),
    ("[slices]\na = [3, -1]\n", "25: slices.a[1] must be an index >= 0 or a range"),
    ("[slices]\na = [true]\n", "25: slices.a[0] must be an index >= 0 or a range"),
]


@pytest.mark.parametrize(("more", "message"), ADDED, ids=[message[:60] for _, message in ADDED])
def test_a_mistake_in_what_is_added(more: str, message: str) -> None:
    with pytest.raises(InvalidProblem) as caught:
        policy(more)
    (violation,) = caught.value.violations
    assert violation.description.startswith(f"gate.toml:{message}")


def test_no_thresholds() -> None:
    for text in (POLICY.split("[[threshold]]")[0], "threshold = []\n" + POLICY.split("[[threshold]]")[0]):
        with pytest.raises(InvalidProblem, match=r"threshold (is missing|must be one or more tables)"):
            parse_policy(text)


def test_what_deterministic_methods_cannot_be_asked() -> None:
    crown = POLICY.replace('"smoothing"\nsigma = 0.5\nn = 1000', '"crown"')
    with pytest.raises(InvalidProblem, match=r"abstention_rate|never above 0 with crown"):
        parse_policy(crown + ABSTENTION)
    with pytest.raises(InvalidProblem, match=r"predict is for smoothing: crown answers"):
        parse_policy(crown + "[predict]\nn = 100\n")
    with pytest.raises(InvalidProblem, match=r"method.sigma is not known here"):
        parse_policy(crown.replace('"crown"', '"crown"\nsigma = 1'))
    with pytest.raises(InvalidProblem, match=r"method.steps is refused: steps must be an integer in 1..10,000"):
        parse_policy(crown.replace('"crown"', '"alpha-crown"\nsteps = 0'))
    with pytest.raises(InvalidProblem, match=r"threshold\[2\].norm must be l2 as in the first"):
        parse_policy(crown + BASELINE.replace('"l2"', '"l1"'))


def test_several_mistakes_are_named_at_once_in_the_order_of_the_file() -> None:
    text = POLICY.replace("0.95", "2").replace("sigma = 0.5", "sigma = 0").replace("0.70", "7") + "[slices]\na = []\n"
    with pytest.raises(InvalidProblem) as caught:
        parse_policy(text, "policies/a.toml")
    lines = [int(re.match(r"policies/a.toml:(\d+): ", v.description)[1]) for v in caught.value.violations]  # type: ignore[index]
    assert lines == [4, 12, 23, 25]
    assert caught.value.message.splitlines() == [violation.description for violation in caught.value.violations]


def test_what_is_no_toml_is_named_with_its_line() -> None:
    with pytest.raises(InvalidProblem, match=r"gate.toml: not TOML: .*line 5"):
        parse_policy(POLICY.replace("\n\n", "\nconfidence =\n", 1))


def test_the_policy_of_the_docs_is_one() -> None:
    docs = (Path(__file__).parents[3] / "docs" / "gates.md").read_text()
    example = docs.split("```toml\n")[1].split("```")[0]
    assert {threshold.metric for threshold in parse_policy(example).thresholds} == set(Metric)


def test_metrics_know_their_bounds() -> None:
    assert [metric for metric in Metric if metric.is_floor] == [Metric.CERTIFIED_ACCURACY, Metric.CLEAN_ACCURACY]
