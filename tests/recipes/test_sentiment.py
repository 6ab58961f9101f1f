"""What a sentiment run leaves behind, for every family and mode."""

import json

import pytest
import torch
from launching import MODES, command, result, run_in_process
from safetensors.torch import load_file
from tiny import FAMILIES

EVERY = [(family, mode) for family in FAMILIES for mode in MODES]
#: By hand, width 32, two labels: BERT's pooler and classifier, RoBERTa's and T5's two layers, and
#: T5's last norm.
HEAD = {"bert": 1056 + 66, "roberta": 1056 + 66, "t5": 1056 + 66 + 32}
#: Rank 8 on query and value, 32 x 8 twice each; T5's decoder attends twice.
ADAPTERS = {"bert": 3 * 2 * 512, "roberta": 3 * 2 * 512, "t5": (3 * 2 + 3 * 4) * 512}


@pytest.mark.parametrize(("family", "mode"), EVERY)
def test_the_directory_holds_what_the_design_says(runs, family, mode):
    directory = runs[family, mode]
    expected = {"model", "result.json", "predictions.jsonl", "config.yaml", "README.md"}
    expected |= {"errors.html"}
    expected |= {"checkpoints"} | ({"adapter"} if mode == "lora" else set())
    assert {path.name for path in directory.iterdir()} == expected
    record = result(directory)
    lines = (directory / "predictions.jsonl").read_text().splitlines()
    assert record["n"] == {"train": 84, "validation": 12, "test": 24}
    assert len(lines) == 24
    first = json.loads(lines[0])
    assert set(first) == {"row", "id", "text", "prediction", "scores", "gold"}
    assert sum(first["scores"].values()) == pytest.approx(1)
    right = sum(json.loads(x)["prediction"] == json.loads(x)["gold"] for x in lines)
    assert record["metrics"]["accuracy"] == pytest.approx(right / 24)
    floors = record["floors"]
    assert (floors["majority"]["accuracy"], floors["bag_of_words"]["accuracy"]) == (0.5, 1.0)
    assert [one["n"] for one in record["per_class"]] == [12, 12]
    assert record["weakest"]["label"] in ("negative", "positive")
    assert record["calibration"]["right"] == pytest.approx(right / 24)


@pytest.mark.parametrize(("family", "mode"), EVERY)
def test_updates_evaluations_and_parameters_are_counted_by_hand(runs, family, mode):
    """84 texts in batches of 16: 6 steps an epoch, two epochs, one of the steps warms up."""
    record = result(runs[family, mode])
    rates = [rate for _, rate in record["learning_rates"]]
    assert len(rates) == 12
    peak = record["settings"]["learning_rate"]
    assert rates == pytest.approx([0.0, *[peak * (12 - i) / 11 for i in range(1, 12)]])
    assert len(record["history"]) == 2
    trained = record["parameters"]["trainable"]
    if mode == "head-only":
        assert trained == HEAD[family]
    elif mode == "lora":
        assert trained == HEAD[family] + ADAPTERS[family]
    elif mode == "full":
        assert trained == record["parameters"]["total"]
    assert (
        sum(p["total"] for p in record["parameters"]["by_part"].values())
        == (record["parameters"]["total"])
    )
    assert record["reload_difference"] <= 1e-6


@pytest.mark.parametrize(("family", "mode"), EVERY)
def test_frozen_tensors_keep_their_bytes_and_the_others_moved(
    runs, checkpoints, masked_names, family, mode
):
    before = load_file(checkpoints[family] / "model.safetensors")
    after = load_file(runs[family, mode] / "model" / "model.safetensors")
    stem = {"bert": "bert.", "roberta": "roberta.", "t5": "transformer."}[family]
    before = {name: t for name, t in before.items() if f"{stem}{name}" in after}
    same = {name for name in before if torch.equal(before[name], after[f"{stem}{name}"])}
    moved = set(before) - same
    if mode == "full":
        # No word of the texts has these: types, far positions and T5's dead ends stay as they were.
        assert len(moved) > 0.9 * len(before) - 2
    elif mode == "head-only":
        assert moved <= masked_names[family]
    elif mode == "lora":
        attention = {n for n in moved if n.rsplit(".", 2)[-2] in ("query", "value", "q", "v")}
        assert moved - attention <= masked_names[family]
        assert len(attention) == (18 if family == "t5" else 6)
    else:
        lower = ("layer.0.", "layer.1.", "encoder.block.0.", "encoder.block.1.")
        frozen = {n for n in before if "embed" in n or "shared" in n or any(x in n for x in lower)}
        if family == "t5":  # `layer.0.` stands in the names of all its blocks
            frozen = {n for n in before if n.startswith(lower[2:]) or "shared" in n}
        assert same >= frozen and len(frozen) > 15
        assert len(moved) > 15


@pytest.fixture(scope="session")
def masked_names():
    """Tensors of the saved bodies that belong to the head."""
    pooler = {"pooler.dense.weight", "pooler.dense.bias"}
    return {"bert": pooler, "roberta": pooler, "t5": {"decoder.final_layer_norm.weight"}}


OPEN_ALL = """
import json, os, sys
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline
texts_of, *runs = sys.argv[1:]
for directory in runs:
    model = AutoModelForSequenceClassification.from_pretrained(f"{directory}/model").eval()
    tokenizer = AutoTokenizer.from_pretrained(f"{directory}/model")
    lines = [json.loads(x) for x in open(f"{directory}/predictions.jsonl")]
    texts = [json.loads(x) for x in open(f"{texts_of}/{os.path.basename(directory)}.jsonl")]
    said = pipeline("text-classification", model=f"{directory}/model", top_k=None)(texts)
    for text, line, scores in zip(texts, lines, said):
        with torch.no_grad():
            share = model(**tokenizer(text, return_tensors="pt")).logits.softmax(-1)[0]
        for name, score in line["scores"].items():
            assert abs(share[model.config.label2id[name]] - score) < 1e-5, (directory, text)
            assert abs({s["label"]: s["score"] for s in scores}[name] - score) < 1e-5
assert "nlptl" not in sys.modules
print("opened", len(runs))
"""


def test_plain_transformers_opens_every_run_in_a_fresh_process(runs, reviews, tmp_path):
    import csv

    rows = list(csv.DictReader(reviews.open()))
    for directory in runs.values():
        lines = (directory / "predictions.jsonl").read_text().splitlines()
        found = [json.loads(line) for line in lines]
        # Without a column "id" the id is the row of the file.
        assert len(found) == 24 and all(one["id"] == one["row"] for one in found)
        texts = [rows[one["row"]]["text"] for one in found]
        assert texts == [one["text"] for one in found]
        (tmp_path / f"{directory.name}.jsonl").write_text("\n".join(map(json.dumps, texts)))
    done = command("-c", OPEN_ALL, tmp_path, *runs.values())
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("opened 12")


def test_peft_opens_the_adapter_with_its_head(runs, checkpoints, family):
    from peft import AutoPeftModelForSequenceClassification
    from transformers import AutoModelForSequenceClassification

    directory = runs[family, "lora"]
    adapted = AutoPeftModelForSequenceClassification.from_pretrained(
        directory / "adapter", num_labels=2
    ).eval()
    whole = AutoModelForSequenceClassification.from_pretrained(directory / "model").eval()
    ids = torch.tensor([[5, 6, 7, 8, 9, 1 if family == "t5" else 3]])
    with torch.no_grad():
        torch.testing.assert_close(
            adapted(input_ids=ids).logits, whole(input_ids=ids).logits, rtol=0, atol=1e-4
        )


def test_the_configuration_gives_the_same_run_again(runs, tmp_path):
    directory = runs["bert", "freeze-lower-2"]
    run_in_process(
        "sentiment", "--config", directory / "config.yaml", "--output-dir", tmp_path / "again"
    )
    one, two = result(directory), result(tmp_path / "again")
    assert one["metrics"] == two["metrics"] and one["history"] == two["history"]


def test_a_tiny_random_model_learns_the_word(checkpoints, reviews, tmp_path, family):
    """The texts say "good" or "bad": with enough epochs `full` must find that out."""
    run_in_process(
        "sentiment",
        *("--model", checkpoints[family], "--train-file", reviews, "--output-dir", tmp_path / "x"),
        *("--epochs", 15, "--learning-rate", 3e-3, "--batch-size", 8, "--head", "random"),
    )
    record = result(tmp_path / "x")
    assert record["metrics"]["accuracy"] >= 0.95
    assert record["history"][-1]["train_loss"] < 0.5 * record["history"][0]["train_loss"]
