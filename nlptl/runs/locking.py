"""A lock on a run's directory: two sessions that write there at once would spoil each other's files."""

import atexit
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from nlptl.errors import ConfigError
from nlptl.train.terminal import is_main_process

#: File that is locked while a session works; one that is left over locks nothing.
NAME = ".lock"
_HELD: dict[Path, Any] = {}


def lock(directory: Path) -> None:
    """Lock a directory for this process until :func:`unlock`, or until the process ends.

    A directory below one that this process has locked needs no lock of its own. Where the file system has no
    locks, nothing is locked.

    Args:
        directory: It is there already.

    Raises:
        ConfigError: If another process works there.
    """
    from filelock import FileLock, Timeout

    home = directory.resolve()
    if any(held in _HELD for held in (home, *home.parents)):
        return
    one = FileLock(home / NAME, timeout=0)
    try:
        one.acquire()
    except Timeout as error:
        raise ConfigError(
            f"--output-dir {directory}: another session is working there. Wait until it has ended, or choose "
            "another directory."
        ) from error
    except (OSError, NotImplementedError):
        return
    if not _HELD:
        atexit.register(_unlock_all)
    _HELD[home] = one


def unlock(directory: Path) -> None:
    """Release a directory that this process has locked, if it has, and remove the lock's file."""
    one = _HELD.pop(directory.resolve(), None)
    if one is not None:
        with suppress(OSError):  # first, or it would be another session's already
            (directory.resolve() / NAME).unlink(missing_ok=True)
        one.release()


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Lock a directory within, on the main process; where it was locked before, it stays locked.

    Raises:
        ConfigError: If another session works there.
    """
    before = set(_HELD)
    if is_main_process():
        lock(directory)
    try:
        yield
    finally:
        if directory.resolve() not in before:
            unlock(directory)


def _unlock_all() -> None:
    for home in list(_HELD):
        unlock(home)
