"""Tiny models with random weights and tiny tokenizers, built here: no test needs the network."""

import json

import torch
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)
from transformers import AutoConfig, RobertaTokenizer, T5Tokenizer

FAMILIES = ("bert", "roberta", "t5")
DEPTH = 3  # T5: of each stack
# fmt: off
WORDS = [
    "the", "film", "was", "good", "bad", "great", "awful", "funny", "dull", "and", "but",
    "not", "very", "a", "plot", "actor", "music", "I", "liked", "hated", "it", "this",
    "kettle", "book", "phone", "works", "broke", "fine", "slow", "fast", "never", "again",
    "always", "would", "buy", "keep", "return",
]
# fmt: on


def sentences(count: int, seed: int = 0) -> list[str]:
    """Sentences of 3 to 14 words from a small vocabulary."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(count):
        length = int(torch.randint(3, 15, (1,), generator=generator))
        picks = torch.randint(0, len(WORDS), (length,), generator=generator).tolist()
        made.append(" ".join(WORDS[i] for i in picks))
    return made


def byte_level_bpe(texts: list[str]) -> RobertaTokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    merges = [tuple(merge) for merge in model["merges"]]
    return RobertaTokenizer(vocab=model["vocab"], merges=merges, model_max_length=62)


def unigram(texts: list[str]) -> T5Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=200,
        special_tokens=["<pad>", "</s>", "<unk>"],
        unk_token="<unk>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    vocab = [tuple(entry) for entry in json.loads(tokenizer.to_str())["model"]["vocab"]]
    return T5Tokenizer(vocab=vocab, extra_ids=20, model_max_length=64)


def tiny_config(family: str, vocab_size: int):
    if family == "t5":
        return AutoConfig.for_model(
            "t5",
            vocab_size=vocab_size,
            d_model=32,
            d_ff=64,
            d_kv=16,
            num_heads=2,
            num_layers=DEPTH,
            decoder_start_token_id=0,
            dropout_rate=0.1,
        )
    return AutoConfig.for_model(
        family,
        vocab_size=vocab_size,
        hidden_size=32,
        num_hidden_layers=DEPTH,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        pad_token_id=1 if family == "roberta" else 0,
        type_vocab_size=1 if family == "roberta" else 2,
    )
