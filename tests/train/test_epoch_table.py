"""The table of epochs and the sentence below it, on histories written by hand."""

import pytest

from nlptl.train.epoch_table import EpochTable, about, clock


def history(scores, losses, error=0.02, start=1):
    return [
        {
            "epoch": number,
            "train_loss": 0.5 if number else None,
            "validation_loss": loss,
            "validation_accuracy": score,
            "validation_accuracy_se": error,
        }
        for number, (score, loss) in enumerate(zip(scores, losses, strict=True), start)
    ]


def test_columns_are_aligned_and_fit_80_characters():
    said = []
    table = EpochTable("accuracy", write=said.append)
    lines = history([0.5, 0.75], [0.6, 0.55], start=0)
    table.report(lines[:1], 1.0)
    table.report(lines, 83.0)
    assert said == [
        "epoch  train loss  val loss         accuracy     time",
        "    0                0.6000    0.500 ± 0.020     0:01",
        "    1      0.5000    0.5500    0.750 ± 0.020     1:23",
    ]
    assert max(map(len, said)) <= 80


def test_a_resumed_run_shows_the_epochs_before_it():
    said = []
    EpochTable("accuracy", write=said.append).report(history([0.5, 0.7], [0.6, 0.5]), 9.0)
    assert len(said) == 3 and said[1].endswith("0.500 ± 0.020") is False
    assert said[1].split()[:3] == ["1", "0.5000", "0.6000"] and ":" not in said[1]


def test_percents_have_one_digit_and_an_unknown_error_none():
    line = {"epoch": 2, "train_loss": 1.0, "validation_loss": 2.0, "validation_f1": 66.66}
    line["validation_f1_se"] = float("nan")
    assert EpochTable("f1", 100.0).line(line).split() == ["2", "1.0000", "2.0000", "66.7"]


@pytest.mark.parametrize(
    ("scores", "losses", "best", "start", "why"),
    [
        (
            [0.7, 0.8],
            [0.6, 0.5],
            1,
            1,
            "epoch 2 of 2: highest accuracy (0.800 ± 0.020) and lowest loss",
        ),
        ([0.7, 0.8, 0.7], [0.5, 0.6, 0.7], 1, 1, "epoch 2 of 3: highest accuracy (0.800 ± 0.020)"),
        ([0.78, 0.8], [0.5, 0.6], 0, 1, "highest within chance (highest: epoch 2, 0.800 ± 0.020)"),
        (
            [0.78, 0.8],
            [0.5, 0.49],
            0,
            0,
            "epoch 0 of 1: accuracy 0.780 ± 0.020; no later epoch was better",
        ),
        (
            [0.8, 0.78, 0.7],
            [0.6, 0.55, 0.5],
            1,
            1,
            "no later epoch was better beyond chance, or as good",
        ),
    ],
)
def test_the_sentence_says_why_an_epoch_was_kept(scores, losses, best, start, why):
    said = EpochTable("accuracy").kept(history(scores, losses, start=start), best)
    assert said.startswith("kept epoch ") and why in said


def test_one_epoch_alone_needs_no_reason():
    said = []
    EpochTable("accuracy", write=said.append).report_kept(history([0.7], [0.6]), 0)
    assert said == []


@pytest.mark.parametrize(
    ("seconds", "words"), [(2, "5 s"), (52, "50 s"), (55, "1 min"), (3540, "59 min")]
)
def test_times_in_words(seconds, words):
    assert about(seconds) == words


def test_an_hour_on_the_clock():
    assert clock(3599.6) == "1:00:00"
