"""The base class of tasks: pairs, words, columns by role, and what its defaults say."""

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value
from tiny import FAMILIES, tiny_tokenizer

from nlptl.cli.config import TaskConfig, with_options
from nlptl.data.encoding import encode_pairs, encode_words
from nlptl.errors import DataError, UserError
from nlptl.tasks.base import Task
from nlptl.tasks.classification import TextClassification
from nlptl.tasks.question_answering import QuestionAnswering


class Pairs(Task):
    """Does one text follow from another?"""

    name, fields = "pairs", ("first", "second")


class Scores(Task):
    """A number a text."""

    import torch

    name, label, label_dtype = "scores", "score", torch.float


def asked(kind, **given):
    """A configuration of a task, as its command line makes it."""
    return with_options(TaskConfig, kind.options)(**given)


def read_back(tokenizer, ids):
    return tokenizer.convert_ids_to_tokens(ids)


@pytest.mark.parametrize("family", FAMILIES)
def test_pairs_follow_the_tokenizers_own_template(family):
    tokenizer = tiny_tokenizer(family)
    made = encode_pairs(["the film"], ["was good and dull"], tokenizer, max_length=40)
    expected = tokenizer("the film", "was good and dull")
    assert made["input_ids"] == [expected["input_ids"]]
    assert made["truncated"] == [False]
    # RoBERTa and T5 know no token types; BERT's are 1 from the second text on.
    assert ("token_type_ids" in made) is (family == "bert")
    if family == "bert":
        (types,) = made["token_type_ids"]
        assert types == expected["token_type_ids"] and 0 < sum(types) < len(types)


def test_a_long_pair_loses_the_end_of_its_longer_text():
    """Seven tokens: three special ones, and of five and two words four are left."""
    tokenizer = tiny_tokenizer("bert")
    made = encode_pairs(
        ["the film was good and", "book"], ["very dull", "plot"], tokenizer, max_length=7
    )
    expected = ["[CLS]", "the", "film", "[SEP]", "very", "dull", "[SEP]"]
    assert read_back(tokenizer, made["input_ids"][0]) == expected
    assert made["token_type_ids"][0] == [0, 0, 0, 0, 1, 1, 1]
    assert made["truncated"] == [True, False]


@pytest.mark.parametrize("family", FAMILIES)
def test_special_tokens_in_either_text_are_plain_text(family):
    tokenizer = tiny_tokenizer(family)
    mark = tokenizer.sep_token or tokenizer.eos_token
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    texts = [f"a {mark} film", "a film"]
    for first, second in (texts, texts[::-1]):
        (ids,) = encode_pairs([first], [second], tokenizer, max_length=60)["input_ids"]
        plain = encode_pairs(["a film"], ["a film"], tokenizer, max_length=60)["input_ids"][0]
        assert sum(i in special for i in ids) == sum(i in special for i in plain)
        assert len(ids) > len(plain)


@pytest.mark.parametrize("family", FAMILIES)
def test_each_word_has_its_first_token(family):
    """Words that the vocabulary spells in pieces, and a special token between them."""
    tokenizer = tiny_tokenizer(family)
    words = ["filmgood", "was", "</s>", "bookplot", "fine"]
    made = encode_words([words], tokenizer, max_length=60)
    (ids,), (places,) = made["input_ids"], made["places"]
    assert len(places) == 5 and places == sorted(set(places)) and made["word"] == [0]
    starts = [*places, len(ids) - 1]
    for word, begin, end in zip(words, starts, starts[1:], strict=False):
        if word != "</s>":
            pieces = tokenizer.convert_tokens_to_string(read_back(tokenizer, ids[begin:end]))
            assert pieces.replace(" ", "").replace("##", "") == word
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    assert sum(i in special for i in ids) == len(tokenizer("")["input_ids"])
    short = encode_words([words], tokenizer, max_length=places[2] + 1)
    assert len(short["input_ids"]) > 1 and set(short["example"]) == {0}
    windows = zip(short["input_ids"], short["places"], strict=True)
    assert [row[p] for row, own in windows for p in own] == [ids[p] for p in places]
    counts = [len(own) for own in short["places"]]
    assert short["word"] == [sum(counts[:i]) for i in range(len(counts))]
    assert all(row[-1] == tokenizer("")["input_ids"][-1] for row in short["input_ids"])
    assert max(map(len, short["input_ids"])) <= places[2] + 1


def test_a_table_without_the_fields_is_refused():
    table = Dataset.from_dict({"premise": ["a"], "second": ["b"]})
    with pytest.raises(DataError, match="pairs reads the column first; the table has premise, sec"):
        Pairs(("no", "yes")).encode(table, tiny_tokenizer("bert"), 16)


def test_labels_that_the_dataset_numbers_are_read_by_name():
    names = Features({"text": Value("string"), "label": ClassLabel(names=["2", "1"])})
    table = Dataset.from_dict({"text": ["a", "b", "c"], "label": [0, 1, 1]}, features=names)
    task = TextClassification(("2", "1"))
    assert task.gold(table) == ["2", "1", "1"]
    assert task.encode(table, tiny_tokenizer("bert"), 8).rows["gold"][:] == [0, 1, 1]
    plain = Dataset.from_dict({"text": ["a", "b"], "label": [2, 1]})
    assert task.encode(plain, tiny_tokenizer("bert"), 8).rows["gold"][:] == [0, 1]


def test_labels_may_be_stated_by_the_class():
    class Stated(Pairs):
        labels = ("no", "yes")

    assert Stated().labels == ("no", "yes")
    assert Stated(("a",)).labels == ("a",) and Pairs().labels == ()


PAIRS = ["premise,hypothesis,label", *["a film,was good,yes", "a book,was dull,no"] * 10]


def test_preparing_finds_columns_by_role_and_renames_them(tmp_path):
    (tmp_path / "t.csv").write_text("\n".join(PAIRS) + "\n")
    task, splits, record = Pairs.prepare(asked(Pairs, train_file=tmp_path / "t.csv"))
    assert task == Pairs(("no", "yes")) and type(task) is Pairs
    assert all(t.column_names[:3] == ["first", "second", "label"] for t in splits.values())
    assert {name: len(table) for name, table in splits.items()} == {
        **{"train": 14, "validation": 2, "test": 4}
    }
    assert record["columns"] == {"first": "premise", "second": "hypothesis", "label": "label"}
    assert record["train_counts"] == {"no": 7, "yes": 7}  # stratified
    assert record["carved_from_train"] == {"test": 4, "validation": 2}


def test_columns_that_have_no_usual_name_are_asked_for(tmp_path):
    lines = ["one,two,label", *PAIRS[1:]]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError) as caught:
        Pairs.prepare(asked(Pairs, train_file=tmp_path / "t.csv"))
    assert "It has: one, two, label. Say which with --column first=NAME." in str(caught.value)
    assert "Say which with --column second=NAME." in str(caught.value)
    with pytest.raises(UserError) as caught:
        Pairs.prepare(
            asked(Pairs, train_file=tmp_path / "t.csv", column=("frst=one", "second=tow"))
        )
    assert "--column frst=one: expected role=name, with one of the roles first, second" in str(
        caught.value
    )
    columns = ("first=one", "second=one")
    with pytest.raises(UserError, match="The column 'one' stands for first, second at once"):
        Pairs.prepare(asked(Pairs, train_file=tmp_path / "t.csv", column=columns))
    columns = ("first=one", "second=two")
    _, splits, _ = Pairs.prepare(asked(Pairs, train_file=tmp_path / "t.csv", column=columns))
    assert set(splits["test"]["first"][:]) == {"a film", "a book"}


def test_a_stated_class_that_the_data_do_not_know_is_kept_and_an_unstated_one_refused(tmp_path):
    class Three(Pairs):
        labels = ("yes", "no", "perhaps")

    class One(Pairs):
        labels = ("yes", "perhaps")

    (tmp_path / "t.csv").write_text("\n".join(PAIRS) + "\n")
    task, _, _ = Three.prepare(asked(Three, train_file=tmp_path / "t.csv"))
    assert task.labels == ("yes", "no", "perhaps")
    with pytest.raises(UserError, match="has the labels no, which the task pairs does not state"):
        One.prepare(asked(One, train_file=tmp_path / "t.csv"))


def test_numbers_are_checked_and_need_no_strata(tmp_path):
    (tmp_path / "t.csv").write_text("text,score\n" + "a film,0.5\na book,2\n" * 10)
    task, splits, record = Scores.prepare(asked(Scores, train_file=tmp_path / "t.csv"))
    assert task.labels == () and task.classes(splits["train"]) is None
    assert len(splits["test"]) == 4 and "train_counts" not in record
    (tmp_path / "t.csv").write_text("text,score\n" + "a film,0.5\na book,much\n" * 10)
    with pytest.raises(
        UserError, match=r"not finite numbers: 10 of 20 .*Expected one number per row"
    ):
        Scores.prepare(asked(Scores, train_file=tmp_path / "t.csv"))
    hidden = tmp_path / "test.csv"
    hidden.write_text("text,score\na film,-1\na book,-1\n")
    (tmp_path / "t.csv").write_text("text,score\n" + "a film,0.5\na book,2\n" * 10)
    _, splits, record = Scores.prepare(
        asked(Scores, train_file=tmp_path / "t.csv", test_file=hidden)
    )
    assert record["hidden_labels"] == ["test"] and len(splits["test"]) == 4


def test_lists_of_labels_are_checked(tmp_path):
    class Tags(Task):
        name, fields, label, split_into_words = "tags", ("tokens",), "tags", True

    features = Features(
        {"tokens": List(Value("string")), "tags": List(ClassLabel(names=["O", "B-PER"]))}
    )
    rows = {"tokens": [["Ada", "sings"]] * 10, "tags": [[1, 0]] * 10}
    path = tmp_path / "t.parquet"
    Dataset.from_dict(rows, features=features).to_parquet(path)
    task, splits, _ = Tags.prepare(asked(Tags, train_file=path))
    assert task.labels == ("O", "B-PER") and task.gold(splits["test"])[0] == ["B-PER", "O"]
    made = task.encode(splits["test"], tiny_tokenizer("bert"), 16)
    batch = task.collator(tiny_tokenizer("bert"))([made.rows[0]], np.random.default_rng(0))
    assert [int(x) for x in batch["labels"][0] if x >= 0] == [1, 0] and batch["size"] == 2
    rows["tags"][3], rows["tokens"][4] = [1], ["Ada ", ""]
    Dataset.from_dict(rows, features=features).to_parquet(path)
    with pytest.raises(UserError) as caught:
        Tags.prepare(asked(Tags, train_file=path))
    assert "another number of 'tags' than of 'tokens': 1 of 10 (row 3)" in str(caught.value)
    assert "not lists of words: 1 of 10 (row 4)" in str(caught.value)


def test_constant_predictions_are_the_most_frequent_answer_or_the_mean():
    table = Dataset.from_dict({"text": ["a"] * 5, "label": ["b", "a", "a", "b", "c"]})
    task = TextClassification(("a", "b", "c"))
    made = task.constant_predictions(table, table)
    assert [p["prediction"] for p in made] == ["a"] * 5  # of equals the first by name
    assert task.combine(task.statistics(made).mean(axis=0)) == 0.4
    numbers = Dataset.from_dict({"text": ["a"] * 3, "score": [1.0, 2.0, 6.0]})
    made = Scores().constant_predictions(numbers, numbers)
    assert [(p["prediction"], p["gold"]) for p in made] == [(3.0, 1.0), (3.0, 2.0), (3.0, 6.0)]
    passages = Dataset.from_dict(
        {"id": ["1", "2"], "context": ["sea", "b"], "answer_texts": [["sea"], []]}
    )
    asks = QuestionAnswering(v2=True)
    made = asks.constant_predictions(passages, passages)
    assert [p["prediction"] for p in made] == ["", ""]
    assert asks.statistics(made).tolist() == [[0.0], [1.0]]
    assert asks.score(made)["f1"] == 50.0


def test_the_score_that_selects_is_the_combined_statistics():
    records = [
        {"gold": g, "prediction": p} for g, p in ("aa", "ab", "bb", "ba", "cc", "ca", "cb", "aa")
    ]
    for name in ("accuracy", "macro_f1", "matthews"):
        kind = type("Own", (TextClassification,), {"selection": name})
        task = kind(("a", "b", "c"))
        assert task.linear is (name == "accuracy")
        sums = task.statistics(records).mean(axis=0)
        assert task.score(records)[name] == pytest.approx(task.combine(sums), abs=1e-12)
    task = Pairs(("a", "b", "c"))
    assert task.linear and task.score(records)["accuracy"] == 0.5
    assert task.score(records)["accuracy_se"] == pytest.approx(
        TextClassification(("a", "b", "c")).score(records)["accuracy_se"]
    )
    answers = [
        {"gold": ["old man"], "answer": "man", "null_difference": -1.0, "passage": "1"},
        {"gold": ["sea"], "answer": "sea", "null_difference": -1.0, "passage": "2"},
    ]
    asks = QuestionAnswering()
    value = asks.scale * asks.combine(asks.statistics(answers).mean(axis=0))
    assert asks.linear and asks.score(answers)["f1"] == pytest.approx(value) and value > 80


def test_a_words_tag_is_read_at_its_first_token():
    class Tags(Task):
        name, fields, label, split_into_words = "tags", ("tokens",), "tags", True

    tokenizer, task = tiny_tokenizer("bert"), Tags(("O", "A", "B"))
    table = Dataset.from_dict({"tokens": [["filmgood", "was", "bookplot"]], "tags": [["A", "B"]]})
    made = task.encode(table, tokenizer, 40)
    places = made.rows[0]["places"]
    assert places[1] > places[0] + 1  # the first word has several tokens
    logits = np.zeros((made.lengths[0] + 3, 3))  # padded
    logits[places, [1, 2, 0]] = 1
    logits[places[0] + 1, 2] = 5
    (record,) = task.predictions(table, made, {"logits": [logits]})
    assert record == {"id": 0, "prediction": ["A", "B", "O"], "gold": ["A", "B"]}


def test_pairs_are_padded_with_their_token_types():
    tokenizer, task = tiny_tokenizer("bert"), Pairs(("no", "yes"))
    table = Dataset.from_dict(
        {"first": ["a film", "a"], "second": ["was good", "dull"], "label": ["yes", "no"]}
    )
    rows = task.encode(table, tokenizer, 40).rows
    batch = task.collator(tokenizer)([rows[0], rows[1]], np.random.default_rng(0))
    expected = tokenizer(["a film", "a"], ["was good", "dull"], padding=True)
    for name in ("input_ids", "attention_mask", "token_type_ids"):
        assert batch[name].tolist() == expected[name]
    assert batch["labels"].tolist() == [1, 0] and batch["size"] == 2
    # Of a text whose states are cached, ids hold one token only.
    one = task.collator(tokenizer)([{**rows[0], "input_ids": [2]}], np.random.default_rng(0))
    assert one["token_type_ids"].tolist() == [[0]]


def test_the_loss_gets_numbers_as_they_are_and_tags_at_their_words():
    """By hand: 2.5 and 4 stay; of three words, tagged O, B, O, each is at its first token."""
    tokenizer = tiny_tokenizer("bert")
    table = Dataset.from_dict({"text": ["a good film", "a book"], "score": [2.5, 4.0]})
    task = Scores()
    batch = task.collator(tokenizer)(
        list(task.encode(table, tokenizer, 16).rows), np.random.default_rng(0)
    )
    assert batch["labels"].tolist() == [2.5, 4.0] and batch["labels"].dtype == Scores.label_dtype

    class Tags(Task):
        name, fields, label = "tags", ("tokens",), "tags"
        split_into_words, pooled = True, False

    words = Dataset.from_dict({"tokens": [["a", "good", "film"]], "tags": [["O", "B", "O"]]})
    tags = Tags(("B", "O"))
    rows = list(tags.encode(words, tokenizer, 16).rows)
    labels = tags.collator(tokenizer)(rows, np.random.default_rng(0))["labels"][0].tolist()
    assert [label for label in labels if label != -100] == [1, 0, 1]
    tokens = tokenizer.convert_ids_to_tokens(rows[0]["input_ids"])
    places = [place for place, label in enumerate(labels) if label != -100]
    assert [tokens[place] for place in places] == ["a", "good", "film"]
