"""The folder of cached states: its entries, which of them are whole, and its size limit."""

import json
import os
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nlptl.errors import ConfigError

#: Bytes that all entries together may take, unless the environment variable NLPTL_CACHE_GB says otherwise.
LIMIT = 20e9
UNFINISHED = "unfinished or damaged"


def root() -> Path:
    """Return ``$NLPTL_CACHE``, by default ``~/.cache/nlptl``."""
    return Path(os.environ.get("NLPTL_CACHE") or Path.home() / ".cache" / "nlptl")


def folder() -> Path:
    """Return ``$NLPTL_CACHE/prefix``, by default in ``~/.cache/nlptl``."""
    return root() / "prefix"


def limit() -> float:
    """Return the bytes that the cache may take.

    Raises:
        ConfigError: If ``$NLPTL_CACHE_GB`` is not a number.
    """
    given = os.environ.get("NLPTL_CACHE_GB") or str(LIMIT / 1e9)
    try:
        return float(given) * 1e9
    except ValueError:
        raise ConfigError(
            f"NLPTL_CACHE_GB is {given!r}; expected a number of gigabytes, such as 20."
        ) from None


@dataclass(frozen=True)
class Entry:
    """An entry of the cache.

    Attributes:
        path: Its folder, named by its key.
        bytes: Size on disk.
        used: Time of its last use, in seconds since the epoch.
        about: Description of its content.
    """

    path: Path
    bytes: int
    used: float
    about: str


def entries() -> list[Entry]:
    """List all entries, the least recently used first; unfinished ones too."""
    found = []
    for path in folder().glob("*") if folder().is_dir() else ():
        with suppress(OSError):  # another run may be giving it its name, or removing it
            size = sum(file.stat().st_size for file in path.glob("*"))
            found.append(Entry(path, size, *_record(path)))
    return sorted(found, key=lambda entry: entry.used)


def _record(path: Path) -> tuple[float, str]:
    """Return when an entry was last used, and what it holds."""
    try:
        meta = path / "meta.json"
        return meta.stat().st_mtime, str(json.loads(meta.read_text())["about"])
    except (OSError, ValueError, KeyError):
        return path.stat().st_mtime, UNFINISHED


def touch(path: Path) -> None:
    """Note that an entry was used now."""
    os.utime(path / "meta.json")


def shrink(most: float, *, sparing: float = 0.0) -> list[Entry]:
    """Remove the least recently used entries until the others take at most ``most`` bytes.

    Args:
        most: Bytes that may remain.
        sparing: Age in seconds; younger unfinished entries may be another run's, and stay uncounted. Older
            ones are removed whatever the others take.

    Returns:
        The entries that were removed.
    """
    there, removed = [], []
    for entry in entries():
        if entry.about != UNFINISHED or time.time() - entry.used >= sparing:
            there.append(entry)
    total = sum(entry.bytes for entry in there)
    for entry in there:
        if total > most or (sparing and entry.about == UNFINISHED):
            shutil.rmtree(entry.path, ignore_errors=True)
            total -= entry.bytes
            removed.append(entry)
    return removed


def free_disk() -> int:
    """Return the bytes for a new entry: free on the disk, and below the limit once others made room."""
    path = folder()
    while not path.exists():
        path = path.parent
    return int(min(shutil.disk_usage(path).free, 2 * limit()))
