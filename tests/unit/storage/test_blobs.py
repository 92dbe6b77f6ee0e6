import hashlib
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from verifier.errors import Conflict, InvalidProblem, Overloaded, Unsound
from verifier.storage.blobs import Blobs, Upload
from verifier.storage.lock import DirectoryLock

DATA = b"0123456789"
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path)


def uploaded(blobs: Blobs, data: bytes = DATA) -> Upload:
    upload = blobs.begin(max_bytes=100)
    upload.write(data)
    upload.finish()
    return upload


def files(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes: the kernel fails the write, as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class TestUpload:
    def test_chunks_become_one_file_under_their_digest(self, tmp_path: Path, blobs: Blobs) -> None:
        upload = blobs.begin(max_bytes=10)
        for chunk in (DATA[:3], b"", DATA[3:]):
            upload.write(chunk)
        assert upload.finish(SHA256.upper()) == SHA256
        assert (upload.read(), upload.size) == (DATA, 10)
        blobs.place(upload, SHA256)
        assert files(tmp_path) == [f"blobs/sha256/{SHA256[:2]}/{SHA256}"]
        assert blobs.read(SHA256) == DATA

    def test_another_digest_than_expected(self, tmp_path: Path, blobs: Blobs) -> None:
        upload = blobs.begin(max_bytes=10)
        upload.write(DATA)
        with pytest.raises(InvalidProblem, match=f"must be {'0' * 64}, got {SHA256} over 10 bytes") as caught:
            upload.finish("0" * 64)
        assert caught.value.reason == "DIGEST_MISMATCH"
        assert files(tmp_path) == []

    def test_too_many_bytes(self, tmp_path: Path, blobs: Blobs) -> None:
        upload = blobs.begin(max_bytes=9)
        upload.write(DATA[:9])
        with pytest.raises(InvalidProblem, match="at most 9 bytes, got at least 10") as caught:
            upload.write(DATA[9:])
        assert caught.value.reason == "MODEL_TOO_LARGE"
        assert files(tmp_path) == []

    def test_no_room_on_the_disk(self, tmp_path: Path, blobs: Blobs) -> None:
        upload = blobs.begin(max_bytes=100)
        upload.write(DATA)
        with room_for(15), pytest.raises(Overloaded, match=r"no room left on the disk .* free space") as caught:
            upload.write(DATA)
        assert caught.value.reason == "DISK_FULL"
        assert files(tmp_path) == []

    def test_abort_forgets_the_bytes_and_may_come_twice(self, tmp_path: Path, blobs: Blobs) -> None:
        upload = blobs.begin(max_bytes=100)
        upload.write(DATA)
        assert len(files(tmp_path)) == 1
        upload.abort()
        upload.abort()
        assert files(tmp_path) == []

    def test_abort_after_placing_keeps_the_file(self, blobs: Blobs) -> None:
        upload = uploaded(blobs)
        blobs.place(upload, SHA256)
        upload.abort()
        assert blobs.read(SHA256) == DATA


class TestBlobs:
    @pytest.mark.parametrize("damage", [b"", DATA[:-1], DATA + b"x", b"1123456789"], ids=repr)
    def test_damage_is_found_and_placing_again_repairs_it(self, blobs: Blobs, damage: bytes) -> None:
        blobs.place(uploaded(blobs), SHA256)
        blobs.path(SHA256).write_bytes(damage)
        with pytest.raises(Unsound, match=f"{SHA256} must have SHA-256 {SHA256}, got .*register") as caught:
            blobs.read(SHA256)
        assert caught.value.reason == "MODEL_CORRUPT"
        blobs.place(uploaded(blobs), SHA256)
        assert blobs.read(SHA256) == DATA

    def test_a_lost_file(self, blobs: Blobs) -> None:
        with pytest.raises(Unsound, match="got no file"):
            blobs.read(SHA256)

    def test_bytes_that_were_read_back_wrong_are_not_placed(self, tmp_path: Path, blobs: Blobs) -> None:
        upload = uploaded(blobs)
        with pytest.raises(Unsound, match="read back with"):
            blobs.place(upload, "0" * 64)
        upload.abort()
        assert files(tmp_path) == []

    def test_delete_removes_and_may_come_twice(self, tmp_path: Path, blobs: Blobs) -> None:
        blobs.place(uploaded(blobs), SHA256)
        blobs.delete(SHA256)
        blobs.delete(SHA256)
        assert files(tmp_path) == []

    def test_sweep_keeps_what_is_named_and_what_is_not_ours(self, tmp_path: Path, blobs: Blobs) -> None:
        blobs.place(uploaded(blobs), SHA256)
        other = uploaded(blobs, b"other")
        blobs.place(other, other.sha256)
        unfinished = blobs.begin(max_bytes=100)
        unfinished.write(DATA)
        foreign = tmp_path / "blobs" / "sha256" / "ab" / "README"
        foreign.parent.mkdir(exist_ok=True)
        foreign.touch()
        assert blobs.sweep(keep={SHA256}) == 2
        assert files(tmp_path) == sorted([f"blobs/sha256/{SHA256[:2]}/{SHA256}", "blobs/sha256/ab/README"])
        unfinished.abort()


HOLD = """
import sys
from pathlib import Path
from verifier.storage.lock import DirectoryLock
lock = DirectoryLock(Path(sys.argv[1]), exclusive=sys.argv[2] == "exclusive")
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def holder(directory: Path, mode: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the lock."""
    command = [sys.executable, "-c", HOLD, str(directory), mode]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


class TestLock:
    def test_a_server_excludes_everybody_and_its_death_frees_the_directory(self, tmp_path: Path) -> None:
        with holder(tmp_path, "exclusive") as server:
            for exclusive in (True, False):
                with pytest.raises(Conflict, match=f"in use by a server \\(pid {server.pid}\\).*--server.*--data-dir"):
                    DirectoryLock(tmp_path, exclusive)
            server.kill()
            server.wait()
            DirectoryLock(tmp_path, exclusive=True).release()

    def test_embedded_users_share_it_and_keep_a_server_out(self, tmp_path: Path) -> None:
        with holder(tmp_path, "shared") as user:
            with pytest.raises(Conflict, match=f"an embedded user \\(pid {user.pid}\\)") as caught:
                DirectoryLock(tmp_path, exclusive=True)
            assert caught.value.reason == "DATA_DIR_IN_USE"
            DirectoryLock(tmp_path, exclusive=False).release()

    def test_it_excludes_within_one_process_too(self, tmp_path: Path) -> None:
        lock = DirectoryLock(tmp_path, exclusive=True)
        with pytest.raises(Conflict):
            DirectoryLock(tmp_path, exclusive=True)
        lock.release()
        DirectoryLock(tmp_path, exclusive=True).release()

    def test_a_directory_that_cannot_be_written(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidProblem, match=r"must be writable, got .*nowhere"):
            DirectoryLock(tmp_path / "nowhere", exclusive=True)
