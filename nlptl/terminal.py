"""What a run says, once, whatever the number of processes."""

import os


def is_main_process() -> bool:
    """Whether this is the first of the processes that torchrun or accelerate started.

    Asked before Accelerate is up; afterwards ``accelerator.is_main_process`` says the same.
    """
    return os.environ.get("RANK", "0") == "0"


def say(text: object) -> None:
    """Write a line to standard output, above a progress bar if there is one."""
    from tqdm import tqdm

    if is_main_process():
        tqdm.write(str(text))
