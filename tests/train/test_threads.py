"""Threads under a launcher: all cores, unless the user said otherwise."""

import os
import subprocess
import sys

import pytest

from nlptl.train.machine import cores, launched_alone

CHILD = """
import torch
from nlptl.train.setup import new_accelerator
new_accelerator()
print(torch.get_num_threads())
"""


@pytest.mark.parametrize(
    ("command", "environment", "alone"),
    [
        (["/usr/bin/python", "/bin/accelerate", "launch", "x.py"], {}, True),
        (["/bin/torchrun", "x.py"], {"HOME": "/"}, True),
        (["/bin/accelerate", "launch"], {"OMP_NUM_THREADS": "1"}, False),  # the user's own wish
        (["bash"], {}, False),
    ],
)
def test_only_a_launchers_choice_is_changed(command, environment, alone):
    assert launched_alone(command, environment) is alone


@pytest.mark.parametrize("wish", [None, pytest.param("1", marks=pytest.mark.slow)])
def test_under_accelerate_launch(tmp_path, wish):
    script = tmp_path / "threads.py"
    script.write_text(CHILD)
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    environment |= {"CUDA_VISIBLE_DEVICES": "", **({"OMP_NUM_THREADS": wish} if wish else {})}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "accelerate.commands.accelerate_cli",
            "launch",
            "--cpu",
            str(script),
        ],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
        check=True,
    )
    assert int(done.stdout.split()[-1]) == (1 if wish else cores())
