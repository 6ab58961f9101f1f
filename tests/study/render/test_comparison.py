"""The table and the picture of a comparison."""

import pytest

from nlptl.study.render.comparison import comparison_figure, comparison_markdown

NATS = "nats a masked token"


def row(forgetting, unit):
    return {
        "mean": 0.7,
        "sd": 0.01,
        "trainable": 1,
        "total": 4,
        "flops": 2e12,
        "seconds": 3.0,
        "peak_memory_mb": 500.0,
        "forgetting": forgetting,
        "forgetting_ci95": None if forgetting is None else [forgetting - 0.1, forgetting + 0.1],
        "upstream_unit": unit,
    }


@pytest.fixture
def record():
    rows = {"full": row(0.5, NATS), "lora": row(0.2, NATS), "without": row(None, None)}
    return {
        "task": "sentiment",
        "dataset": "reviews",
        "metric": "accuracy",
        "n": {"train": 10, "validation": 2, "test": 5},
        "seeds": [0, 1],
        "rows": rows,
        "pairs": [],
        "sentence": "Take lora.",
        "test": "Tested.",
        "versions": {"python": "3", "nlptl": "0"},
    }


def forgotten(figure):
    return [a.get_gid() for a in figure.findobj() if (a.get_gid() or "").startswith("forgot-")]


def test_forgetting_has_its_unit(record):
    table, figure = comparison_markdown(record), comparison_figure(record)
    assert f"| forgetting, {NATS} (95 %) |" in table
    assert "| +0.500 [+0.400, +0.600] |" in table and "| 500 MB | — |" in table
    assert figure.axes[1].get_xlabel() == f"forgetting, {NATS}"
    assert forgotten(figure) == ["forgot-0", "forgot-1"]


def test_what_is_measured_otherwise_says_so_and_stays_off_the_axis(record):
    """A checkpoint without a pretraining head beside two with one."""
    record["rows"]["without"] = row(0.1, "Spearman's correlation")
    table, figure = comparison_markdown(record), comparison_figure(record)
    assert f"| forgetting, {NATS} (95 %) |" in table
    assert "| +0.100 [+0.000, +0.200] Spearman's correlation |" in table
    assert "| +0.200 [+0.100, +0.300] |" in table
    assert forgotten(figure) == ["forgot-0", "forgot-1"]


def test_without_any_forgetting_there_is_no_second_axis(record):
    record["rows"] = {"without": row(None, None)}
    assert "| forgetting (95 %) |" in comparison_markdown(record)
    assert len(comparison_figure(record).axes) == 1
