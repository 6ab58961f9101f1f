"""Progress bars: one look for all of them, on a terminal or in a notebook only, and for slow work only."""

import os
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

T = TypeVar("T")
#: Seconds after which work gets a bar.
DELAY = 2.0
#: Seconds between two redrawings of a line that only counts the time.
TICK = 0.5
#: Columns of a line that has room for a bar with epoch and loss, and for one with speed and rate too.
NARROW, WIDE = 76, 110
#: Columns that the name of one of several runs takes.
NESTED = 30
FORMAT = (
    "{desc} {percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} {unit} [{elapsed}<{remaining}{postfix}]"
)
_HIDDEN = [False]
_DOING: list[str] = []


def is_main_process() -> bool:
    """Whether this is the first of the processes that torchrun or accelerate started.

    It can be called before Accelerate has started; afterwards ``accelerator.is_main_process`` is the same.
    """
    return os.environ.get("RANK", "0") == "0"


def are_shown() -> bool:
    """Whether bars are drawn: by the first process, on a terminal or in a notebook, unless they are hidden."""
    if _HIDDEN[0] or not is_main_process():
        return False
    return is_terminal("stderr") or _in_notebook()


def is_terminal(stream: Literal["stdout", "stderr"]) -> bool:
    """Whether what is written there is read by a person, and not kept in a file."""
    return getattr(sys, stream).isatty()


def _in_notebook() -> bool:
    if "IPython" not in sys.modules:  # importing tqdm would take a tenth of a second
        return False
    return any(kind.__module__ == "tqdm.notebook" for kind in _tqdm().__mro__)


def _tqdm() -> Any:
    """Import the bar that fits the place; a notebook without ipywidgets has one of text, without a warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="IProgress not found")
        from tqdm.auto import tqdm
    return tqdm


def bar(total: int | None, what: str, unit: str = "texts", **more: Any) -> Any:
    """Open a bar, which appears when its work has taken :data:`DELAY` seconds and goes when it is closed.

    Args:
        total: Number of units; None if it is not known.
        what: What is done; :func:`doing` comes first where it names something.
        unit: Name of the units, in the plural.
        more: Further arguments of :class:`tqdm.auto.tqdm`.

    Returns:
        The bar; ``update(n)`` counts, ``close()`` ends it.
    """
    given = {"delay": DELAY, "mininterval": 0.5, "leave": False, **more}
    if total is not None:
        given.setdefault("bar_format", FORMAT)
    words = " · ".join([*_DOING, what] if what else _DOING) or "scoring"
    return _tqdm()(
        total=total, desc=words, unit=unit, dynamic_ncols=True, disable=not are_shown(), **given
    )


def counted(
    items: Iterable[T], what: str, total: int | None = None, unit: str = "batches"
) -> Iterator[T]:
    """Yield items under a bar.

    Args:
        items: The items.
        what: What is done with them.
        total: Their number, if they do not know it.
        unit: Name of an item, in the plural.
    """
    known = total if total is not None else len(items) if hasattr(items, "__len__") else None  # type: ignore[arg-type]
    made = bar(known, what, unit)
    try:
        for item in items:
            yield item
            made.update()
    finally:
        made.close()


@contextmanager
def doing(what: str) -> Iterator[None]:
    """Name what the bars within belong to."""
    _DOING.append(what)
    try:
        yield
    finally:
        _DOING.pop()


def is_nested() -> bool:
    """Whether :func:`doing` names something here, so that a bar has less room."""
    return bool(_DOING)


@contextmanager
def hidden() -> Iterator[None]:
    """Draw no bars within."""
    was, _HIDDEN[0] = _HIDDEN[0], True
    try:
        yield
    finally:
        _HIDDEN[0] = was


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Count the seconds of work without steps in a line, once it has taken :data:`DELAY` of them."""
    if not are_shown():
        yield
        return
    over = threading.Event()
    thread = threading.Thread(target=_count_seconds, args=(what, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _count_seconds(what: str, over: threading.Event) -> None:
    if over.wait(DELAY):
        return
    line = bar(None, what, bar_format="{desc} … {elapsed}")
    line.start_t -= DELAY
    while not over.wait(TICK):
        line.refresh()
    line.close()


@contextmanager
def quiet_datasets() -> Iterator[None]:
    """Show no progress bars of the datasets library."""
    from datasets.utils.logging import (
        disable_progress_bar,
        enable_progress_bar,
        is_progress_bar_enabled,
    )

    shown = is_progress_bar_enabled()
    disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            enable_progress_bar()
