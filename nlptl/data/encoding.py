"""Texts to token ids, with nothing in a text mistaken for a special token."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

import numpy as np


def tokenizer_hash(tokenizer: Any) -> str:
    """Hash of a fast tokenizer's whole definition."""
    return sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()


def map_tokenized(
    table: Any, function: Callable[..., Any], tokenizer: Any, *key: object, **options: Any
) -> Any:
    """Replace a dataset's columns by tokens, kept in the datasets library's cache.

    The library would hash the function, and the tokenizer with it, whose state changes as it is used;
    here the key is what the tokens depend on: the table, the tokenizer's definition, and ``key``.

    Args:
        table: A :class:`datasets.Dataset`.
        function: Rows in, rows out; batched.
        tokenizer: What the function tokenizes with.
        key: Whatever else the result depends on, and the function's version.
        options: For :meth:`datasets.Dataset.map`.
    """
    text = "|".join([table._fingerprint, tokenizer_hash(tokenizer), *map(str, key)])
    return table.map(
        function,
        batched=True,
        remove_columns=table.column_names,
        new_fingerprint=sha256(text.encode()).hexdigest()[:32],
        desc="tokenizing",
        **options,
    )


def numbers_of(table: Any, column: str) -> np.ndarray:
    """A column of numbers as an array, read from the file without making Python objects."""
    if table._indices is None:
        return table.data.column(column).to_numpy()
    return np.asarray(table.with_format("numpy")[column][:])


@contextmanager
def quiet_datasets() -> Iterator[None]:
    """Show no progress bars of the datasets library."""
    from datasets.utils.logging import (
        disable_progress_bar,
        enable_progress_bar,
        is_progress_bar_enabled,
    )

    shown = is_progress_bar_enabled()
    disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            enable_progress_bar()


def broken_up(text: str, tokenizer: Any) -> str:
    """Put a space into every literal special token of a text: ``</s>`` becomes ``< /s>``."""
    for token in tokenizer.all_special_tokens:
        text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


def encode_texts(
    texts: Sequence[str], tokenizer: Any, *, max_length: int
) -> tuple[list[list[int]], list[bool]]:
    """Tokenize single texts; longer ones keep their beginning and the special tokens at the end.

    Special tokens that stand literally in a text are read as plain text. Where a vocabulary holds
    them as ordinary pieces too (T5's Unigram knows ``</s>``), the text is broken up first: T5's
    classifier refuses a batch in which one text has more ``</s>`` than another.

    Args:
        texts: The texts.
        tokenizer: A fast Hugging Face tokenizer.
        max_length: Tokens a text at most, special tokens included.

    Returns:
        Token ids a text, and whether it was cut.
    """
    plain = {"split_special_tokens": True, "verbose": False}
    ids = tokenizer(list(texts), **plain)["input_ids"]
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    frame = sum(token in special for token in tokenizer("", **plain)["input_ids"])
    cut = []
    for row, text in enumerate(texts):
        if sum(token in special for token in ids[row]) > frame:
            text = broken_up(text, tokenizer)
            ids[row] = tokenizer(text, **plain)["input_ids"]
        cut.append(len(ids[row]) > max_length)
        if cut[-1]:
            ids[row] = tokenizer(text, truncation=True, max_length=max_length, **plain)["input_ids"]
    return ids, cut
