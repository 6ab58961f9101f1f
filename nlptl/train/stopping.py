"""Ctrl-C and SIGTERM: a training run finishes its step, writes a checkpoint and says how to go on.

Nothing heavy is imported here: the command line listens from its first line on.
"""

import _thread
import os
import shlex
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

#: Seconds within which a signal counts as the same one: torchrun passes on what the terminal sent already.
SAME = 1.0
#: Seconds within which a signal must be heard by one of several processes; torchrun kills after 30.
DEAF = 20.0
#: Seconds after which a signal that fell where nothing can be raised is sent once more.
LATER = 0.05
#: Variable with the words that ``nlptl run`` was typed with, before the recipe's flags.
TYPED = "NLPTL_TYPED"
WORDS = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}


class Stopped(KeyboardInterrupt):
    """A signal asked the run to stop.

    Args:
        signum: Number of the signal.
        where: Where the run stopped, such as ``at step 812``, or nothing.
    """

    def __init__(self, signum: int, where: str = "") -> None:
        self.signum, self.where = signum, where
        by = WORDS.get(signal.Signals(signum), signal.Signals(signum).name)
        super().__init__(f"stopped by {by} {where}".rstrip())


class _Signals:
    """What has come so far, and whether a loop waits for the end of a step.

    Attributes:
        held: Whether a first signal is only noted.
        noted: Number of the signal that was noted; 0 for none.
        last: When a signal came last (``time.monotonic``).
        heard: When Python last heard one, the same one again included.
    """

    def __init__(self) -> None:
        self.held, self.noted, self.last, self.heard = False, 0, -SAME, -SAME
        self.process = os.getpid()

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        """Note a signal, or raise :class:`Stopped`."""
        if (
            os.getpid() != self.process
        ):  # a helper that was forked off ends as it would without this
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
            return
        self.heard = now = time.monotonic()
        if now - self.last < SAME:
            return
        self.last = now
        if self.held and not self.noted:
            self.noted = signum
            return
        if _runs(type(self).unraisable, frame):  # what is raised there is let go of as well
            self.send_again(signum)
            return
        raise Stopped(self.noted or signum)

    def unraisable(self, unraisable: "sys.UnraisableHookArgs") -> bool:
        """Ask once more, a moment later, for what Python cannot raise where the signal fell; say whether.

        A signal that falls into a ``__del__`` or a callback of C code raises there, and Python lets it go.

        Args:
            unraisable: What ``sys.unraisablehook`` is called with.
        """
        error = unraisable.exc_value
        if not isinstance(error, Stopped) or os.getpid() != self.process:
            return False
        self.send_again(error.signum)
        return True

    def send_again(self, signum: int) -> None:
        """Let another thread send a signal to this one, :data:`LATER` seconds from now.

        Not by ``threading``, whose locks this thread may hold where a signal falls.
        """
        self.last = -SAME
        _thread.start_new_thread(self._send, (signum, threading.get_ident()))

    def _send(self, signum: int, thread: int) -> None:
        time.sleep(LATER)
        if self in _LISTENING:
            signal.pthread_kill(thread, signum)


def _runs(function: Callable[..., Any], frame: FrameType | None) -> bool:
    """Whether a function is among those that a frame stands in."""
    while frame is not None:
        if frame.f_code is function.__code__:
            return True
        frame = frame.f_back
    return False


_LISTENING: list[_Signals] = []


@contextmanager
def listening(deaf: Callable[[int], None] | None = None) -> Iterator[None]:
    """Turn SIGINT and SIGTERM into :class:`Stopped` within, in the main thread; put back what was before.

    Args:
        deaf: Function of the signal's number that ends the process; called in another thread if the main
            one does not hear the signal for :data:`DEAF` seconds, as where it waits for another process.
    """
    if _LISTENING or threading.current_thread() is not threading.main_thread():
        yield
        return
    signals = _Signals()
    _LISTENING.append(signals)
    before = {number: signal.getsignal(number) for number in WORDS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # a job in the background goes on
            signal.signal(number, signals)
    hook = sys.unraisablehook
    sys.unraisablehook = lambda unraisable: signals.unraisable(unraisable) or hook(unraisable)
    try:
        with _told_at_once(signals, deaf) if deaf else nullcontext():
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        sys.unraisablehook = hook
        _LISTENING.clear()


@contextmanager
def _told_at_once(signals: _Signals, deaf: Callable[[int], None]) -> Iterator[None]:
    """Let a thread know of signals within, which Python's handlers hear only between two of its own steps."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    os.register_at_fork(after_in_child=_forget)
    threading.Thread(target=_end_deaf, args=(signals, ours, deaf), daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        theirs.close()  # ends the thread


def _forget() -> None:
    """Leave the socket to the parent: a signal to a process that was forked off is none of its own."""
    with suppress(ValueError):  # forked off in another thread, which hears no signals
        signal.set_wakeup_fd(-1)


def _end_deaf(signals: _Signals, ours: socket.socket, deaf: Callable[[int], None]) -> None:
    with ours:
        while came := ours.recv(1):
            now = time.monotonic()
            if came[0] not in WORDS:
                continue
            time.sleep(DEAF)
            if signals.heard < now - SAME:
                deaf(came[0])


@contextmanager
def held() -> Iterator[None]:
    """Only note a first signal within; one that was not answered raises :class:`Stopped` at the end."""
    signals = _LISTENING[0] if _LISTENING else None
    if signals is None or signals.held:
        yield
        return
    signals.held = True
    try:
        yield
        if signals.noted:
            raise Stopped(signals.noted)
    finally:
        signals.held, signals.noted = False, 0


def noted() -> int:
    """Return the number of the signal that waits for the end of a step; 0 for none."""
    return _LISTENING[0].noted if _LISTENING else 0


class Saves(Protocol):
    """A hook that can write a checkpoint now."""

    def write(self, state: Any) -> None:
        """Write a checkpoint."""
        ...


class StopAtSignal:
    """Hook that ends a run after the step in which a signal came, with a checkpoint of that step.

    Several processes agree on the step: each tells the others after a step, and reads the answer after the
    next one, so that no GPU is waited for.

    Args:
        saver: Hook that writes the checkpoint.
        accelerator: Accelerator with devices and processes.
    """

    def __init__(self, saver: Saves, accelerator: Any) -> None:
        self.saver, self.accelerator = saver, accelerator
        self.answer: Any = None
        self.saved = -1

    def on_start(self, state: Any) -> None:
        """Do nothing."""

    def on_step(self, state: Any) -> bool:
        """Write a checkpoint and raise :class:`Stopped`, if a signal has come."""
        if signum := self._agreed():
            self.saver.write(state)
            raise Stopped(signum, f"at step {state.step}")
        return False

    def on_epoch(self, state: Any) -> bool:
        """Raise :class:`Stopped` if a signal came while the epoch was scored; its checkpoint is there."""
        if signum := self._agreed():
            raise Stopped(signum, f"at step {state.step}")
        return False

    def on_end(self, state: Any) -> None:
        """Do nothing."""

    def _agreed(self) -> int:
        if self.accelerator.num_processes == 1:
            return noted()
        import torch

        before = self.answer
        mine = torch.full((), noted(), device=self.accelerator.device, dtype=torch.int32)
        told = self.accelerator.gather(mine.reshape(1))
        self.answer = told.max()
        return 0 if before is None else int(before)


def command_to_go_on(*, resume: bool, argv: Sequence[str] | None = None) -> str:
    """Return the command line of this program as it was typed, with ``--resume`` if that is needed to go on.

    Args:
        resume: Whether to add ``--resume``, once.
        argv: Command line; by default ``sys.argv``.
    """
    program, *words = sys.argv if argv is None else argv
    if resume and "--resume" not in words:
        words.append("--resume")
    return shlex.join([*words_of_program(program), *words])


def words_of_program(program: str) -> list[str]:
    """Return the words that start a program, as they were typed.

    Args:
        program: ``sys.argv[0]``.
    """
    if typed := os.environ.get(TYPED):
        return shlex.split(typed)
    path = Path(program)
    if path.name == "__main__.py":
        return ["python", "-m", path.parent.name]
    if path.suffix != ".py":
        return path.name.split()  # nlptl, or nlptl run and the recipe's name
    processes = os.environ.get("LOCAL_WORLD_SIZE", "1")
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return ["torchrun", "--nproc_per_node", processes, program]
    return ["python", program]


@contextmanager
def going_on(words: Callable[[], str]) -> Iterator[None]:
    """Add to whatever ends the work within what is kept of it, and how to go on.

    Args:
        words: Function that looks and says so.
    """
    try:
        yield
    except BaseException as error:
        if not getattr(error, "__notes__", None):
            error.add_note(words())
        raise


def study_kept() -> str:
    """Say how to go on with a study or a report."""
    return f"Finished runs and checkpoints are kept. Go on with: {command_to_go_on(resume=False)}"


def report_kept() -> str:
    """Say how to go on with a report that belongs to a run."""
    return f"Finished runs and checkpoints are kept. Go on with: {command_to_go_on(resume=True)}"
