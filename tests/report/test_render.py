"""Every form of the transfer report: its numbers, its escapes, and every part that may be missing."""

import copy
import json
import re
import shlex
from html import unescape
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

from nlptl.cli.config import SentimentConfig, TaskConfig, parse_args, to_yaml
from nlptl.report.render.answers import commands, pretraining, worth
from nlptl.report.render.figures import figures
from nlptl.report.render.files import page_of, write_report
from nlptl.report.render.page import page
from nlptl.report.render.tables import evidence
from nlptl.report.render.text import markdown, summary
from nlptl.report.report import TransferReport
from nlptl.study.render import words
from nlptl.study.render.pages import explained
from nlptl.study.render.style import as_png, as_svg

EVIL = "<script>alert(1)</script>"
TEXT = "{http://www.w3.org/2000/svg}text"
VERDICTS = ("positive", "neutral", "negative", "negative (material)", "inconclusive")
NO_ARM = {
    "missing": "left out",
    **dict.fromkeys(("mean", "sd", "median", "min", "max", "predictions_path", "tuned")),
    **{"failed": [], "seeds": [], "scores": []},
}


def arm(scores, tuned=None):
    return {
        "missing": None,
        "mean": float(np.mean(scores)),
        "sd": float(np.std(scores, ddof=1)) if len(scores) > 1 else None,
        "median": float(np.median(scores)),
        "min": min(scores),
        "max": max(scores),
        "failed": [],
        "seeds": list(range(len(scores))),
        "scores": scores,
        "predictions_path": None,
        "tuned": tuned,
    }


def point(n, needs, multiplier, ci95):
    return {
        "n": n,
        "target_score": 0.7,
        "n_match": needs,
        "censored": needs is None,
        "at_most": False,
        "label_multiplier": multiplier,
        "ci95": ci95,
    }


def make():
    tuned = {"learning_rate": 2e-4, "epochs": 12, "tried": {"0.0002": 0.75}}
    first = point(16, 40.0, 2.5, [2.0, 3.0])
    return {
        "schema_version": 1,
        "id": {
            "upstream": "bundled/bert",
            "weights_sha256": "ab" * 32,
            "family": "bert",
            "task": "sentiment",
            "metric": "accuracy",
            "mode": "freeze-lower-1",
            "frozen_blocks": 1,
            "blocks": 2,
            "dataset": "bundled/reviews",
            "n_train": 4000,
            "n_validation": 50,
            "n_test": 100,
            "tokenizer_sha256": "cd" * 32,
            "splits_sha256": "ef" * 32,
            "tier": "standard",
            "seeds": [0, 1, 2],
            "versions": {"nlptl": "0.1.0", "torch": "2.13.0"},
            "created": "2026-11-21T13:00:00+00:00",
            "run": "runs/sentiment",
        },
        "downstream": {
            "pre": arm([0.70, 0.72, 0.80], tuned),
            "scratch": arm([0.60, 0.62, 0.64], tuned),
            "probe": arm([0.68]),
            "random_probe": arm([0.50, 0.52, 0.54]),
            "zero_shot": arm([0.55]),
            "bow": arm([0.66]),
            "majority": arm([0.5]),
        },
        "gain": {
            "abs": 0.12,
            "ci95": [0.08, 0.155],
            "p_two_sided": 0.0001,
            "rel_error_reduction": 0.316,
            "probe_share": 0.5,
            "vs_bow": {
                "abs": -0.018,
                "ci95": [-0.06, 0.024],
                "p_two_sided": 0.41,
                "threshold": 0.03,
            },
            "threshold": 0.043,
            "mde": 0.055,
            "significant": True,
            "test": "Paired, by bootstrap.",
        },
        "curve": {
            "n": [16, 64],
            "pre": [[0.6, 0.7], [0.7, 0.8]],
            "scratch": [[0.5, 0.52], [0.6, 0.62]],
            "jumpstart": 0.14,
            "asymptote_gap": 0.14,
            "area_ratio": 0.25,
        },
        "sample_eff": {"points": [first, point(64, None, 1.0, None)], **first},
        "compute_eff": {
            "target_score": 0.6,
            "flops_pre": 2.0e12,
            "flops_scratch_to_match": None,
            "ratio": 12.0,
            "censored": True,
            "wall_s": {"pre": 35.2, "scratch": 118.0},
            "peak_mem_mb": 820.0,
            "trainable_params": 809000,
            "total_params": 3500000,
            "cache_bytes": 17600000,
            "upstream_flops": None,
        },
        "upstream": {
            "missing": None,
            "objective": "masked-lm",
            "unit": "nats a masked token",
            "texts": "bundled passages",
            "sequences": 812,
            "tokens": 9100,
            "before": 4.01,
            "after": 4.31,
            "forgetting": 0.3,
            "ci95": [0.27, 0.33],
            "recoverable": None,
            "head_refit_before": 3.9,
            "head_refit_after": 3.95,
            "contamination_note": "All of it is unseen.",
        },
        "upstream_curve": None,
        "negative": {
            "verdict": "positive",
            "ntg": -0.12,
            "p_harm": 0.0005,
            "margin": 0.005,
            "holm_p": None,
            "provisional": False,
            "sentence": "Pretraining helped by 12.0 points.",
            "advice": "Compare a bag of words.",
        },
        "shift": {
            "missing": None,
            "texts": 320,
            "parts": ["embeddings", "block 0", "block 1"],
            "cka": [1.0, 1.0, 0.66],
            "rel_weight_change": [0.0, 0.0, 0.11],
            "probe_curve": [0.55, 0.63, 0.62],
            "best_layer": 1,
        },
        "cost": {"runs": 14, "flops": 4.2e13, "seconds": 840.0, "cached": 3},
        "warnings": ["Only 812 sequences."],
    }


@pytest.fixture
def record():
    return make()


def forms(record, names=("arms", "curve", "shift", "costs")):
    """Every text form of a record, and the named ones of its pictures."""
    svgs = {name: as_svg(drawn) for name, drawn in figures(record).items() if name in names}
    return summary(record), markdown(record, {}), page(record, svgs), svgs


class Page(HTMLParser):
    """What a browser would see: elements, their nesting, and text."""

    VOID = ("meta", "br", "link", "img", "input", "hr")

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.open, self.text = [], [], [], ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text += data.replace("\N{NO-BREAK SPACE}", " ")


# ---- words


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (words.points(0.6563), "65.6"),
        (words.points(0.072, signed=True), "+7.2"),
        (words.points(-0.018, signed=True), "-1.8"),
        (words.points(-0.0004, signed=True), "0.0"),
        (words.points(None), "—"),
        (words.points(float("nan")), "—"),
        (words.number(1234.5, 0), "1,234"),
        (words.p_value(0.0001), "<1e-4"),
        (words.p_phrase(0.00011), "p=0.00011"),
        (words.p_phrase(0.0001), "p<1e-4"),
        (words.interval([-0.06, 0.024]), "-6.0 to 2.4"),
        (words.interval(None), "—"),
        (words.duration(3.21), "3.2 s"),
        (words.duration(118), "118 s"),
        (words.duration(840), "14 min"),
        (words.duration(8280), "2.3 h"),
        (words.duration(1e6), "11.6 days"),
        (words.si(0, "FLOP"), "0 FLOP"),
        (words.si(999_999, "FLOP"), "1 MFLOP"),
        (words.si(4.2e13, "FLOP"), "42 TFLOP"),
        (words.si(17_600_000, "B"), "17.6 MB"),
        (words.times(5.62, True), ">5.6x"),
        (words.times(None), "—"),
        (words.percent(0.003), "0.30"),
        (words.percent(0.03), "3.0"),
        (words.percent(0.11), "11"),
        (words.percent(0.0), "0"),
        (words.shorten("abcdefghij", 5), "ab…ij"),
        (words.plain("a\x1b[31m\n\tb\u202ec"), "a [31m bc"),
        (words.missing(None), "— (not measured)"),
    ],
)
def test_numbers_and_phrases(shown, expected):
    assert shown == expected


# ---- the terminal


def test_summary_says_first_what_the_model_is_worth(record):
    lines = summary(record).split("\n")
    assert lines[0] == (
        "score       74.0 accuracy: not shown to be better than a bag of words (bag of"
    )
    text = " ".join(" ".join(lines).split())
    for part in (
        "(bag of words 66.0, difference -1.8 [-6.0, 2.4]; always one answer 50.0)",
        "pretraining Positive. Pretraining helped by 12.0 points.",
        "linear probe 68.0; probe on random weights 52.0 ± 2.0; zero-shot 55.0 labels ",
        "at n=16, from scratch takes 40 labels for the same score (2.5x [2.0, 3.0])",
        "masked-lm, nats a masked token: 4.01 -> 4.31, lost +0.30 [0.27, 0.33]",
        "14 runs (3 cached), 42 TFLOP, 14 min",
        "Compare a bag of words.",
        "next nlptl predict runs/sentiment --file new.csv --output labelled.csv",
    ):
        assert part in text
    assert lines[-1] == "report      runs/sentiment/report.html (1 warning there)"


def test_summary_stays_within_21_lines_of_80_characters(record):
    long = "/a-very-long-path/of_a_data_set " * 30
    record["id"].update(dataset=long, run=long.replace(" ", ""), mode=long, metric=long)
    record["negative"].update(sentence=long, advice=long, provisional=True, verdict="inconclusive")
    record["sample_eff"].update(n=10**12, n_match=1e15, label_multiplier=1e9)
    record["upstream"].update(objective=long, unit=long)
    record["warnings"] *= 40
    for _ in range(2):
        lines = summary(record).split("\n")
        assert len(lines) <= 21
        assert max(map(len, lines)) <= 80
        assert lines[-1].endswith("/report.html (40 warnings there)")
        assert "next" not in summary(record)  # half a command is of no use
        for one in record["downstream"].values():
            one.update(NO_ARM, missing=long)


def test_a_terminal_gets_no_control_codes_and_old_code_pages_suffice(record):
    record["id"]["dataset"] = record["negative"]["sentence"] = "a\x1b]0;title\x07b\r\nc\u202ed"
    shown = summary(record)
    assert not set(shown) & {"\x1b", "\x07", "\r", "\u202e"}
    assert "a ]0;title b cd" in " ".join(shown.split())
    shown.encode("cp1252")  # what Windows terminals have


def test_a_report_shows_itself_in_a_notebook(record):
    report = TransferReport(record)
    assert repr(report) == report.summary()
    (shown,) = re.findall(
        r"^<iframe [^>]* sandbox srcdoc='([^'<>]*)'></iframe>$", report._repr_html_()
    )
    assert unescape(shown) == page_of(record)


# ---- escapes


def poisoned():
    record = make()
    strange = f"{EVIL} ]]>&\" '$\\frac$' |*_`[x](http://y.z)"
    ident = record["id"]
    ident.update(dataset=strange, upstream=strange, metric=strange, mode=strange, run=strange)
    ident["versions"][strange] = strange
    record["negative"].update(sentence=strange, advice=strange)
    record["downstream"]["zero_shot"] = {**NO_ARM, "missing": strange}
    record["downstream"]["pre"]["tuned"]["tried"] = {strange: 0.5}
    record["upstream"].update(objective=strange, texts=strange, contamination_note=strange)
    record["shift"]["parts"] = [strange] * 3
    record["warnings"] = [strange, "1. # > - not a list"]
    return record


def test_the_page_shows_data_as_text(tmp_path):
    record = poisoned()
    html = forms(record)[2]
    seen = Page(html)
    assert "script" not in seen.tags
    assert seen.text.count(EVIL) > 10
    assert "<script>alert(1)</script> ]]>&\" '$\\frac$'" in seen.text
    assert "Strange" not in seen.tags


def test_pictures_show_data_as_text():
    record = poisoned()
    record["id"].update(mode="<b>&$x$", metric="]]>&\"'<i>", dataset="<u>", upstream="$\\frac$")
    for name, svg in forms(record)[3].items():
        texts = ["".join(e.itertext()) for e in ElementTree.fromstring(svg).iter(TEXT)]
        assert "$\\frac$ on <u>" in texts, name
        if name in ("arms", "curve"):
            assert "test ]]>&\"'<i>, points" in texts
            assert any("<b>&$x$" in text for text in texts)
        assert "<u>" not in svg and "<i>" not in svg and "<b>" not in svg


@pytest.mark.filterwarnings("error")
def test_a_name_in_another_script_is_shown_without_a_warning(record):
    record["id"]["dataset"] = "評論"
    figure = figures(record)["costs"]
    assert "評論" in as_svg(figure) and as_png(figure)
    assert "評論" in markdown(record, {}) and "評論" in page(record, {})


def test_markdown_shows_data_as_text():
    text = markdown(poisoned(), {})
    code = "\n".join(line for line in text.split("\n") if line.startswith("    "))
    assert code.count(EVIL) == 1  # code is shown as it is
    text = text.replace(code, "")
    assert "<script" not in text
    assert "&lt;script>alert(1)&lt;/script>" in text
    assert "\\|\\*\\_\\`\\[x\\](http" in text
    assert not re.search(r"(?<!\\)\[x\]", text)
    assert "- 1\\. # > - not a list" in text
    for line in text.split("\n"):
        if line.startswith("|"):  # no cell of the data begins another column
            assert len(re.findall(r"(?<!\\)\|", line)) in (3, 4, 5, 6)


def test_markdown_holds_the_numbers_and_the_pictures(record):
    text = markdown(record, {"arms": "report_arms.png", "curve": "report_curve.png"})
    assert text.startswith("# Transfer report: bundled/bert on bundled/reviews, freeze-lower-1\n")
    assert (
        "**74.0 accuracy: not shown to be better than a bag of words.** On bundled/reviews," in text
    )
    assert "**Pretraining: positive.** Pretraining helped by 12.0 points." in text
    assert "4,000 training, 50 validation and 100 test examples, 3 runs each, 2026-11-21." in text
    assert "| pretrained, freeze-lower-1 | 74.0 ± 5.3 | 70.0 to 80.0 | 3 |" in text
    assert "| linear probe | 68.0 |  | 1 |" in text
    assert "| bag of words | -1.8 | -6.0 to 2.4 | 0.41 |" in text
    assert "| from scratch | +12.0 | 8.0 to 15.5 | &lt;1e-4 |" in text
    assert "| 16 | 65.0 ± 7.1 | 51.0 ± 1.4 |" in text
    assert "| 64 | 70.0 | >64 | >1.0x | — |" in text
    assert "| block 1 | 0.66 | 11 | 62.0 |" in text
    assert "| compute, from scratch | not reached |" in text
    assert "](report_arms.png)" in text and "](report_curve.png)" in text
    assert "- Only 812 sequences." in text


# ---- whatever may be missing


def without(record, name):
    if name in record["downstream"]:
        record["downstream"][name] = dict(NO_ARM)
        if name in ("pre", "scratch"):
            record["gain"] = None
        if name == "bow":
            record["gain"]["vs_bow"] = None
    elif name in ("upstream", "shift"):
        record[name] = {**dict.fromkeys(record[name]), "missing": "left out"}
    else:
        record[name] = None
    return record


BLOCKS = ("gain", "curve", "sample_eff", "compute_eff", "upstream", "shift")
ALL_ARMS = ("pre", "scratch", "probe", "random_probe", "zero_shot", "bow", "majority")


TITLES = {
    "curve": "Learning curves",
    "shift": "What moved inside",
    "upstream": "What was forgotten",
}


@pytest.mark.parametrize("name", [*BLOCKS, *ALL_ARMS])
def test_what_is_missing_takes_no_room_and_its_reason_is_listed(record, name):
    names = ("arms",) if name in ALL_ARMS else ("arms", "curve", "shift", "costs")
    terminal, text, html, svgs = forms(without(record, name), names)
    seen = Page(html)
    assert len(terminal.split("\n")) <= 21
    for shown in (terminal, text, seen.text):
        assert "None" not in shown and "nan" not in shown.lower().split()
    if name in ALL_ARMS or name in ("upstream", "shift"):
        for shown in (text, seen.text):
            assert "— (left out)" in " ".join(shown.split())
            assert "Not measured" in shown
    if name in TITLES:
        assert f"## {TITLES[name]}" not in text and f'id="{name}"' not in html
    assert not re.findall(r"^\|[^|]*\|(?: —? \|)+$", text, re.M)  # no row of dashes
    picture = {"curve": "curve", "compute_eff": "costs", "shift": "shift"}.get(name)
    assert set(svgs) == set(names) - {picture}


def test_everything_may_be_missing_at_once(record):
    for name in BLOCKS:
        without(record, name)
    record["downstream"] = {name: dict(NO_ARM) for name in ALL_ARMS}
    record["warnings"] = []
    record["negative"].update(dict.fromkeys(("ntg", "p_harm", "margin", "holm_p", "advice")))
    record["negative"]["verdict"] = "inconclusive"
    terminal, text, html, svgs = forms(record)
    assert set(svgs) == set()
    assert terminal.startswith("score       No score")
    assert re.findall(r"^## (.*)", text, re.M) == [
        *("Scores", "What it cost", "Not measured", "Warnings", "How it was measured", "Evidence")
    ]
    assert text.count("— (left out)") >= 9 and Page(html).text.count("— (left out)") >= 9


@pytest.mark.parametrize("block", ["curve", "sample_eff", "shift", "compute_eff"])
def test_lists_and_numbers_in_a_block_may_be_empty(record, block):
    found = record[block]
    for key, value in found.items():
        if isinstance(value, list):
            found[key] = []
        elif key not in ("missing", "censored", "at_most", "n"):
            found[key] = None
    terminal, text, html, _ = forms(record)
    for shown in (terminal, text, Page(html).text):
        assert "None" not in shown and "nan" not in shown.lower().split()


@pytest.mark.parametrize("provisional", [False, True])
@pytest.mark.parametrize("verdict", VERDICTS)
def test_the_verdict_is_said_and_no_more(record, verdict, provisional):
    record["negative"].update(verdict=verdict, provisional=provisional, sentence="So it is.")
    terminal, text, html = summary(record), markdown(record, {}), page(record, {})
    word = verdict + (", provisional" if provisional else "")
    shown = word[:1].upper() + word[1:]
    assert f"pretraining {shown}. So it is." in terminal
    assert f"**Pretraining: {word}.** So it is." in text
    sign, said = heading(html, "h2")
    assert said == shown
    assert sign == {"positive": "▲", "neutral": "≈", "inconclusive": "?", "negative": "▼"}.get(
        verdict, "▼▼"
    )
    clause = f"an estimate only, the verdict is {verdict}"
    for form in (terminal, text, html):
        assert (clause in " ".join(form.split())) == (verdict in ("neutral", "inconclusive"))
        form = re.sub(r"(?s)<style>.*?</style>", "", form).lower()
        for other in {"positive", "negative"} - {verdict.split()[0]}:
            assert not re.search(rf"\b{other}\b", form.replace("the negative logarithm", ""))


def heading(html, level):
    """Sign and text of the first heading of a level."""
    (found,) = re.findall(rf"<{level}>(.*?)</{level}>", html)[:1]
    sign, text = re.fullmatch(r"(?:<span[^>]*>(.*?)</span>)?(.*)", found).groups()
    return sign, re.sub(r"<[^>]*>", "", text).replace("\N{NO-BREAK SPACE}", " ")


# ---- what a reader asks first


@pytest.mark.parametrize(
    ("gap", "ends", "threshold", "seeds", "word", "sign"),
    [
        (0.05, [0.01, 0.09], 0.03, 3, "better than", "▲"),
        (-0.05, [-0.09, -0.01], 0.03, 3, "worse than", "▼"),
        (0.05, [-0.01, 0.11], 0.03, 3, "not shown to be better than", "≈"),
        (
            0.05,
            [0.01, 0.09],
            0.06,
            3,
            "not shown to be better than",
            "≈",
        ),  # too small for its error
        (0.05, [0.01, 0.09], 0.03, 2, "not shown to be better than", "≈"),
    ],
)
def test_better_than_a_bag_of_words_is_said_by_the_rule_of_the_verdict(
    record, gap, ends, threshold, seeds, word, sign
):
    record["gain"]["vs_bow"].update(abs=gap, ci95=ends, threshold=threshold)
    record["downstream"]["pre"] = arm([0.70, 0.72, 0.80][:seeds])
    answer = worth(record)
    score = {2: "71.0", 3: "74.0"}[seeds]
    assert answer.word == f"{score} accuracy: {word} a bag of words" and answer.sign == sign
    assert f"scores 66.0: 5.0 {'less' if gap > 0 else 'more'} (model minus bag" in answer.sentence
    assert heading(page(record, {}), "h1") == (sign, answer.word)


def test_without_a_bag_of_words_the_score_stands_alone(record):
    answer = worth(without(record, "bow"))
    assert answer.word == "74.0 accuracy" and not answer.sign
    assert answer.sentence.endswith(
        "No bag of words beside it — (left out). Always one answer scores 50.0."
    )


def test_a_baseline_that_failed_stands_in_the_headline(record):
    scratch = record["downstream"]["scratch"]
    scratch.update(arm([0.50, 0.51, 0.50]), failed=[0, 1, 2])
    answer = pretraining(record)
    assert answer.word == "Positive, over a baseline that failed"
    assert (answer.sign, answer.tone) == ("?", "open")
    assert answer.sentence == (
        "Pretraining helped by 12.0 points. But 3 of 3 runs from scratch learned nothing (50.3, where always "
        "one answer gives 50.0): the difference is one to runs that failed, not to what this model can learn "
        "without pretraining."
    )
    scratch.update(arm([0.60, 0.50, 0.64]), failed=[1])
    answer = pretraining(record)
    assert answer.word == "Positive, but 1 of 3 runs of the baseline failed" and answer.sign == "▲"
    assert "1 of 3 runs from scratch learned nothing (50.0, " in answer.sentence
    assert "part of the difference" in answer.sentence
    for shown in (summary(record), markdown(record, {}), Page(page(record, {})).text):
        assert "1 of 3 runs from scratch learned nothing" in " ".join(shown.split())
    record["downstream"]["pre"]["failed"] = [
        0,
        1,
        2,
    ]  # nothing learned: the sentence says so already
    assert pretraining(record).word == "Positive"


def test_the_commands_are_those_of_the_verdict(record, tmp_path):
    assert [line for _, line in commands(record)] == [
        "nlptl predict runs/sentiment --file new.csv --output labelled.csv"
    ]
    record["negative"].update(provisional=True, advice="Try --mode full, or a larger checkpoint.")
    record["id"]["run"] = "runs/it's mine"
    first, second, _ = (shlex.split(line) for _, line in commands(record))
    assert first == ["nlptl", "report", "runs/it's mine", "--tier", "standard"]
    assert second[second.index("--config") + 1] == "runs/it's mine/config.yaml"
    assert second[-2:] == ["--output-dir", "runs/it's mine-full"]
    (tmp_path / "config.yaml").write_text(to_yaml(SentimentConfig(learning_rate=4e-4, epochs=9)))
    second[second.index("--config") + 1] = str(tmp_path / "config.yaml")
    second[second.index("--task") + 1] = "text-classification"
    assert second[:2] == ["nlptl", "train"]
    config = parse_args(TaskConfig, second[2:])
    assert (config.mode, config.learning_rate, config.epochs) == ("full", None, None)
    record["negative"].update(provisional=False, verdict="inconclusive", advice=None)
    assert commands(record)[0][1].endswith("--tier full")
    record["id"]["tier"] = "full"
    assert len(commands(record)) == 1
    record["id"]["run"] = None  # of the library: there is no directory
    assert commands(record) == [] and "<pre>" not in page(record, {})


def test_the_glossary_explains_the_words_that_the_page_has(record):
    html = page(record, {})
    assert '<dt id="term-cka">CKA</dt>' in html and 'href="#term-cka"' in html
    assert "term-zero-shot" in html and "term-provisional" not in html
    html = page(without(record, "shift"), {})
    assert "term-cka" not in html
    shown = explained("sd of p=0.1, <sd> & CKA --mode; CKA")
    assert re.sub(r"<[^>]*>", "", shown) == "sd of p=0.1, &lt;sd&gt; &amp; CKA --mode; CKA"
    assert shown.count("<a ") == 3 and '<span class="unbroken">--mode</span>' in shown


def test_what_an_upstream_curve_says(record):
    first = {"checkpoint": "step 0", "upstream_loss": 6.5, "downstream_mean": 0.55, "sd": 0.01}
    last = {"checkpoint": "step 100", "upstream_loss": 4.0, "downstream_mean": 0.66, "sd": None}
    record["upstream_curve"] = {
        "points": [first, last],
        "slope_points_per_nat": 4.4,
        "slope_ci95": None,
        "spearman": 1.0,
    }
    text, html = markdown(record, {}), page(record, {})
    assert "| step 0 | 6.500 | 55.0 ± 1.0 |\n| step 100 | 4.000 | 66.0 |" in text
    assert "+4.4 points for one nat less; rank correlation 1.00." in text
    assert "Downstream against upstream" in Page(html).text


# ---- the page


def test_the_page_loads_nothing_and_says_it_all(record):
    record["id"]["created"] = "2026"
    html = forms(record)[2]
    seen = Page(html)
    assert seen.tags[0] == "html" and seen.tags.count("h1") == 1
    assert not {"script", "link", "iframe", "img", "object", "image"} & set(seen.tags)
    loads = [a for a in seen.attributes if a[1] in ("src", "href", "xlink:href", "srcset", "data")]
    assert loads and all(value.startswith("#") for _, _, value in loads)
    assert "javascript" not in html
    ids = [value for _, name, value in seen.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert {value[1:] for _, _, value in loads} <= set(ids)
    assert set(re.findall(r"url\(#(.*?)\)", html)) <= set(ids)
    assert "@import" not in html and "url(h" not in html
    assert seen.tags.count("svg") == seen.tags.count("figure") == 4
    pictures = [a[2] for a in seen.attributes if a[:2] == ("figure", "aria-label")]
    assert len(pictures) == 4 and all(pictures)
    for table in evidence(record):
        assert table.caption in seen.text and table.rows[0][1] in seen.text
    assert "Only 812 sequences." in seen.text
    places = ["74.0 accuracy:", "Positive", "Bag of words", "What next", "Scores", "Words"]
    assert sorted(places, key=seen.text.index) == places


def test_no_line_of_the_page_ends_inside_a_flag_or_a_mode(record):
    record["negative"]["advice"] = "Try --report full, or freeze-lower-12 <b>--mode</b>."
    html = page(record, {})
    kept = '<span class="unbroken">{}</span>'.format
    told = f"Try {kept('--report')} full, or {kept('freeze-lower-12')} &lt;b&gt;{kept('--mode')}&lt;/b&gt;."
    assert f'<p class="advice">{told}</p>' in html
    assert ".unbroken { white-space: nowrap; }" in html


# ---- pictures


def by_name(figure, name):
    found = [a for a in figure.findobj() if (a.get_gid() or "") == name]
    assert found, name
    return found[0]


def test_the_arms_are_where_their_numbers_are(record):
    record["downstream"]["pre"]["failed"] = [1]
    figure = figures(record)["arms"]
    upper, lower = figure.axes
    assert [t.get_text() for t in upper.get_yticklabels()][:2] == [
        "pretrained,\nfreeze-lower-1",
        "from scratch",
    ]
    means = {c[0].get_gid(): c for c in upper.containers}
    for row, name in enumerate(ALL_ARMS):
        dot, _, bars = means[f"arm-{name}"]
        assert dot.get_xydata()[0] == pytest.approx([100 * record["downstream"][name]["mean"], row])
        if name in ("pre", "scratch", "random_probe"):
            ends = bars[0].get_segments()[0][:, 0]
            sd = {"pre": 100 * np.std([0.70, 0.72, 0.80], ddof=1)}.get(name, 2.0)
            assert ends[1] - ends[0] == pytest.approx(2 * sd)
    assert list(by_name(upper, "seeds-scratch").get_xdata()) == pytest.approx([60, 62, 64])
    assert list(by_name(upper, "seeds-pre").get_xdata()) == pytest.approx([70, 80])
    assert list(by_name(upper, "failed-pre").get_xdata()) == pytest.approx([72])
    looks = {(d.get_marker(), d.get_color()) for d, _, _ in upper.containers}
    assert len({marker for marker, _ in looks}) == 7
    assert list(by_name(lower, "interval-1").get_xdata()) == pytest.approx([8.0, 15.5])
    assert list(by_name(lower, "difference-0").get_xdata()) == pytest.approx([-1.8])


def test_the_curves_are_the_means(record):
    axes = figures(record)["curve"].axes[0]
    assert axes.get_xscale() == "log"
    first, second = by_name(axes, "mean-pre"), by_name(axes, "mean-scratch")
    assert first.get_xydata() == pytest.approx(np.asarray([[16, 65.0], [64, 75.0]]))
    assert second.get_xydata() == pytest.approx(np.asarray([[16, 51.0], [64, 61.0]]))
    assert first.get_marker() != second.get_marker()
    assert first.get_linestyle() != second.get_linestyle()
    assert [t.get_text() for t in axes.get_xticklabels()] == ["16", "64"]


def test_labels_of_near_sizes_do_not_touch(record):
    record["curve"].update(n=[16, 1000, 1010], pre=[[0.5]] * 3, scratch=[[0.4]] * 3)
    axes = figures(record)["curve"].axes[0]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["16", "", "1,010"]


def test_the_heat_strips_hold_the_blocks(record):
    figure = figures(record)["shift"]
    shown = [ax.collections[0].get_array().ravel() for ax in figure.axes]
    for values, name in zip(shown, ("cka", "rel_weight_change", "probe_curve"), strict=True):
        assert list(values) == record["shift"][name]
    assert figure.axes[0].collections[0].get_clim() == (0, 1)
    assert figure.axes[0].collections[0].get_cmap().name == "cividis"
    assert [t.get_text() for t in figure.axes[1].texts] == ["0", "0", "11"]
    assert by_name(figure.axes[-1], "best").get_xy() == (1, 0)
    labels = [t.get_text() for t in figure.axes[-1].get_xticklabels()]
    assert labels == ["emb", "0\n★", "1"]


def test_blocks_without_states_stay_empty(record):
    """T5: CKA and probes are the encoder's, the weights those of both."""
    record["shift"].update(cka=[1.0, float("nan")], probe_curve=None, best_layer=None)
    figure = figures(record)["shift"]
    assert len(figure.axes) == 2
    assert figure.axes[0].collections[0].get_array().mask.ravel().tolist() == [False, True, True]
    assert "| block 0 | — | 0 | — |" in markdown(record, {})


def test_the_bars_are_as_long_as_the_costs(record):
    compute, time = figures(record)["costs"].axes
    assert [p.get_width() for p in compute.patches] == [
        2.0e12,
        2.4e13,
    ]  # censored: all it was given
    assert [t.get_text() for t in compute.texts] == ["2 TFLOP", ">24 TFLOP"]
    assert [p.get_width() for p in time.patches] == [35.2, 118.0]
    assert [bool(p.get_hatch()) for p in time.patches] == [False, True]


def test_text_in_pictures_is_at_least_8_points(record):
    from matplotlib.text import Text

    for name, figure in figures(record).items():
        figure.draw_without_rendering()
        sizes = [t.get_fontsize() for t in figure.findobj(Text) if t.get_text() and t.get_visible()]
        assert sizes and min(sizes) >= 8, name


def test_the_same_record_gives_the_same_files():
    one, two = forms(make())[3], forms(make())[3]
    assert one == two
    assert all("<dc:date>" not in svg and "<text" in svg for svg in one.values())
    first, second = (as_png(figures(make())["costs"]) for _ in range(2))
    assert first == second and first.startswith(b"\x89PNG")


def test_no_picture_touches_pyplot(record):
    import sys

    figures(record)
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []


# ---- files


def test_every_file_is_written_and_none_is_left_half(record, tmp_path):
    record["shift"]["cka"][2] = float("nan")
    before = copy.deepcopy(record)
    written = write_report(record, tmp_path / "new" / "run")
    names = {"report.json", "report.md", "report.html"} | {
        f"report_{name}.{kind}"
        for name in ("arms", "curve", "shift", "costs")
        for kind in ("png", "svg")
    }
    assert {path.name for path in written} == names
    assert {path.name for path in (tmp_path / "new" / "run").iterdir()} == names
    assert len(written) == len(names) and all(path.stat().st_size > 500 for path in written)
    found = json.loads((tmp_path / "new" / "run" / "report.json").read_text("utf-8"))
    assert found["shift"]["cka"] == [1.0, 1.0, None]
    found["shift"]["cka"] = before["shift"]["cka"] = record["shift"]["cka"] = None
    assert found == before == record
    text = (tmp_path / "new" / "run" / "report.md").read_text("utf-8")
    for path in re.findall(r"\]\((.*?)\)", text):
        assert (tmp_path / "new" / "run" / path).exists()
    assert text.count("](report_") == 4
