"""Policies and outcomes to test with."""

from verifier.gate.order import Census
from verifier.gate.policy import Policy, parse_policy
from verifier.gating import Outcome

POLICY = """\
schema_version = 1
name = "digits"
dataset = "digits-test"
confidence = 0.95

[selection]
start = 10
stop = 500

[method]
name = "smoothing"
sigma = 0.5
n = 1000

[[threshold]]
metric = "certified_accuracy"
norm = "l2"
radius = 0.5
at_least = 0.60

[[threshold]]
metric = "clean_accuracy"
at_least = 0.70
"""

BASELINE = """
[[threshold]]
metric = "regression"
norm = "l2"
radius = 0.5
at_most = 0.1
"""

ABSTENTION = """
[[threshold]]
metric = "abstention_rate"
at_most = 0.2
"""


def policy(more: str = "", **changes: str) -> Policy:
    """The policy with tables added, and keys at its top given otherwise (as TOML)."""
    text = "".join(f"{key} = {value}\n" for key, value in changes.items()) + POLICY + more
    return parse_policy(text)


def census(inputs: int, labels: tuple[int, ...] | None = None, slices: tuple[int, ...] = ()) -> Census:
    """Of one class, unless labels say otherwise."""
    labels = labels or (inputs,)
    return Census(len(labels), inputs, labels, slices)


def outcome(position: int, right: bool = True, *, label: int = 0, **changes: object) -> Outcome:
    """Certified at 1.0 and right, or nothing; the baseline likewise unless it is said otherwise."""
    values: dict[str, object] = {
        "position": position,
        "index": position,
        "label": label,
        "prediction": label if right else None,
        "radius": 1.0 if right else 0.0,
        "abstained": not right,
        "clean": label if right else None,
        "baseline_prediction": label if right else None,
        "baseline_radius": 1.0 if right else 0.0,
        "forward_passes": 1100,
    }
    return Outcome(**(values | changes))  # type: ignore[arg-type]
