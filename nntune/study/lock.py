"""The lock file beside a study: whoever holds it is the study's only writer.

The kernel frees the lock when its holder dies, however it dies. A trial that is RUNNING while
nobody holds the lock is therefore an orphan.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nntune.errors import DatabaseError

if sys.platform == "win32":
    import msvcrt

    # Windows refuses reads of locked bytes: lock one that lies far behind the process id.
    _BYTE = 1 << 20

    def _try_lock(descriptor: int) -> bool:
        os.lseek(descriptor, _BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True

    def _release(descriptor: int, lock: Path) -> None:
        os.close(descriptor)
        with suppress(OSError):  # another process holds it already
            lock.unlink()

else:
    import fcntl

    def _try_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _release(descriptor: int, lock: Path) -> None:
        with suppress(OSError):
            lock.unlink()
        os.close(descriptor)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold `PATH.lock`; the file is removed at the end and harmless when it stays behind.

    Raises:
        DatabaseError: another process holds it, or the folder cannot be written.
    """
    file = Path(os.path.realpath(path))  # however many links lead to it
    lock = file.with_name(f"{file.name}.lock")
    try:
        descriptor = _acquire(path, lock)
    except OSError as error:
        raise DatabaseError(f"{path} cannot be written: {error.strerror}.") from error
    try:
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, str(os.getpid()).encode())
        yield
    finally:
        _release(descriptor, lock)


def _acquire(path: Path, lock: Path) -> int:
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        if not _try_lock(descriptor):
            holder = os.read(descriptor, 20).decode()
            os.close(descriptor)
            process = f"process {holder}" if holder else "another process"
            raise DatabaseError(
                f"{path} is in use by another nntune search ({process}); "
                "wait for it or use --study NAME with another --db."
            )
        if _is_at(descriptor, lock):
            return descriptor
        # The holder before removed the file between our opening and our locking it.
        os.close(descriptor)


def _is_at(descriptor: int, lock: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(lock))
    except FileNotFoundError:
        return False
