"""Imports go down the house only, and a client carries little."""

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in (ROOT / "verifier").rglob("*.py")
}
ROOMS = {name.split(".")[1] for name in MODULES if "." in name}

GROUND = (
    *("errors", "problem", "methods", "certificate", "catalogue"),
    *("model", "seeds", "settings", "rounding", "version", "properties"),
    *("dataset", "job", "gating"),
)
SERVICE = (
    *("service", "admission", "composition", "ledger"),
    *("check", "sampling_claims", "sequential_claims", "bound_claims", "decision", "report", "tables", "plot"),
    *("batch", "batch_runner", "gatekeeper", "gate", "audit", "attestation"),
)
DOORS = ("server", "client", "cli", "demo", "__main__", "verifier")
"""The last two are `python -m verifier` and the public names, verifier/__init__.py."""

FLOORS = (
    GROUND,
    ("storage",),
    ("stats", "smoothing", "bounds", "attacks", "models", "datasets", "wire", "v1", "vnnlib"),
    ("guarantee",),
    ("chain",),
    ("backends",),
    ("engine", "jobs"),
    SERVICE,
    DOORS,
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}

ACQUAINTED = (GROUND, SERVICE)
"""Floors whose rooms may know each other."""

SIDEWAYS = {("wire", "v1"), ("verifier", "client"), ("__main__", "cli"), *product(("cli", "demo"), DOORS)}
"""On the other floors: who may know which neighbour."""

SPEAK_THE_WIRE = {"wire", "server", "client", "v1"}
"""The only rooms that may know the generated messages."""

HEAVY = ("torch", "sqlalchemy", "onnx")


def room(module: str) -> str:
    """verifier.stats.binomial -> stats; verifier and its public names -> verifier."""
    name = module.split(".")[1:2]
    return name[0] if name and name[0] in ROOMS else "verifier"


def imported(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """What import statements name, of ours: each as precisely as the statement does."""
    for node in nodes:
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name the whole path, so that the floor can be read"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from (name for name in names if name.split(".")[0] == "verifier")


def goes_down(importer: str, target: str) -> bool:
    """Whether a room may know another."""
    if target == "v1" and importer not in SPEAK_THE_WIRE:
        return False
    if FLOOR[importer] == FLOOR[target]:
        acquainted = FLOORS[FLOOR[importer]] in ACQUAINTED
        return acquainted or importer == target or (importer, target) in SIDEWAYS
    return FLOOR[importer] > FLOOR[target]


def at_import(node: ast.AST) -> Iterator[ast.AST]:
    """The statements that importing a module runs: nothing inside functions or `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        lazy = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for_types = isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING")
        if not (lazy or for_types):
            yield child
            yield from at_import(child)


def needed_by(start: str) -> set[str]:
    """The modules of ours that importing one runs, packages on the way included."""
    seen, waiting = set[str](), [start]
    while waiting:
        parts = waiting.pop().split(".")
        for name in (".".join(parts[:length]) for length in range(1, len(parts) + 1)):
            if name in MODULES and name not in seen:
                seen.add(name)
                waiting += imported(at_import(ast.parse(MODULES[name].read_text())))
    return seen


def test_every_module_lives_on_a_floor() -> None:
    assert ROOMS - FLOOR.keys() == set()


def test_imports_go_down() -> None:
    climbing = [
        f"{importer} imports {target}"
        for importer, path in MODULES.items()
        for target in imported(ast.walk(ast.parse(path.read_text())))
        if not goes_down(room(importer), room(target))
    ]
    assert climbing == []


def test_client_needs_only_the_wire_and_the_ground() -> None:
    needed = needed_by("verifier") | needed_by("verifier.client")
    assert {room(module) for module in needed} <= {"verifier", "client", "wire", "v1", *GROUND}


def test_clients_and_checks_import_nothing_heavy() -> None:
    code = f"import sys, verifier, verifier.client, verifier.check; print(*set({HEAVY}) & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert answer.stdout.split() == []
