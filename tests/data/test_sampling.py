"""Splits and subsets: stratified, nested, seeded."""

from collections import Counter

from datasets import Dataset

from nlptl.data.sampling import carve_missing, stratified_order, subset

LABELS = ["a"] * 60 + ["b"] * 30 + ["c"] * 10


def table():
    return Dataset.from_dict({"row": list(range(100)), "label": LABELS})


def test_every_prefix_has_the_classes_in_nearly_equal_shares():
    order = stratified_order(LABELS, seed=4)
    assert sorted(order) == list(range(100))
    for n in (10, 20, 50):
        counts = Counter(LABELS[i] for i in order[:n])
        assert all(
            abs(counts[c] - n * share) <= 1 for c, share in (("a", 0.6), ("b", 0.3), ("c", 0.1))
        )


def test_seeds_repeat_and_differ():
    assert list(stratified_order(LABELS, 1)) == list(stratified_order(LABELS, 1))
    assert list(stratified_order(LABELS, 1)) != list(stratified_order(LABELS, 2))


def test_missing_splits_are_carved_disjoint_and_recorded():
    splits, carved = carve_missing({"train": table()}, LABELS, seed=0)
    assert carved == {"test": 20, "validation": 10}
    rows = {name: set(part["row"][:]) for name, part in splits.items()}
    assert sum(map(len, rows.values())) == 100 == len(set.union(*rows.values()))
    assert Counter(splits["test"]["label"][:]) == {"a": 12, "b": 6, "c": 2}


def test_given_splits_are_left_alone():
    given = {"train": table(), "validation": table(), "test": table()}
    splits, carved = carve_missing(given, LABELS, seed=0)
    assert carved == {} and splits == given
    splits, carved = carve_missing({"train": table(), "test": table()}, LABELS, seed=0)
    assert carved == {"validation": 10} and len(splits["test"]) == 100


def test_subsets_are_nested():
    small, large = (set(subset(table(), LABELS, n, 3)["row"][:]) for n in (20, 50))
    assert small < large and len(small) == 20
    assert subset(table(), LABELS, None, 3).num_rows == subset(table(), LABELS, 500, 3).num_rows


def test_of_a_few_rows_each_missing_split_gets_one():
    """A fifth and a tenth of four rows are none: one row each, and two are left."""
    few = {"train": Dataset.from_dict({"row": [0, 1, 2, 3]})}
    made, carved = carve_missing(few, list("abab"), seed=0)
    assert carved == {"test": 1, "validation": 1} and len(made["train"]) == 2
