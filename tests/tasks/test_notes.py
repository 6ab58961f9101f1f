"""Notes on data that a run cannot learn from, or whose scores mean less."""

import datetime

import numpy as np
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import tiny_tokenizer

from nlptl.tasks.base import EncodedSplit, Task
from nlptl.tasks.classification import TextClassification
from nlptl.tasks.notes import (
    answer_set_notes,
    class_notes,
    contradictions,
    data_notes,
    length_notes,
    shared_notes,
    size_notes,
    unknown_notes,
    writing_notes,
)
from nlptl.tasks.question_answering import QuestionAnswering


def table(texts, labels):
    return Dataset.from_dict({"text": texts, "label": labels})


SOUND = {
    "train": table(["a", "b", "c", "d"], ["no", "yes", "no", "yes"]),
    "validation": table(["e", "f"], ["no", "yes"]),
    "test": table(["g", "h"], ["no", "yes"]),
}


def notes(**changed):
    return data_notes(TextClassification(("no", "yes")), {**SOUND, **changed})


def test_sound_data_get_no_note():
    assert notes() == []


def test_texts_in_two_splits_are_counted():
    (note,) = notes(test=table(["a ", "x", "b"], ["no", "yes", "yes"]))
    assert note.startswith("2 of the 3 examples of the test set are in the training set too")
    (note,) = notes(validation=table(["a", "x"], ["no", "yes"]))
    assert "1 of the 2 examples of the validation set is in the training set" in note
    (note,) = notes(test=table(["e", "x"], ["no", "yes"]))
    assert "the epoch was chosen on them" in note
    assert "same text: nothing can be learnt" in shared_notes({"train": [1, 1]})[0]


def test_a_pair_is_shared_only_as_a_whole():
    def pairs(first, second):
        return Dataset.from_dict({"first": first, "second": second, "label": ["no", "yes"]})

    class Pairs(TextClassification):
        name, fields = "pairs", ("first", "second")

    splits = {
        "train": pairs(["a", "b"], ["x", "y"]),
        "validation": pairs(["c", "d"], ["x", "y"]),
        "test": pairs(["a", "b"], ["y", "x"]),
    }
    assert data_notes(Pairs(("no", "yes")), splits) == [
        "One training example alone has the classes no, yes: that is too little to learn a class from."
    ]


def test_more_to_choose_by_than_to_learn_from():
    (note,) = size_notes({"train": 10, "validation": 11, "test": 1000})
    assert note.startswith("The validation set has 11 examples, more than the training set (10)")
    assert size_notes({"train": 10, "validation": 10}) == []


def test_classes_that_are_not_there_are_named():
    found = class_notes(
        ("Pos", "pos", "neg", "odd"),
        {
            "train": ["pos", "pos", "Pos", "neg", "neg"],
            "validation": ["pos"] * 2,
            "test": ["odd", "neg"],
        },
    )
    assert "No training example has the class odd" in found[0] and found[0].endswith(
        "1 label of the other sets is wrong by force."
    )
    assert found[1].startswith("One training example alone has the class Pos:")
    assert found[2].startswith("The classes 'Pos', 'pos' differ in case or white space only")
    assert found[3].startswith("All 2 examples of the validation set have the class pos")
    assert len(found) == 4


def test_one_class_in_several_writings_is_noted():
    assert writing_notes(("0", "1", "1.0", "0.0", "2", "1e1")) == [
        "The classes '0', '0.0' are one number in several writings; each is a class of its own.",
        "The classes '1', '1.0' are one number in several writings; each is a class of its own.",
    ]
    seen = "look the same but for case or white space, and are written with other characters"
    assert writing_notes(("caf\u00e9", "cafe\u0301", "cafe", "pos", "pos\u200b")) == [
        f"The classes 'caf\\xe9', 'cafe\\u0301' {seen}; each is a class of its own.",
        f"The classes 'pos', 'pos\\u200b' {seen}; each is a class of its own.",
    ]
    assert writing_notes(("Pos", "pos", "1", "one", "nan", "inf", "-1")) == [
        "The classes 'Pos', 'pos' differ in case or white space only; each is a class of its own."
    ]


def test_classes_in_lists_are_counted_too():
    found = class_notes(("a", "b"), {"train": [["a"], ["a", "b"], []], "test": [["a"]]})
    assert found == [
        "One training example alone has the class b: that is too little to learn a class from."
    ]


def test_one_text_with_two_labels_is_a_contradiction():
    (note,) = contradictions([1, 1, 2, 2], ["a", "b", "c", "c"])
    assert note == "1 text occurs in the training set with different labels."
    assert contradictions([1, 1], ["a", "a"]) == []


def test_numbers_that_are_all_the_same_teach_nothing():
    class Score(Task):
        name, selection = "score", "spearman"

        def gold(self, table):
            return table["label"][:]

    part = table(["a", "b"], [0.5, 0.5])
    found = data_notes(Score(), {"train": part, "validation": part, "test": part})
    assert "All labels of the training set are 0.5: nothing can be learnt." in found
    assert any("of the test set are 0.5: no correlation with them is defined" in n for n in found)


def test_splits_without_answers_are_told():
    found = answer_set_notes({"train": [True, True], "validation": [True, False], "test": [True]})
    assert found == [
        "No question of the training set has an answer: a model can only learn to give none.",
        "No question of the test set has an answer: a model that never answers scores 100.",
    ]


def test_answers_beyond_the_limits_are_told():
    long, lost = length_notes("train", np.array([121, 31, 30, 0]), np.array([1, 0, 0, 0]), 30)
    assert long == (
        "2 of 3 answers of the training set are longer than --max-answer-tokens 30 (longest 121) and can "
        "never be predicted; raise it."
    )
    assert lost.startswith(
        "1 of 3 answers of the training set are whole in no window; their windows"
    )
    assert length_notes("test", np.array([30, 0]), np.array([0, 0]), 30) == []


def test_a_script_that_the_vocabulary_does_not_know_is_told():
    tokenizer = tiny_tokenizer("bert")
    task = TextClassification(("no", "yes"))

    def encoded(*texts):
        return task.encode(Dataset.from_dict({"text": list(texts)}), tokenizer, 32)

    english, korean = encoded("a good film", "a bad film"), encoded("좋은 영화", "나쁜 영화")
    (note,) = task.notes({"train": korean, "test": korean, "validation": english}, tokenizer)
    assert note.startswith(
        "The tokenizer does not know many of the tokens (100% of training, 100% of te"
    )
    assert unknown_notes({"train": english}, tokenizer) == []
    assert unknown_notes({"train": EncodedSplit([], np.array([]), 0)}, tokenizer) == []
    bytes_ = tiny_tokenizer("roberta")
    assert (
        unknown_notes({"train": task.encode(table(["좋은 영화"], ["no"]), bytes_, 32)}, bytes_)
        == []
    )


def test_the_longest_answers_are_measured_in_the_tokens_of_the_model():
    tokenizer = tiny_tokenizer("bert")
    passage = "the film was good and the film was long and dull and the film was over"
    rows = {
        "id": ["0", "1", "2"],
        "question": ["what film"] * 3,
        "context": [passage] * 3,
        "answer_texts": [[passage[:60], "film"], ["good and the film"], []],
        "answer_starts": [[0, 4], [13], []],
    }
    task = QuestionAnswering(stride=2, max_answer_tokens=3)
    found = task.notes({"train": task.encode(Dataset.from_dict(rows), tokenizer, 16)}, tokenizer)
    assert any(
        note.startswith("1 of 2 answers of the training set are longer than") for note in found
    )
    assert any(
        note.startswith("1 of 2 answers of the training set are whole in no") for note in found
    )


def test_ids_of_any_type_are_in_the_predictions():
    ids = [datetime.datetime(2020, 1, 2, 3), None]
    rows = Dataset.from_list([{"id": i, "text": "a", "label": "no"} for i in ids])
    task = TextClassification(("no", "yes"))
    split = task.encode(rows, tiny_tokenizer("bert"), 16)
    outputs = {"logits": [np.zeros(2), np.zeros(2)]}
    found = [record["id"] for record in task.predictions(rows, split, outputs)]
    assert found == ["2020-01-02 03:00:00", 1]


@given(
    st.dictionaries(
        st.sampled_from(["train", "validation", "test"]),
        st.lists(st.tuples(st.text(max_size=2), st.sampled_from("abc")), min_size=1, max_size=6),
        min_size=3,
    )
)
@settings(max_examples=25, deadline=None)
def test_any_splits_get_whole_sentences(splits):
    made = {name: table(*map(list, zip(*rows, strict=True))) for name, rows in splits.items()}
    for note in data_notes(TextClassification(("a", "b", "c")), made):
        assert note[0].isupper() or note[0].isdigit()
        assert note.endswith((".", "?"))
