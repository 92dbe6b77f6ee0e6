"""Killed at any moment, a data set is there whole or not at all."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select

from verifier.datasets.files import DatasetFiles
from verifier.datasets.registry import Datasets
from verifier.model import DIGEST_PATTERN
from verifier.storage.database import Database
from verifier.storage.schema import DATASETS

SIZE = 3000

WORK = """
import os, signal, sys
from pathlib import Path
import numpy as np
from verifier.datasets.files import DatasetFiles
from verifier.datasets.registry import Datasets
from verifier.datasets.source import Extent
from verifier.storage.database import Database

SIZE = 3000

def write(datasets, name, value):
    incoming = datasets.begin(Extent((7,), SIZE, True))
    for first in range(0, SIZE, 500):
        x = np.full((500, 7), value, np.float32)
        incoming.append(x, np.arange(first, first + 500), {3: "torn"})
    incoming.finish()
    datasets.add(name, incoming, move_name=True)

def work(data_dir, rounds, say=print):
    database = Database(data_dir / "verifier.db")
    datasets = Datasets(database, DatasetFiles(data_dir))
    for number in rounds:
        write(datasets, "a", number % 3)
        write(datasets, "b", number % 3)
        write(datasets, "a", number % 3 + 0.5)
        datasets.remove("b")
        say("done", number, flush=True)
    database.close()
"""

FOREVER = (
    WORK
    + """
from itertools import count
work(Path(sys.argv[1]), count())
"""
)

STEP_BY_STEP = (
    WORK
    + """
# Every open, rename, removal, directory and connection is announced to this hook before it happens.
STEPS = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.scandir", "shutil.rmtree", "sqlite3.connect")

def killed_at(step, data_dir):
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1] == signal.SIGKILL
    seen = 0
    def hook(event, arguments):
        nonlocal seen
        if event in STEPS and str(data_dir) in str(arguments) or event == "os.remove" or event == "os.rmdir":
            seen += 1
            if seen == step:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)
    work(data_dir, [0], lambda *_, **__: None)
    os._exit(0)

step = 1
while killed_at(step, Path(sys.argv[1]) / str(step)):
    step += 1
    (Path(sys.argv[1]) / str(step)).mkdir(exist_ok=True)
print(step - 1)
"""
)


def check_whole(data_dir: Path) -> int:
    """Every visible data set is whole, every row has its files, and a sweep leaves nothing else; how many there are."""
    files = DatasetFiles(data_dir)
    root = data_dir / "datasets"
    for path in root.iterdir():
        assert path.name in ("incoming", "lock") or DIGEST_PATTERN.fullmatch(path.name)
        if path.is_dir() and path.name != "incoming":
            with files.open(path.name) as dataset:
                dataset.verify()
                x, labels = dataset.rows(range(SIZE))
                assert labels is not None
                assert np.array_equal(labels, np.arange(SIZE))
                assert np.isnan(x).any(axis=1).sum() == SIZE / 500
    if not (data_dir / "verifier.db").exists():
        return 0
    database = Database(data_dir / "verifier.db")
    try:
        datasets = Datasets(database, files)
        datasets.sweep()
        with database.read() as rows:
            known = set(rows.execute(select(DATASETS.c.digest)).scalars())
        assert {path.name for path in root.iterdir()} - {"lock"} == known | {"incoming"}
        assert list((root / "incoming").iterdir()) == []
        return len(known)
    finally:
        database.close()


def test_killed_before_every_step_in_turn(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", STEP_BY_STEP, str(tmp_path)], check=True, capture_output=True, text=True
    )
    steps = int(done.stdout)
    assert steps > 40, "the hook sees the steps"
    found = [check_whole(tmp_path / str(step)) for step in range(1, steps + 1)]
    assert {0, 1, 2} <= set(found), "before anything, between the two contents, and while one replaces the other"


@pytest.mark.parametrize("kills", [8, pytest.param(60, marks=pytest.mark.slow)])
def test_killed_at_random_moments(tmp_path: Path, kills: int) -> None:
    moments = random.Random(0)
    finished = 0
    for _ in range(kills):
        with subprocess.Popen(
            [sys.executable, "-c", FOREVER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            finished += process.stdout.readline().startswith("done")
            time.sleep(moments.uniform(0, 0.15))
            process.send_signal(signal.SIGKILL)
            process.wait()
        check_whole(tmp_path)
    assert finished == kills, "each writer was killed while it wrote"
