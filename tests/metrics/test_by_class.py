"""Scores of single classes against scikit-learn and against counts by hand."""

import random

import pytest
from sklearn.metrics import precision_recall_fscore_support

from nlptl.metrics.by_class import form_of_tags, items_of, scores_by_class, weakest_class, weakness


def records(gold, predicted):
    return [{"gold": g, "prediction": p} for g, p in zip(gold, predicted, strict=True)]


def columns(found):
    return [[one[name] for one in found] for name in ("precision", "recall", "f1", "n")]


def test_classes_are_scored_as_scikit_learn_does():
    rng = random.Random(0)
    names = ["a", "b", "c", "never said", "never there"]
    gold = rng.choices(names[:4], k=200)
    guess = rng.choices([*names[:3], "never there"], k=200)
    found = scores_by_class(records(gold, guess), names)
    expected = precision_recall_fscore_support(gold, guess, labels=names, zero_division=0)
    for ours, theirs in zip(columns(found), expected, strict=True):
        assert ours == pytest.approx(list(theirs))
    assert [one["label"] for one in found] == names


def test_several_labels_are_scored_as_scikit_learn_does():
    rng, names = random.Random(1), ["x", "y", "z"]
    draw = [[n for n in names if rng.random() < 0.5] for _ in range(200)]
    gold, guess = draw[:100], draw[100:]
    table = [[[int(n in row) for n in names] for row in part] for part in (gold, guess)]
    expected = precision_recall_fscore_support(*table, zero_division=0)
    found = columns(scores_by_class(records(gold, guess), names, "labels"))
    for ours, theirs in zip(found, expected, strict=True):
        assert ours == pytest.approx(list(theirs))


def test_words_and_whole_entities_by_hand():
    tags = ["O", "B-PER", "I-PER", "B-LOC"]
    each = records([["B-PER", "I-PER", "O", "B-LOC"]], [["B-PER", "O", "O", "B-LOC"]])
    words = {one["label"]: one for one in scores_by_class(each, tags, "words")}
    assert words["O"] == {
        "label": "O",
        "precision": 0.5,
        "recall": 1,
        "f1": pytest.approx(2 / 3),
        "n": 1,
    }
    assert (words["I-PER"]["recall"], words["I-PER"]["n"]) == (0, 1)
    found = scores_by_class(each, tags, "entities")
    assert [(one["label"], one["recall"], one["n"]) for one in found] == [
        ("PER", 0, 1),
        ("LOC", 1, 1),
    ]
    assert weakest_class(found, each, "entities") == {
        **{"label": "PER", "precision": 0, "recall": 0, "by": "recall", "taken_for": None}
    }


def test_an_entity_is_taken_for_the_one_that_shares_a_word():
    each = records([["O", "B-PER", "I-PER"]], [["B-LOC", "I-LOC", "O"]])
    found = scores_by_class(each, ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"], "entities")
    assert weakest_class(found, each, "entities")["taken_for"] == "LOC"


def test_the_weakest_class_and_what_it_is_taken_for():
    gold = ["a"] * 12 + ["b"] * 12 + ["rare"]
    guess = ["a"] * 12 + ["b"] * 6 + ["c"] * 4 + ["a"] * 2 + ["a"]
    each = records(gold, guess)
    names = ["a", "b", "c", "rare"]
    found = scores_by_class(each, names)
    worst = {"label": "b", "precision": 1.0, "recall": 0.5, "by": "recall", "taken_for": "c"}
    assert weakest_class(found, each) == worst
    few = records(gold[-1:] + gold[:5], guess[-1:] + guess[:5])  # no class has ten examples
    worst = weakest_class(scores_by_class(few, names), few)
    assert (worst["label"], worst["recall"], worst["taken_for"]) == ("rare", 0.0, "a")


def test_no_class_is_the_weakest_where_all_is_right():
    each = records(["a", "b", "b"], ["a", "b", "b"])
    found = scores_by_class(each, ["a", "b"])
    assert weakest_class(found, each) is None and weakest_class([], []) is None
    tags = records([["O", "B-X"]], [["O", "B-X"]])
    assert weakest_class(scores_by_class(tags, ["O", "B-X"], "entities"), tags, "entities") is None


def test_several_labels_have_the_lowest_f1_and_their_weaker_side():
    """x is found always and named nine times, once rightly; y is missed once."""
    each = records([["x", "y"], ["y"], *[["y"]] * 7], [["x", "y"], ["x"], *[["x", "y"]] * 7])
    found = scores_by_class(each, ["x", "y"], "labels")
    worst = weakest_class(found, each, "labels")
    assert (worst["label"], worst["recall"], worst["precision"]) == ("x", 1.0, 1 / 9)
    assert worst["by"] == "precision" and worst["taken_for"] is None
    assert weakness(worst) == (1 / 9, "of what is named so is right")


def test_a_class_that_is_always_found_is_weak_by_its_precision():
    """Only the rare class is missed, so that all of the others are found."""
    each = records(["a"] * 12 + ["rare"] * 3 + ["b"] * 12, ["a"] * 15 + ["b"] * 12)
    worst = weakest_class(scores_by_class(each, ["a", "b", "rare"]), each)
    assert (worst["label"], *weakness(worst)) == ("a", 0.8, "of what is named so is right")


def test_a_missed_label_is_taken_for_the_wrong_one_beside_it():
    each = records([["x"], ["x", "y"], ["y"]], [["z"], ["y"], ["y"]])
    found = scores_by_class(each, ["x", "y", "z"], "labels")
    worst = weakest_class(found, each, "labels")
    assert (worst["label"], worst["by"], worst["taken_for"]) == ("x", "recall", "z")


def test_tags_of_entities_are_known_by_their_form():
    assert form_of_tags(["O", "B-PER", "I-PER"]) == "entities"
    assert form_of_tags(["O", "B-PER", "E-PER"]) == form_of_tags(["U-X"]) == "closed entities"
    assert form_of_tags(["NOUN", "O"]) == form_of_tags([]) == "words"
    assert items_of(["B-X", "E-X", "B-X", "I-X"], "closed entities") == {("X", 0, 1)}
    assert items_of(["a", "b"], "words") == {("a", 0), ("b", 1)}
