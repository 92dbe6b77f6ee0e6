"""A place to store data sets."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from verifier.datasets.files import DatasetFiles
from verifier.datasets.registry import Datasets
from verifier.storage.database import Database


@pytest.fixture
def files(tmp_path: Path) -> DatasetFiles:
    """A data directory's data sets; none yet."""
    (tmp_path / "data").mkdir()
    return DatasetFiles(tmp_path / "data")


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """Its rows."""
    postgres = request.param == "postgres"
    database = Database(request.getfixturevalue("postgres_url") if postgres else tmp_path / "verifier.db")
    yield database
    database.close()


@pytest.fixture
def datasets(database: Database, files: DatasetFiles) -> Datasets:
    """Rows and files."""
    return Datasets(database, files, clock=lambda: 1000.0)
