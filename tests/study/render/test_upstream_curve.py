"""The page of a curve of downstream score against upstream loss."""

import re

import pytest

from nlptl.study.render.style import as_svg
from nlptl.study.render.upstream_curve import upstream_figure, upstream_text
from nlptl.study.render.upstream_curve_page import upstream_page


def record(interval, slope=2.0):
    points = [
        {
            "checkpoint": f"step {number}",
            "upstream_loss": 6.0 - number,
            "upstream_se": 0.01,
            "downstream_mean": 0.6 + 0.02 * number,
            "sd": 0.01 if interval else None,
        }
        for number in range(4)
    ]
    return {
        "task": "sentiment",
        "dataset": "reviews",
        "metric": "accuracy",
        "mode": "head-only",
        "n": {"train": 1000, "validation": 2, "test": 5},
        "seeds": [0, 1, 2],
        "points": points,
        "slope_points_per_nat": slope,
        "slope_ci95": interval,
        "spearman": 1.0,
        "versions": {"python": "3", "nlptl": "0"},
    }


def page_of(found):
    return upstream_page(found, as_svg(upstream_figure(found)))


@pytest.mark.parametrize(
    ("interval", "word", "sign"),
    [
        ([0.5, 3.5], "Yes, on this task", "▲"),
        ([-3.5, -0.5], "No, they score lower here", "▼"),
        ([-0.5, 3.5], "Cannot tell", "?"),
        ([0.0, 3.5], "Cannot tell", "?"),
        (None, "One run of each: no test", "?"),
    ],
)
def test_the_page_says_yes_only_where_the_interval_does(interval, word, sign):
    html = page_of(record(interval))
    assert f'<h1><span class="sign" aria-hidden="true">{sign}</span>{word}</h1>' in html


def test_the_page_holds_each_checkpoint_and_escapes_all():
    evil, found = "<script>alert(1)</script>", record([0.5, 3.5])
    found["dataset"] = found["points"][2]["checkpoint"] = evil
    html = page_of(found)
    assert evil not in html and "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "<script" not in html and "src=" not in html and html.count("<svg") == 1
    assert "1,000 training" in html and "Seeds: 0, 1, 2.</li>" in html
    row = r'<th scope="row">step 3</th><td>3\.000\s±\s0\.010</td><td[^>]*>66\.0\s±\s1\.0</td>'
    assert re.search(row, html)
    for number, point in enumerate(found["points"]):
        point["checkpoint"] = f"runs/pre/models/step-{number}"
    assert '<th scope="row">step-3</th>' in page_of(found) and "step-3 " in upstream_text(found)
    found["points"][0]["checkpoint"] = "other/step-0"
    assert '<th scope="row">runs/pre/models/step-3</th>' in page_of(found)
    ids = re.findall(r' id="([^"]*)"', html)
    assert len(ids) == len(set(ids))
    assert {link for link in re.findall(r'href="#([^"]*)"', html)} <= set(ids)
