"""Recipes started quickly, from a process that has imported all, in one process or in two; to be killed."""

import errno
import os
import resource
import runpy
import signal
import subprocess
import sys
import time
from multiprocessing import get_context
from pathlib import Path

import filelock

ROOT = Path(__file__).parent.parent
ALONE = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
CONTEXT = get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        *(
            "torch",
            "transformers",
            "datasets",
            "accelerate",
            "evaluate",
            "tyro",
            "sklearn.linear_model",
        ),
        *("transformers.models.bert.modeling_bert", "transformers.models.auto.modeling_auto"),
    ]
)


class NoLock:
    """A lock on a file system that has none."""

    def __init__(self, *_, **__):
        pass

    def acquire(self):
        raise OSError(errno.ENOLCK, "no locks here")


def run(recipe: str, words: list[str], log: str, environment: dict[str, str]) -> None:
    """Run a recipe here as its command line does, with what it says in a file."""
    os.setsid()
    os.environ.update({**ALONE, **environment})
    os.chdir(ROOT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if environment.get("WITHOUT_LOCKS"):
        filelock.FileLock = NoLock
    if largest := int(environment.get("LARGEST_FILE", "0")):
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in (1, 2):
        os.dup2(file, number)
    # With a C++ stream below, a line buffer keeps the order.
    sys.stdout, sys.stderr = (
        os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2)
    )
    sys.argv = [f"recipes/{recipe}.py", *words]
    import torch

    from nlptl.train import watch

    torch.set_num_threads(1)
    watch.BEGIN = 20.0  # torchrun would end the others at once; here nobody does
    runpy.run_path(str(ROOT / f"recipes/{recipe}.py"), run_name="__main__")


def free_port() -> int:
    """A port of this machine that nobody listens at; asked for in another process: tests open no socket."""
    words = "import socket as s; one = s.socket(); one.bind(('127.0.0.1', 0)); print(one.getsockname()[1])"
    return int(
        subprocess.run([sys.executable, "-c", words], capture_output=True, check=True).stdout
    )


class Session:
    """A recipe that runs in one process, or in two that torchrun would start."""

    def __init__(self, recipe, words, log: Path, *, processes=1, **environment):
        self.log, self.began = log, time.monotonic()
        log.touch()
        port = str(free_port()) if processes > 1 else ""
        self.each = []
        for rank in range(processes):
            group = {
                **{"RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1"},
                **{"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)},
                "MASTER_PORT": port,
            }
            given = {**environment, **(group if processes > 1 else {})}
            self.each.append(
                CONTEXT.Process(target=run, args=(recipe, [*map(str, words)], str(log), given))
            )
        for process in self.each:
            process.start()

    def kill(self, number=signal.SIGKILL, rank=None):
        """Send a signal to all processes, or to one."""
        for at, process in enumerate(self.each):
            if process.is_alive() and rank in (None, at):
                os.kill(process.pid, number)

    def wait(self, seconds=240) -> list[int | None]:
        """The exit codes; of a process that was not done in time None, and it is killed."""
        until = time.monotonic() + seconds
        for process in self.each:
            process.join(max(0.0, until - time.monotonic()))
        codes = [process.exitcode for process in self.each]
        self.kill()
        return codes

    @property
    def said(self) -> str:
        """What it has said so far."""
        return self.log.read_text("utf-8", errors="replace")
