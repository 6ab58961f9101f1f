"""The recipes on architectures that nothing was written for, from a checkpoint to plain transformers."""

import json

import pytest
import torch
from launching import QA_FLAGS, questions, result, run_in_process
from tiny import sentences, tiny_tokenizer
from tokenizers import Tokenizer
from transformers import (
    AutoModel,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedTokenizerFast,
)

from nlptl.models.zoo import tiny_config

#: Architecture, the tokenizer that it takes here, changes of its configuration, and the mode.
KINDS = {
    "distilbert": ("bert", {}, "freeze-lower-2"),
    "deberta-v2": (
        "bert",
        {"relative_attention": True, "pooler_hidden_size": 32},
        "freeze-lower-2",
    ),
    "bart": ("roberta", {}, "freeze-lower-5"),
    "t5-v1.1": ("t5", {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}, "lora"),
    "mt5": ("t5", {}, "head-only"),
    # Its states of one token alone cannot be fed: the run computes them in each epoch.
    "funnel": ("bert", {"architectures": ["FunnelModel"]}, "head-only"),
    "gpt2": ("decoder", {}, "freeze-lower-2"),
    "llama": ("decoder", {}, "lora"),
    "qwen2": ("decoder", {}, "full"),
}
QUICK = ("distilbert", "bart", "t5-v1.1", "gpt2", "llama")


def decoder_tokenizer():
    """Byte-level BPE without a padding token and without anything around a text."""
    made = tiny_tokenizer("roberta")
    backend = json.loads(made.backend_tokenizer.to_str())
    backend["post_processor"] = None
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(backend)),
        eos_token="</s>",
        model_max_length=62,
    )


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    made = {}

    def make(name):
        if name not in made:
            family, changes, _ = KINDS[name]
            tokenizer = decoder_tokenizer() if family == "decoder" else tiny_tokenizer(family)
            marks = {f"{n}_token_id": getattr(tokenizer, f"{n}_token_id") for n in ("pad", "eos")}
            if name == "bart":
                marks |= {"bos_token_id": 0, "decoder_start_token_id": 2}
            kind = "t5" if name == "t5-v1.1" else name
            config = tiny_config(kind, vocab_size=len(tokenizer), **{**marks, **changes})
            torch.manual_seed(0)
            made[name] = tmp_path_factory.mktemp(f"tiny_{name}")
            AutoModel.from_config(config).save_pretrained(made[name])
            tokenizer.save_pretrained(made[name])
        return made[name]

    return make


def some(names):
    return [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", some(KINDS))
def test_a_classifier_trains_and_reopens_with_the_same_answers(name, checkpoint, reviews, tmp_path):
    texts = sentences(9, seed=8)
    rows = [f"{text},{'negative' if i % 2 else 'positive'}" for i, text in enumerate(texts)]
    (tmp_path / "test.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    run_in_process(
        "sentiment",
        *("--model", checkpoint(name), "--mode", KINDS[name][2], "--train-file", reviews),
        *("--test-file", tmp_path / "test.csv", "--epochs", 1, "--output-dir", tmp_path / "run"),
    )
    record = result(tmp_path / "run")
    assert record["reload_difference"] <= 1e-6
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run/model").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run/model")
    if KINDS[name][0] == "decoder":
        assert any("<pad> is taken as padding" in notice for notice in record["notes"])
        assert model.config.pad_token_id == tokenizer.pad_token_id is not None
    lines = [json.loads(x) for x in (tmp_path / "run/predictions.jsonl").read_text().splitlines()]
    batch = tokenizer(texts, padding=True, return_tensors="pt", padding_side="right")
    with torch.no_grad():
        scores = model(**batch).logits.softmax(-1)
    for line, row in zip(lines, scores.tolist(), strict=True):
        assert list(line["scores"].values()) == pytest.approx(row, abs=2e-4)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) for n in ("distilbert", "bart", "gpt2", "mt5")]
)
def test_a_question_answerer_trains_and_reopens(name, checkpoint, tmp_path):
    data = questions(tmp_path / "train.json", 40, unanswerable=0.25)
    run_in_process(
        "qa",
        *("--model", checkpoint(name), "--mode", "freeze-lower-1", "--train-file", data, *QA_FLAGS),
        *("--epochs", 1, "--output-dir", tmp_path / "run"),
    )
    assert result(tmp_path / "run")["reload_difference"] <= 1e-6
    AutoModelForQuestionAnswering.from_pretrained(tmp_path / "run/model")


@pytest.mark.parametrize("name", some(["bart", "t5-v1.1", "mt5"]))
def test_a_literal_end_in_a_text_is_no_end(name, checkpoint, tmp_path):
    """Heads of encoder-decoders want as many ``</s>`` in each text of a batch."""
    rows = ["text,label"]
    for number, text in enumerate(sentences(40, seed=4)):
        rows.append(f"{text} {'</s> good' if number % 2 else 'bad'},{'ny'[number % 2]}")
    (tmp_path / "odd.csv").write_text("\n".join(rows) + "\n")
    run_in_process(
        "sentiment",
        *("--model", checkpoint(name), "--mode", "head-only", "--train-file", tmp_path / "odd.csv"),
        *("--epochs", 1, "--output-dir", tmp_path / "run"),
    )
    assert result(tmp_path / "run")["reload_difference"] <= 1e-6
