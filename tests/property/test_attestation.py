"""Any flip of a byte of the payload, of the signature or of a digested file is found, and no bytes raise."""

import json
from functools import lru_cache
from typing import Any

import pytest
from gate_runs import POLICY, decided
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("securesystemslib", reason="attestations need securesystemslib")
pytest.importorskip("cryptography", reason="attestations need cryptography")

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from securesystemslib.dsse import Envelope

from verifier.attestation.signing import sign, verify
from verifier.gate.reports import certificates_sha256
from verifier.wire.certificates import certificate_to_json

KEYS: dict[str, Any] = {
    "ed25519": ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32))),
    "p256": ec.derive_private_key(12345, ec.SECP256R1()),
}
RUN, RECORD, CERTIFICATES = decided()
FILES = {
    "certificates": "".join(f"{certificate_to_json(c)}\n" for c in CERTIFICATES).encode(),
    "policy_text": POLICY.encode(),
    "outcomes": RECORD.to_text().encode(),
}
FLIPS = st.integers(1, 255)


@lru_cache(maxsize=2)
def signed(key: str) -> tuple[bytes, bytes]:
    """(envelope, public key)."""
    pem = KEYS[key].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = KEYS[key].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return sign(RUN, RECORD, certificates_sha256(CERTIFICATES), pem, dataset_size=300), public


def flipped(data: bytes, draw: st.DataObject, flip: int) -> bytes:
    place = draw.draw(st.integers(0, len(data) - 1))
    return data[:place] + bytes([data[place] ^ flip]) + data[place + 1 :]


@pytest.mark.parametrize("key", KEYS)
def test_unchanged_holds(key: str) -> None:
    envelope, public = signed(key)
    assert verify(envelope, public, model_digest=RUN.model_digest, **FILES) == ()  # type: ignore[arg-type]


@pytest.mark.parametrize("key", KEYS)
@given(data=st.data(), flip=FLIPS, where=st.sampled_from(["payload", "signature"]))
def test_a_flip_of_what_is_signed_is_found(key: str, data: st.DataObject, flip: int, where: str) -> None:
    whole, public = signed(key)
    envelope = Envelope.from_dict(json.loads(whole))
    if where == "payload":
        envelope.payload = flipped(envelope.payload, data, flip)
    else:
        (signature,) = envelope.signatures.values()
        signature.signature = flipped(bytes.fromhex(signature.signature), data, flip).hex()
    found = verify(json.dumps(envelope.to_dict()).encode(), public, model_digest=RUN.model_digest)
    assert [finding.check for finding in found] == ["signature"]


@given(data=st.data(), flip=FLIPS, name=st.sampled_from(sorted(FILES)))
def test_a_flip_of_a_digested_file_is_found(data: st.DataObject, flip: int, name: str) -> None:
    envelope, public = signed("ed25519")
    changed = FILES | {name: flipped(FILES[name], data, flip)}
    found = verify(envelope, public, model_digest=RUN.model_digest, **changed)  # type: ignore[arg-type]
    assert [finding.check for finding in found] == [name.removesuffix("_text")]


@given(data=st.data(), flip=FLIPS)
def test_a_flip_of_the_envelope_is_found_or_changes_no_word(data: st.DataObject, flip: int) -> None:
    """White space, and how base64 and JSON are written, may differ; what is signed may not."""
    whole, public = signed("ed25519")
    changed = flipped(whole, data, flip)
    if not verify(changed, public, model_digest=RUN.model_digest):
        assert Envelope.from_dict(json.loads(changed)) == Envelope.from_dict(json.loads(whole))


@given(
    st.binary(max_size=300)
    | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(lambda v: json.dumps(v).encode())
)
def test_strange_bytes_are_a_finding(envelope: bytes) -> None:
    _, public = signed("ed25519")
    assert verify(envelope, public, model_digest=RUN.model_digest)
    assert verify(signed("ed25519")[0], envelope, model_digest=RUN.model_digest)[0].check == "key"
