"""Deterministic certificates by the command line: certified on a server, checked and drawn from the file."""

import json
import math
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from e2e.serving import json_lines

from verifier.cli.main import main
from verifier.demo.digits import network
from verifier.model import ModelFormat
from verifier.wire.certificates import certificates_from_lines

MODEL = "digits_std"
ONNX = str(network(MODEL, ModelFormat.ONNX))

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def verifier(*arguments: str) -> "subprocess.CompletedProcess[str]":
    answer = CliRunner(env={"COLUMNS": "100"}).invoke(main, arguments, prog_name="verifier")
    if answer.exception is not None and not isinstance(answer.exception, SystemExit):
        raise answer.exception
    return subprocess.CompletedProcess(arguments, answer.exit_code, answer.stdout, answer.stderr)


@pytest.fixture
def files(tmp_path: Path, digits: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six digits, their labels, boxes around them, and weights; the working directory."""
    monkeypatch.chdir(tmp_path)
    x = digits.x[:6]
    arrays = {"x": x, "y": digits.y[:6], "lower": x - 1e-3, "upper": x + 1e-3, "weights": np.linspace(0, 1, 64)}
    arrays["weights"] = arrays["weights"].reshape(x.shape[1:])
    arrays |= {"low": np.zeros(x.shape[1:]), "high": np.ones(x.shape[1:])}
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    return tmp_path


@pytest.fixture
def certify(server: Any, files: Path) -> Run:
    """`verifier certify` on the server, into c.jsonl."""
    return lambda *options: verifier(
        "certify", "--model", MODEL, "--server", server.address, "--out", "c.jsonl", "--audit", "4", *options
    )


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where the server's model is registered for this process."""
    directory = str(tmp_path_factory.mktemp("data"))
    added = verifier("models", "add", MODEL, "--onnx", ONNX, "--input-range", "0,1", "--data-dir", directory)
    assert added.returncode == 0, added.stderr
    return directory


@pytest.fixture
def check(data_dir: str) -> Run:
    """`verifier check c.jsonl` in this process, with the bounds computed again."""
    return lambda *options: verifier(
        "check", "c.jsonl", "--model", MODEL, "--data-dir", data_dir, "--device", "cpu", *options
    )


REGIONS: dict[str, list[str]] = {
    "ball": ["--inputs", "x.npy"],
    "domain": ["--inputs", "x.npy", "--bounds", "0", "1"],
    "weights": ["--inputs", "x.npy", "--bounds", "low.npy", "high.npy", "--weights", "weights.npy"],
    "boxes": ["--lower", "lower.npy", "--upper", "upper.npy"],
}


@pytest.mark.parametrize("region", REGIONS)
def test_from_certify_to_check(certify: Run, check: Run, region: str) -> None:
    answer = certify("--method", "crown-ibp", "--labels", "y.npy", "--tolerance", "0.01", *REGIONS[region])
    assert answer.returncode == 0, answer.stderr
    assert "6/6 inputs" in answer.stderr
    for words in ("crown-ibp", "float_sound", "6: 6 certified", "proved by", "box" if region == "boxes" else "radius"):
        assert words in answer.stdout
    again = check(*REGIONS[region])
    assert again.returncode == 0, (again.stdout, again.stderr)
    assert "6 certificates, 6 hold, 0 do not (arithmetic only" in again.stdout
    assert "6 computed again: 6 have the same votes, or bounds that hold again" in again.stdout


def test_norm_and_eps(certify: Run) -> None:
    for norm, eps in (("l1", 0.01), ("l2", 0.01), ("linf", 0.01), ("linf", 10.0)):
        answer = certify("--inputs", "x.npy", "--method", "ladder", "--norm", norm, "--eps", str(eps), "--json")
        (facts,) = json_lines(answer.stdout)
        assert (facts["norm"], facts["radii"]) == (norm, [0.0, eps])
        assert (facts["certified"], facts["unknown"]) == ((6, 0) if eps < 1 else (0, 6))
        for certificate in certificates_from_lines(Path("c.jsonl").read_text().splitlines()):
            assert certificate.radius == (eps if eps < 1 else 0)
            assert len(certificate.bounds.margins) == 9
    assert verifier("check", "c.jsonl").returncode == 0


def test_forged_radii_and_margins_are_found(certify: Run, check: Run) -> None:
    assert certify("--inputs", "x.npy", "--method", "ibp", "--quiet").returncode == 0
    honest = [json.loads(line) for line in Path("c.jsonl").read_text().splitlines()]

    def forge(change: Callable[[dict[str, Any]], object]) -> None:
        forged = json.loads(json.dumps(honest))
        change(forged[2])
        Path("c.jsonl").write_text("\n".join(map(json.dumps, forged)))

    forge(lambda c: c.update(radius=math.nextafter(c["radius"], 1)))
    answer = verifier("check", "c.jsonl")
    assert answer.returncode == 1
    assert "6 certificates, 5 hold, 1 do not" in answer.stdout
    forge(lambda c: (c.update(radius=1.0), c["bounds"].update(eps=1.0)))
    assert verifier("check", "c.jsonl").returncode == 0, "its own margins cannot tell"
    answer = check("--inputs", "x.npy")
    assert answer.returncode == 1
    assert "ibp does not certify class" in answer.stdout
    assert "6 computed again: 5 have the same votes, or bounds that hold again, 1 have not" in answer.stdout


def test_other_regions_than_certified_are_refused(certify: Run, check: Run) -> None:
    assert certify("--method", "ibp", "--quiet", *REGIONS["weights"]).returncode == 0
    for options, says in (
        (["--inputs", "x.npy", "--weights", "weights.npy"], "within a domain"),
        (["--inputs", "x.npy", "--bounds", "low.npy", "high.npy"], "weighted box"),
        (["--inputs", "x.npy", "--bounds", "low.npy", "low.npy", "--weights", "weights.npy"], "digest differs"),
        (["--lower", "lower.npy", "--upper", "upper.npy"], "give the inputs"),
    ):
        answer = check(*options)
        assert answer.returncode == 2, options
        assert says in answer.stderr


def test_the_curve_is_drawn(certify: Run) -> None:
    pytest.importorskip("matplotlib")
    assert certify("--inputs", "x.npy", "--method", "ibp", "--quiet").returncode == 0
    assert verifier("plot", "c.jsonl", "--out", "c.svg").stdout == "wrote c.svg\n"
    assert Path("c.svg").read_text().startswith("<?xml")
    assert certify("--method", "ibp", "--quiet", *REGIONS["boxes"]).returncode == 0
    refused = verifier("plot", "c.jsonl", "--out", "box.svg")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "boxes have no radius" in refused.stderr


def test_the_price_of_bounds(server: Any, files: Path) -> None:
    common = ("certify", "--model", MODEL, "--server", server.address, "--method", "crown", "--dry-run")
    for region, end in (("ball", "no limit to the radius"), ("domain", "is 1.0000"), ("boxes", "forward passes")):
        answer = verifier(*common, *REGIONS[region])
        assert answer.stdout.startswith("work of about "), answer.stderr
        assert answer.stdout.rstrip().endswith(end)


def test_a_list_of_methods_repeats_nothing(server: Any) -> None:
    text = verifier("methods", "--server", server.address).stdout
    assert text.count("norms:") == 2
    assert text.count("tolerance") == 1
    assert text.count("(alpha-crown, ladder)") == 2
