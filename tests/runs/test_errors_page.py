"""Mistakes, confusion and calibration by hand; a page that shows all of it and runs nothing of it."""

import json
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlptl.metrics.calibration import reliability
from nlptl.runs import errors
from nlptl.runs.card import model_card
from nlptl.runs.errors_page import chart, errors_page, matrix, tiles


def said(gold, prediction, sure=None, **more):
    names = ("a", "b", "c")
    rest = (1 - sure) / 2 if sure is not None else 0
    scores = {name: sure if name == prediction else rest for name in names}
    return {
        "row": 0,
        "id": 0,
        "text": "words",
        **more,
        "gold": gold,
        "prediction": prediction,
        **({"scores": scores} if sure else {}),
    }


EACH = [
    said("a", "a", 0.9),
    said("a", "b", 0.8, row=7),
    said("b", "b", 0.6),
    said("c", "b", 0.95, row=3),
    said("b", "c", 0.5),
]


def record(**more):
    base = {
        "task": "text-classification",
        "model": "bundled/bert",
        "mode": "full",
        "seed": 0,
        "fields": ["text"],
        "n": {"train": 10, "validation": 5, "test": 5},
        "metrics": {"accuracy": 0.4, "accuracy_se": 0.2},
        "selection": {"metric": "accuracy", "best_line": 1, "best_epoch": 2.0},
        "floors": {
            "majority": {"accuracy": 0.2},
            "bag_of_words": {"accuracy": 0.6, "accuracy_se": 0.1, "seconds": 0.31},
            "missing": {},
        },
        "per_class": [
            {"label": n, "precision": 0.5, "recall": 0.25, "f1": 1 / 3, "n": 2} for n in "abc"
        ],
        "weakest": {"label": "c", "recall": 0.0, "taken_for": "b"},
        "calibration": errors.calibration(EACH),
        "temperature": 1.7,
        "history": [
            {
                "epoch": e,
                "train_loss": None if not e else 1 / e,
                "validation_loss": 0.5,
                "validation_accuracy": 0.1 * e,
            }
            for e in (0, 1, 2)
        ],
    }
    return {**base, **more}


def test_confusion_counts_gold_in_rows():
    assert errors.confusion(EACH, ["a", "b", "c"]).tolist() == [[1, 1, 0], [0, 1, 1], [0, 1, 0]]
    tags = [{"gold": ["a", "b"], "prediction": ["a", "a"]}]
    assert errors.confusion(tags, ["a", "b"]).tolist() == [[1, 0], [1, 0]]
    assert errors.frequent_confusions([*EACH, EACH[1]], 1) == [("a", "b", 2)]
    several = [{"gold": ["a", "b"], "prediction": ["b"], "scores": {"a": 0.1, "b": 0.9}}]
    assert not errors.confusion(several, ["a", "b"]).any() and not errors.frequent_confusions(
        several
    )
    shades = matrix(EACH, ["a", "b", "c"])["rows"][0]["cells"]
    assert [cell["shade"] for cell in shades] == [0.5, 0.5, 0]


def test_the_most_confident_mistakes_come_first():
    found = errors.most_confident_mistakes(EACH, 2)
    assert [(one["row"], one["confidence"]) for one in found] == [(3, 0.95), (7, 0.8)]
    numbers = [{"gold": 1.0, "prediction": p} for p in (1.5, -2.0, 1.0)]
    assert [one["error"] for one in errors.most_confident_mistakes(numbers)] == [-3.0, 0.5]


def test_answers_labels_and_tags_are_wrong_where_they_differ():
    answers = [
        {"gold": ["Ada", "A. L."], "prediction": "A. L.", "scores": {"answer": 0.9}},
        {"gold": ["Ada"], "prediction": "Bob", "scores": {"answer": 0.7, "none": 0.3}},
        {"gold": [], "prediction": "", "scores": {"answer": 0.2, "none": 0.8}},
        {"gold": [], "prediction": "Ada", "scores": {"answer": 0.6, "none": 0.4}},
    ]
    found = errors.most_confident_mistakes(answers)
    assert [(one["prediction"], one["confidence"]) for one in found] == [("Bob", 0.7), ("Ada", 0.6)]
    several = {
        "gold": ["x", "y"],
        "prediction": ["y", "x"],
        "scores": {"x": 0.8, "y": 0.6, "z": 0.1},
    }
    assert not errors.is_wrong(several) and errors.is_wrong({**several, "prediction": ["x"]})
    assert errors.confidence_of(several) == pytest.approx((0.8 + 0.6 + 0.9) / 3)
    tags = [{"gold": ["O", "P"], "prediction": p} for p in (["O", "P"], ["P", "O"], ["O", "O"])]
    assert [
        (one["prediction"], one["wrong_words"]) for one in errors.most_confident_mistakes(tags)
    ] == [(["P", "O"], 2), (["O", "O"], 1)]


def test_columns_of_the_user_stay_beside_the_size_of_a_mistake():
    number = {"row": 0, "error": "E42", "gold": 2.0, "prediction": 1.5}
    assert errors.most_confident_mistakes([number]) == [
        {"row": 0, "error_in_file": "E42", "gold": 2.0, "prediction": 1.5, "error": -0.5}
    ]
    sure = said("a", "b", 0.8, confidence=3, confidence_in_file="x", error="E1")
    (found,) = errors.most_confident_mistakes([sure])
    assert (found["confidence"], found["error"]) == (0.8, "E1")
    assert list(found.values())[3:6] == [3, "x", "E1"]
    tags = {"gold": ["O", "P"], "prediction": ["O", "O"], "wrong_words": None}
    assert errors.most_confident_mistakes([tags])[0]["wrong_words_in_file"] is None
    assert "E1" not in errors_page(record(), [sure])
    assert ">E42<" in errors_page(record(fields=["error"]), [number | {"id": 0}])


def test_the_page_counts_the_wrong_words_of_tags():
    tags = [
        {"row": 0, "id": 0, "tokens": ["a", "b"], "gold": ["O", "P"], "prediction": p}
        for p in (["O", "P"], ["P", "O"])
    ]
    more = {"fields": ["tokens"], "per_class": [], "weakest": None, "calibration": None}
    page = errors_page(record(**more), tags)
    assert "<h2>The sentences with the most wrong words</h2>" in page
    assert '<th scope="col">wrong words</th>' in page and 'data-name="wrong words">2</td>' in page
    assert "confiden" not in page


def test_calibration_by_hand():
    sure, right = [0.95, 0.85, 0.9, 0.55], [1, 0, 1, 1]
    found = reliability(sure, right)
    by_bin = {round(one["low"], 1): (one["n"], one["right"]) for one in found["bins"]}
    assert by_bin == {0.9: (1, 1.0), 0.8: (2, 0.5), 0.5: (1, 1.0)}  # 0.9 is the end of a bin
    assert found["ece"] == pytest.approx((0.05 + 2 * abs(0.875 - 0.5) + 0.45) / 4)
    with pytest.raises(ValueError, match="found none"):
        reliability([], [])


def test_calibrated_confidence_has_a_small_error():
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.2, 1, 20_000)
    right = rng.random(20_000) < sure
    assert reliability(sure, right)["ece"] < 0.015
    assert reliability(sure, right * 0)["ece"] == pytest.approx(sure.mean())


def test_only_probabilities_can_be_calibrated():
    several = {"gold": ["x"], "prediction": ["x"], "scores": {"x": 0.8, "y": 0.3}}
    assert errors.calibration([several])["confidence"] == pytest.approx((0.8 + 0.7) / 2)
    assert errors.calibration([{"gold": 1.0, "prediction": 2.0}]) is None


class Page(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data


def test_the_page_says_what_the_run_is_worth():
    page = Page(errors_page(record(), EACH))
    for words in (
        "0.4",
        "± 0.2",
        "fitted in 0.3 s",
        "scores higher than this run",
        "most often taken for b",
        "Expected calibration error",
        "1.7",
        "The most confident mistakes",
        "95.0 %",
    ):
        assert words in page.text
    assert page.tags.count("polyline") == 3 and page.tags.count("circle") == 5
    part = errors_page(record(), EACH, whole=False)
    assert "<html" not in part and "mistakes</h2>" not in part and "Confusion" in part


def test_a_better_run_is_not_called_worse_than_a_bag_of_words():
    assert [one["below"] for one in tiles(record())] == [False, True, False]
    assert not any(one["below"] for one in tiles(record(metrics={"accuracy": 0.6})))


NASTY = '</td><script src="https://x.y/z">alert(1)</script><img onerror=x> {{ 7 * 7 }} ‮ \ud83d'


def test_whatever_comes_from_data_is_shown_and_not_run():
    each = [said(NASTY, "b", 0.9, text=NASTY, id=NASTY)]
    page = errors_page(
        record(
            task=NASTY,
            model=NASTY,
            mode=NASTY,
            per_class=[{**c, "label": NASTY} for c in record()["per_class"]],
            weakest={"label": NASTY, "recall": 0, "taken_for": NASTY},
        ),
        each,
    )
    page.encode()
    found = Page(page)
    assert not {"script", "img", "iframe", "link", "object"} & set(found.tags)
    names = {name for name, _ in found.attributes}
    assert not {"src", "href", "onerror", "onclick", "srcset"} & names
    assert "alert(1)" in found.text and "{{ 7 * 7 }}" in found.text and "‮" not in page
    assert "default-src 'none'" in page


VALUES = st.text(max_size=20) | st.floats() | st.none() | st.lists(st.text(max_size=5), max_size=3)


@settings(max_examples=20)
@given(st.lists(st.tuples(VALUES, VALUES, st.text(max_size=30)), max_size=5), st.text(max_size=10))
def test_any_predictions_have_a_page(pairs, name):
    each = [
        {"row": i, "id": name, "text": t, "gold": g, "prediction": p}
        for i, (g, p, t) in enumerate(pairs)
    ]
    page = errors_page(record(per_class=[], calibration=None, task=name), each)
    assert page.count("<html") == 1 and not {"script", "img"} & set(Page(page).tags)


def test_numbers_and_many_classes_have_a_page():
    numbers = [
        {"row": i, "id": i, "text": "t", "gold": float(i), "prediction": i * 1.1}
        for i in range(2000)
    ]
    page = errors_page(
        record(
            per_class=[],
            weakest=None,
            calibration=None,
            metrics={"spearman": 0.9},
            floors={},
            selection={"metric": "spearman"},
        ),
        numbers,
    )
    assert "The largest errors" in page and Page(page).tags.count("circle") == 667
    many = [
        {"label": f"c{i}", "precision": 1, "recall": 1, "f1": i / 60, "n": 1} for i in range(60)
    ]
    page = errors_page(record(per_class=many), EACH)
    assert "20 more classes are in result.json" in page and ">c0<" in page and ">c59<" not in page
    assert "<h2>Confusion</h2>" not in page


def test_a_picture_leaves_out_what_is_no_number():
    found = chart(
        [0, 1, 2], {"train loss": [None, 1.0, float("nan")], "other": [0.5, 0.5, 0.5]}, kept=1
    )
    assert [len(line["points"]) for line in found["lines"]] == [1, 3]
    assert chart([0], {"x": [1.0]}) is None


def carded(**more):
    """A record with what a card needs besides."""
    base = {
        "opened_by": "transformers",
        "parameters": {"trainable": 1, "total": 2},
        "notes": [],
        "labels": list("abc"),
        "timing": {"train_seconds": 1.0, "examples_per_second": 2.0},
        "versions": {"nlptl": "0"},
        "settings": {
            "epochs": 40,
            "batch_size": 2,
            "gradient_accumulation_steps": 1,
            "learning_rate": 0.012,
        },
    }
    return record(**{**base, **more})


def test_the_card_says_it_in_four_lines():
    card = model_card(carded(weakest={"label": "<b>", "recall": 0.25, "taken_for": "x|y"}))
    assert "A bag of words (TF-IDF and a linear model, 0.3 s) reaches accuracy 0.6000" in card
    assert "Always one answer reaches accuracy 0.2000." in card
    assert (
        "The weakest class is &lt;b>: 25.0 % of its examples are found, most often taken for x\\|y."
        in card
    )
    named = {"label": "a", "precision": 0.11, "recall": 1, "by": "precision", "taken_for": None}
    for text in (model_card(carded(weakest=named)), errors_page(record(weakest=named), EACH)):
        assert "11.0 % of what is named so is right" in text and "are found" not in text
    assert "expected calibration error" in card
    assert "Single mistakes, scores by class and the learning curve are in `errors.html`." in card
    assert "the epoch (2.0)" in card and "40 epochs, batch 2" in card
    assert json.dumps(carded())


def test_the_card_of_a_convex_fit_names_no_epoch():
    fit = {"start": "ridge regression", "examples": 84, "inverse_penalty": 0.0316}
    alone = {"history": [{"epoch": 0.0, "validation_spearman": 0.9}], "learning_rates": []}
    numbers = {"per_class": [], "weakest": None, "calibration": None, "labels": []}
    card = model_card(carded(head=fit, **alone, **numbers))
    assert "the head is a convex fit without epochs, so\nno epoch was chosen." in card
    assert (
        "- a convex fit of the head without epochs: ridge regression on the states of\n"
        "  84 examples (C = 0.0316),\n  seed 0" in card
    )
    assert not any(words in card for words in ("the epoch (", "40 epochs", "learning rate"))
    assert "- Single mistakes are in `errors.html`." in card and "by class" not in card
    assert "nothing was trained" in model_card(carded(head=None, **alone, **numbers))
    kept = model_card(carded(head=fit, **{**alone, "learning_rates": [[1, 0.01]]}))
    assert "the epoch (2.0)" in kept and "40 epochs" in kept


def test_the_card_has_the_scores_by_class():
    card = model_card(carded())
    assert (
        "## Scores by class\n\n| class | precision | recall | F1 | n |\n|---|---|---|---|---|\n"
        "| a | 0.5000 | 0.2500 | 0.3333 | 2 |\n" in card
    )
    many = [
        {"label": f"c|{i}", "precision": 1, "recall": 1, "f1": 1 - i / 60, "n": 1}
        for i in range(60)
    ]
    card = model_card(carded(per_class=many))
    assert "The lowest by F1; 50 more are in `result.json`.\n\n| class" in card
    assert (
        card.count("| 1.0000 | 1.0000 |") == 10 and "| c\\|59 |" in card and "c\\|49 |" not in card
    )


def test_words_are_marked_by_their_weight_and_their_text_stays(monkeypatch):
    text = f"a very\tpoor <b>film</b>, {NASTY}"
    words = [
        {"word": "very", "start": 2, "end": 6, "weight": -0.5},
        {"word": "poor", "start": 7, "end": 11, "weight": 2.0},
        {"word": "film", "start": 15, "end": 19, "weight": 0.0},
    ]
    each = [said("a", "b", 0.9, row=7, text=text), said("a", "b", 0.8, row=3, text="unmarked")]
    page = errors_page(record(), each, marked={7: words})
    assert (
        'a <span class="word" title="-0.5" style="background: rgba(var(--wrong), 0.15)">very</span> '
        '<span class="word" title="+2" style="background: rgba(var(--shade), 0.60)">poor</span> &lt;b&gt;'
    ) in page
    found = Page(page)
    assert "a very poor <b>film</b>, </td><script src=" in found.text and "unmarked" in found.text
    assert not {"script", "img", "b"} & set(found.tags)
    assert "explained.jsonl" in page and "explained.jsonl" not in errors_page(record(), each)
    long = [said("a", "b", 0.9, row=7, text="very poor " * 100)]
    shown = Page(errors_page(record(), long, marked={7: [{**words[0], "start": 0, "end": 4}]})).text
    assert "very poor very" in shown and shown.count("poor") < 62 and "poor…" in shown
