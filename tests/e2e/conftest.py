"""One server a module, with the shipped networks, and digits to send it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from e2e.serving import Stubs, server_in_thread
from numpy.typing import NDArray

import verifier
from verifier.demo.digits import NAMES, network, test_images
from verifier.model import ModelFormat

CAPACITY = 20_000_000
"""Forward passes that the module's server admits at once."""


@dataclass(frozen=True)
class Digits:
    """Held-out images [B, 1, 8, 8] and their labels [B]."""

    x: NDArray[np.float32]
    y: NDArray[np.int64]


@dataclass(frozen=True)
class Server:
    """A running server with the shipped networks registered under their names."""

    address: str
    data_dir: Path
    models: dict[str, verifier.ModelInfo]


@pytest.fixture(scope="session")
def digits() -> Digits:
    x, y = test_images()
    return Digits(x, y)


def register(client: verifier.Client) -> dict[str, verifier.ModelInfo]:
    """The shipped networks, under their names."""
    return {
        name: client.models.add(name, onnx=network(name, ModelFormat.ONNX), input_range=(0.0, 1.0)) for name in NAMES
    }


@pytest.fixture(scope="session")
def register_digits() -> Callable[[verifier.Client], dict[str, verifier.ModelInfo]]:
    return register


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data_dir = tmp_path_factory.mktemp("server") / "data"
    with server_in_thread(data_dir, max_pending_passes=CAPACITY, channelz=True) as address:
        with verifier.connect(address) as client:
            models = register(client)
        yield Server(address, data_dir, models)


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[verifier.Client]:
    with verifier.connect(server.address) as client:
        yield client


@pytest.fixture(scope="module")
def stubs(server: Server) -> Iterator[Stubs]:
    with Stubs(server.address) as stubs:
        yield stubs


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[verifier.Client]:
    """A service in this process, with the same networks."""
    with verifier.local(data_dir=tmp_path_factory.mktemp("embedded"), device="cpu") as client:
        register(client)
        yield client
