"""Recipes that are started in processes of their own, to be interrupted."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from launching import ALONE, ROOT


def start(*words: object) -> subprocess.Popen:
    """Start Python with some words, offline, with one thread, and with signals as a terminal gives them."""
    return subprocess.Popen(
        [sys.executable, *map(str, words)],
        cwd=ROOT,
        env={**os.environ, **ALONE},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A job in the background of a shell ignores Ctrl-C, and its children would too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def wait_for(
    process: subprocess.Popen, directory: Path, pattern: str, seconds: float = 120
) -> Path:
    """Wait until a file is there, and return it."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := sorted(directory.glob(pattern)):
            return found[-1]
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.kill()
    raise AssertionError(f"waited for {directory}/{pattern}; found {process.communicate()}")
