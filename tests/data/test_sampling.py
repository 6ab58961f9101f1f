"""Splits and subsets: stratified, nested, seeded."""

from collections import Counter

from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from nlptl.data.sampling import draw_splits, stratified_order, subset

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


def classes(part):
    return part["label"][:]


def rows_of(splits):
    return {name: set(part["row"][:]) for name, part in splits.items()}


def test_missing_splits_are_carved_disjoint_and_recorded():
    splits, carved = draw_splits({"train": table()}, classes, seed=0)
    assert carved == {"test": 20, "validation": 10}
    rows = rows_of(splits)
    assert sum(map(len, rows.values())) == 100 == len(set.union(*rows.values()))
    assert Counter(splits["test"]["label"][:]) == {"a": 12, "b": 6, "c": 2}


def test_given_splitssplits_are_left_alone():
    own = {"train": table(), "validation": table(), "test": table()}
    splits, carved = draw_splits(own, classes, seed=0)
    assert carved == {} and splits == own
    splits, carved = draw_splits({"train": table(), "test": table()}, classes, seed=0)
    assert carved == {"validation": 10} and len(splits["test"]) == 100


def test_the_limit_counts_the_labels_that_choose_the_epoch_too():
    whole, _ = draw_splits({"train": table()}, classes, seed=0)
    splits, carved = draw_splits({"train": table()}, classes, seed=0, most=40)
    assert carved == {"test": 20, "validation": 4} and len(splits["train"]) == 36
    assert rows_of(splits)["test"] == rows_of(whole)["test"]  # the limit changes no test set
    assert sum(map(len, rows_of(splits).values())) == len(set.union(*rows_of(splits).values()))
    assert Counter(splits["train"]["label"][:] + splits["validation"]["label"][:])["a"] in (
        23,
        24,
        25,
    )
    # 41 labels are the same 40 and another one
    more = rows_of(draw_splits({"train": table()}, classes, seed=0, most=41)[0])
    assert (
        rows_of(splits)["train"] | rows_of(splits)["validation"]
        < more["train"] | more["validation"]
    )


def test_the_limit_counts_the_labels_of_a_validation_set_of_its_own():
    own = {"train": table(), "validation": table(), "test": table()}
    for most, eval_, train, validation in (
        (50, None, 45, 5),
        (50, 3, 47, 3),
        (150, None, 100, 50),  # more than the training set has
        (200, None, 100, 100),
        (10**6, None, 100, 100),
        (2, None, 1, 1),
    ):
        splits, carved = draw_splits(own, classes, seed=0, most=most, most_eval=eval_)
        assert (len(splits["train"]), len(splits["validation"])) == (train, validation), most
        assert carved == {} and len(splits["test"]) == (eval_ or 100)
    few = {**own, "validation": table().select(range(2))}
    splits, _ = draw_splits(few, classes, seed=0, most=50)
    assert (len(splits["train"]), len(splits["validation"])) == (48, 2)


@given(
    rows=st.integers(1, 60),
    groups=st.integers(1, 9),
    most=st.none() | st.integers(1, 80),
    most_eval=st.none() | st.integers(1, 20),
    there=st.sets(st.sampled_from(["validation", "test"])),
    grouped=st.booleans(),
    seed=st.integers(0, 5),
)
@settings(max_examples=30, deadline=None)
def test_no_label_is_looked_at_beyond_the_limit(
    rows, groups, most, most_eval, there, grouped, seed
):
    def part(count):
        names = [f"p{i % groups}" for i in range(count)]
        return Dataset.from_dict({"row": list(range(count)), "label": names})

    train = part(rows)
    passages = train["label"][:] if grouped else None
    given_splits = {"train": train, **{name: part(7) for name in there}}
    splits, carved = draw_splits(
        given_splits, classes, seed=seed, most=most, most_eval=most_eval, groups=passages
    )
    assert (
        set(splits) == {"train", "validation", "test"}
        and set(carved) == splits.keys() - given_splits
    )
    if most is not None:
        assert len(splits["train"]) + len(splits["validation"]) <= most
    if most_eval is not None:
        assert max(len(splits["validation"]), len(splits["test"])) <= most_eval
    own = [splits["train"], *(splits[name] for name in carved)]
    found = [row for each in own for row in each["row"][:]]
    assert len(found) == len(set(found)) and set(found) <= set(range(rows))
    if grouped:
        seen = [set(each["label"][:]) for each in own]
        assert sum(map(len, seen)) == len(set.union(*seen))  # no passage is in two


def test_subsets_are_nested():
    small, large = (set(subset(table(), LABELS, n, 3)["row"][:]) for n in (20, 50))
    assert small < large and len(small) == 20
    assert subset(table(), LABELS, None, 3).num_rows == subset(table(), LABELS, 500, 3).num_rows


def test_of_a_few_rows_each_missing_split_gets_one():
    """A fifth and a tenth of four rows are none: one row each, and two are left."""
    few = {"train": Dataset.from_dict({"row": [0, 1, 2, 3]})}
    made, carved = draw_splits(few, lambda table: list("abab"), seed=0)
    assert carved == {"test": 1, "validation": 1} and len(made["train"]) == 2
