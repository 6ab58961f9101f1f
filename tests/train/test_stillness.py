"""A main thread that hangs is told from one that computes and from one that waits for others."""

import os
import subprocess
import sys
import threading
import time

import pytest
import torch.distributed as dist
from launching import ALONE, ROOT

from nlptl.train.stillness import ALL_HUNG, HUNG, Place, Stillness, main_place, place_of
from nlptl.train.watch import Watch, _key

HERE, THERE = Place(((1, 2),), "a.b, line 3", False), Place(((1, 4),), "a.b, line 4", False)
WAITS = Place(((5, 6),), "torch.distributed.x, line 1", True)


def looked(places, used):
    """What is said each ten seconds."""
    one = Stillness(iter(places).__next__, iter(used).__next__)
    return [one.look(10.0 * number) for number in range(len(used))], one


def test_whoever_takes_the_processor_or_goes_on_has_moved():
    assert looked([HERE] * 4, [1.0, 1.0, 1.05, 1.05])[0] == [0, 10, 20, 30]
    assert looked([HERE] * 4, [1.0, 1.0, 1.2, 1.2])[0] == [0, 10, 0, 10]  # 0.2 of ten seconds
    assert looked([HERE, HERE, THERE, THERE], [1.0] * 4)[0] == [0, 10, 0, 10]


def test_whoever_waits_for_another_does_not_hang():
    _, one = looked([HERE] * 2, [1.0] * 2)
    assert one.hung(HUNG - 1) is None and one.hung(HUNG) == "a.b, line 3"
    _, one = looked([WAITS] * 2, [1.0] * 2)
    assert one.hung(10 * HUNG) is None
    assert Stillness().hung(HUNG) is None  # it has not looked yet


def test_the_place_is_that_of_the_main_thread():
    found = []
    other = threading.Thread(target=lambda: found.append(main_place()))
    other.start()
    other.join()  # the innermost function of the main thread is threading's
    assert found[0].words.startswith("threading.") and not found[0].waits
    assert len(found[0].stack) > 5
    assert place_of(None).words == "nowhere"
    for name, waits in (("torch.distributed.c10d", True), ("torch.distribution", False)):
        code = compile("import sys\nframe = sys._getframe()", "x", "exec")
        space = {"__name__": name}
        exec(code, space)
        assert place_of(space["frame"]).waits == waits


class Still:
    """A process that has not moved for so long."""

    def __init__(self, seconds, where=None):
        self.seconds, self.where = seconds, where

    def look(self, now):
        return self.seconds

    def hung(self, seconds):
        return self.where


@pytest.mark.parametrize(
    ("own", "sign", "said"),
    [
        (Still(HUNG, "a.b, line 3"), "1 0", "process 0 of 2 (counted from 0) has not moved for 90"),
        (Still(ALL_HUNG), f"1 {ALL_HUNG:.0f}", "no process of this run has moved for 180 seconds"),
        (Still(ALL_HUNG), f"1 {ALL_HUNG - 10:.0f}", ""),
        (Still(ALL_HUNG - 10), f"1 {ALL_HUNG:.0f}", ""),
        (Still(ALL_HUNG), "over", ""),
    ],
)
def test_the_watch_ends_what_hangs(own, sign, said):
    store, told = dist.HashStore(), []
    store.set(_key(1), sign)
    watch = Watch(store, 0, 2, beat=0.02, silence=5, end=told.append, stillness=own)
    watch.start()
    watch.join(5 if said else 0.3)
    assert watch.is_alive() == (not said)
    watch.close()
    assert said in "".join(told) and bool(told) == bool(said)


HANGS = """
import sys, time
from pathlib import Path
from nlptl.train import stillness, watch
stillness.HUNG = watch.HUNG = 8.0
watch.BEAT = 1.0
from nlptl.train.setup import new_accelerator
accelerator = new_accelerator()
if accelerator.process_index == 1:
    time.sleep(300)
accelerator.wait_for_everyone()
"""


@pytest.mark.slow
def test_under_torchrun_the_others_end_where_one_hangs(tmp_path):
    (tmp_path / "hangs.py").write_text(HANGS)
    launch = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    began = time.monotonic()
    ended = subprocess.run(
        [sys.executable, *launch, str(tmp_path / "hangs.py")],
        cwd=ROOT,
        env={**os.environ, **ALONE, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 1 and time.monotonic() - began < 100
    assert ended.stderr.count("error: process 1 of 2") == 1, ended.stderr
    assert "has not moved for 8 seconds, in __main__.<module>, line 10" in ended.stderr
