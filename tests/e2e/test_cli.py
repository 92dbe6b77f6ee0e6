"""The command line as people type it: each command, its exit code, and one line for every mistake."""

import gc
import io
import json
import os
import pickle
import pty
import re
import select
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from e2e.serving import PROMPTLY, json_lines, run, start

import verifier
from verifier.cli.main import main
from verifier.demo.digits import network
from verifier.model import ModelFormat
from verifier.wire.certificates import certificates_from_lines

MODEL = "digits_gauss050"
ONNX = str(network(MODEL, ModelFormat.ONNX))
WEIGHTS = str(network(MODEL, ModelFormat.SAFETENSORS))
MLP = '{"input_shape": [1, 8, 8], "hidden": [256, 64], "classes": 10}'
FAST = ("--sigma", "0.5", "--n0", "50", "--n", "400", "--alpha", "0.001", "--seed", "7")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, digits: Any) -> Path:
    """A directory with x.npy and y.npy: ten digits and their labels."""
    directory = tmp_path_factory.mktemp("files")
    np.save(directory / "x.npy", digits.x[:10])
    np.save(directory / "y.npy", digits.y[:10])
    np.save(directory / "many.npy", digits.x[:400])
    return directory


@pytest.fixture(scope="module")
def certified(server: Any, files: Path) -> Path:
    """The certificates of the ten digits, as `certify --out` wrote them."""
    out = files / "certificates.jsonl"
    answer = run(
        *("certify", "--model", MODEL, "--inputs", str(files / "x.npy"), "--labels", str(files / "y.npy")),
        *("--norm", "l2", "--method", "smoothing", *FAST, "--server", server.address, "--out", str(out)),
    )
    assert answer.returncode == 0, answer.stderr
    assert "certified" in answer.stdout
    assert str(out) in answer.stdout
    assert "10/10 inputs" in answer.stderr
    return out


@pytest.fixture(scope="module")
def ask(server: Any, files: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """A short certification on the server, with further options."""

    def call(*options: str, in_process: bool = False) -> "subprocess.CompletedProcess[str]":
        common = ("--model", MODEL, "--inputs", str(files / "x.npy"), *FAST, "--server", server.address)
        return (here if in_process else run)("certify", *common, *options)

    return call


def here(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """The same without a process of its own, where a table of mistakes would start a hundred."""
    result = CliRunner(env={"COLUMNS": "200"}).invoke(main, arguments, prog_name="verifier")
    error = "" if result.exception is None or isinstance(result.exception, SystemExit) else "Traceback: "
    if error:
        error += repr(result.exception)
    return subprocess.CompletedProcess(arguments, result.exit_code, result.stdout, result.stderr + error)


def assert_one_line(answer: "subprocess.CompletedProcess[str]", code: int, *says: str) -> None:
    """A mistake is told in one line, on standard error, with its exit code."""
    assert answer.returncode == code, (answer.stdout, answer.stderr)
    assert "Traceback" not in answer.stderr
    lines = [line for line in answer.stderr.splitlines() if line.strip()]
    told = [line for line in lines if line.lower().startswith("error:")]
    assert len(told) == 1, answer.stderr
    for words in says:
        assert words in told[0], told[0]


# -- each command as the specification writes it ---------------------------------------------------------


def test_models(server: Any) -> None:
    on_server = ("--server", server.address)
    added = run("models", "add", "cli", "--onnx", ONNX, *on_server)
    assert added.returncode == 0, added.stderr
    assert "cli" in added.stdout
    weights = run(
        *("models", "add", "cli-weights", "--weights", WEIGHTS, "--architecture", "mlp"),
        *("--architecture-config", MLP, "--normalize", "0.5,0.25", "--input-range", "0,1"),
        *("--json", *on_server),
    )
    assert weights.returncode == 0, weights.stderr
    (facts,) = json_lines(weights.stdout)
    assert facts["manifest"]["normalization"] == {"mean": [0.5], "std": [0.25]}
    assert facts["manifest"]["input"]["range"] == [0.0, 1.0]
    listed = here("models", "list", *on_server)
    assert listed.returncode == 0
    assert "cli-weights" in listed.stdout
    assert MODEL in listed.stdout
    shown = here("models", "show", facts["digest"][:10], "--json", *on_server)
    assert json_lines(shown.stdout) == [facts]
    assert facts["digest"] in here("models", "show", "cli-weights", *on_server).stdout
    for name in ("cli", "cli-weights"):
        assert run("models", "remove", name, *on_server).returncode == 0
    assert_one_line(here("models", "remove", "cli", *on_server), 2, "'cli'")


def test_a_digest_is_shown_whole_on_a_narrow_terminal(server: Any) -> None:
    """It is there to be copied."""
    shown = run("models", "show", MODEL, "--server", server.address, environment={"COLUMNS": "80"})
    assert server.models[MODEL].digest in shown.stdout


def test_a_taken_name_says_how_to_take_it(server: Any, tmp_path: Path) -> None:
    """The remedy names an option that exists."""
    other = str(network("digits_std", ModelFormat.ONNX))
    answer = run("models", "add", MODEL, "--onnx", other, "--server", server.address)
    assert_one_line(answer, 2, "choose another name")
    named = re.findall(r"--[a-z-]+", answer.stderr)
    assert named
    offered = re.findall(r"--[a-z-]+", run("models", "add", "--help").stdout)
    assert set(named) <= set(offered)


def test_certify_writes_what_check_reads(certified: Path, digits: Any) -> None:
    certificates = certificates_from_lines(certified.read_text().splitlines())
    assert sorted(c.index for c in certificates) == list(range(10))
    assert {c.label for c in certificates} == set(digits.y[:10].tolist())
    answer = run("check", str(certified))
    assert answer.returncode == 0
    assert "10 certificates, 10 hold, 0 do not (arithmetic only" in answer.stdout


def test_certify_prints_json_and_nothing_else(ask: Callable[..., Any], files: Path) -> None:
    answer = ask("--json", "--quiet", "--labels", str(files / "y.npy"))
    assert answer.returncode == 0
    assert not answer.stderr
    (summary,) = json_lines(answer.stdout)
    assert summary["inputs"] == 10


def test_quiet_is_quiet(ask: Callable[..., Any], tmp_path: Path) -> None:
    answer = ask("--quiet", "--out", str(tmp_path / "out.jsonl"))
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 10


def test_a_dry_run_prices_and_writes_nothing(ask: Callable[..., Any], tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    answer = ask("--dry-run", "--out", str(out))
    assert answer.returncode == 0
    assert "4,500 forward passes" in answer.stdout
    assert not out.exists()
    (price,) = json_lines(ask("--dry-run", "--json").stdout)
    assert price["forward_passes"] == 4_500


def test_certificates_go_through_a_pipe(server: Any, files: Path) -> None:
    """`certify --out - | check -`: nothing but certificates on standard output."""
    options = ("--model", MODEL, "--inputs", str(files / "x.npy"), *FAST, "--server", server.address)
    certify = start("certify", *options, "--out", "-", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    check = start("check", "-", stdin=certify.stdout, stdout=subprocess.PIPE)
    assert certify.stdout is not None
    certify.stdout.close()
    stdout, _ = check.communicate(timeout=PROMPTLY)
    assert (certify.wait(PROMPTLY), check.returncode) == (0, 0)
    assert b"10 certificates, 10 hold" in stdout


def test_check_finds_what_was_tampered_with(certified: Path, tmp_path: Path) -> None:
    lines = certified.read_text().splitlines()
    position, certificate = next((i, json.loads(line)) for i, line in enumerate(lines) if "CERTIFIED" in line)
    changes: list[Callable[[Any], Any]] = [
        lambda c: c.update(radius=c["radius"] + 0.01),
        lambda c: c["sampling"]["estimation"].update(topCount=str(int(c["sampling"]["estimation"]["topCount"]) - 5)),
        lambda c: c["guarantee"].update(alpha=1e-9),
        lambda c: c.update(prediction=str((int(c["prediction"]) + 1) % 10)),
        lambda c: c["subject"].update(model="projects/default/models/anything"),
    ]
    for change in changes:
        changed = json.loads(json.dumps(certificate))
        change(changed)
        tampered = tmp_path / "tampered.jsonl"
        tampered.write_text("\n".join([*lines[:position], json.dumps(changed), *lines[position + 1 :]]))
        answer = here("check", str(tampered))
        assert answer.returncode == 1, (answer.stdout, answer.stderr)
        assert "10 certificates, 9 hold, 1 do not" in answer.stdout
    (facts,) = json_lines(here("check", str(tampered), "--json").stdout)
    assert facts["holds"] is False
    assert len(facts["failures"]) == 1
    quiet = run("check", str(tampered), "--quiet")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (1, "", "")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "no certificates"),
        ("rubbish", "line 1"),
        ("{}", "line 1"),
        ('{"radius": "NaN"}', "line 1"),
        ("[1, 2]", "line 1"),
        ("[" * 5000, "line 1"),
        ('{"inputDigest": "\\ud800"}', "line 1"),
        ("\ufeff{}", "line 1"),
    ],
    ids=["empty", "rubbish", "no fields", "NaN", "list", "deep", "surrogate", "byte order mark"],
)
def test_check_of_something_else(tmp_path: Path, content: str, says: str) -> None:
    file = tmp_path / "other.jsonl"
    file.write_text(content)
    assert_one_line(here("check", str(file)), 2, says)


def test_check_of_bytes(tmp_path: Path) -> None:
    file = tmp_path / "other.jsonl"
    file.write_bytes(b"\xff\xfe\x00rubbish")
    assert_one_line(here("check", str(file)), 2, str(file))
    assert_one_line(here("check", str(tmp_path / "none.jsonl")), 2, "none.jsonl")
    assert_one_line(here("check", str(tmp_path)), 2, str(tmp_path))


def test_embedded_from_certify_to_redraw(files: Path, tmp_path: Path) -> None:
    """Without a server: a path as model, the same votes drawn again, other inputs refused, forged votes found."""
    data_dir = ("--data-dir", str(tmp_path / "data"))
    out = tmp_path / "certificates.jsonl"
    x = str(files / "x.npy")
    answer = run("certify", "--model", ONNX, "--inputs", x, *FAST, *data_dir, "--out", str(out))
    assert answer.returncode == 0, answer.stderr
    again = here("check", str(out), "--model", ONNX, "--inputs", x, *data_dir)
    assert again.returncode == 0, (again.stdout, again.stderr)
    assert "10 computed again: 10 have the same votes" in again.stdout
    forged = tmp_path / "forged.jsonl"
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    for line in lines:
        line["sampling"]["seed"] = "8"
    forged.write_text("\n".join(map(json.dumps, lines)))
    found = here("check", str(forged), "--model", ONNX, "--inputs", x, *data_dir)
    assert found.returncode == 1, (found.stdout, found.stderr)
    assert "votes differ" in found.stdout


@pytest.mark.parametrize(
    ("name", "value"),
    [("form", "abacus"), ("batchRows", "0"), ("batchRows", "-3"), ("batchRows", "1000000000000")],
)
def test_redraw_of_an_impossible_execution(
    certified: Path, files: Path, embedded_dir: Path, tmp_path: Path, name: str, value: str
) -> None:
    """The arithmetic of such a certificate may hold; what it says about its making is not followed blindly."""
    line = json.loads(certified.read_text().splitlines()[0])
    line["execution"][name] = value
    forged = tmp_path / "forged.jsonl"
    forged.write_text(json.dumps(line))
    x = str(files / "x.npy")
    answer = here("check", str(forged), "--model", MODEL, "--inputs", x, "--data-dir", str(embedded_dir))
    assert answer.returncode in (1, 2, 3), (answer.stdout, answer.stderr)
    assert "Traceback" not in answer.stderr
    assert answer.stdout or answer.stderr.count("error:") == 1


@pytest.fixture(scope="module")
def embedded_dir(tmp_path_factory: pytest.TempPathFactory, register_digits: Callable[..., Any]) -> Path:
    """A data directory with the shipped networks."""
    directory = tmp_path_factory.mktemp("embedded")
    with verifier.local(data_dir=directory, device="cpu") as client:
        register_digits(client)
    return directory


def test_plot(certified: Path, tmp_path: Path) -> None:
    out = tmp_path / "curve.png"
    answer = run("plot", str(certified), "--out", str(out))
    assert answer.returncode == 0, answer.stderr
    assert out.read_bytes().startswith(b"\x89PNG")
    assert_one_line(here("plot", str(certified), "--out", str(tmp_path / "curve.doc")), 2, ".png")
    assert_one_line(here("plot", str(tmp_path / "none.jsonl"), "--out", str(out)), 2, "none.jsonl")


def test_a_picture_in_a_directory_that_is_not_there(certified: Path, tmp_path: Path) -> None:
    assert_one_line(here("plot", str(certified), "--out", str(tmp_path / "no" / "curve.png")), 2, "curve.png")


def test_methods(server: Any) -> None:
    answer = run("methods", "--server", server.address)
    assert answer.returncode == 0
    for words in ("smoothing", "l2", "statistical", "sigma", "alpha"):
        assert words in answer.stdout
    facts = {each["name"]: each for each in json_lines(here("methods", "--json", "--server", server.address).stdout)}
    assert list(facts) == ["smoothing", "ibp", "crown-ibp", "crown", "alpha-crown", "ladder"]
    assert facts["smoothing"]["norms"] == ["l2"]
    assert facts["crown"]["norms"] == ["linf", "l2", "l1"]


def test_predict(server: Any, files: Path) -> None:
    options = ("--model", MODEL, "--inputs", str(files / "x.npy"), "--sigma", "0.5", "--n", "200", "--seed", "7")
    labels = ("--labels", str(files / "y.npy"), "--server", server.address)
    answer = run("predict", *options, *labels)
    assert answer.returncode == 0, answer.stderr
    assert "10 inputs" in answer.stdout
    lines = json_lines(here("predict", *options, *labels, "--json").stdout)
    assert len(lines) == 10
    assert {line["votes"]["n"] for line in lines} == {"200"}


def test_the_certificates_that_were_there_survive_a_refused_request(
    ask: Callable[..., Any], certified: Path, tmp_path: Path
) -> None:
    """Labels that do not fit, or too much work: what an earlier run wrote is not lost to a mistake of this one."""
    out = tmp_path / "certificates.jsonl"
    for wrong in (("--labels", str(tmp_path / "wrong.npy")), ("--n", "900000000")):
        out.write_text(certified.read_text())
        np.save(tmp_path / "wrong.npy", np.arange(3))
        answer = ask(*wrong, "--out", str(out), in_process=True)
        assert answer.returncode == 2
        assert out.read_text() == certified.read_text()


# -- mistakes --------------------------------------------------------------------------------------------


def as_npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def of_shape(shape: str) -> bytes:
    """The head of an .npy that promises more than follows."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
    header = header.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(64)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (as_npy(np.array([{"a": 1}], dtype=object)), "plain numbers"),
        (pickle.dumps([1, 2]), "plain numbers"),
        (b"", "plain numbers"),
        (b"rubbish", "plain numbers"),
        (b"PK\x03\x04 a broken archive", "plain numbers"),
        (of_shape("(2, 1, 8, 8)"), "plain numbers"),
        (of_shape("(4000000000000, 1, 8, 8)"), "plain numbers"),
        (of_shape("(-1, 64)"), ""),
        (of_shape("__import__('os')"), "plain numbers"),
        (as_npy(np.zeros((2, 1, 8, 8))), "float64"),
        (as_npy(np.array(["a", "b"])), "float32"),
        (as_npy(np.zeros((0, 1, 8, 8), np.float32)), "empty"),
        (as_npy(np.zeros((2, 1, 9, 9), np.float32)), "[1, 8, 8]"),
        (as_npy(np.full((2, 1, 8, 8), np.nan, np.float32)), "NaN"),
        (as_npy(np.full((2, 1, 8, 8), 255, np.float32)), "range"),
    ],
    ids=[
        *("objects", "pickle", "nothing", "text", "broken zip", "cut", "too large", "negative shape", "code"),
        *("float64", "text array", "empty batch", "other shape", "NaN", "0..255"),
    ],
)
def test_inputs_that_are_none(server: Any, tmp_path: Path, content: bytes, says: str) -> None:
    file = tmp_path / "x.npy"
    file.write_bytes(content)
    answer = here("certify", "--model", MODEL, "--inputs", str(file), *FAST, "--server", server.address)
    assert_one_line(answer, 2, says)


def test_several_arrays(server: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=np.zeros(2), b=np.zeros(3))
    options = ("--inputs", str(tmp_path / "x.npz"), *FAST, "--server", server.address)
    assert_one_line(here("certify", "--model", MODEL, *options), 2, "several arrays")
    gc.collect()  # a file left open is told now


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (np.arange(3), "[10]"),
        (np.arange(10) + 1, "0..9"),
        (np.arange(10) - 1, ">= 0"),
        (np.arange(10) / 2, "integers"),
        (np.zeros((10, 10), int), "[10]"),
    ],
    ids=["too few", "too large", "negative", "halves", "one-hot"],
)
def test_labels_that_do_not_fit(ask: Callable[..., Any], tmp_path: Path, labels: Any, says: str) -> None:
    np.save(tmp_path / "y.npy", labels)
    assert_one_line(ask("--labels", str(tmp_path / "y.npy"), in_process=True), 2, "labels", says)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--sigma", "-1"), "sigma"),
        (("--sigma", "nan"), "sigma"),
        (("--sigma", "0,25"), "--sigma"),
        (("--n", "0"), "n must be"),
        (("--n", "5"), "n = 10"),
        (("--n", "1e4"), "--n"),
        (("--alpha", "0"), "alpha"),
        (("--alpha", "1.5"), "alpha"),
        (("--norm", "l1"), "l2"),
        (("--norm", "l3"), "--norm"),
        (("--method", "crown"), "--method"),
        (("--seed", "-1"), "seed"),
        (("--seed", "9223372036854775808"), "seed"),
        (("--eps", "50"), "eps"),
        (("--rng", "mt"), "--rng"),
        (("--rng", "cuda-philox-1"), "CUDA"),
        (("--precision", "tf32"), "tf32"),
        (("--model", "cat"), "'cat'"),
        (("--model", "cat.onnx"), "register it first"),
        (("--model", "a/b"), "a/b"),
        (("--inputs", "none.npy"), "none.npy"),
        (("--inputs", "."), "."),
        (("--labels", "none.npy"), "none.npy"),
        (("--out", "none/none/out.jsonl"), "none/none/out.jsonl"),
        (("--out", "/dev/full"), "/dev/full"),
        (("--ca", "none.pem"), "none.pem"),
        (("--timeout", "0.0001"), "deadline"),
        (("--colour", "red"), "--colour"),
    ],
    ids=[str(number) for number in range(28)],
)
def test_options_that_make_no_sense(ask: Callable[..., Any], options: tuple[str, ...], says: str) -> None:
    answer = ask(*options, in_process=True)
    code = 4 if options[0] == "--timeout" or options[1] == "/dev/full" else 2
    assert_one_line(answer, code, says)


def test_nothing_at_all() -> None:
    assert "Commands:" in run("--help").stdout
    for command in ("serve", "models", "certify", "predict", "check", "plot", "methods"):
        answer = here(command, "--help")
        assert answer.returncode == 0
        assert "Usage:" in answer.stdout
    assert here("certify").returncode == 2
    assert here("certfy").returncode == 2
    assert re.fullmatch(r"verifier, version \S+\n", run("--version").stdout)


def test_a_server_that_is_not_there(files: Path) -> None:
    options = ("--model", MODEL, "--inputs", str(files / "x.npy"), *FAST)
    assert_one_line(run("certify", *options, "--server", "127.0.0.1:1"), 4, "no server answers")
    assert_one_line(here("models", "list", "--server", "no.such.host.invalid:50051"), 4, "no server answers")
    assert_one_line(here("models", "list", "--server", "http://127.0.0.1:50051/x"), 4, "no server answers")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((), "either"),
        (("--onnx", ONNX, "--weights", WEIGHTS), "either"),
        (("--onnx", "none.onnx"), "none.onnx"),
        (("--onnx", WEIGHTS), "safetensors"),
        (("--onnx", __file__), "only safetensors and single-file ONNX"),
        (("--weights", WEIGHTS), "architecture"),
        (("--weights", WEIGHTS, "--architecture", "vit"), "'vit'"),
        (("--weights", WEIGHTS, "--architecture", "cnn"), "do not fit"),
        (("--weights", WEIGHTS, "--architecture", "cnn", "--architecture-config", "{"), "JSON"),
        (("--weights", WEIGHTS, "--architecture", "cnn", "--architecture-config", "[1]"), "JSON object"),
        (("--weights", WEIGHTS, "--architecture", "cnn", "--architecture-config", '{"classes": NaN}'), "classes"),
        (("--onnx", ONNX, "--normalize", "0.5"), "--normalize"),
        (("--onnx", ONNX, "--normalize", "0.5,0"), "> 0"),
        (("--onnx", ONNX, "--normalize", "a,b"), "--normalize"),
        (("--onnx", ONNX, "--input-range", "1,0"), "lower first"),
        (("--onnx", ONNX, "--input-range", "0,1,2"), "--input-range"),
        (("--onnx", ONNX, "--input-range", "0:1,2"), "--input-range"),
    ],
    ids=[str(number) for number in range(17)],
)
def test_models_that_make_no_sense(server: Any, options: tuple[str, ...], says: str) -> None:
    assert_one_line(here("models", "add", "bad", *options, "--server", server.address), 2, says)


# -- progress --------------------------------------------------------------------------------------------


def test_a_terminal_shows_a_bar(server: Any, files: Path) -> None:
    """Rate, inputs and time left move on a pseudo-terminal."""
    ours, theirs = pty.openpty()
    options = ("--model", MODEL, "--inputs", str(files / "many.npy"), "--sigma", "0.5", "--n", "3000")
    environment = {"TERM": "xterm", "COLUMNS": "120"}
    process = start(
        "certify",
        *options,
        "--server",
        server.address,
        environment=environment,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    until = time.monotonic() + PROMPTLY
    try:
        while time.monotonic() < until:
            if not select.select([ours], [], [], 1.0)[0]:
                continue
            try:
                piece = os.read(ours, 65_536)
            except OSError:  # the other end was closed: how a terminal ends
                break
            if not piece:
                break
            shown += piece
        assert process.wait(PROMPTLY) == 0
    finally:
        process.kill()
        process.wait(PROMPTLY)
        os.close(ours)
    text = shown.decode()
    assert "certifying" in text
    assert "\u2501" in text
    assert re.search(r"[\d,]+ passes/s", text)
    assert re.search(r"\d+/400 inputs", text)
    assert re.search(r"\d:\d\d:\d\d", text), "no time left"


def test_a_pipe_gets_plain_lines(ask: Callable[..., Any]) -> None:
    answer = ask()
    assert answer.returncode == 0
    assert "\x1b" not in answer.stderr + answer.stdout
    assert re.search(r"^10/10 inputs, [\d,]+ forward passes/s, 0 s left$", answer.stderr, re.MULTILINE)


# -- the light installation ------------------------------------------------------------------------------

SERVER_ONLY = (
    "alembic",
    "psycopg",
    "torch",
    "onnx",
    "sqlalchemy",
    "safetensors",
    "psutil",
    "matplotlib",
    "sklearn",
    "cryptography",
)

BLOCKER = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocked())
"""


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables under which Python finds nothing of the extras, as after `pip install verifier`."""
    directory = tmp_path_factory.mktemp("light")
    blocked = (*SERVER_ONLY, "grpc_health", "grpc_reflection", "grpc_channelz")
    (directory / "sitecustomize.py").write_text(textwrap.dedent(BLOCKER.format(blocked=blocked)))
    environment = {"PYTHONPATH": str(directory)}
    blocked_now = subprocess.run(
        [sys.executable, "-c", "import torch"], env={**os.environ, **environment}, capture_output=True, check=False
    )
    assert blocked_now.returncode == 1
    return environment


def test_the_light_installation_asks_and_checks(
    server: Any, files: Path, certified: Path, light: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "light.jsonl"
    options = ("--model", MODEL, "--inputs", str(files / "x.npy"), *FAST, "--server", server.address)
    for command in (
        ("--help",),
        ("check", str(certified)),
        ("certify", *options, "--out", str(out)),
        ("methods", "--server", server.address),
        ("predict", "--model", MODEL, "--inputs", str(files / "x.npy"), "--sigma", "0.5", "--server", server.address),
    ):
        answer = run(*command, environment=light)
        assert answer.returncode == 0, (command, answer.stderr)
    assert len(out.read_text().splitlines()) == 10


def test_the_light_installation_says_what_is_missing(
    files: Path, certified: Path, light: dict[str, str], tmp_path: Path
) -> None:
    x = str(files / "x.npy")
    for command, extra in (
        (("certify", "--model", ONNX, "--inputs", x, *FAST), "verifier[server]"),
        (("serve",), "verifier[server]"),
        (("check", str(certified), "--model", ONNX, "--inputs", x), "verifier[server]"),
        (("plot", str(certified), "--out", str(tmp_path / "curve.png")), "verifier[plot]"),
    ):
        assert_one_line(run(*command, environment=light), 2, "pip install", extra)


def test_a_plain_import_is_light() -> None:
    code = "import sys, verifier; print(sorted({'torch', 'onnx', 'sqlalchemy', 'matplotlib'} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == "[]\n"
