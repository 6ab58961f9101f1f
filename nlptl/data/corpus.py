"""Unlabelled text for pretraining: files in, pieces of token ids out."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, concatenate_datasets, load_dataset

from nlptl.data.encoding import map_tokenized
from nlptl.errors import ConfigError, DataError

#: Reader of the datasets library for each file ending.
READERS = {".parquet": "parquet", ".txt": "text", ".jsonl": "json", ".json": "json", ".csv": "csv"}


def parse_corpus(spec: str) -> tuple[Path, float]:
    """Split ``path[:weight]``; the weight defaults to 1.

    Raises:
        ConfigError: If the file is missing, of an unknown kind, or the weight no positive number.
    """
    name, _, weight = spec.rpartition(":") if ":" in spec else (spec, "", "1")
    path = Path(name)
    if path.suffix not in READERS:
        raise ConfigError(f"--corpus {spec}: expected a file ending in {', '.join(READERS)}.")
    if not path.is_file():
        raise ConfigError(f"--corpus {spec}: there is no file {path}.")
    try:
        value = float(weight)
    except ValueError:
        value = 0.0
    if not value > 0:
        raise ConfigError(f"--corpus {spec}: the weight after ':' must be a number above 0.")
    return path, value


def load_corpus(specs: Sequence[str], *, column: str, held_out: int) -> tuple[Any, Any]:
    """Read documents, set some aside, and weigh the files.

    Each file is shuffled once, always in the same way, so that all runs on it hold out the same
    documents and their losses can be compared; its share of ``held_out`` documents (by number of documents) is
    taken off, and of the rest ``weight`` times as many documents as there are go into training
    (a weight of 0.5 takes half of them, 2 takes each twice).

    Args:
        specs: ``path[:weight]`` each; parquet, jsonl, json, csv or txt (one document a line).
        column: The text's column.
        held_out: Documents to set aside in all.

    Returns:
        Training and held-out documents, as datasets with the one column ``text``.

    Raises:
        ConfigError: See :func:`parse_corpus`.
        DataError: If a file has no such column.
    """
    files = []
    for path, weight in map(parse_corpus, specs):
        reader = READERS[path.suffix]
        documents = load_dataset(reader, data_files=str(path), split="train")
        if column not in documents.column_names:
            raise DataError(
                f"{path} has no column '{column}'; it has {', '.join(documents.column_names)}. "
                "Name the text's column with --text-column."
            )
        documents = documents.select_columns([column])
        if column != "text":
            documents = documents.rename_column(column, "text")
        files.append((documents.shuffle(seed=0), weight))
    total = sum(len(documents) for documents, _ in files)
    train, aside = [], []
    for documents, weight in files:
        off = max(1, round(held_out * len(documents) / total))
        aside.append(documents.select(range(off)))
        rest, count = len(documents) - off, round((len(documents) - off) * weight)
        train.append(documents.select([off + i % rest for i in range(count)]))
    return concatenate_datasets(train), concatenate_datasets(aside)


def iterate_texts(documents: Dataset, most: int) -> Iterator[list[str]]:
    """Yield lists of texts, for training a tokenizer, up to ``most`` documents."""
    batch: Any
    for batch in documents.select(range(min(most, len(documents)))).iter(batch_size=1000):
        yield batch["text"]


def even_pieces(ids: Sequence[int], room: int) -> list[Sequence[int]]:
    """Cut a document into the fewest pieces of at most ``room`` tokens, all about equally long.

    No piece ever holds two documents, so nothing is predicted from a text it has nothing to do
    with; and no piece is a leftover of a few tokens.

    Example:
        >>> [len(piece) for piece in even_pieces(range(250), 126)]
        [125, 125]
    """
    count = -(-len(ids) // room)
    edges = [round(i * len(ids) / count) for i in range(count + 1)] if count else [0]
    return [ids[a:b] for a, b in pairwise(edges)]


def tokenize(documents: Dataset, tokenizer: Any, *, room: int, least: int = 6) -> Dataset:
    """Turn documents into pieces of at most ``room`` token ids, without special tokens.

    The result is kept in the datasets library's cache under a key of the documents, the tokenizer
    and the length, and is read from disk, not from memory; an epoch is another order of the same
    pieces, never another copy.

    Args:
        documents: Column ``text``.
        tokenizer: A fast Hugging Face tokenizer.
        room: Tokens a piece at most.
        least: Shorter pieces are dropped.

    Returns:
        Columns ``input_ids`` (list of int) and ``length``.
    """

    def cut(batch: dict[str, list[str]]) -> dict[str, list[Any]]:
        encoded = tokenizer(batch["text"], add_special_tokens=False, verbose=False)["input_ids"]
        pieces = [p for ids in encoded for p in even_pieces(ids, room) if len(p) >= least]
        return {"input_ids": pieces, "length": [len(ids) for ids in pieces]}

    return map_tokenized(documents, cut, tokenizer, room, least, "pieces-2")


def special_frame(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Ids that the tokenizer puts before and after a single text."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    framed = tokenizer("a")["input_ids"]
    start = next(i for i in range(len(framed)) if framed[i : i + len(bare)] == bare)
    return framed[:start], framed[start + len(bare) :]


def lengths(pieces: Dataset) -> np.ndarray:
    """The column ``length`` as an array, without reading the tokens."""
    return (
        pieces.data.column("length").to_numpy()
        if pieces._indices is None
        else np.asarray(pieces["length"])
    )
