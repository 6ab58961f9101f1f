"""Numbers out of their range: told beside the mistakes in the data, never as a traceback from below."""

import math

import pytest
from launching import QA_FLAGS, questions, run_in_process

from nlptl.cli.config import PretrainConfig, QAConfig, SentimentConfig
from nlptl.cli.values import LAST_SEED, wrong_numbers
from nlptl.errors import UserError


def test_each_recipe_refuses_what_it_cannot_mean():
    wrong = wrong_numbers(
        PretrainConfig(
            **{"mask_share": 2.0, "held_out": -3, "keep": -1, "save_every": 0, "eval_every": 0},
            **{"dropout": 5.0, "positions": 0, "learning_rate": math.inf, "bag_weight": math.nan},
        )
    )
    assert wrong == {
        "mask_share": "--mask-share is 2.0; expected more than 0 and less than 1.",
        "held_out": "--held-out is -3; expected a number above 0.",
        "keep": "--keep is -1; expected 0 or more.",
        "save_every": "--save-every is 0; expected a number of steps above 0, or minutes, such as 10m.",
        "eval_every": "--eval-every is 0; expected a number above 0.",
        "dropout": "--dropout is 5.0; expected 0 or more and less than 1.",
        "positions": "--positions is 0; expected a number above 0.",
        "learning_rate": "--learning-rate is inf; expected a finite number.",
        "bag_weight": "--bag-weight is nan; expected a finite number.",
    }
    assert wrong_numbers(QAConfig(n_best=0, max_answer_tokens=0, max_length=15, lora_rank=0)) == {
        "lora_rank": "--lora-rank is 0; expected a number above 0.",
        "n_best": "--n-best is 0; expected a number above 0.",
        "max_answer_tokens": "--max-answer-tokens is 0; expected a number above 0.",
        "max_length": "--max-length is 15; expected 16 or more: special tokens and a few of the text.",
    }
    assert list(wrong_numbers(SentimentConfig(max_length=7, epochs=math.inf))) == [
        *("epochs", "max_length")
    ]
    for config in (PretrainConfig(), SentimentConfig(max_length=8), QAConfig(max_length=16)):
        assert not wrong_numbers(config)


def test_seeds_stay_within_32_bits():
    assert not wrong_numbers(SentimentConfig(seed=LAST_SEED))
    for seed in (-1, LAST_SEED + 1):
        message = f"--seed is {seed}; expected 0 to 4294967295."
        assert wrong_numbers(SentimentConfig(seed=seed)) == {"seed": message}
    assert (
        "reach 4294967297; seeds go up to"
        in wrong_numbers(SentimentConfig(seed=LAST_SEED, seeds=3))["seeds"]
    )


def test_a_wrong_number_is_told_beside_what_is_wrong_with_the_data(checkpoints, reviews, tmp_path):
    with pytest.raises(UserError) as caught:
        run_in_process(
            *("sentiment", "--model", checkpoints["bert"], "--train-file", reviews),
            *("--seed", -1, "--max-length", 1, "--label-column", "lable"),
            *("--output-dir", tmp_path / "out"),
        )
    assert str(caught.value).startswith("3 things need your attention:")
    for part in ("--seed is -1", "--max-length is 1", "Did you mean 'label'"):
        assert part in str(caught.value)
    with pytest.raises(UserError, match="^--seed is -1; expected 0 to 4294967295.$"):
        run_in_process(
            *("compare", "--model", checkpoints["bert"], "--train-file", reviews, "--seed", -1),
            *("--mode", "head-only", "full", "--output-dir", tmp_path / "out"),
        )
    assert not (tmp_path / "out").exists()


def test_a_window_without_room_is_told_once(checkpoints, tmp_path):
    data = questions(tmp_path / "train.json", 8)
    with pytest.raises(UserError, match="^--max-length is 5; expected 16 or more"):
        run_in_process(
            *("qa", "--model", checkpoints["bert"], "--train-file", data, "--max-length", 5),
            *("--output-dir", tmp_path / "out"),
        )
    run_in_process(
        *("qa", "--model", checkpoints["roberta"], "--train-file", data, *QA_FLAGS),
        *("--max-length", 16, "--stride", 5, "--epochs", 1, "--output-dir", tmp_path / "out"),
    )


def test_pretraining_reads_the_corpus_whatever_the_numbers(tmp_path):
    with pytest.raises(UserError) as caught:
        run_in_process(
            *("pretrain", "--corpus", tmp_path / "no.txt", "--eval-every", 0, "--dropout", 5),
            *("--held-out", -3, "--seed", 5_000_000_000, "--output-dir", tmp_path / "out"),
        )
    assert str(caught.value).startswith("5 things need your attention:")
    assert "there is no file" in str(caught.value)
