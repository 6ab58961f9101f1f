"""Recipes killed at random moments, as often as asked, and gone on with: the same bytes as unbroken.

NLPTL_FAULTS=20 python -m pytest -n 0 -m slow tests/faults/test_kills.py
"""

import time

import pytest
from faulty import STUDIES, TRIES, essence, recipe_of, tell
from sessions import Session

KINDS = (
    *("sentiment", "sentiment gradual", "sentiment lora, two seeds", "sentiment copies"),
    *("qa", "pretrain", *STUDIES),
)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("processes", [1, 2])
def test_killed_at_any_moment_it_ends_with_the_same(
    flags, unbroken, tmp_path, draws, kind, processes
):
    """With two processes both are killed, or one: then the other one has to end by itself."""
    whole, seconds = unbroken(kind, processes)
    lost = []
    for number in range(TRIES):
        home = tmp_path / str(number)
        home.mkdir()
        given = {"NLPTL_CACHE": str(home / "cache"), "HF_DATASETS_CACHE": str(home / "data")}
        words = [*flags[kind], "--output-dir", home / "run"]
        moment, kills = 0.0, 0
        for _ in range(6):
            begun = (home / "run/config.yaml").exists()
            go_on = ["--resume"] if begun and kind not in STUDIES else []
            session = Session(
                *(recipe_of(kind), [*words, *go_on], home / f"log-{kills}"),
                **{"processes": processes, **given},
            )
            if kills < 2:
                moment = draws.uniform(0.1, 1.0) * seconds
                time.sleep(moment)
                one = draws.choice([None, *range(processes)])
                session.kill(rank=one)
                codes = session.wait(120)
                kills += 1
                if None in codes:
                    lost.append(
                        f"a process did not end after the other one's death ({moment:.1f} s)"
                    )
                    break
                if codes == [0] * processes:  # it was quicker
                    break
            else:
                codes = session.wait()
                break
        found = essence(kind, home / "run") if codes == [0] * processes else None
        if found == whole:
            tell(f"kills: {kind}, {processes}", "survived")
            continue
        lost.append(f"{codes}, other values" if found else f"{codes}: {session.said[-1500:]}")
        tell(f"kills: {kind}, {processes}", lost[-1].splitlines()[0][:60])
    assert not lost, "\n\n".join(lost)
