"""Puts a service together from settings: the one place that knows every part."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from verifier.backends.device import Device
from verifier.batch import Batch
from verifier.batch_runner import Runner
from verifier.datasets.files import DatasetFiles
from verifier.datasets.registry import Datasets
from verifier.engine.engine import Engine
from verifier.engine.executor import LocalExecutor
from verifier.errors import InvalidProblem
from verifier.gatekeeper import Gatekeeper
from verifier.jobs.gate_runs import GateRuns
from verifier.jobs.store import JobStore
from verifier.ledger import Ledger
from verifier.models.compiled import Form
from verifier.models.registry import Registry
from verifier.service import Service
from verifier.settings import Settings, default_data_dir
from verifier.stats.selftest import self_test
from verifier.storage.database import Database


@dataclass(frozen=True)
class House:
    """Everything that a door opens on.

    Args:
        service: models, and certification while the caller waits.
        datasets, batch, gatekeeper: data sets, jobs, gates.
        runner: works on jobs; `run` it on the event loop that calls the others.
        database: where all of them keep their rows.
    """

    service: Service
    datasets: Datasets
    batch: Batch
    gatekeeper: Gatekeeper
    runner: Runner
    database: Database


@contextmanager
def open_house(settings: Settings, *, exclusive: bool) -> Iterator[House]:
    """A running service with all that belongs to it, closed at the end of the block.

    Args:
        settings: of the service.
        exclusive: whether the data directory must be this process's alone (a server's is, unless a database that
            servers share is named; embedded users share).
    Raises:
        Unsound: the installed SciPy fails the statistical self-test; nothing may be certified with it.
        Conflict: the data directory is in use.
        Unsupported: no such device.
        InvalidProblem: an old schema; reason SCHEMA_VERSION.
    """
    self_test()
    data_dir = settings.data_dir or default_data_dir()
    url = settings.database_url or None
    alone = exclusive and url is None
    with Registry.open(data_dir, alone, database_url=url, max_bytes=settings.max_model_bytes) as registry:
        device = Device(settings.device, registry, _form(settings.form))
        engine = Engine(LocalExecutor(device))
        try:
            ledger = Ledger(registry.database, refuse=settings.repeated_attempts == "refuse")
            service = Service(registry, device, engine, ledger, settings.max_pending_passes)
            store = JobStore(registry.database)
            files = DatasetFiles(data_dir, settings.max_dataset_bytes)
            datasets = Datasets(registry.database, files, in_use=store.needs_dataset)
            if alone:
                datasets.sweep()
            runner = Runner(service, datasets, store, lease_seconds=settings.lease_seconds)
            batch = Batch(service, datasets, store, runner.wake, runner.stop)
            gatekeeper = Gatekeeper(service, datasets, GateRuns(registry.database))
            yield House(service, datasets, batch, gatekeeper, runner, registry.database)
        finally:
            engine.close()


def _form(name: str) -> Form | None:
    if not name:
        return None
    try:
        return Form(name)
    except ValueError:
        names = ", ".join(form.value for form in Form)
        raise InvalidProblem(f"form must be one of {names}, got {name!r}", field="form") from None
