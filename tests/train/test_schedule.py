"""How far several runs are, on a clock that stands still."""

import pytest

from nlptl.train import schedule
from nlptl.train.schedule import Schedule, run_cost


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(schedule.time, "perf_counter", lambda: now[0])
    return now


def test_nothing_is_promised_before_the_first_run_is_done(clock):
    made = Schedule({"a": 2, "b": 4})
    assert made.begin() == "run 1 of 6"
    clock[0] = 60.0
    made.end("a")
    assert made.begin() == "run 2 of 6, about 5 min left"


def test_a_kind_that_has_not_run_costs_what_it_is_said_to(clock):
    made = Schedule({"short": 2, "long": 1}, {"short": 1.0, "long": 10.0})
    made.begin()
    clock[0] = 6.0
    made.end("short")
    assert made.seconds_left() == 6.0 + 60.0
    made.begin()
    clock[0] = 18.0
    made.end("short")
    assert made.seconds_left() == 120.0  # the first one had more to prepare, or less


def test_a_kind_that_has_run_takes_its_own_time(clock):
    made = Schedule({"a": 2, "b": 2}, {"a": 1.0, "b": 1.0})
    for name, seconds in (("a", 2.0), ("b", 8.0)):
        made.begin()
        clock[0] += seconds
        made.end(name)
    assert made.seconds_left() == 10.0


def test_runs_kept_from_before_say_nothing_about_time(clock):
    made = Schedule({"a": 2})
    made.begin()
    clock[0] = 0.01
    made.end("a", found=True)
    assert made.begin() == "run 2 of 2"
    made.end("a", found=True)
    assert made.rest() == "" and not made.seconds_left()


def test_a_finished_run_from_before_gives_a_first_guess(clock):
    made = Schedule({"pre": 2, "scratch": 3}, {"pre": 1.0, "scratch": 4.0})
    assert made.plan() == "5 runs"
    made.knows("pre", 10.0)
    assert made.plan() == "5 runs, about 2 min"
    assert made.begin() == "run 1 of 5, about 2 min left"  # 2 x 10 + 3 x 40 s


def test_the_cost_counts_passes_through_blocks():
    sizes = {"train": 10, "validation": 2, "test": 3}
    assert run_cost(blocks=4, frozen=4, epochs=5, **sizes) == 15 * 4
    assert run_cost(blocks=4, frozen=2, epochs=5, **sizes) == 15 * 4 + 5 * 2 * (30 + 2)
