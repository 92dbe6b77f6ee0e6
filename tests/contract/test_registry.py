"""The registry of models, on every database that it runs on."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
import safetensors.torch
import torch

from verifier.errors import AlreadyExists, NotFound
from verifier.model import ModelFormat, ModelSource
from verifier.models.architectures import MLP
from verifier.models.registry import BatchKey, Registry

CPU = torch.device("cpu")
CONFIG = {"input_shape": [4], "hidden": [8], "classes": 3}
KEY = BatchKey("ab" * 32, "cpu", "float32")


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str | None:
    """None where the database is a file of the data directory."""
    return request.getfixturevalue("postgres_url") if request.param == "postgresql" else None


@pytest.fixture
def registries(database_url: str | None, tmp_path: Path) -> Iterator[tuple[Registry, Registry]]:
    """Two that share files and rows, as two servers do, or two embedded users."""
    with ExitStack() as opened:
        one, other = (Registry.open(tmp_path, exclusive=False, database_url=database_url) for _ in range(2))
        yield opened.enter_context(one), opened.enter_context(other)


@pytest.fixture(scope="module")
def weights() -> bytes:
    """Of a small network."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return safetensors.torch.save(MLP.build(CONFIG).state_dict())


def source(i: int = 0) -> ModelSource:
    """Other versions of the same file."""
    return ModelSource(ModelFormat.SAFETENSORS, architecture="mlp", config=CONFIG, input_range=(0.0, 1.0 + i))


def test_what_one_adds_the_other_has(registries: tuple[Registry, Registry], weights: bytes) -> None:
    one, other = registries
    added = [one.add(weights, source(i), f"m{i}") for i in range(3)]
    assert other.list()[0] == tuple(added)
    assert other.load(added[0].digest, CPU).digest == added[0].digest
    assert other.add(weights, source(0), "again").aliases == ("again", "m0")
    with pytest.raises(AlreadyExists, match="'m1' belongs to"):
        other.add(weights, source(2), "m1")
    assert other.add(weights, source(2), "m1", move_alias=True).aliases == ("m1", "m2")
    assert one.get(added[1].digest[:12]).aliases == ()
    other.remove(added[2].digest)
    with pytest.raises(NotFound):
        one.get("m2")


def test_requests_and_batch_shapes_stand_for_both(registries: tuple[Registry, Registry]) -> None:
    one, other = registries
    assert one.remember("id", "body", "first") == "first"
    assert other.remember("id", "body", "second") == "first"
    with pytest.raises(AlreadyExists):
        other.remembered("id", "other")
    assert one.store_batch_rows(KEY, 256) == 256
    assert other.store_batch_rows(KEY, 512) == other.batch_rows(KEY) == 256


def test_adding_and_removing_at_once_never_loses_a_file(registries: tuple[Registry, Registry], weights: bytes) -> None:
    def churn(i: int) -> None:
        registry = registries[i % 2]
        registry.add(weights, source(i), f"m{i}")
        registry.remove(f"m{i}")

    with ThreadPoolExecutor(4) as threads:
        churning = [threads.submit(churn, i) for i in range(12)]
        kept = registries[0].add(weights, source(100), "kept")
        for future in churning:
            future.result()
    assert registries[1].load(kept.digest, CPU).digest == kept.digest
    assert registries[0].list()[0] == (kept,)
