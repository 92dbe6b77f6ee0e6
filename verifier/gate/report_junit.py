"""junit.xml: one case a threshold, for whatever shows test results."""

import io
import re
from typing import TYPE_CHECKING

from verifier.errors import Unsupported
from verifier.gate.report_json import safe_decision
from verifier.gate.report_numbers import told_comparison, told_counts, told_interval, told_metric
from verifier.gating import Decision, GateRun, ThresholdResult

if TYPE_CHECKING:
    from junitparser import TestCase

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that no XML 1.0 document may hold, escaped or not."""

GATE_CASE = "gate"
"""Name of the case that stands for the gate itself, where its decision does not follow from its thresholds."""


def report_junit(run: GateRun) -> bytes:
    """The file's bytes: a threshold that fails is a failure, one that is inconclusive an error.

    Guarantee: without failure or error exactly where the exit code is 0.

    Raises:
        Unsupported: junitparser is not installed.
    """
    try:
        from junitparser import JUnitXml, TestSuite  # an optional dependency
    except ImportError:
        raise Unsupported(
            "gate reports need junitparser, which is not installed: pip install 'verifier[gate]'"
        ) from None
    suite = TestSuite(_xml(f"verifier.gate.{run.policy_name}"))
    for name, value in _properties(run).items():
        suite.add_property(name, _xml(value))
    results = [(t.name, t.decision, t.reason, _numbers(t)) for t in run.thresholds]
    decision = safe_decision(run)
    if decision is not Decision.PASS and all(result[1] is Decision.PASS for result in results):
        results.append((GATE_CASE, decision, run.reason, ""))
    for name, verdict, reason, numbers in results:
        suite.add_testcase(_case(run, name, verdict, reason, numbers))
    suite.time = max(0.0, run.seconds)
    document = JUnitXml(suite.name)
    document.add_testsuite(suite)
    file = io.BytesIO()
    document.write(file)
    return file.getvalue()


def _case(run: GateRun, name: str, decision: Decision, reason: str, numbers: str) -> "TestCase":
    from junitparser import Error, Failure, TestCase

    case = TestCase(_xml(name), classname=_xml(f"verifier.gate.{run.policy_name}"), time=0.0)
    kind = {Decision.FAIL: Failure, Decision.INCONCLUSIVE: Error}.get(decision)
    if kind is not None:
        result = kind(_xml(reason), decision.value)
        result.text = _xml(numbers)
        case.result = [result]
    elif numbers:
        case.system_out = _xml(numbers)
    return case


def _numbers(t: ThresholdResult) -> str:
    return (
        f"{told_metric(t)} must be {told_comparison(t)}: "
        f"{told_counts(t)}, between {told_interval(t)} with confidence {t.confidence:g}"
    )


def _properties(run: GateRun) -> dict[str, str]:
    return {
        "decision": safe_decision(run).value,
        "policy": run.policy_digest,
        "model": run.model_digest,
        "baseline": run.baseline_digest,
        "dataset": run.dataset_digest,
        "run": run.id,
        "attempt": str(run.attempt),
    }


def _xml(text: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
