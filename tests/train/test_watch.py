"""Where a process of a run is stopped or dies, the others end soon and with one message."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import torch.distributed as dist
from launching import ROOT
from sessions import free_port

from nlptl.train.watch import Watch, _key


def watched(store, rank, told):
    return Watch(store, rank, 2, beat=0.02, silence=0.3, end=told.append)


def test_a_process_that_falls_silent_is_told_and_one_that_ends_is_not():
    store, told = dist.HashStore(), []
    watch = watched(store, 0, told)
    watch.start()
    for number in range(25):  # half a second, longer than the silence allowed
        store.set(_key(1), f"beat {number}")
        time.sleep(0.02)
    assert watch.is_alive() and not told
    watch.join(5)
    assert not watch.is_alive() and "process 1 of 2" in told[0] and "--resume" in told[0]
    store, told = dist.HashStore(), []
    watch, other = watched(store, 0, told), watched(store, 1, told)
    watch.start()
    other.start()
    other.close()
    time.sleep(0.6)
    assert watch.is_alive() and not told
    watch.close()
    watch.join(5)
    assert not watch.is_alive()


def test_one_that_has_not_begun_is_waited_for_longer_and_one_message_is_enough(monkeypatch):
    store, told = dist.HashStore(), []
    watch = watched(store, 0, told)
    watch.start()
    time.sleep(0.5)
    assert watch.is_alive() and not told
    watch.close()
    assert watch.first_to_tell() and not watched(store, 1, told).first_to_tell()
    monkeypatch.setattr("nlptl.train.watch.BEGIN", 0.4)
    watch = watched(store, 1, told)
    store.delete_key(_key(0))
    watch.start()
    watch.join(5)
    assert not watch.is_alive() and "process 0 of 2" in told[0]


def test_the_first_sign_of_life_is_given_at_once():
    """One that dies in its first seconds has to be missed."""
    store, told = dist.HashStore(), []
    watch = Watch(store, 0, 2, beat=60.0, end=told.append)
    watch.start()
    until = time.monotonic() + 5
    while not store.check([_key(0)]) and time.monotonic() < until:
        time.sleep(0.01)
    assert store.check([_key(0)])
    watch.close()


def test_one_that_waits_in_vain_for_the_others_to_begin_ends_in_words():
    """Process 0 has died before it opened the store; torchrun would end the others, this launcher does not."""
    words = (
        "from nlptl.train import watch; watch.BEGIN = 1.0\n"
        "from nlptl.train.setup import new_accelerator; new_accelerator()"
    )
    group = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    group |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    found = subprocess.run(
        [sys.executable, "-c", words],
        **{"env": {**os.environ, **group}, "cwd": ROOT, "timeout": 90},
        **{"capture_output": True, "text": True},
    )
    assert found.returncode == 1 and "process 1 of 2" in found.stderr, found.stderr
    assert "MASTER_ADDR" in found.stderr and "Traceback" not in found.stderr


@pytest.mark.slow
@pytest.mark.parametrize("harm", [signal.SIGSTOP, signal.SIGKILL], ids=["stopped", "killed"])
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("agents", [1, 2])
def test_the_others_end_within_a_minute(checkpoints, reviews, tmp_path, harm, rank, agents):
    """Under torchrun, and on two nodes of one process each (both on this machine)."""
    recipe = ["recipes/sentiment.py", "--model", checkpoints["bert"], "--train-file", reviews]
    recipe += ["--epochs", 500, "--patience", 500, "--output-dir", tmp_path / "run"]
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={2 // agents}"]
    where = ["--standalone"] if agents == 1 else ["--nnodes=2", f"--master_port={29400 + rank}"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    logs = [tmp_path / f"{node}.log" for node in range(agents)]
    started = []
    for node, log in enumerate(logs):
        words = [*command, *where, *([f"--node_rank={node}"] if agents == 2 else []), *recipe]
        with log.open("w") as file:
            started.append(
                subprocess.Popen(
                    [str(word) for word in words],
                    cwd=ROOT,
                    env=environment,
                    stdout=file,
                    stderr=file,
                )
            )
    end = time.time() + 120
    while time.time() < end and not list((tmp_path / "run").glob("checkpoints/step-*")):
        time.sleep(0.1)
    workers = {}
    for agent in started:
        for child in psutil.Process(agent.pid).children():
            workers[int(child.environ()["RANK"])] = child
    assert sorted(workers) == [0, 1], [log.read_text()[-2000:] for log in logs]
    workers[rank].send_signal(harm)
    _, alive = psutil.wait_procs([workers[1 - rank]], timeout=60)
    assert not alive
    said = "".join(log.read_text() for log in logs)
    for process in [*workers.values(), *started]:
        if process.is_running() if isinstance(process, psutil.Process) else process.poll() is None:
            process.kill()
    for agent in started:
        agent.wait()
    if harm == signal.SIGSTOP:
        assert said.count("error: ") == 1, said[-3000:]
        assert f"process {rank} of 2" in said
