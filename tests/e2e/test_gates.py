"""Gates over a real port: decided once, in a committed order, told by exit codes, reports and attestations."""

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from e2e.serving import run, server_process

import verifier
from verifier.check import check_all
from verifier.demo.digits import network
from verifier.errors import InvalidProblem, NotFound
from verifier.gate.order import committed_order
from verifier.gate.outcomes import Record, recompute
from verifier.gate.policy import parse_policy
from verifier.gating import Decision, GateRun
from verifier.model import ModelFormat

GOOD, BAD = "digits_gauss050", "digits_std"

POLICY = """
schema_version = 1
name = "digits"
dataset = "digits"
confidence = 0.95

[method]
name = "smoothing"
sigma = 0.5
n0 = 50
n = 2000
decide = [0.25]

[[threshold]]
metric = "certified_accuracy"
norm = "l2"
radius = 0.25
at_least = {floor}
"""
CLEAR = POLICY.format(floor=0.5)
"""About 0.85 of the good network's digits are certified, and 0.1 of the other's: hundreds of inputs leave no doubt."""

SURE = POLICY.format(floor=0.8).replace("0.95", "0.999999")
UNDECIDABLE = SURE + "[selection]\nsample = 10\n"
"""Ten of ten would not pass; none of ten would fail, and has probability 1e-8."""
FULL = (
    POLICY.format(floor=0.4).replace("decide = [0.25]", "")
    + """
[[threshold]]
metric = "clean_accuracy"
at_least = 0.7

[[threshold]]
metric = "abstention_rate"
at_most = 0.5

[[threshold]]
metric = "regression"
norm = "l2"
radius = 0.25
at_most = 0.1
"""
)


class Served:
    """A server process, a client, and files to give to commands."""

    def __init__(self, address: str, folder: Path, client: verifier.Client) -> None:
        self.address = address
        self.folder = folder
        self.client = client

    def decide(self, policy: str, model: str, baseline: str = "", **options: Any) -> GateRun:
        decided = list(self.client.gates.run(policy, model, baseline, **options))[-1].run
        assert decided is not None
        return decided

    def gate(self, policy: str, *options: str) -> "subprocess.CompletedProcess[str]":
        file = self.folder / "gate.toml"
        file.write_text(policy)
        return run("gate", "run", "--policy", str(file), "--server", self.address, *options)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, digits: Any, register_digits: Any) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("gates")
    np.save(folder / "x.npy", digits.x)
    np.save(folder / "y.npy", digits.y)
    with server_process(folder / "data") as process, verifier.connect(process.address) as client:
        register_digits(client)
        client.datasets.add("digits", folder / "x.npy", folder / "y.npy")
        yield Served(process.address, folder, client)


def test_a_clear_pass_and_a_clear_fail_use_few_inputs(served: Served) -> None:
    good, bad = served.decide(CLEAR, GOOD), served.decide(CLEAR, BAD)
    assert (good.decision, bad.decision) == (Decision.PASS, Decision.FAIL)
    assert good.used < 150
    assert bad.used < 150
    assert good.forward_passes < good.forward_passes_all / 2
    assert good.thresholds[0].lower >= 0.5 > bad.thresholds[0].upper


def test_everything_follows_from_the_record(served: Served) -> None:
    decided = served.decide(FULL, GOOD, BAD)
    evidence = served.client.gates.evidence(decided.id)
    again = recompute(decided.policy_text, evidence.record, decided.delta)
    assert (again.decision, again.thresholds) == (decided.decision, decided.thresholds)
    assert again.counts_digest == decided.counts_digest
    record = Record.of_text(evidence.record)
    assert record.follows(committed_order(parse_policy(FULL), evidence.dataset_size, decided.order_seed).tolist())
    assert check_all(evidence.certificates).holds
    assert [c.index for c in evidence.certificates] == [outcome.index for outcome in record.outcomes]
    assert len(evidence.shown) == 12
    assert {t.metric for t in decided.thresholds} == {
        "certified_accuracy", "clean_accuracy", "abstention_rate", "regression",
    }  # fmt: skip


def test_a_decision_stands_until_another_attempt_is_asked_for(served: Served) -> None:
    first = served.decide(CLEAR, GOOD)
    again = list(served.client.gates.run(CLEAR, GOOD))[-1]
    assert again.stored
    assert again.run == first
    forced = served.decide(CLEAR, GOOD, force=True)
    assert (forced.attempt, forced.id != first.id) == (first.attempt + 1, True)
    assert forced.delta == pytest.approx(0.05 / (forced.attempt * (forced.attempt + 1)), rel=1e-9)
    assert forced.order_seed != first.order_seed
    assert served.client.gates.get(forced.id) == forced
    assert served.client.gates.list()[0].id == forced.id


def test_poisonous_inputs_count_as_wrong(served: Served, tmp_path: Path, digits: Any) -> None:
    x = digits.x[:100].copy()
    x[::2] = np.nan
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", digits.y[:100])
    served.client.datasets.add("half", tmp_path / "x.npy", tmp_path / "y.npy")
    decided = served.decide(POLICY.format(floor=0.9).replace('"digits"\nconf', '"half"\nconf'), GOOD)
    assert decided.decision is Decision.FAIL


def test_a_borderline_model_is_inconclusive(served: Served) -> None:
    decided = served.decide(UNDECIDABLE, GOOD)
    assert (decided.decision, decided.used) == (Decision.INCONCLUSIVE, 10)


def test_a_deterministic_gate(served: Served) -> None:
    policy = """
schema_version = 1
name = "bounds"
dataset = "digits"
confidence = 0.9
max_inputs = 60
[method]
name = "ibp"
[[threshold]]
metric = "certified_accuracy"
norm = "linf"
radius = 0.0001
at_least = 0.5
[[threshold]]
metric = "clean_accuracy"
at_least = 0.6
"""
    decided = served.decide(policy, GOOD)
    assert decided.decision is Decision.PASS
    assert decided.alpha == 0


@pytest.mark.parametrize(
    ("policy", "baseline", "error", "says"),
    [
        ("schema_version = 1\nname = 3", "", InvalidProblem, "line|gate.toml:2"),
        (CLEAR.replace('"digits"\nconf', '"nothing"\nconf'), "", NotFound, "nothing"),
        (CLEAR, BAD, InvalidProblem, "compares nothing"),
        (FULL, "", InvalidProblem, "name one"),
    ],
    ids=["policy", "data set", "baseline", "no baseline"],
)
def test_what_cannot_be_decided_is_refused(
    served: Served, policy: str, baseline: str, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        served.decide(policy, GOOD, baseline)


# -- the command


def keys(folder: Path) -> tuple[Path, Path]:
    key = Ed25519PrivateKey.generate()
    private, public = folder / "key.pem", folder / "pub.pem"
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    public.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return private, public


def test_exit_codes(served: Served) -> None:
    """0 pass, 1 fail, 2 usage, 3 inconclusive, and never 0 in doubt."""
    assert served.gate(CLEAR, "--model", GOOD).returncode == 0
    assert served.gate(CLEAR, "--model", BAD).returncode == 1
    assert served.gate("name = ", "--model", GOOD).returncode == 2
    assert served.gate(CLEAR, "--model", "nobody").returncode == 2
    assert served.gate(UNDECIDABLE, "--model", GOOD).returncode == 3
    away = run("gate", "run", "--policy", str(served.folder / "gate.toml"), "--model", GOOD, "--server", "127.0.0.1:1")
    assert away.returncode == 3
    assert "Traceback" not in away.stderr


def test_reports_and_attestation(served: Served, tmp_path: Path) -> None:
    private, public = keys(tmp_path)
    reports = tmp_path / "reports"
    model = served.client.models.get(GOOD)
    named = f"{GOOD}@{model.digest[:12]}"
    done = served.gate(CLEAR, "--model", named, "--report-dir", str(reports), "--sign", str(private))
    assert done.returncode == 0, done.stderr
    facts = json.loads((reports / "report.json").read_text())
    assert facts["decision"] == "pass"
    assert facts["metrics"]["certified_accuracy_l2_0.25"]["decision"] == "pass"
    assert facts["model"]["digest"] == model.digest
    assert {path.name for path in reports.iterdir()} == {
        "report.json", "junit.xml", "summary.md", "report.html", "certificates.jsonl", "outcomes.jsonl",
        "attestation.json",
    }  # fmt: skip
    verify = [
        "attest", "verify", str(reports / "attestation.json"), "--key", str(public), "--model", model.digest,
        "--certificates", str(reports / "certificates.jsonl"), "--policy", str(served.folder / "gate.toml"),
    ]  # fmt: skip
    held = run(*verify)
    assert (held.returncode, "everything holds" in held.stdout) == (0, True)
    certificates = (reports / "certificates.jsonl").read_text()
    (reports / "certificates.jsonl").write_text(certificates.replace("0.25", "0.35", 1))
    changed = run(*verify)
    assert changed.returncode == 1
    assert "certificates: the file's SHA-256 is" in changed.stdout


def test_another_version_under_the_name_is_no_pass(served: Served) -> None:
    other = served.client.models.get(BAD).digest
    done = served.gate(CLEAR, "--model", f"{GOOD}@{other[:12]}")
    assert (done.returncode, "name the version that you mean" in done.stderr) == (2, True)


def test_a_killed_gate_goes_on_with_the_same_outcomes(tmp_path: Path, digits: Any, register_digits: Any) -> None:
    """The seeds are the run's, drawn when it was opened: whoever goes on comes to what would have come."""
    np.save(tmp_path / "x.npy", digits.x)
    np.save(tmp_path / "y.npy", digits.y)
    slow = SURE.replace("n = 2000\ndecide = [0.25]", "n = 20000")
    data_dir = tmp_path / "data"
    with server_process(data_dir) as process, verifier.connect(process.address) as client:
        register_digits(client)
        client.datasets.add("digits", tmp_path / "x.npy", tmp_path / "y.npy")
        for progress in client.gates.run(slow, GOOD):
            if progress.used >= 20:
                break
        process.kill()
    with server_process(data_dir) as process, verifier.connect(process.address) as client:
        assert client.gates.list() == []  # an open run is no decision
        decided = list(client.gates.run(slow, GOOD))[-1].run
        assert decided is not None
        assert decided.attempt == 1
        evidence = client.gates.evidence(decided.id)
        assert {c.sampling.attempt.number for c in evidence.certificates if c.sampling.attempt} == {1}


# -- the examples of the documentation


README = Path(__file__).resolve().parents[2] / "README.md"


def test_the_examples_of_the_readme_do_what_they_say(served: Served, tmp_path: Path) -> None:
    """The policy, the step of GitHub Actions and the container of Argo Rollouts, as they stand there."""
    text = README.read_text()
    policies = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "gate.toml").write_text(policies[0])
    keys(tmp_path)
    served.client.models.add("mine", onnx=network(GOOD, ModelFormat.ONNX), input_range=(0.0, 1.0))
    (step,) = re.findall(r"^\s+(verifier gate run .*)$", text, re.MULTILINE)
    command = shlex.split(step.replace("$VERIFIER", served.address))
    done = run(*command[1:], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "gate-report" / "summary.md").read_text().count("pass") >= 1
    (container,) = re.findall(r"command: \[(verifier, gate, run, .*)\]", text)
    words = [word.strip('"') for word in container.split(", ")]
    swapped = {"{{args.model}}": "mine", "verifier:50051": served.address}
    assert swapped.keys() <= set(words)
    done = run(*[swapped.get(word, word) for word in words[1:]], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (verify,) = re.findall(r"`(verifier attest verify [^`]*)`", text.replace("\n", " "))
    (tmp_path / "net.onnx").write_bytes(network(GOOD, ModelFormat.ONNX).read_bytes())
    done = run(*shlex.split(verify)[1:], cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
