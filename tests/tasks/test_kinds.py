"""The kind of a task seen from its table, and the columns that its texts are read from."""

from dataclasses import replace

import pytest
from datasets import ClassLabel, Dataset, Features

from nlptl.cli.config import ClassifyConfig
from nlptl.data.text_columns import find_text_columns
from nlptl.errors import DataError, UserError
from nlptl.tasks import get_task
from nlptl.tasks.kinds import check_no_numbers, chosen_kind, kind_of, seen_kind
from nlptl.tasks.options import BUILTIN_OPTIONS, KINDS

CLASSES, LABELS, NUMBERS, TAGS = KINDS


def kind(values, feature=None, texts=("text",), **more):
    columns = {"text": [f"text {i}" for i in range(len(values))], "label": values, **more}
    table = Dataset.from_dict(columns)
    if feature:
        table = table.cast(Features({**table.features, "label": feature}))
    return kind_of(table, texts, "label")


def test_names_are_classes_and_so_are_few_whole_numbers():
    assert kind(["a", "b"]) == CLASSES
    assert kind([0, 1, 2]) == CLASSES
    assert kind(["1", "2", "5"]) == CLASSES  # stars, as a csv has them
    assert kind([1.0, 0.0, None]) == CLASSES  # pandas makes fractions of whole numbers with holes
    assert kind([True, False]) == CLASSES
    assert kind([0, 1], ClassLabel(names=["no", "yes"])) == CLASSES
    assert kind([["a"], ["b"]]) == CLASSES  # annotation tools export a list of one


def test_fractions_and_many_different_numbers_are_a_regression():
    assert kind([0.5, 1.0]) == NUMBERS
    assert kind(["4.2", "3"]) == NUMBERS
    assert kind(list(range(1, 23))) == NUMBERS  # 22 different ones
    assert kind(list(range(1, 21))) == CLASSES  # 20
    numbered = [i % 30 for i in range(240)]  # classes by number: from 0, no gap, eight rows each
    assert kind(numbered) == CLASSES
    assert kind(numbered[:-1]) == NUMBERS
    assert kind([i + 1 for i in numbered]) == NUMBERS


def test_lists_are_several_labels_or_the_tags_of_words():
    assert kind([["a", "b"], []]) == LABELS
    assert kind(["['a', 'b']", '["c"]']) == LABELS  # as a csv has them
    assert kind(["['a' 'b']", "['c' 'a']"]) == LABELS  # as numpy prints them
    printed = ["['a' 'film']", "['good']"]
    assert kind(["['O' 'B-X']", "['O']"], texts=("words",), words=printed) == TAGS
    cut = ["['a' ... 'film']", "['good']"]  # refused later, as tags
    assert kind(["['O' ... 'O']", "['O']"], texts=("words",), words=cut) == TAGS
    words = [["a", "film"], ["good"]]
    assert kind([["O", "B-X"], ["O"]], texts=("words",), words=words) == TAGS
    assert kind([["O"], ["O"]], texts=("words",), words=["['a']", "['b']"]) == TAGS
    assert kind([["a", "b"], ["c"]], texts=("text", "words"), words=words) == LABELS
    table = Dataset.from_dict({"text": ["a"], "x": [1], "y": [0]})
    assert kind_of(table, ("text",), ("x", "y")) == LABELS


def test_the_reason_is_in_the_sentence():
    table = Dataset.from_dict({"text": ["a", "b", "c"], "score": ["1", "2.5", "4"]})
    why = seen_kind(table, ("text",), "score").why
    assert why == "the column 'score' has numbers from 1 to 4, 1 of 3 with a fraction"
    table = Dataset.from_dict({"text": ["a", "b"], "topics": [["x", "y"], []]})
    why = seen_kind(table, ("text",), "topics").why
    assert why == "the column 'topics' has lists of 0 to 2 labels"


def test_lists_of_zeros_and_ones_are_labels_in_the_table_and_in_the_record(tmp_path):
    vectors = [[1, 0, 0], [0, 1, 0], [0, 0, 1]] * 10  # one label each
    assert kind(vectors) == kind([str(row) for row in vectors]) == LABELS
    rows = {"text": [f"text {i}" for i in range(30)], "label": vectors}
    config = ClassifyConfig(train_file=written(tmp_path / "t.jsonl", Dataset.from_dict(rows)))
    assert chosen_kind(config) == LABELS
    task, splits, record = get_task(LABELS).prepare(config)
    assert task.labels == ("0", "1", "2") and sum(record["train_counts"].values()) == len(
        splits["train"]
    )
    assert record["kind"] == {
        "name": LABELS,
        "why": "the column 'label' has lists of 3 zeros and ones, one for each label",
    }
    assert record["notes"][0].startswith("The column 'label' has 3 zeros and ones in each row")
    for part in splits.values():
        numbers = [int(text.split()[1]) for text in part["text"]]
        assert task.gold(part) == [[str(number % 3)] for number in numbers]


FRACTIONS = [f"{n / 100}" for n in range(11, 69)]  # 58 different ones


def no_numbers(*values):
    check_no_numbers(Dataset.from_dict({"label": list(values)}), "label")


@pytest.mark.parametrize("odd", ["NA", "nan", "inf", "n/a", "0,5"])
def test_a_few_odd_ones_do_not_make_classes_of_numbers(odd, tmp_path):
    said = rf"and not each is written as one: 1 of 60 \(row 58\), such as '{odd}'\. .* --kind text"
    with pytest.raises(DataError, match=said):
        no_numbers(*FRACTIONS, odd, None)
    labels = [*FRACTIONS, odd, "1"]
    path = tmp_path / "t.csv"
    path.write_text("text,label\n" + "".join(f't{i},"{v}"\n' for i, v in enumerate(labels)))
    config = ClassifyConfig(train_file=path)
    with pytest.raises(DataError, match=said):
        get_task(chosen_kind(config)).prepare(config)
    task, _, _ = get_task(CLASSES).prepare(replace(config, kind=CLASSES))
    assert odd in task.labels
    with pytest.raises(UserError, match=r"not finite numbers: 1 of 60 \(row 58\)"):
        get_task(NUMBERS).prepare(replace(config, kind=NUMBERS))


def test_commas_before_the_decimals_are_told_and_names_stay_names():
    commas = [f"0,{n}" for n in range(10, 30)]
    with pytest.raises(DataError, match=r"20 of 20 .*, such as '0,10', .*with a point before"):
        no_numbers(*commas)
    with pytest.raises(DataError, match=r"such as nan\. .* Mend these rows\.$"):
        no_numbers(*map(float, FRACTIONS), float("nan"))
    no_numbers(*map(str, range(40)), "NA")  # whole numbers
    no_numbers(*["1.5", "2.0", "3.5"] * 20, "NA")  # a handful
    no_numbers(*FRACTIONS[:8], "NA")  # few rows
    no_numbers(*FRACTIONS[:50], *["none"] * 6)  # more than a tenth
    no_numbers(*FRACTIONS[:45], *["none"] * 6)
    no_numbers(*FRACTIONS, None, "")


def columns(*names, asked=(), but=None):
    return find_text_columns(
        {"train": Dataset.from_dict({n: ["a"] for n in names})}, asked, but=but
    )


def test_usual_columns_of_texts_are_found():
    assert columns("id", "Message", "team") == ("Message",)
    assert columns("sentence_A", "sentence_B", "score") == ("sentence_A", "sentence_B")
    assert columns("hypothesis", "premise", "label") == ("premise", "hypothesis")
    assert columns("body", "subject", "queue") == ("subject", "body")
    assert columns("title", "description", "label") == ("title", "description")
    assert columns("title", "description", "label", but="title") == ("description",)
    assert columns("title", "label") == ("title",)
    assert columns("utterance", "intent") == ("utterance",)
    assert columns("a", "b", "c", asked=("c", "a", "b")) == ("c", "a", "b")


def test_columns_that_cannot_be_texts_are_refused():
    with pytest.raises(DataError, match="Say which with --text-column NAME"):
        columns("a", "label")
    with pytest.raises(UserError, match="Did you mean 'body'"):
        columns("subject", "body", asked=("subject", "bdy"))
    with pytest.raises(UserError, match="a stands there twice"):
        columns("a", asked=("a", "a"))
    with pytest.raises(UserError, match="'a' stands for a text and for the labels at once"):
        columns("a", "b", asked=("a", "b"), but="a")


def written(path, table):
    table.to_json(path)
    return path


ROWS = {"text": [f"text {i}" for i in range(20)], "label": [f"{i % 2}.5" for i in range(20)]}


def test_the_recipe_chooses_by_the_table_or_as_it_is_asked(tmp_path):
    path = written(tmp_path / "t.jsonl", Dataset.from_dict(ROWS))
    config = ClassifyConfig(train_file=path)
    assert chosen_kind(config) == NUMBERS
    assert chosen_kind(replace(config, kind=CLASSES)) == CLASSES
    assert chosen_kind(replace(config, label_column=("nowhere",))) == CLASSES  # reported later
    _, _, record = get_task(NUMBERS).prepare(config)
    assert record["kind"]["name"] == NUMBERS and "20 of 20 with a fraction" in record["kind"]["why"]
    _, _, record = get_task(CLASSES).prepare(replace(config, kind=CLASSES))
    assert record["kind"] == {"name": CLASSES, "why": "said by --kind"}
    (tmp_path / "t.conll").write_text("Ada\tB-PER\nsings\tO\n\nshe\tO\n")
    assert chosen_kind(replace(config, train_file=tmp_path / "t.conll")) == TAGS


def test_a_flag_of_another_kind_is_refused(tmp_path):
    path = written(tmp_path / "t.jsonl", Dataset.from_dict(ROWS))
    config = ClassifyConfig(train_file=path, class_weights="balanced", stride=3, threshold=0.3)
    with pytest.raises(UserError) as caught:
        get_task(NUMBERS).prepare(config)
    for flag, owner in (
        ("class-weights", CLASSES),
        ("stride", TAGS),
        ("threshold", LABELS),
    ):
        assert f"--{flag} is for {owner}; these data are for {NUMBERS}." in str(caught.value)


def test_every_kind_is_a_registered_task_with_its_flags():
    for name in KINDS:
        task = get_task(name)
        assert task.name == name and task.options is BUILTIN_OPTIONS[name]
