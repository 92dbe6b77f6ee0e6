"""Puts a service together from settings: the one place that knows every part."""

from collections.abc import Iterator
from contextlib import contextmanager

from verifier.backends.device import Device
from verifier.engine.engine import Engine
from verifier.engine.executor import LocalExecutor
from verifier.errors import InvalidProblem
from verifier.ledger import Ledger
from verifier.models.compiled import Form
from verifier.models.registry import Registry
from verifier.service import Service
from verifier.settings import Settings, default_data_dir
from verifier.stats.selftest import self_test


@contextmanager
def open_service(settings: Settings, *, exclusive: bool) -> Iterator[Service]:
    """A running service, closed at the end of the block.

    Args:
        settings: of the service.
        exclusive: whether the data directory must be this process's alone (a server's is; embedded users share).
    Raises:
        Unsound: the installed SciPy fails the statistical self-test; nothing may be certified with it.
        Conflict: the data directory is in use.
        Unsupported: no such device.
    """
    self_test()
    data_dir = settings.data_dir or default_data_dir()
    with Registry.open(data_dir, exclusive, max_bytes=settings.max_model_bytes) as registry:
        device = Device(settings.device, registry, _form(settings.form))
        engine = Engine(LocalExecutor(device))
        try:
            ledger = Ledger(registry.database, refuse=settings.repeated_attempts == "refuse")
            yield Service(registry, device, engine, ledger, settings.max_pending_passes)
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
