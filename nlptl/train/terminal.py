"""Lines that a run prints, once, whatever the number of processes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from nlptl.data.text import printable

_MUTED = [False]


def is_main_process() -> bool:
    """Whether this is the first of the processes that torchrun or accelerate started.

    It can be called before Accelerate has started; afterwards ``accelerator.is_main_process`` is the same.
    """
    return os.environ.get("RANK", "0") == "0"


def say(text: object) -> None:
    """Write a line to standard output, above a progress bar if there is one."""
    from tqdm import tqdm

    if is_main_process() and not _MUTED[0]:
        tqdm.write(printable(text))


@contextmanager
def muted() -> Iterator[None]:
    """Print nothing within, for runs that are parts of something that prints its own lines."""
    was, _MUTED[0] = _MUTED[0], True
    try:
        yield
    finally:
        _MUTED[0] = was
