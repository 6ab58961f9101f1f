"""The words for a difference, corrected together, and the page that all studies of methods share."""

import pytest

from nlptl.stats.bootstrap import Difference
from nlptl.study.judging import headline, judge_together, told_by_word
from nlptl.study.render.pages import Answer, Table
from nlptl.study.render.study_page import Part, study_page, tone
from nlptl.study.render.tables import NONE, between, markdown_table, more, study_table


def difference(mean: float, p: float, se: float = 0.005) -> Difference:
    return Difference(mean, mean - 2 * se, mean + 2 * se, p, se, 1000)


@pytest.mark.parametrize(
    ("p", "seeds", "word"),
    [(0.02, 3, "helped"), (0.03, 3, "cannot tell"), (0.02, 2, "cannot tell")],
)
def test_p_is_corrected_for_all_comparisons(p, seeds, word):
    """Two tests: Holm (1979) doubles the smaller p, so 0.03 is no longer below 0.05."""
    found = judge_together([(difference(0.03, p), seeds), (difference(0.0, 1.0, 0.02), 3)])
    assert (found[0]["word"], found[0]["p"]) == (word, 2 * p)
    assert found[1]["word"] == "cannot tell"


def test_what_is_small_and_sure_is_alike_and_what_is_below_hurts():
    """Half a point is five standard errors away: alike."""
    found = judge_together([(difference(0.0, 1.0, 0.001), 3), (difference(-0.04, 0.001), 3)])
    assert [one["word"] for one in found] == ["alike", "hurt"]


def test_sentences_name_each_arm_once_with_its_interval():
    rows = {
        name: {"word": word, "difference": {"mean": mean, "low": mean - 0.01, "high": mean + 0.01}}
        for name, word, mean in (("a", "hurt", -0.02), ("b", "helped", 0.03), ("c", "hurt", -0.04))
    }
    assert told_by_word(rows, "base") == [
        "Helped: b (+3.0, 95 % +2.0 to +4.0).",
        "Hurt: a (-2.0, 95 % -3.0 to -1.0), c (-4.0, 95 % -5.0 to -3.0).",
    ]
    assert headline(["hurt", "helped", "hurt"], "tasks") == "1 of 3 tasks helped, 2 of 3 hurt"
    assert headline(["alike"], "tasks") == "No difference is beyond chance"
    assert (tone(["hurt", "helped"])[1], tone(["hurt"])[1], tone(["alike"])[1]) == (
        *("good", "bad", "open"),
    )


def test_the_page_shows_data_as_text_and_loads_nothing():
    bad = "<script>alert(1)</script>"
    record = {"test": bad, "seeds": [0, 1], "versions": {"nlptl": "0"}}
    table = Table(bad, ("", "score"), ((bad, "1.0"),))
    svg = '<svg xmlns="http://www.w3.org/2000/svg"><g id="arm-0"/></svg>'
    page = study_page(
        record,
        "study",
        bad,
        Answer("Did it help?", bad, bad),
        (bad, bad),
        svg,
        [Part(bad, table, [bad])],
        {bad: bad},
    )
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 10
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "study.json" in page and "Seeds: 0, 1." in page


def test_cells_and_lines():
    assert between(-0.01, 0.02, signed=True) == "-1.0 to +2.0"
    assert more({"mean": 0.01, "low": 0.0, "high": 0.02}) == "+1.0 [0.0 to +2.0]"
    table = study_table(
        "what", ("", "a", "b"), [["x|y", "1", NONE]]
    )  # a column without a value goes
    assert markdown_table(table) == ["|  | a |", "|---|---:|", "| x\\|y | 1 |"]
