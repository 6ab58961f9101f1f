"""Tiny models with random weights and tiny tokenizers, built here: no test needs the network."""

import torch
from transformers import AutoConfig

from nlptl.pretrain.building import train_byte_level_bpe, train_unigram, train_wordpiece

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


def tiny_tokenizer(family: str):
    """A tokenizer trained on the sentences; T5's has few words and spells the others by letter."""
    texts = [sentences(300)]
    if family == "t5":
        return train_unigram(texts, vocab_size=220, max_length=64, sentinels=20)
    if family == "roberta":
        return train_byte_level_bpe(texts, vocab_size=400, max_length=62)
    return train_wordpiece(texts, vocab_size=300, max_length=64)


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
