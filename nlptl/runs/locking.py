"""A lock on a run's directory: two sessions that write there at once would spoil each other's files."""

import atexit
from pathlib import Path
from typing import Any

from nlptl.errors import ConfigError

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
        one.release()
        (directory.resolve() / NAME).unlink(missing_ok=True)


def _unlock_all() -> None:
    for home in list(_HELD):
        unlock(home)
