"""A signed decision is checked from its counts alone, and nothing that does not hold is signed or passes."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gate_runs import POLICY, decided

pytest.importorskip("securesystemslib", reason="attestations need securesystemslib")
pytest.importorskip("cryptography", reason="attestations need cryptography")

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]

from verifier.attestation.findings import Finding
from verifier.attestation.model_file import model_digest_of
from verifier.attestation.signing import PAYLOAD_TYPE, authentic, sign, verify
from verifier.attestation.statement import EXTENSION
from verifier.errors import InvalidProblem, Unsound
from verifier.gate.outcomes import Record, recompute
from verifier.gate.reports import certificates_sha256
from verifier.gating import Decision, GateRun
from verifier.model import Manifest, ModelFormat, ModelSource
from verifier.stats.multiplicity import attempt_delta
from verifier.wire.certificates import certificate_to_json

ED25519 = ed25519.Ed25519PrivateKey.generate()
P256 = ec.generate_private_key(ec.SECP256R1())
MANIFEST = Manifest("5e" * 32, ModelSource(ModelFormat.ONNX), None, "converter 1", (8, 8), 10)

RUN, RECORD, CERTIFICATES = decided()
SHA = certificates_sha256(CERTIFICATES)
FILE = "".join(f"{certificate_to_json(c)}\n" for c in CERTIFICATES).encode()


def private(key: Any, password: bytes | None = None) -> bytes:
    encryption = NoEncryption() if password is None else BestAvailableEncryption(password)
    return bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))


def public(key: Any) -> bytes:
    return bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


SIGNED = sign(RUN, RECORD, SHA, private(ED25519), dataset_size=300)
PAYLOAD = Envelope.from_dict(json.loads(SIGNED)).payload


def signed_by_hand(payload: bytes, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """What an owner of the key could sign, without our checks."""
    envelope = Envelope(payload, payload_type, {})
    envelope.sign(CryptoSigner(ED25519))
    return json.dumps(envelope.to_dict()).encode()


def checks(envelope: bytes, **given: Any) -> list[str]:
    given = {"model_digest": RUN.model_digest} | given
    return sorted({finding.check for finding in verify(envelope, public(ED25519), **given)})


@pytest.mark.parametrize("key", [ED25519, P256], ids=["ed25519", "p256"])
def test_what_was_signed_holds(key: Any) -> None:
    envelope = sign(RUN, RECORD, SHA, private(key))
    found = verify(
        envelope,
        public(key),
        model_digest=RUN.model_digest,
        certificates=FILE,
        policy_text=POLICY.encode(),
        outcomes=RECORD.to_text().encode(),
    )
    assert found == ()
    assert authentic(envelope, public(key)).run == RUN
    assert [f.check for f in verify(envelope, public(ED25519 if key is P256 else P256), model_digest="")] == [
        "signature"
    ]


@pytest.mark.parametrize(
    ("gate", "result"),
    [
        (decided(), "PASSED"),
        (decided(policy_text=POLICY.replace("0.60", "0.99")), "FAILED"),
        (decided(12, policy_text=POLICY.replace("0.60", "0.80")), "FAILED"),
    ],
    ids=["pass", "fail", "inconclusive"],
)
def test_other_tools_read_the_result(gate: tuple[GateRun, Record, Any], result: str) -> None:
    run, record, certificates = gate
    envelope = sign(run, record, certificates_sha256(certificates), private(ED25519))
    statement = json.loads(Envelope.from_dict(json.loads(envelope)).payload)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://in-toto.io/attestation/test-result/v0.1"
    assert statement["subject"] == [{"name": run.model, "digest": {"sha256": run.model_digest}}]
    assert statement["predicate"]["result"] == result
    assert [d["digest"]["sha256"] for d in statement["predicate"]["configuration"]] == [
        *(run.policy_digest, run.dataset_digest)
    ]
    assert verify(envelope, public(ED25519), model_digest=run.model_digest) == ()


def test_the_three_decisions_occur() -> None:
    texts = (POLICY, POLICY.replace("0.60", "0.99"))
    assert [decided(policy_text=text)[0].decision for text in texts] == [Decision.PASS, Decision.FAIL]
    assert decided(12, policy_text=POLICY.replace("0.60", "0.80"))[0].decision is Decision.INCONCLUSIVE


# -- keys ------------------------------------------------------------------------------------------------


def test_an_encrypted_key_needs_its_password() -> None:
    pem = private(P256, b"secret")
    with pytest.raises(InvalidProblem, match="encrypted: give its password") as caught:
        sign(RUN, RECORD, SHA, pem)
    assert caught.value.reason == "KEY_ENCRYPTED"
    with pytest.raises(InvalidProblem, match="the password is wrong"):
        sign(RUN, RECORD, SHA, pem, password=b"guess")
    with pytest.raises(InvalidProblem, match="is not encrypted"):
        sign(RUN, RECORD, SHA, private(P256), password=b"guess")
    envelope = sign(RUN, RECORD, SHA, pem, password=b"secret")
    assert verify(envelope, public(P256), model_digest=RUN.model_digest) == ()


@pytest.mark.parametrize(
    ("pem", "message"),
    [
        (b"", "no PEM private key"),
        (b"\x00" * 100_000, "no PEM private key"),
        (public(ED25519), "is a public key"),
        (private(ec.generate_private_key(ec.SECP384R1())), "P-256, got"),
        (private(rsa.generate_private_key(65537, 2048)), "P-256, got"),
    ],
)
def test_other_keys_do_not_sign(pem: bytes, message: str) -> None:
    with pytest.raises(InvalidProblem, match=message):
        sign(RUN, RECORD, SHA, pem)


@pytest.mark.parametrize("pem", [b"", b"-----BEGIN PUBLIC KEY-----", private(ED25519), private(P256)])
def test_other_keys_do_not_verify(pem: bytes) -> None:
    assert [f.check for f in verify(SIGNED, pem, model_digest=RUN.model_digest)] == ["key"]


# -- what is not signed ----------------------------------------------------------------------------------


FALSE: list[Callable[[GateRun], GateRun]] = [
    lambda run: replace(run, decision=Decision.FAIL),
    lambda run: replace(run, delta=0.06),
    lambda run: replace(run, attempt=2),
    lambda run: replace(run, alpha=0.0001),
    lambda run: replace(run, used=run.used + 1),
    lambda run: replace(run, forward_passes=1),
    lambda run: replace(run, policy_text=POLICY.replace("0.60", "0.50")),
    lambda run: replace(run, counts_digest="00" * 32),
    lambda run: replace(run, model_digest="digits"),
    lambda run: replace(run, order_seed=43),
    lambda run: replace(run, thresholds=run.thresholds[:1]),
    lambda run: replace(run, thresholds=(replace(run.thresholds[0], lower=0.99), *run.thresholds[1:])),
    lambda run: replace(run, thresholds=(replace(run.thresholds[0], upper=0.1), *run.thresholds[1:])),
    lambda run: replace(run, thresholds=(replace(run.thresholds[0], confidence=0.999), *run.thresholds[1:])),
    lambda run: replace(run, thresholds=(replace(run.thresholds[0], at_least=0.1), *run.thresholds[1:])),
    lambda run: replace(run, thresholds=(replace(run.thresholds[0], successes=299), *run.thresholds[1:])),
    lambda run: replace(run, thresholds=(replace(run.thresholds[0], lower=float("nan")), *run.thresholds[1:])),
]


@pytest.mark.parametrize("change", FALSE, ids=range(len(FALSE)))
def test_what_does_not_follow_is_not_signed(change: Callable[[GateRun], GateRun]) -> None:
    with pytest.raises(Unsound, match="not signed"):
        sign(change(RUN), RECORD, SHA, private(ED25519), dataset_size=300)


def test_outcomes_out_of_order_are_not_signed() -> None:
    first, second, *rest = RECORD.outcomes
    swapped = Record(RECORD.census, (replace(second, position=0), replace(first, position=1), *rest))
    run = replace(RUN, counts_digest=swapped.digest)
    with pytest.raises(Unsound, match="order: the inputs are not the first"):
        sign(run, swapped, SHA, private(ED25519), dataset_size=300)


def test_a_further_attempt_is_held_to_its_own_delta() -> None:
    delta = attempt_delta(0.05, 3)
    run, record, certificates = decided(attempt=3, delta=delta)
    envelope = sign(run, record, certificates_sha256(certificates), private(ED25519))
    assert verify(envelope, public(ED25519), model_digest=run.model_digest) == ()
    with pytest.raises(Unsound, match="error: delta"):
        sign(replace(RUN, attempt=3), RECORD, SHA, private(ED25519))


# -- what the owner of a key may lie about ---------------------------------------------------------------


def changed(path: list[Any], value: Any) -> bytes:
    statement = json.loads(PAYLOAD)
    *parents, last = path
    place = statement
    for name in parents:
        place = place[name]
    place[last] = value
    return signed_by_hand(json.dumps(statement).encode())


INSIDE = ["predicate", EXTENSION]


@pytest.mark.parametrize(
    ("path", "value", "check"),
    [
        (["_type"], "other", "statement"),
        (["predicateType"], "other", "statement"),
        (["subject"], [], "statement"),
        (["subject", 0, "digest", "sha256"], "00" * 32, "statement"),
        (["predicate", "result"], "WARNED", "statement"),
        (["predicate", "failedTests"], ["x"], "statement"),
        (["predicate", "configuration", 0, "digest", "sha256"], "00" * 32, "statement"),
        (["predicate", "url"], "x", "statement"),
        (INSIDE, None, "statement"),
        ([*INSIDE, "schema_version"], 2, "statement"),
        ([*INSIDE, "run", "used"], True, "statement"),
        ([*INSIDE, "run", "used"], "30", "statement"),
        ([*INSIDE, "run", "delta"], None, "statement"),
        ([*INSIDE, "run", "thresholds", 0, "decision"], "maybe", "statement"),
        ([*INSIDE, "run", "thresholds", 0, "lower"], 0.999, "bounds"),
        ([*INSIDE, "run", "reason"], "another", None),
        ([*INSIDE, "counts", "outcomes"], {}, "statement"),
        ([*INSIDE, "counts", "outcomes", "radius"], [1.0], "statement"),
        ([*INSIDE, "counts", "outcomes", "radius", 0], 9.0, "outcomes"),
        ([*INSIDE, "counts", "outcomes", "radius", 0], -1.0, "outcomes"),
        ([*INSIDE, "counts", "census", "inputs"], 10**12, "statement"),
        ([*INSIDE, "dataset_size"], 301, "order"),
        ([*INSIDE, "dataset_size"], 10**12, "order"),
        ([*INSIDE, "dataset_size"], -1, "order"),
        ([*INSIDE, "certificates_sha256"], "none", "certificates"),
        ([*INSIDE, "model_manifest"], "{}", "model"),
        ([*INSIDE, "run", "dataset_digest"], "x", "statement"),
    ],
)
def test_a_rightly_signed_lie_is_found(path: list[Any], value: Any, check: str | None) -> None:
    envelope = changed(path, value)
    assert (checks(envelope) == []) if check is None else (check in checks(envelope))


def test_a_huge_data_set_is_refused_and_not_computed() -> None:
    statement = json.loads(PAYLOAD)
    census = statement["predicate"][EXTENSION]["counts"]["census"]
    census["labels"][0] += 10**12 - census["inputs"]
    census["inputs"] = 10**12
    assert "decision" in checks(signed_by_hand(json.dumps(statement).encode()))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"payload": 1, "payloadType": 2, "signatures": 3}',
        b'{"payload": "", "payloadType": null, "signatures": []}',
        b'{"payload": "e30=", "payloadType": "x", "signatures": [{"keyid": [], "sig": "e30="}]}',
        b'{"payload": "e30=", "payloadType": "application/vnd.in-toto+json", "signatures": [7]}',
        b'{"payload": "e30=", "payload": "e30="}',
        b'{"payload": NaN}',
        SIGNED[:-20],
    ],
    ids=lambda data: repr(data[:60]),
)
def test_what_is_no_envelope_is_a_finding(data: bytes) -> None:
    assert checks(data) == ["envelope"]


@pytest.mark.parametrize("payload", [b"", b"\xff", b"null", b"{}", b"[" * 100_000, b'{"predicate": []}', b"9" * 5000])
def test_a_signed_payload_that_is_no_statement_is_a_finding(payload: bytes) -> None:
    assert checks(signed_by_hand(payload)) == ["statement"]


def test_another_type_of_payload_is_a_finding() -> None:
    assert checks(signed_by_hand(PAYLOAD, "text/plain")) == ["envelope"]


def test_nobody_signed() -> None:
    envelope = json.loads(SIGNED) | {"signatures": []}
    assert checks(json.dumps(envelope).encode()) == ["signature"]


# -- files and models ------------------------------------------------------------------------------------


def test_each_given_file_is_compared(tmp_path: Path) -> None:
    assert checks(SIGNED, model_digest="00" * 32) == ["model"]
    assert checks(SIGNED, model_digest=RUN.model_digest.upper()) == []
    assert checks(SIGNED, policy_text=POLICY.encode() + b"\n") == ["policy"]
    assert checks(SIGNED, outcomes=b"") == ["outcomes"]
    assert checks(SIGNED, certificates=FILE[:-1]) == ["certificates"]
    (tmp_path / "c.jsonl").write_bytes(FILE)
    assert checks(SIGNED, certificates=tmp_path / "c.jsonl") == []
    assert checks(SIGNED, certificates=tmp_path / "none") == ["certificates"]
    with pytest.raises(InvalidProblem, match="name the model"):
        verify(SIGNED, public(ED25519))


def test_a_model_file_is_compared_through_the_manifest(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(b"weights")
    manifest = replace(MANIFEST, weights_sha256=hashlib.sha256(b"weights").hexdigest())
    run, record, certificates = decided(model_digest=manifest.digest)
    envelope = sign(run, record, certificates_sha256(certificates), private(ED25519), model_manifest=manifest.to_json())
    assert verify(envelope, public(ED25519), model_file=file) == ()
    file.write_bytes(b"Weights")
    assert checks(envelope, model_digest=None, model_file=file) == ["model"]
    assert checks(envelope, model_digest=None, model_file=tmp_path / "none") == ["model"]
    assert checks(SIGNED, model_file=file) == ["model"]  # signed without a manifest
    with pytest.raises(Unsound, match="model: the manifest"):
        sign(RUN, RECORD, SHA, private(ED25519), model_manifest=manifest.to_json())


def test_the_digest_of_a_model_file_is_that_of_registration() -> None:
    torch = pytest.importorskip("torch", reason="reading a model needs torch")
    import verifier.demo
    from verifier.models.loading import load

    path = Path(verifier.demo.__file__).parent / "digits_gauss050.onnx"
    expected = load(path.read_bytes(), ModelSource(ModelFormat.ONNX), torch.device("cpu")).manifest.digest
    assert model_digest_of(path) == expected
    with pytest.raises(InvalidProblem, match="cannot read"):
        model_digest_of(path / "none")


def test_certificates_must_bear_out_the_outcomes() -> None:
    """Signed with certificates that are whole by themselves, but prove less than the outcomes claim."""
    right = next(o for o in RECORD.outcomes if o.prediction is not None and o.radius > 0)
    without = [c for c in CERTIFICATES if c.index != right.index]
    smaller = [replace(c, radius=c.radius / 2) if c.index == right.index else c for c in CERTIFICATES]
    larger = [replace(c, radius=c.radius * 2) if c.index == right.index else c for c in CERTIFICATES]
    others = [replace(c, subject=replace(c.subject, model_digest="00" * 32)) for c in CERTIFICATES]
    for certificates in (without, smaller, larger, others):
        lines = "".join(f"{certificate_to_json(c)}\n" for c in certificates).encode()
        envelope = sign(RUN, RECORD, certificates_sha256(certificates), private(ED25519))
        assert checks(envelope) == []
        assert checks(envelope, certificates=lines) == ["certificates"]


def test_findings_say_what_does_not_hold() -> None:
    envelope = changed([*INSIDE, "run", "thresholds", 0, "lower"], 0.999)
    (finding,) = verify(envelope, public(ED25519), model_digest=RUN.model_digest)
    computed = RUN.thresholds[0].lower
    assert finding == Finding("bounds", f"{RUN.thresholds[0].name}: the lower bound is {computed!r}, stated is 0.999")


REGRESSION = '\n[[threshold]]\nmetric = "regression"\nnorm = "l2"\nradius = 0.25\nat_most = 0.1\n'


def test_a_comparison_with_a_baseline_is_decided_again() -> None:
    run, record, certificates = decided(policy_text=POLICY + REGRESSION, baseline="old", baseline_digest="0b" * 32)
    envelope = sign(run, record, certificates_sha256(certificates), private(ED25519))
    assert verify(envelope, public(ED25519), model_digest=run.model_digest) == ()
    assert authentic(envelope, public(ED25519)).run.thresholds[2].gained is not None


def test_a_gate_that_consumed_nothing_can_be_signed_as_inconclusive() -> None:
    record = Record(RECORD.census, ())
    again = recompute(POLICY, record.to_text(), 0.05)
    run = replace(
        RUN,
        decision=Decision.INCONCLUSIVE,
        thresholds=again.thresholds,
        used=0,
        forward_passes=0,
        counts_digest=record.digest,
    )
    envelope = sign(run, record, certificates_sha256([]), private(ED25519), dataset_size=300)
    assert verify(envelope, public(ED25519), model_digest=run.model_digest, certificates=b"") == ()
