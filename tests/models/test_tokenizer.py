"""Tokenizers without a fast version, and the padding token of decoders."""

import json

import pytest
import torch
from datasets import Dataset
from tiny import sentences, tiny_tokenizer
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedTokenizerFast,
)

from nlptl.errors import ModelError
from nlptl.models.loading import load_tokenizer, load_with_head
from nlptl.models.tokenizer import give_padding
from nlptl.models.zoo import tiny_config
from nlptl.modes.base import parse_mode
from nlptl.tasks.classification import TextClassification
from nlptl.train.learner import Learner
from nlptl.train.setup import FinetuneArgs, start_accelerator


def byte_level(*, bos=None, eos="<|end|>", pad=None, closes=False, more=()):
    """A byte-level BPE in the manner of GPT-2 (no post-processor), or of Llama (``bos`` in front)."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = [token for token in (bos, eos, *more) if token]
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sentences(100), trainer)
    if bos or closes:
        ids = [(token, tokenizer.token_to_id(token)) for token in (bos, eos) if token]
        parts = [token for token in (bos, "$A", eos if closes else None) if token]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=" ".join(parts), special_tokens=ids
        )
    named = {"bos_token": bos, "eos_token": eos, "pad_token": pad, "model_max_length": 64}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **{k: v for k, v in named.items() if v is not None}
    )


@pytest.mark.parametrize(
    ("given", "pad"),
    [
        ({}, "<|end|>"),  # GPT-2: no text ends in it
        ({"bos": "<s>", "eos": "</s>"}, "</s>"),  # Llama 2
        ({"bos": "<s>", "eos": "</s>", "closes": True}, "<s>"),
        ({"more": ("<|finetune_right_pad_id|>",)}, "<|finetune_right_pad_id|>"),  # Llama 3
        ({"bos": "<s>", "eos": "</s>", "pad": "</s>", "closes": True}, "<s>"),
    ],
)
def test_a_tokenizer_gets_a_padding_token_that_no_text_ends_in(given, pad):
    tokenizer = byte_level(**given)
    notice = give_padding(tokenizer)
    assert tokenizer.pad_token == pad and f"{pad} is taken as padding" in notice
    assert tokenizer("good film")["input_ids"][-1] != tokenizer.pad_token_id


@pytest.mark.parametrize("given", [{"pad": "<|end|>"}, {"pad": "<p>", "more": ("<p>",)}])
def test_a_padding_token_that_hides_nothing_stays(given):
    tokenizer = byte_level(**given)
    assert give_padding(tokenizer) == "" and tokenizer.pad_token == given["pad"]


def test_a_tokenizer_without_any_special_token_is_refused():
    with pytest.raises(ModelError, match="no padding token, which batches need, and none of"):
        give_padding(byte_level(eos=None))


def saved(path, kind, tokenizer, **changes):
    config = tiny_config(kind, vocab_size=len(tokenizer), **changes)
    config.pad_token_id = None
    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_config(config).base_model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


HEAD = {"num_labels": 2, "id2label": {0: "no", 1: "yes"}, "label2id": {"no": 0, "yes": 1}}


def read_position(model, tokenizer, text, other):
    """The position of a text that its logits come from, in a batch with a longer text."""
    batch = tokenizer([text, other], padding=True, return_tensors="pt", padding_side="right")
    seen = []
    block = (
        model.base_model.layers[-1]
        if hasattr(model.base_model, "layers")
        else model.base_model.h[-1]
    )
    hook = block.register_forward_hook(
        lambda module, given, out: seen.append(out[0] if isinstance(out, tuple) else out)
    )
    logits = model(**batch).logits
    hook.remove()
    (slope,) = torch.autograd.grad(logits[0].sum(), seen[0])
    return slope[0].abs().sum(-1).nonzero().flatten().tolist()


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("gpt2", {}),
        ("llama", {"bos": "<s>", "eos": "</s>"}),
        ("llama", {"bos": "<s>", "eos": "</s>", "pad": "</s>", "closes": True}),
    ],
)
def test_a_decoder_reads_the_last_real_token_also_when_reopened(tmp_path, kind, given):
    tokenizer = byte_level(**given)
    path = saved(tmp_path / "body", kind, tokenizer)
    made = load_with_head(str(path), auto_class=AutoModelForSequenceClassification, head=HEAD)
    assert any("taken as padding" in notice for notice in made.notices)
    assert made.model.config.pad_token_id == made.tokenizer.pad_token_id is not None
    made.model.save_pretrained(tmp_path / "out")
    made.tokenizer.save_pretrained(tmp_path / "out")
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    plain = AutoTokenizer.from_pretrained(tmp_path / "out")
    text, other = "good film", "the actor liked it and the plot was very good again"
    last = len(plain(text)["input_ids"]) - 1
    for model, own in ((made.model, made.tokenizer), (again, plain)):
        assert read_position(model, own, text, other) == [last]


def test_a_live_decoder_is_told_the_padding_too(tmp_path):
    path = saved(tmp_path / "body", "gpt2", byte_level())
    config = AutoConfig.from_pretrained(path, num_labels=2)
    model = AutoModelForSequenceClassification.from_config(config)
    assert model.config.pad_token_id is None
    args = FinetuneArgs(str(path), parse_mode("full"), learning_rate=1e-3, epochs=1.0)
    accelerator = start_accelerator(tracker=None, output_dir=None, seed=0)
    learner = Learner(TextClassification(("no", "yes")), args, accelerator, model=model)
    assert model.config.pad_token_id == learner.tokenizer.pad_token_id
    table = Dataset.from_dict({"text": sentences(4), "label": ["no", "yes"] * 2})
    assert len(learner.predict(table)) == 4


def test_two_padding_tokens_are_made_one(tmp_path):
    """The tokenizer pads with another token than the one that the head passes over."""
    path = saved(tmp_path / "body", "gpt2", byte_level(pad="<p>", more=("<p>",)))
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "pad_token_id": 7}))
    made = load_with_head(str(path), auto_class=AutoModelForSequenceClassification, head=HEAD)
    assert made.model.config.pad_token_id == made.tokenizer.pad_token_id != 7
    (notice,) = made.notices
    assert notice.startswith("The model's pad_token_id was 7, its tokenizer pads with ")
    assert read_position(made.model, made.tokenizer, "good", "a very dull plot") == [
        len(made.tokenizer("good")["input_ids"]) - 1
    ]


def test_slow_files_become_a_fast_tokenizer(tmp_path):
    """A vocabulary and merges, as before tokenizer.json."""
    whole = tiny_tokenizer("roberta")
    whole.save_pretrained(tmp_path / "whole")
    backend = json.loads((tmp_path / "whole/tokenizer.json").read_text())["model"]
    slow = tmp_path / "slow"
    slow.mkdir()
    (slow / "vocab.json").write_text(json.dumps(backend["vocab"]))
    lines = ["#version: 0.2", *(" ".join(merge) for merge in backend["merges"])]
    (slow / "merges.txt").write_text("\n".join(lines) + "\n")
    AutoConfig.for_model("roberta", vocab_size=len(whole)).save_pretrained(slow)
    made = load_tokenizer(str(slow))
    assert made.is_fast
    for text in sentences(20, seed=5):
        assert made(text)["input_ids"] == whole(text)["input_ids"]


def test_a_tokenizer_without_a_fast_version_is_refused_with_the_reason(tmp_path):
    AutoConfig.for_model("canine").save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="its tokenizer, a CanineTokenizer, has no fast version"):
        load_tokenizer(str(tmp_path))


def test_a_slow_tokenizer_with_a_converter_is_converted_and_compared(tmp_path, monkeypatch):
    from transformers.models.bert.tokenization_bert_legacy import BertTokenizerLegacy

    class BertTokenizer(BertTokenizerLegacy):
        """The slow version under the name that transformers' converters know."""

    (tmp_path / "vocab.txt").write_text("\n".join(tiny_tokenizer("bert").get_vocab()) + "\n")
    slow = BertTokenizer(str(tmp_path / "vocab.txt"), model_max_length=64)
    assert not slow.is_fast
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", lambda path, **options: slow)
    made = load_tokenizer(str(tmp_path))
    assert made.is_fast and made.pad_token == "[PAD]" and made.model_max_length == 64
    for text in sentences(20, seed=6):
        assert made(text)["input_ids"] == slow(text)["input_ids"]
    monkeypatch.setattr("nlptl.models.tokenizer._agree", lambda one, two: False)
    with pytest.raises(ModelError, match="what transformers converts it to gives other tokens"):
        load_tokenizer(str(tmp_path))
