"""The tables, the picture and the page of a comparison."""

import re

import pytest

from nlptl.study.render.comparison import comparison_figure
from nlptl.study.render.comparison_page import comparison_page
from nlptl.study.render.comparison_text import comparison_markdown, comparison_text
from nlptl.study.render.style import as_svg

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


def pair(first, second, better):
    return {
        "first": first,
        "second": second,
        "difference": {"mean": 0.01, "low": -0.004, "high": 0.024},
        "p": 0.04,
        "equal_p": 0.6,
        "detectable": 0.02,
        "better": better,
        "equal": False,
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
        "pairs": [pair("full", "lora", None), pair("full", "without", "full")],
        "take": "lora",
        "sentence": "Take lora, because so it is.",
        "test": "Tested.",
        "versions": {"python": "3", "nlptl": "0"},
    }


def forgotten(figure):
    return [a.get_gid() for a in figure.findobj() if (a.get_gid() or "").startswith("forgot-")]


def test_forgetting_has_its_unit(record):
    table, figure = comparison_markdown(record), comparison_figure(record)
    assert f"|  | {NATS} (95 %) |" in table
    assert r"| full | +0.500 \[+0.400, +0.600\] |" in table and "| without | — |" in table
    assert figure.axes[1].get_xlabel() == f"forgetting, {NATS} (more is worse)"
    assert forgotten(figure) == ["forgot-0", "forgot-1"]


def test_what_is_measured_otherwise_says_so_and_stays_off_the_axis(record):
    """A checkpoint without a pretraining head beside two with one."""
    record["rows"]["without"] = row(0.1, "Spearman's correlation")
    table, figure = comparison_markdown(record), comparison_figure(record)
    assert f"|  | {NATS} (95 %) |" in table
    assert r"| without | +0.100 \[0.000, +0.200\] Spearman's correlation |" in table
    assert r"| lora | +0.200 \[+0.100, +0.300\] |" in table
    assert forgotten(figure) == ["forgot-0", "forgot-1"]


def test_without_any_forgetting_there_is_no_second_axis(record):
    record.update(rows={"without": row(None, None)}, pairs=[])
    for shown in (comparison_markdown(record), comparison_text(record)):
        assert "orgot" not in shown
    assert len(comparison_figure(record).axes) == 1


def test_the_terminal_shows_a_table_of_80_columns(record):
    name = "bundled/a-checkpoint-with-a-long-name freeze-lower-8 finetune"
    record["rows"][name] = row(None, None)
    record["pairs"] += [pair(name, other, other) for other in ("full", "lora", "without")]
    shown = comparison_text(record)
    assert max(map(len, shown.splitlines())) <= 80
    assert "|" not in shown and "*" not in shown
    assert re.search(r"^full +70\.0 ± 1\.0 +3\.0 s +25\.0% +\+0\.500$", shown, re.M)
    assert re.search(r"^without .* full$", shown, re.M)  # shown to be better
    assert "bundled/a-ch…-8 finetune" in shown
    assert shown.endswith("Take lora, because so it is.")


def test_names_stand_beside_the_points_and_cover_none(record):
    from matplotlib.text import Text

    record["rows"] = {f"mode-{n}": {**row(None, None), "mean": 0.7 + n / 2000} for n in range(12)}
    record["pairs"] = []
    figure = comparison_figure(record)
    axes = figure.axes[0]
    names = [text for text in axes.texts if (text.get_gid() or "").startswith("name-")]
    assert [name.get_text() for name in sorted(names, key=lambda t: int(t.get_gid()[5:]))] == list(
        record["rows"]
    )
    for name in names:
        name.update_positions(figure._get_renderer())
    boxes = [Text.get_window_extent(name) for name in names]
    for number, box in enumerate(boxes):
        assert not box.count_overlaps(boxes[:number])
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1 s", "2 s", "5 s", "10 s"]
    assert axes.get_xlabel() == "training time of one run (log scale)"


@pytest.mark.parametrize(
    ("seconds", "ticks"),
    [
        ((3.4, 3.5), ["2 s", "5 s"]),
        ((2e6, 2.01e6), ["120 h"]),
        ((1, 50), ["0.5 s", "2 s", "10 s", "1 min"]),
    ],
)
def test_the_axis_of_time_names_a_time_where_all_take_about_as_long(record, seconds, ticks):
    for name, value in zip(("full", "lora"), seconds, strict=True):
        record["rows"][name]["seconds"] = value
    record["rows"]["without"]["seconds"] = seconds[0]
    axes = comparison_figure(record).axes[0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ticks
    low, high = axes.get_xlim()
    assert low <= min(axes.get_xticks()) and max(axes.get_xticks()) <= high
    assert low < seconds[0] and seconds[1] < high


def test_the_page_says_which_to_take_only_where_a_test_does(record):
    evil = "<script>alert(1)</script>"
    record["dataset"] = record["sentence"] = evil
    record["rows"][evil] = row(None, None)
    html = comparison_page(record, as_svg(comparison_figure(record)))
    assert '<h1><span class="sign" aria-hidden="true">▲</span>Take lora</h1>' in html
    assert evil not in html and "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "<script" not in html and "src=" not in html and "<svg" in html
    assert re.search(r"<th scope=\"row\">full - without</th>.*<td>full is better</td>", html, re.S)
    assert '<li id="note-test">Tested. Seeds: 0, 1.</li>' in html
    record["take"] = None
    html = comparison_page(record, as_svg(comparison_figure(record)))
    assert "No test says which</h1>" in html and "Take" not in html.partition("<body>")[2]
