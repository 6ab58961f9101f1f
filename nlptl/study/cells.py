"""Runs of a study that are not finished: what they go on from when the same command comes again."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from nlptl.errors import ConfigError, Diverged, RunError
from nlptl.runs.locking import lock, unlock
from nlptl.train.intervals import Interval
from nlptl.train.machine import from_main
from nlptl.train.stem_cache.directory import root

T = TypeVar("T")
#: Time between the checkpoints of a run; ends of epochs have none, since many runs take less than a minute.
EVERY = Interval(seconds=600.0, ends=False)
#: Seconds after which the checkpoints of a run that nobody went on with are removed.
OLD = 30 * 86400.0


def folder() -> Path:
    """Return the folder of unfinished runs, ``$NLPTL_CACHE/unfinished``; by default in ``~/.cache/nlptl``."""
    return root() / "unfinished"


@contextmanager
def unfinished(key: str, accelerator: Any) -> Iterator[Path | None]:
    """Yield the folder of a run's checkpoints; it is removed when the run has ended well.

    Another session may be at the same run: then None, and the run has no checkpoints.

    Args:
        key: Key of its outcome (:func:`nlptl.study.outcomes.outcome_key`).
        accelerator: Accelerator whose main process decides.
    """
    home = from_main(_open(key) if accelerator.is_main_process else None, accelerator)
    try:
        yield home
    except BaseException:
        if home is not None and accelerator.is_main_process:
            unlock(home)
            with suppress(OSError):  # not empty: something is there to go on from
                home.rmdir()
        raise
    if home is not None and accelerator.is_main_process:
        unlock(home)
        shutil.rmtree(home, ignore_errors=True)


def _open(key: str) -> Path | None:
    home = folder() / key
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        lock(home)
    except ConfigError:
        return None
    for other in folder().iterdir():
        if other != home and time.time() - newest_change(other) > OLD:
            shutil.rmtree(other, ignore_errors=True)
    return home


def going_on(make: Callable[..., T], home: Path | None, accelerator: Any, *, seed: int) -> T:
    """Make a run from the checkpoints in a folder; from the start if they are of another nlptl.

    Args:
        make: Function that makes the run; it takes ``home``, if there is one.
        home: Folder from :func:`unfinished`, or None.
        accelerator: Accelerator as for ``make``.
        seed: Seed of the run.
    """
    if home is None:
        return make()
    begun = from_main(any(home.glob("**/step-*")), accelerator)
    try:
        return make(home=home)
    except (ConfigError, RunError) as error:
        if isinstance(error, Diverged) or not begun:
            raise
    from accelerate.utils import set_seed

    if accelerator.is_main_process:
        for path in home.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
    accelerator.wait_for_everyone()
    set_seed(seed)
    return make(home=home)


def newest_change(home: Path) -> float:
    """Return the time of the newest change in a folder, in seconds since the epoch; now if it has gone."""
    with suppress(OSError):
        return max(path.stat().st_mtime for path in (home, *home.iterdir()))
    return time.time()
