"""Question answering end to end, for every family and mode, through the core that sentiment uses."""

import json

import pytest
import torch
from launching import MODES, QA_FLAGS, command, questions, result, run_in_process
from safetensors.torch import load_file
from tiny import FAMILIES, sentences

from nlptl.errors import UserError

EVERY = [(family, mode) for family in FAMILIES for mode in MODES]


@pytest.mark.parametrize(("family", "mode"), EVERY)
def test_a_run_leaves_what_the_design_says(qa_runs, family, mode):
    directory = qa_runs[family, mode]
    record = result(directory)
    lines = [json.loads(x) for x in (directory / "predictions.jsonl").read_text().splitlines()]
    assert record["n"] == {"train": 28, "validation": 4, "test": 8} and len(lines) == 8
    assert set(lines[0]) >= {"id", "prediction", "scores", "gold"}
    assert record["reload_difference"] <= 1e-6
    assert record["data"]["squad_version"] == "2.0"
    assert isinstance(record["metrics"]["threshold"], float)
    head = record["parameters"]["by_part"]["head"]
    assert head["trainable"] == head["total"] == 66 + (32 if family == "t5" else 0)
    if mode == "head-only":
        assert record["parameters"]["trainable"] == head["total"]


def test_frozen_blocks_keep_their_bytes(qa_runs, checkpoints, family):
    before = load_file(checkpoints[family] / "model.safetensors")
    after = load_file(qa_runs[family, "freeze-lower-2"] / "model/model.safetensors")
    stem = {"bert": "bert.", "roberta": "roberta.", "t5": ""}[family]
    lower = ("encoder.block.0.", "encoder.block.1.") if family == "t5" else ("layer.0.", "layer.1.")
    upper = "encoder.block.2." if family == "t5" else "layer.2."
    frozen = [n for n in before if any(x in n for x in lower)]
    assert len(frozen) > 10
    assert all(torch.equal(before[n], after[f"{stem}{n}"]) for n in frozen)
    assert any(not torch.equal(before[n], after[f"{stem}{n}"]) for n in before if upper in n)


def test_plain_transformers_opens_every_run_in_a_fresh_process(qa_runs):
    code = """
import sys, torch
from transformers import AutoModelForQuestionAnswering, AutoTokenizer
for directory in sys.argv[1:]:
    model = AutoModelForQuestionAnswering.from_pretrained(f"{directory}/model")
    ids = AutoTokenizer.from_pretrained(f"{directory}/model")("who?", "Ada", return_tensors="pt")
    assert model(**ids).start_logits.isfinite().all()
assert "nlptl" not in sys.modules
print(len(sys.argv) - 1)
"""
    done = command("-c", code, *qa_runs.values())
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "12"


@pytest.mark.parametrize(
    "family", ["bert", *(pytest.param(name, marks=pytest.mark.slow) for name in ("roberta", "t5"))]
)
def test_sixteen_questions_are_learned_by_heart(checkpoints, tmp_path, family):
    """F1 of 100 on the training questions: labels, windows and decoding agree from end to end."""
    # Each passage has two or three windows; T5's tiny vocabulary spells most words letter by letter.
    t5 = family == "t5"
    file = questions(tmp_path / "x.json", 16, length=1 if t5 else 5)
    run_in_process(
        "qa",
        *("--model", checkpoints[family], "--train-file", file, "--validation-file", file),
        *("--test-file", file, "--max-length", 64 if t5 else 48, "--stride", 16 if t5 else 8),
        *("--epochs", 90 if t5 else 60, "--learning-rate", 3e-3 if t5 else 2e-3),
        *("--batch-size", 4 if t5 else 8, "--output-dir", tmp_path / "run"),
    )
    record = result(tmp_path / "run")
    assert len(record["learning_rates"]) / len(record["history"]) > 16 / (4 if t5 else 8)  # windows
    assert record["metrics"]["f1"] == record["metrics"]["exact_match"] == 100.0
    assert record["data"]["squad_version"] == "1.1"


@pytest.mark.slow
def test_unanswerable_questions_are_learned_too(checkpoints, tmp_path):
    file = questions(tmp_path / "x.json", 24, unanswerable=0.25)
    run_in_process(
        "qa",
        *("--model", checkpoints["bert"], "--train-file", file, "--validation-file", file),
        *("--test-file", file, "--epochs", 60, "--learning-rate", 2e-3, *QA_FLAGS),
        *("--output-dir", tmp_path / "run"),
    )
    metrics = result(tmp_path / "run")["metrics"]
    assert metrics["f1"] == metrics["NoAns_f1"] == metrics["HasAns_f1"] == 100.0


def test_missing_splits_are_carved_by_passage(checkpoints, tmp_path):
    """Five questions on each of ten passages: no passage may be in two splits."""
    rows = {"question": [], "context": [], "answers": []}
    for number in range(50):
        rows["question"].append(f"who kept book {number} ?")
        rows["context"].append(f"Ada kept a book {' '.join(sentences(2, number // 5))}")
        rows["answers"].append({"text": ["Ada"], "answer_start": [0]})
    from datasets import Dataset

    from nlptl.cli.config import QAConfig
    from nlptl.tasks.question_answering import QuestionAnswering

    Dataset.from_dict(rows).to_parquet(tmp_path / "x.parquet")
    _, splits, record = QuestionAnswering.prepare(
        QAConfig(train_file=tmp_path / "x.parquet", max_length=64, stride=9)
    )
    held = {name: set(table["context"][:]) for name, table in splits.items()}
    assert sum(map(len, held.values())) == 10
    assert record["carved_from_train"] == {"test": 10, "validation": 5}


@pytest.mark.slow
def test_two_processes_give_the_metric_of_one(checkpoints, squad, tmp_path):
    flags = ["--model", checkpoints["bert"], "--train-file", squad, "--epochs", 1, *QA_FLAGS]
    flags += ["--mode", "head-only", "--max-eval-examples", 7]
    run_in_process("qa", *flags, "--output-dir", tmp_path / "one")
    done = command(
        *("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", 2),
        *("recipes/qa.py", *flags, "--output-dir", tmp_path / "two"),
    )
    assert done.returncode == 0, done.stderr
    one, two = result(tmp_path / "one"), result(tmp_path / "two")
    assert one["learning_rates"] == two["learning_rates"]
    assert one["n"] == two["n"] and one["n"]["test"] == 7
    assert one["metrics"]["f1"] == pytest.approx(two["metrics"]["f1"], abs=1e-9)


def test_a_model_with_short_windows_gets_a_stride_that_fits(checkpoints, squad, tmp_path):
    """The tiny BERT takes 64 tokens: windows of 64 that share 21, without a flag."""
    run_in_process(
        "qa",
        *("--model", checkpoints["bert"], "--train-file", squad, "--epochs", 1),
        *("--output-dir", tmp_path / "run"),
    )
    assert result(tmp_path / "run")["task_settings"]["stride"] == 21


def test_mistakes_come_together_before_any_work(checkpoints, squad, tmp_path):
    with pytest.raises(UserError) as caught:
        run_in_process(
            "qa",
            *("--model", checkpoints["bert"], "--mode", "freeze-lower-9", "--train-file", squad),
            *("--max-length", 48, "--stride", 22, "--question-column", "qestion"),
            *("--output-dir", tmp_path / "run"),
        )
    for part in (
        "has 3 blocks",
        "--stride 22: windows must share fewer tokens",
        "Choose 0 to 21",
        "Did you mean 'question'",
    ):
        assert part in str(caught.value)
    with pytest.raises(UserError, match=r"7 of 28 in train|10 of 40 in train"):
        run_in_process(
            "qa",
            *("--model", checkpoints["bert"], "--train-file", squad, "--squad-version", "1.1"),
            *("--max-length", 48, "--stride", 8, "--output-dir", tmp_path / "run"),
        )
    assert not (tmp_path / "run").exists()


def test_long_questions_keep_their_beginning_and_are_counted(checkpoints, tmp_path, capsys):
    file = questions(tmp_path / "x.json", 12)
    whole = json.loads(file.read_text())
    whole["data"][0]["paragraphs"][0]["qas"][0]["question"] = "who kept this book " * 30
    file.write_text(json.dumps(whole))
    run_in_process(
        "qa",
        *("--model", checkpoints["roberta"], "--train-file", file, *QA_FLAGS, "--epochs", 1),
        *("--output-dir", tmp_path / "run"),
    )
    assert sum(result(tmp_path / "run")["truncated"].values()) == 1
    assert "Questions longer than half of 48 tokens were cut" in capsys.readouterr().out


def test_answers_beside_their_offset_are_said_and_still_learned_from(checkpoints, tmp_path, capsys):
    file = questions(tmp_path / "x.json", 12)
    whole = json.loads(file.read_text())
    answers = [p["qas"][0]["answers"][0] for p in whole["data"][0]["paragraphs"]]
    answers[0]["answer_start"] += 3
    answers[1]["text"] = "Eve"
    file.write_text(json.dumps(whole))
    run_in_process(
        "qa",
        *("--model", checkpoints["bert"], "--train-file", file, *QA_FLAGS, "--epochs", 1),
        *("--test-file", file, "--output-dir", tmp_path / "run"),
    )
    said = capsys.readouterr().out
    assert "note: train: 2 answers are not at their offset (q0-0: " in said
    assert "1 are nowhere in their passage" in said
    notes = result(tmp_path / "run")["notes"]
    assert sum("answers are not at their offset" in note for note in notes) == 2
    card = (tmp_path / "run" / "README.md").read_text()
    assert all(f"- {note}" in card for note in notes)


def test_seeds_that_only_ever_say_no_answer_failed(checkpoints, tmp_path, capsys):
    """Trained on questions without an answer alone, they say so to all: right in two of eight."""
    files = {
        "train": questions(tmp_path / "train.json", 24, unanswerable=1),
        "validation": questions(tmp_path / "validation.json", 8, unanswerable=1),
        "test": questions(tmp_path / "test.json", 8, unanswerable=0.25),
    }
    run_in_process(
        "qa",
        *("--model", checkpoints["bert"], "--epochs", 10, "--learning-rate", 2e-3, *QA_FLAGS),
        *(word for name, file in files.items() for word in (f"--{name}-file", file)),
        *("--seeds", 2, "--output-dir", tmp_path / "run"),
    )
    found = result(tmp_path / "run")["seeds"]
    each = [result(tmp_path / "run" / d)["metrics"] for d in ("", "seeds/1")]
    assert found["metrics"]["f1"]["scores"] == [seed["f1"] for seed in each]
    assert found["metrics"]["f1"]["scores"] == [25.0, 25.0]  # percent; the floor is a share
    assert found["majority"] == 0.25
    assert found["failed"] == [0, 1]
    said = capsys.readouterr().out
    assert "f1 25.0000 ± 0.0000" in said
    losses = [seed["loss"] for seed in each]
    mean, sd = sum(losses) / 2, abs(losses[0] - losses[1]) / 2**0.5
    assert f"loss {mean:.4f} ± {sd:.4f}" in said
    assert "answer, 0.2500): seed" in said
