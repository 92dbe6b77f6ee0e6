"""`verifier gate` and `verifier attest`."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from verifier.cli.options import open_client, service_options, split_service
from verifier.client.client import Client
from verifier.errors import InvalidProblem, NotFound, Unsupported, VerifierError
from verifier.gating import GateEvidence, GateRun

EXIT_DOES_NOT_HOLD, EXIT_INCONCLUSIVE = 1, 3


@click.group()
def gate() -> None:
    """Decide whether a model version may go live (docs/gates.md).

    Exit codes of `run`: 0 pass, 1 fail, 2 usage, 3 inconclusive or anything else: never 0 in doubt.
    """


@gate.command("check-policy")
@click.argument("policy", type=click.Path(path_type=Path))
def check_policy(policy: Path) -> None:
    """Check a policy file; every mistake with its line and field."""
    from verifier.gate.policy import parse_policy

    parsed = parse_policy(_text(policy), str(policy))
    click.echo(f"{policy}: {parsed.name!r} asks {len(parsed.thresholds)} thresholds of data set {parsed.dataset!r}")


@gate.command()
@click.option("--policy", required=True, type=click.Path(path_type=Path), help="TOML; see docs/gates.md.")
@click.option("--model", required=True, help="NAME, NAME@DIGEST or digest.")
@click.option("--baseline", default="", help="Likewise; where the policy compares.")
@click.option(
    "--force", is_flag=True, help="Make a further attempt, with a smaller delta, although there is a decision."
)
@click.option("--report-dir", type=click.Path(path_type=Path), help="Write report.json, junit.xml, report.html, ...")
@click.option("--sign", type=click.Path(path_type=Path), help="Private key, PEM: write attestation.json too.")
@click.option("--json", "as_json", is_flag=True, help="Print the run as JSON.")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors; the exit code tells.")
@service_options
def run(
    policy: Path,
    model: str,
    baseline: str,
    force: bool,
    report_dir: Path | None,
    sign: Path | None,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Decide, and leave reports. The same model, data and policy again are answered with the stored decision."""
    service, _ = split_service(options)
    with _in_doubt():
        if sign is not None and report_dir is None:
            raise InvalidProblem("--sign writes into --report-dir: give one", field="report_dir")
        text = _text(policy)
        key = _bytes(sign, "sign") if sign else None
        with open_client(**service) as client:
            decided = _decide(client, text, (_named(client, model), _named(client, baseline)), force, quiet)
            if report_dir is not None:
                _report(decided, client.gates.evidence(decided.id), report_dir, key)
        if as_json:
            click.echo(json.dumps(asdict(decided)))
        elif not quiet:
            _print(decided, report_dir)
        from verifier.gate.report_json import exit_code

        code = exit_code(decided)
    sys.exit(code)


@gate.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@service_options
def list_(as_json: bool, **service: Any) -> None:
    """List stored runs, the newest first."""
    with open_client(**service) as client:
        runs = client.gates.list()
    if as_json:
        click.echo(json.dumps([asdict(one) for one in runs]))
        return
    for one in runs:
        click.echo(f"{one.id}  {one.decision.value:12}  {one.policy_name}  {one.model}  attempt {one.attempt}")


@gate.command()
@click.argument("run_id", metavar="RUN")
@click.option("--report-dir", type=click.Path(path_type=Path), help="Write its reports again.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@service_options
def show(run_id: str, report_dir: Path | None, as_json: bool, **service: Any) -> None:
    """Show a stored run."""
    with open_client(**service) as client:
        found = client.gates.get(run_id)
        if report_dir is not None:
            _report(found, client.gates.evidence(run_id), report_dir, None)
    if as_json:
        click.echo(json.dumps(asdict(found)))
    else:
        _print(found, report_dir)


@click.group()
def attest() -> None:
    """Check signed decisions, offline."""


@attest.command()
@click.argument("attestation", type=click.Path(path_type=Path))
@click.option("--key", required=True, type=click.Path(path_type=Path), help="Public key, PEM.")
@click.option("--model", required=True, help="The model's file, or its digest.")
@click.option("--certificates", type=click.Path(path_type=Path), help="certificates.jsonl of the report.")
@click.option("--policy", type=click.Path(path_type=Path), help="The policy's file.")
@click.option("--outcomes", type=click.Path(path_type=Path), help="outcomes.jsonl of the report.")
def verify(
    attestation: Path, key: Path, model: str, certificates: Path | None, policy: Path | None, outcomes: Path | None
) -> None:
    """Check signature and digests, compute the bounds and the decision again from the counts, say what does not hold.

    Exit code 0: everything holds, and the decision was pass; 1: something does not hold; 3: everything holds, and the
    decision was not pass.
    """
    from verifier.attestation.signing import authentic
    from verifier.attestation.signing import verify as findings_of
    from verifier.gate.report_json import safe_decision
    from verifier.gating import Decision

    with _in_doubt():
        envelope, pem = _bytes(attestation, "attestation"), _bytes(key, "key")
        by_digest = len(model) == 64 and not Path(model).exists()
        found = findings_of(
            envelope,
            pem,
            model_digest=model if by_digest else None,
            model_file=None if by_digest else Path(model),
            certificates=certificates,
            policy_text=_bytes(policy, "policy") if policy else None,
            outcomes=_bytes(outcomes, "outcomes") if outcomes else None,
        )
        for finding in found:
            click.echo(f"{finding.check}: {finding.message}")
        if found:
            sys.exit(EXIT_DOES_NOT_HOLD)
        signed = authentic(envelope, pem).run
        click.echo(f"everything holds: {signed.policy_name} decided {signed.decision.value} on {signed.model_digest}")
        passed = safe_decision(signed) is Decision.PASS
    sys.exit(0 if passed else EXIT_INCONCLUSIVE)


@contextmanager
def _in_doubt() -> Iterator[None]:
    """Whatever fails is no pass: wrong usage is 2, everything else 3."""
    try:
        yield
    except (InvalidProblem, Unsupported, NotFound):  # told by `main` as wrong usage
        raise
    except VerifierError as error:
        click.echo(f"error: {error.message}", err=True)
        sys.exit(EXIT_INCONCLUSIVE)
    except OSError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(EXIT_INCONCLUSIVE)


def _decide(client: Client, text: str, models: tuple[str, str], force: bool, quiet: bool) -> GateRun:
    decided = None
    for progress in client.gates.run(text, *models, force=force):
        decided = progress.run or decided
        if progress.stored and not quiet:
            click.echo("note: this is the stored decision; --force makes a further attempt", err=True)
    if decided is None:
        raise VerifierError("the gate ended without a decision: run it again, it goes on where it was")
    return decided


def _report(decided: GateRun, evidence: GateEvidence, directory: Path, key: bytes | None) -> None:
    from verifier.gate.outcomes import Record
    from verifier.gate.report_images import ShownInput
    from verifier.gate.reports import certificates_sha256, write_reports

    record = Record.of_text(evidence.record)
    by_index = {certificate.index: certificate for certificate in evidence.certificates}
    shown = [ShownInput(index, x, label, by_index.get(index)) for index, x, label in evidence.shown]
    write_reports(directory, decided, evidence.certificates, shown, record)
    if key is not None:
        from verifier.attestation.signing import sign

        envelope = sign(
            decided,
            record,
            certificates_sha256(evidence.certificates),
            key,
            model_manifest=evidence.manifest,
            dataset_size=evidence.dataset_size,
        )
        (directory / "attestation.json").write_bytes(envelope)


def _print(decided: GateRun, report_dir: Path | None) -> None:
    click.echo(f"{decided.decision.value.upper()}: {decided.reason}")
    for result in decided.thresholds:
        click.echo(f"  {result.decision.value:12} {result.name}: {result.reason}")
    saved = decided.forward_passes_all - decided.forward_passes
    click.echo(
        f"{decided.used:,} of {decided.inputs:,} inputs and {decided.forward_passes:,} forward passes were used; all "
        f"inputs would have taken about {saved:,} more"
    )
    click.echo(f"run {decided.id}, attempt {decided.attempt}{f', reports in {report_dir}' if report_dir else ''}")


def _named(client: Client, name: str) -> str:
    """A model named NAME@DIGEST must be that digest."""
    alias, at, digest = name.partition("@")
    if not at:
        return name
    info = client.models.get(alias)
    if not info.digest.startswith(digest.lower()) or len(digest) < 8:
        raise InvalidProblem(
            f"model {alias!r} is {info.digest[:16]} now, not {digest!r}: name the version that you mean", field="model"
        )
    return info.digest


def _text(path: Path) -> str:
    try:
        return _bytes(path, "policy").decode()
    except UnicodeDecodeError as error:
        raise InvalidProblem(f"{path} is no text: {error}", field="policy") from None


def _bytes(path: Path, field: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidProblem(f"cannot read {path}: {error.strerror or error}", field=field) from None
