"""Signing what a gate decided, and finding out offline whether a signed decision holds."""

import hashlib
import json
from pathlib import Path
from typing import Any

from verifier.attestation.findings import (
    Finding,
    certificate_findings,
    decision_findings,
    digest_findings,
    model_file_finding,
)
from verifier.attestation.keys import public_key_of, require_libraries, signer_of
from verifier.attestation.reading import parse
from verifier.attestation.statement import Claims, claims_of, payload_of, sha256
from verifier.certificate import SHA256
from verifier.errors import InvalidProblem, Unsound, Unsupported, VerifierError
from verifier.gate.outcomes import Record
from verifier.gating import GateRun
from verifier.wire.certificates import certificates_from_lines

PAYLOAD_TYPE = "application/vnd.in-toto+json"

MAX_ENVELOPE_BYTES = 64 * 2**20
MAX_POLICY_BYTES = 2**20
MAX_OUTCOMES_BYTES = 2**30
MAX_CERTIFICATES_BYTES = 4 * 2**30
"""What is larger is not read, and counts as not holding."""

MOST_FINDINGS = 100
"""More of them say nothing new."""


def sign(
    run: GateRun,
    record: Record,
    certificates_sha256: str,
    key_pem: bytes,
    *,
    password: bytes | None = None,
    model_manifest: str | None = None,
    dataset_size: int | None = None,
) -> bytes:
    """A DSSE envelope, as JSON, around the in-toto Statement of a run.

    Nothing is signed that does not hold: what `verify` would find is found here first.

    Args:
        run: what was decided.
        record: what it was decided from.
        certificates_sha256: of certificates.jsonl (`gate.reports.certificates_sha256`).
        key_pem: private key, ed25519 or ECDSA P-256.
        password: of the key, where it is encrypted.
        model_manifest: `Manifest.to_json()` of the model; with it, a model's file can be verified offline.
        dataset_size: inputs of the data set; with it, the committed order can be verified offline.
    Raises:
        InvalidProblem: the key is no such key, or encrypted without a password.
        Unsound: the run's statements do not follow from its record. Nothing was signed.
        Unsupported: the libraries are not installed.
    """
    signer = signer_of(key_pem, password)
    from securesystemslib.dsse import Envelope

    try:
        payload = payload_of(Claims(run, record, certificates_sha256, model_manifest, dataset_size))
        claims = claims_of(payload)
    except (VerifierError, ValueError, TypeError) as error:
        raise Unsound(f"the run cannot be stated, and was not signed: {error}") from None
    found = [*digest_findings(claims), *decision_findings(claims)]
    if found:
        raise Unsound(f"the run was not signed: {found[0].check}: {found[0].message}")
    envelope = Envelope(payload, PAYLOAD_TYPE, {})
    envelope.sign(signer)
    return json.dumps(envelope.to_dict(), sort_keys=True).encode() + b"\n"


def verify(
    envelope: bytes,
    public_key_pem: bytes,
    *,
    model_digest: str | None = None,
    model_file: Path | None = None,
    certificates: bytes | Path | None = None,
    policy_text: bytes | None = None,
    outcomes: bytes | None = None,
) -> tuple[Finding, ...]:
    """Everything that does not hold; empty only where all of it holds. Works offline.

    The signature is checked first, and nothing behind a wrong one is looked at. Then every digest, in the statement and
    of what is given beside it; then policy and counts decide again, and every stated bound is compared. What is not
    given is not compared. At most `MOST_FINDINGS` are returned.

    Args:
        envelope: from `sign`, or from a stranger: nothing in it raises.
        public_key_pem: whose signature counts.
        model_digest: of the model that the attestation must be about; or
        model_file: its file, ONNX or safetensors. One of the two at least.
        certificates: bytes or path of certificates.jsonl; each certificate is checked again, and each
            outcome against it.
        policy_text: bytes of the policy's file.
        outcomes: bytes of outcomes.jsonl.
    Raises:
        InvalidProblem: neither a model's digest nor its file is given.
        Unsupported: the libraries are not installed.
    """
    if model_digest is None and model_file is None:
        raise InvalidProblem("name the model that the attestation must be about: its digest or its file", field="model")
    require_libraries()
    try:
        claims = _authentic_claims(envelope, public_key_pem)
        if isinstance(claims, Finding):
            return (claims,)
        found = list(digest_findings(claims))
        found += _subject_findings(claims, model_digest, model_file)
        found += _file_findings(claims, policy_text, outcomes)
        found += [] if certificates is None else _certificates_findings(claims, certificates)
        found += decision_findings(claims)
    except Unsupported:
        raise
    except Exception as error:  # a stranger's bytes: whatever happens, they were not verified
        return (Finding("statement", f"it could not be verified: {type(error).__name__}: {str(error)[:300]}"),)
    return tuple(found[:MOST_FINDINGS])


def authentic(envelope: bytes, public_key_pem: bytes) -> Claims:
    """The claims of an envelope whose signature is right, to show them; whether they hold, `verify` tells.

    Raises:
        InvalidProblem: the envelope, the key, the signature or the statement is not right.
    """
    claims = _authentic_claims(envelope, public_key_pem)
    if isinstance(claims, Finding):
        raise InvalidProblem(f"{claims.check}: {claims.message}", field=claims.check)
    return claims


def _authentic_claims(envelope: bytes, public_key_pem: bytes) -> Claims | Finding:
    try:
        key = public_key_of(public_key_pem)
    except InvalidProblem as error:
        return Finding("key", error.message)
    payload = _signed_payload(envelope, key)
    if isinstance(payload, Finding):
        return payload
    try:
        return claims_of(payload)
    except VerifierError as error:
        return Finding("statement", error.message)


def _signed_payload(data: bytes, key: Any) -> bytes | Finding:
    """The payload of an envelope that this key has signed."""
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import VerificationError

    if len(data) > MAX_ENVELOPE_BYTES:
        return Finding("envelope", f"it has {len(data)} bytes; at most {MAX_ENVELOPE_BYTES} are read")
    try:
        envelope = Envelope.from_dict(parse(data, "envelope"))
        if envelope.payload_type != PAYLOAD_TYPE:
            return Finding("envelope", f"its payload must be {PAYLOAD_TYPE}, got {str(envelope.payload_type)[:80]!r}")
        envelope.verify([key], 1)
    except InvalidProblem as error:
        return Finding("envelope", error.message)
    except VerificationError:
        signers = ", ".join(sorted(str(keyid)[:16] for keyid in envelope.signatures)) or "nobody"
        return Finding(
            "signature", f"no signature of the key {key.keyid[:16]} fits the payload; signed by {signers[:200]}"
        )
    except Exception as error:  # the library raises what the stranger's types make it raise
        return Finding("envelope", f"it is no DSSE envelope: {type(error).__name__}: {str(error)[:200]}")
    return bytes(envelope.payload)


def _subject_findings(claims: Claims, model_digest: str | None, model_file: Path | None) -> list[Finding]:
    found = []
    if model_digest is not None and model_digest.lower() != claims.run.model_digest:
        hint = "" if SHA256.fullmatch(model_digest.lower()) else ", which is no SHA-256 in hex"
        found.append(Finding("model", f"the subject is {claims.run.model_digest}, asked is {model_digest[:80]}{hint}"))
    if model_file is not None:
        try:
            with model_file.open("rb") as file:
                weights = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            return [*found, Finding("model", f"its file cannot be read: {error.strerror or error}")]
        found += model_file_finding(claims, weights)
    return found


def _file_findings(claims: Claims, policy_text: bytes | None, outcomes: bytes | None) -> list[Finding]:
    given = (
        ("policy", policy_text, claims.run.policy_digest, MAX_POLICY_BYTES),
        ("outcomes", outcomes, claims.run.counts_digest, MAX_OUTCOMES_BYTES),
    )
    return [
        _wrong_file(check, sha256(data) if len(data) <= most else "that of too large a file", stated)
        for check, data, stated, most in given
        if data is not None and (len(data) > most or sha256(data) != stated)
    ]


def _certificates_findings(claims: Claims, certificates: bytes | Path) -> list[Finding]:
    """The digest first; only certificates that are the signed ones are looked at."""
    try:
        if isinstance(certificates, Path):
            if certificates.stat().st_size > MAX_CERTIFICATES_BYTES:
                return [
                    Finding("certificates", f"the file is larger than the {MAX_CERTIFICATES_BYTES} bytes that are read")
                ]
            certificates = certificates.read_bytes()
    except OSError as error:
        return [Finding("certificates", f"the file cannot be read: {error.strerror or error}")]
    digest = sha256(certificates)
    if digest != claims.certificates_sha256:
        return [_wrong_file("certificates", digest, claims.certificates_sha256)]
    try:
        read = certificates_from_lines(certificates.decode().splitlines())
    except (VerifierError, ValueError) as error:
        return [Finding("certificates", f"the file cannot be read: {error}")]
    return list(certificate_findings(claims, read))


def _wrong_file(check: str, digest: str, stated: str) -> Finding:
    return Finding(check, f"the file's SHA-256 is {digest}, signed is {stated}")
