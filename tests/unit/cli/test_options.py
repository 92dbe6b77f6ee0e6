"""What a command line asks for: the method and the regions, or one line that says what is wrong with it."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from proofs import ball, box

from verifier.catalogue import MethodInfo, Price
from verifier.certificate import Certificate, Grade
from verifier.cli import certify as certify_command
from verifier.cli import check as check_command
from verifier.cli import models as models_command
from verifier.cli.main import main
from verifier.cli.methods import METHODS
from verifier.client.asked import problem_of
from verifier.client.redraw import Redrawn
from verifier.methods import (
    BOUND_METHODS,
    AlphaCrown,
    BoundMethod,
    Crown,
    Ibp,
    Ladder,
    Rounding,
    Semantics,
    Smoothing,
    Target,
)
from verifier.problem import Norm
from verifier.wire.certificates import certificate_to_json

BOUND_OPTIONS = {
    "--semantics": "real",
    "--rounding": "outward",
    "--tolerance": "1e-4",
    "--audit": "16",
    "--memory": "1G",
}
ASCENT_OPTIONS = {"--steps": "20", "--learning-rate": "0.25"}
SMOOTHING_OPTIONS = {
    "--sigma": "0.5",
    "--n0": "100",
    "--n": "10000",
    "--alpha": "0.001",
    "--selection": "n0",
    "--precision": "float32",
    "--rng": "aes128ctr-boxmuller-1",
}


class Asking:
    """A client that answers every question with one certificate, and remembers what was asked."""

    def __init__(self, price: Price) -> None:
        self.asked: list[tuple[Any, Any, dict[str, Any]]] = []
        self._price = price

    def __enter__(self) -> "Asking":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def certify(self, _model: str, x: Any, method: Any, *, on_progress: Any, **asked: Any) -> Iterator[Certificate]:
        self.asked.append((x, method, asked))
        yield ball()

    def price(self, _model: str, x: Any, method: Any, **asked: Any) -> Price:
        problem_of(x, method, asked)  # type: ignore[arg-type]
        self.asked.append((x, method, asked))
        return self._price


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Asking:
    asking = Asking(Price(2304, np.inf))
    monkeypatch.setattr(certify_command, "open_client", lambda **_: asking)
    return asking


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two inputs of three features in [0, 1], with all that may be said about them."""
    x = np.array([[0.25, 0.5, 0.75], [0.5, 0.5, 0.5]], np.float32)
    arrays = {"x": x, "y": np.array([0, 1]), "l": x - 0.125, "u": x + 0.125, "w": np.array([0.0, 1.0, 2.0])}
    arrays |= {"lo": np.zeros(3), "hi": np.ones(3)}
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    np.savez(tmp_path / "several.npz", x=x, y=x)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def certify(*options: str) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(main, ["certify", "--model", "m", *options])


def asked(client: Asking, *options: str) -> tuple[Any, Any, dict[str, Any]]:
    answer = certify(*options, "--quiet")
    assert (answer.exit_code, answer.stderr) == (0, "")
    (question,) = client.asked
    return question


def assert_refused(answer: Result, *says: str) -> None:
    assert answer.exit_code == 2, (answer.stdout, answer.stderr, answer.exception)
    (line,) = [line for line in answer.stderr.splitlines() if line.lower().startswith("error:")]
    for words in says:
        assert words in line


# -- methods ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", BOUND_METHODS, ids=lambda kind: kind.name)
def test_defaults_are_those_of_the_method(client: Asking, files: Path, kind: type[BoundMethod]) -> None:
    _, method, question = asked(client, "--inputs", "x.npy", "--method", kind.name)
    assert method == kind()
    assert {key for key, value in question.items() if value is not None} == set()


def test_old_command_lines_still_ask_for_smoothing(client: Asking, files: Path) -> None:
    x, method, _ = asked(client, "--inputs", "x.npy", "--sigma", "0.5")
    assert method == Smoothing(sigma=0.5)
    assert (x == np.load("x.npy")).all()


@pytest.mark.parametrize(
    ("options", "method"),
    [
        ("--method ibp --memory 512M", Ibp(memory_bytes=512 * 2**20)),
        ("--method ibp --memory 2g --audit 0", Ibp(memory_bytes=2 * 2**30, audit=0)),
        ("--method ibp --memory 64MiB", Ibp(memory_bytes=64 * 2**20)),
        ("--method ibp --memory 1500000", Ibp(memory_bytes=1_500_000)),
        ("--method crown --rounding nearest --tolerance 0.01", Crown(rounding=Rounding.NEAREST, tolerance=0.01)),
        ("--method crown --semantics float32_exec --max-seconds 1.5", Crown(Semantics.FLOAT32_EXEC, max_seconds=1.5)),
        ("--method alpha-crown --steps 3", AlphaCrown(steps=3)),
        ("--method ladder --learning-rate 0.5", Ladder(learning_rate=0.5)),
        ("--method smoothing --sigma 0.5 --runner-up", Smoothing(sigma=0.5, runner_up=True)),
        ("--method smoothing --sigma 0.5 --decide 0.25,0.5", Smoothing(sigma=0.5, decide=(0.25, 0.5))),
        ("--method smoothing --sigma 0.5 --grid 0.25 --n 5000", Smoothing(sigma=0.5, grid=0.25, n=5000)),
        ("--method smoothing --sigma 0.5 --anytime --max-seconds 3", Smoothing(0.5, anytime=True, max_seconds=3.0)),
        ("--method smoothing --sigma 0.5 --target label", Smoothing(sigma=0.5, target=Target.LABEL)),
    ],
)
def test_options_reach_the_method(client: Asking, files: Path, options: str, method: Any) -> None:
    assert asked(client, "--inputs", "x.npy", *options.split())[1] == method


def foreign() -> Iterator[tuple[str, str, str, str]]:
    """(method, option of another, its value, who owns it), each value being the default: giving it is the mistake."""
    for method in METHODS:
        if method != "smoothing":
            yield from ((method, option, value, "smoothing") for option, value in SMOOTHING_OPTIONS.items())
        if method not in ("alpha-crown", "ladder"):
            yield from ((method, option, value, "alpha-crown, ladder") for option, value in ASCENT_OPTIONS.items())
    owners = "ibp, crown-ibp, crown, alpha-crown, ladder"
    yield from (("smoothing", option, value, owners) for option, value in BOUND_OPTIONS.items())


@pytest.mark.parametrize(("method", "option", "value", "owners"), list(foreign()))
def test_options_of_other_methods_are_refused(
    client: Asking, files: Path, method: str, option: str, value: str, owners: str
) -> None:
    sigma = ("--sigma", "0.5") if method == "smoothing" else ()
    answer = certify("--inputs", "x.npy", "--method", method, *sigma, option, value)
    assert_refused(answer, f"{option} belongs to {owners}, not to {method}")
    assert client.asked == []


def test_every_parameter_has_an_option() -> None:
    names = {field.name for kind in METHODS.values() for field in fields(kind)} - {"noise"}
    offered = {parameter.name for parameter in certify_command.certify.params}
    assert names <= offered


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("", "smoothing needs --sigma"),
        ("--method ibp --runner-up", "--runner-up belongs to smoothing, not to ibp"),
        ("--method ibp --memory lots", "'lots' is no size: give bytes, or 512M, 2G"),
        ("--method ibp --memory 1.5G", "is no size"),
        ("--method ibp --memory 1K", "memory_bytes must be"),
        ("--method ibp --tolerance 0", "tolerance must be"),
        ("--method smoothing --sigma 0.5 --decide 0.5,x", "are no radii"),
        ("--method smoothing --sigma 0.5 --decide 0.5,0.25", "must rise"),
        ("--method smoothing --sigma 0.5 --grid 0.1 --anytime", "choose one"),
        ("--method ibp --tolerance nan", "tolerance must be"),
        ("--method ibp --audit -1", "audit must be"),
        ("--method ibp --max-seconds 0", "max_seconds must be"),
        ("--method ladder --steps 0", "steps must be"),
        ("--method mip", "'mip' is not one of"),
    ],
)
def test_nonsense_is_refused(client: Asking, files: Path, options: str, says: str) -> None:
    assert_refused(certify("--inputs", "x.npy", *options.split()), says)
    assert client.asked == []


# -- regions ---------------------------------------------------------------------------------------------


def test_a_domain_of_numbers(client: Asking, files: Path) -> None:
    domain = asked(client, "--inputs", "x.npy", "--method", "ibp", "--bounds", "-1", "1e3")[2]["domain"]
    assert [end.tolist() for end in domain] == [-1.0, 1000.0]


def test_a_domain_of_files(client: Asking, files: Path) -> None:
    domain = asked(client, "--inputs", "x.npy", "--method", "ibp", "--bounds", "lo.npy", "hi.npy")[2]["domain"]
    assert [end.tolist() for end in domain] == [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]


def test_weights_norm_eps_and_labels(client: Asking, files: Path) -> None:
    options = ("--inputs", "x.npy", "--labels", "y.npy", "--weights", "w.npy", "--norm", "linf", "--eps", "0.5")
    question = asked(client, "--method", "crown", *options)[2]
    assert (question["norm"], question["eps"]) == ("linf", 0.5)
    assert (question["weights"].tolist(), question["labels"].tolist()) == ([0.0, 1.0, 2.0], [0, 1])


def test_boxes(client: Asking, files: Path) -> None:
    x, _, question = asked(client, "--method", "crown", "--lower", "l.npy", "--upper", "u.npy")
    assert x is None
    assert (question["upper"] - question["lower"] == 0.25).all()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("", "either --inputs, or --lower and --upper"),
        ("--inputs x.npy --lower l.npy --upper u.npy", "either --inputs, or --lower and --upper"),
        ("--inputs x.npy --lower l.npy", "either --inputs"),
        ("--inputs x.npy --eps 0.1 --radius", "give one of them"),
        ("--lower l.npy --upper u.npy --radius", "a box has no radius"),
        ("--lower l.npy", "both lower and upper"),
        ("--lower l.npy --upper u.npy --eps 0.1", "leave out eps"),
        ("--lower l.npy --upper u.npy --bounds 0 1", "leave out domain"),
        ("--lower l.npy --upper u.npy --weights w.npy", "leave out weights"),
        ("--lower l.npy --upper u.npy --norm l2", "leave out the norm"),
        ("--lower u.npy --upper l.npy", "lower must be <= upper"),
        ("--lower lo.npy --upper hi.npy", "batch axis"),
        ("--inputs x.npy --bounds 1 0", "lower must be <= upper"),
        ("--inputs x.npy --bounds 0.5 1", "input 0 lies outside of the domain"),
        ("--inputs x.npy --bounds nan 1", "neither NaN"),
        ("--inputs x.npy --bounds 0 hi.npy", "lower has shape [], upper [3]"),
        ("--inputs x.npy --bounds 0 one", "--bounds takes numbers or .npy files: there is no file one"),
        ("--inputs x.npy --bounds several.npz 1", "holds several arrays"),
        ("--inputs x.npy --bounds 0", "requires 2 arguments"),
        ("--inputs x.npy --weights w.npy --norm l2", "not of l2"),
        ("--inputs x.npy --weights x.npy", "one number per feature"),
        ("--inputs x.npy --weights none.npy", "there is no file none.npy"),
        ("--inputs x.npy --eps 0", "eps must be finite and > 0"),
        ("--inputs x.npy --eps -1", "eps must be finite and > 0"),
        ("--inputs x.npy --eps nan", "eps must be finite and > 0"),
        ("--inputs x.npy --norm l3", "'l3' is not one of"),
    ],
)
def test_regions_that_are_none_are_refused(client: Asking, files: Path, options: str, says: str) -> None:
    assert_refused(certify("--method", "ibp", "--dry-run", *options.split()), says)


# -- prices ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "price", "line"),
    [
        (
            "--method ibp --inputs x.npy",
            Price(2304, np.inf),
            "work of about 2,304 forward passes; no limit to the radius",
        ),
        (
            "--method ibp --inputs x.npy --bounds 0 1",
            Price(8, 1.0, 0.5),
            "work of about 8 forward passes, about 0.5 s at the rate measured last; "
            "the largest radius that can be proved is 1.0000",
        ),
        ("--method ibp --lower l.npy --upper u.npy", Price(8, np.inf), "work of about 8 forward passes"),
        (
            "--sigma 0.5 --inputs x.npy",
            Price(20200, 1.59577),
            "20,200 forward passes; the largest radius that can be proved is 1.5957",
        ),
    ],
)
def test_prices(client: Asking, files: Path, options: str, price: Price, line: str) -> None:
    client._price = price
    answer = certify("--dry-run", *options.split())
    assert answer.stdout.splitlines() == [line]


def test_json_has_no_infinity(client: Asking, files: Path) -> None:
    answer = certify("--method", "ibp", "--inputs", "x.npy", "--dry-run", "--json")
    assert json.loads(answer.stdout) == {
        "forward_passes": 2304,
        "largest_radius": None,
        "seconds": None,
        "warnings": [],
        "expected_passes": None,
    }


# -- methods ---------------------------------------------------------------------------------------------


def info(name: str, **parameters: str) -> MethodInfo:
    grade = Grade.STATISTICAL if name == "smoothing" else Grade.FLOAT_SOUND
    norms = (Norm.L2,) if name == "smoothing" else (Norm.LINF, Norm.L2, Norm.L1)
    return MethodInfo(name, f"What {name} does.", norms, grade, f"Guarantee of {grade.value}.", parameters)


def test_methods_of_one_guarantee_are_told_together(client: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    infos = [info("smoothing", sigma="noise"), info("ibp", audit="points"), info("ladder", audit="points", steps="n")]
    monkeypatch.setattr(models_command, "open_client", lambda **_: client)
    monkeypatch.setattr(client, "methods", lambda: infos, raising=False)
    lines = CliRunner(env={"COLUMNS": "80"}).invoke(main, ["methods"]).stdout.splitlines()
    assert [line.rstrip() for line in lines] == [
        "smoothing: What smoothing does.",
        "norms: l2",
        "guarantee, statistical: Guarantee of statistical.",
        "parameter  meaning",
        "sigma      noise",
        "",
        "ibp: What ibp does.",
        "ladder: What ladder does.",
        "norms: linf, l2, l1",
        "guarantee, float_sound: Guarantee of float_sound.",
        "parameter  meaning",
        "audit      points",
        "steps      n (ladder)",
    ]


# -- check -----------------------------------------------------------------------------------------------


def check(monkeypatch: pytest.MonkeyPatch, answers: Sequence[Redrawn], *options: str) -> tuple[Result, list[Any]]:
    """`verifier check c.jsonl`, where computing again gives these answers; with what was asked."""
    calls: list[Any] = []

    def redraw(_client: Any, *question: Any) -> Sequence[Redrawn]:
        calls.append(question)
        return answers

    monkeypatch.setattr(check_command, "redraw", redraw)
    monkeypatch.setattr(check_command, "local", lambda **_: Asking(Price(0, 0.0)))
    Path("c.jsonl").write_text("".join(certificate_to_json(c) + "\n" for c in (ball(), box(index=1))), encoding="utf-8")
    return CliRunner(env={"COLUMNS": "200"}).invoke(main, ["check", "c.jsonl", *options]), calls


def test_check_needs_no_model(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer, calls = check(monkeypatch, [])
    assert answer.exit_code == 0
    assert answer.stdout.startswith("2 certificates, 2 hold, 0 do not (arithmetic only")
    assert calls == []


def test_check_hands_the_regions_on(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("--inputs", "x.npy", "--bounds", "lo.npy", "hi.npy", "--weights", "w.npy")
    boxes = ("--lower", "l.npy", "--upper", "u.npy")
    answer, calls = check(monkeypatch, [Redrawn(0, True, True, "")], "--model", "m", *options, *boxes)
    assert answer.exit_code == 0, answer.stderr
    ((model, x, certificates, regions),) = calls
    assert (model, len(x), len(certificates)) == ("m", 2, 2)
    assert regions.weights.tolist() == [0.0, 1.0, 2.0]
    assert regions.domain[1].tolist() == [1.0, 1.0, 1.0]
    assert (regions.lower < regions.upper).all()


@pytest.mark.parametrize(("comparable", "code"), [(True, 1), (False, 3)])
def test_bounds_that_do_not_hold_again(
    files: Path, monkeypatch: pytest.MonkeyPatch, comparable: bool, code: int
) -> None:
    differing = Redrawn(0, False, comparable, "crown does not certify class 1 again")
    answer, _ = check(monkeypatch, [differing], "--model", "m", "--inputs", "x.npy")
    assert answer.exit_code == code
    assert "input 0: crown does not certify class 1 again" in answer.stdout


@pytest.mark.parametrize(
    "options",
    [
        "--model m",
        "--inputs x.npy",
        "--bounds 0 1",
        "--weights w.npy",
        "--lower l.npy --upper u.npy",
        "--model m --upper u.npy",
    ],
)
def test_half_a_question_is_refused(files: Path, monkeypatch: pytest.MonkeyPatch, options: str) -> None:
    answer, calls = check(monkeypatch, [], *options.split())
    assert_refused(answer, "computing again needs --model, and --inputs, or --lower and --upper")
    assert calls == []


def test_forged_bounds_fail(files: Path) -> None:
    text = certificate_to_json(ball()).replace('"radius": 0.25', '"radius": 0.5')
    Path("f.jsonl").write_text(text, encoding="utf-8")
    answer = CliRunner().invoke(main, ["check", "f.jsonl"])
    assert answer.exit_code == 1
    assert "input 0: margins at eps 0.25 are none of radius 0.5" in answer.stdout


def test_boxes_are_not_plotted(files: Path) -> None:
    Path("b.jsonl").write_text(certificate_to_json(box()), encoding="utf-8")
    answer = CliRunner().invoke(main, ["plot", "b.jsonl", "--out", "b.png"])
    assert_refused(answer, "certificates of boxes have no radius to draw")
