"""How a command ends: its exit code, and one paragraph on standard error in place of a traceback."""

import errno
import os
import re
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from nlptl.data.text import printable
from nlptl.errors import Diverged, UserError, name_too_long
from nlptl.train.launch import processes
from nlptl.train.stopping import Stopped, listening
from nlptl.train.terminal import fitted, is_main_process

#: Errors of the system that say that something cannot be written or read here, and not that nlptl is wrong.
OF_THE_DISK = {
    errno.ENOSPC,
    errno.EFBIG,
    errno.EROFS,
    errno.EDQUOT,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
}
#: How libraries written in Rust and C++ pass on such an error's number.
NUMBER = re.compile(r"(?:os error|errno) (\d+)", re.IGNORECASE)


@contextmanager
def exit_codes() -> Iterator[None]:
    """Turn errors of the user into one paragraph and exit code 2, those of the disk into one and code 1.

    A loss that is no longer finite ends in one paragraph and exit code 1 too.

    Ctrl-C and SIGTERM end in one paragraph too, with exit code 130 or 143.
    """
    try:
        # Alone, a process answers after whatever it computes; one of several may wait for one that has ended.
        with listening(_end_deaf if processes() > 1 else None):
            try:
                yield
                sys.stdout.flush()  # where the reader has gone, here and not at the interpreter's end
            except BaseException as error:
                if runs := sys.modules.get("nlptl.runs.directory"):  # else nothing was reserved
                    runs.release_reserved(error)
                raise
    except UserError as error:
        # All processes find the same mistake before they form a group; after that, it may be this one's alone.
        _tell(f"error: {error}", anyway=_one_of_a_group())
        raise SystemExit(2) from None
    except Stopped as error:
        _tell("; ".join([str(error), *_lowered(_notes(error))]))
        raise SystemExit(128 + error.signum) from None
    except Exception as error:
        watch = sys.modules.get("nlptl.train.watch")  # nothing can be lost before it is there
        if watch and watch.is_lost_process(error):
            watch.tell_lost_process()
            raise SystemExit(1) from None
        if isinstance(error, BrokenPipeError) and nobody_reads():
            raise SystemExit(128 + signal.SIGPIPE) from None
        if isinstance(error, Diverged):  # nothing is wrong with the program; all processes know it
            _tell(" ".join([f"error: {error}", *_notes(error)]))
            raise SystemExit(1) from None
        if mistake := name_too_long(error):
            _tell(f"error: {mistake}", anyway=_one_of_a_group())
            raise SystemExit(2) from None
        if (words := disk_error(error)) is None:
            raise
        _tell(" ".join([f"error: {words}.", *_notes(error)]), anyway=True)
        raise SystemExit(1) from None


def _end_deaf(signum: int) -> None:
    """End the process in the name of its main thread, which waits for another process and hears nothing."""
    error = Stopped(signum, "while it waited for another process")
    if runs := sys.modules.get("nlptl.runs.directory"):
        runs.release_reserved(error)
    _tell("; ".join([str(error), *_lowered(_notes(error))]))
    sys.stderr.flush()
    os._exit(128 + signum)


def nobody_reads() -> bool:
    """Whether the program behind a pipe, such as head, has read enough; what is left to print goes nowhere."""
    try:
        output, watch = sys.stdout.fileno(), select.poll()
    except (AttributeError, OSError, ValueError):  # no file, or a system without this call
        return False
    watch.register(output, select.POLLERR)
    closed = any(event & select.POLLERR for _, event in watch.poll(0))
    if closed:
        os.dup2(os.open(os.devnull, os.O_WRONLY), output)
    return closed


def disk_error(error: BaseException) -> str | None:
    """Return what the disk refuses, with the path if it is known; None if it is not the disk.

    Example:
        >>> disk_error(OSError(28, "No space left on device", "runs/a/log.jsonl"))
        'runs/a/log.jsonl: No space left on device'
    """
    if not (isinstance(error, OSError) or type(error).__name__ == "SafetensorError"):
        return disk_error(error.__cause__) if error.__cause__ else None
    number, path = getattr(error, "errno", None), getattr(error, "filename", None)
    if number is None and (found := NUMBER.search(str(error))):
        number = int(found[1])
    if number not in OF_THE_DISK:
        return None
    return f"{path or 'a file of the run'}: {os.strerror(number)}"


def _notes(error: BaseException) -> list[str]:
    return list(getattr(error, "__notes__", ()))


def _lowered(notes: list[str]) -> list[str]:
    return [note[:1].lower() + note[1:] for note in notes]


def _tell(text: str, *, anyway: bool = False) -> None:
    if is_main_process() or anyway:
        if tqdm := sys.modules.get("tqdm"):  # a bar would be drawn once more, behind the message
            for bar in list(getattr(tqdm.tqdm, "_instances", ())):
                bar.close()
        print(f"\n{fitted(printable(text), 'stderr')}", file=sys.stderr)  # noqa: T201


def _one_of_a_group() -> bool:
    found = sys.modules.get("torch.distributed")  # importing it would take a second
    return bool(found and found.is_available() and found.is_initialized())
