"""Tiny models with random weights and tiny tokenizers, built here: no test needs the network."""

import json
import shutil

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


#: Names that early releases of sentence-transformers have for a pooling.
POOLED = {"mean": "mean_tokens", "first": "cls_token", "last": "lasttoken", "max": "max_tokens"}


def sentence_encoder(path, body, pooling="mean", *, normalize=True, subfolder="", limit=24):
    """Make a directory as early releases of sentence-transformers wrote it."""
    shutil.copytree(body, path / subfolder, dirs_exist_ok=True)
    kinds = ["Transformer", "Pooling", *["Normalize"] * normalize]
    modules = [
        {"idx": i, "name": str(i), "path": f"{i}_{kind}" if i else subfolder}
        | {"type": f"sentence_transformers.models.{kind}"}
        for i, kind in enumerate(kinds)
    ]
    (path / "modules.json").write_text(json.dumps(modules))
    asked = pooling.split()
    flags = {f"pooling_mode_{flag}": name in asked for name, flag in POOLED.items()}
    (path / "1_Pooling").mkdir()
    about = {"word_embedding_dimension": 32, **flags}
    (path / "1_Pooling/config.json").write_text(json.dumps(about))
    limits = {"max_seq_length": limit, "do_lower_case": False}
    (path / subfolder / "sentence_bert_config.json").write_text(json.dumps(limits))
    return path
