"""Unlabelled text for pretraining: files, folders and hub data sets in, pieces of token ids out.

Nothing is held in memory: documents and pieces are memory-mapped Arrow files in the cache of the datasets
library, so a corpus may be larger than memory. Pieces are written once; an epoch is another order of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, Features, Value, concatenate_datasets
from datasets import Sequence as ListOf

from nlptl.data import sources
from nlptl.data.code_hash import code_hash
from nlptl.data.columns import STRINGS, only_numbers
from nlptl.data.encoding import map_tokenized
from nlptl.errors import ConfigError, DataError, Problems, listed, many, suggest

#: File formats of a corpus: those of labelled data, and text with one document per line.
READERS: dict[str, str] = {**sources.READERS, ".txt": "lines"}

#: Number of documents in memory at a time: books are long, and their tokens are objects for a while.
DOCUMENTS = 100

#: Name of the training documents in messages.
TRAINING = "training texts"
#: Number of pieces that are hashed at a time.
PIECES = 4096


@dataclass(frozen=True)
class Source:
    """A source of a corpus.

    Attributes:
        name: A file, a folder, ``bundled/…``, or a hub name.
        weight: Share of its documents to take; 2 takes each twice.
    """

    name: str
    weight: float = 1.0


def parse_corpus(spec: str) -> Source:
    """Split ``name[:weight]``; the weight defaults to 1. A hub name may have a ``:config`` before it.

    Raises:
        ConfigError: If the weight is not a positive number.
        DataError: If a local file is missing or of an unknown kind, or a folder holds no text.
    """
    name, _, end = spec.rpartition(":") if ":" in spec else (spec, "", "")
    if sources.local_path(spec).exists():  # a name that ends in a number
        name, end = spec, ""
    try:
        weight = float(end or 1)
    except ValueError:  # the configuration of a hub data set
        name, weight = spec, 1.0
    if not 0 < weight < float("inf"):
        raise ConfigError(f"--corpus {spec}: the weight after ':' must be a number above 0.")
    files_of(name)
    return Source(name, weight)


def files_of(name: str, flag: str = "--corpus") -> list[Path]:
    """List the local files that a corpus' name stands for; none for a hub name.

    Raises:
        DataError: If a file is missing or of an unknown kind, or a folder holds no text.
    """
    path = sources.local_path(name)
    if path.is_dir():
        found = sorted(p for p in path.rglob("*") if sources.kind_of(p, READERS) and p.is_file())
        if not found:
            raise DataError(
                f"{flag} {name}: the folder holds no file ending in {', '.join(READERS)}."
            )
        return found
    if path.is_file():
        if sources.kind_of(path, READERS) is None:
            raise DataError(f"{flag} {name}: expected a file ending in {', '.join(READERS)}.")
        return [path]
    if (
        sources.kind_of(path, READERS)
        or name.startswith(("bundled/", "/", ".", "~"))
        or name.count("/") > 1
    ):
        near = suggest(path.name, [p.name for p in path.parent.glob("*")])
        raise DataError(f"{flag} {name}: there is no file or folder {path}.{near}")
    return []


def read_documents(
    name: str, column: str, flag: str = "--corpus", *, column_flag: str | None = None
) -> Any:
    """Read all documents of a file, folder or hub data set (its training split).

    Args:
        name: Name as for :func:`parse_corpus`, without the weight.
        column: Column of the texts; a ``.txt`` has no columns, and its lines are taken whatever this is.
        flag: The flag that named it, for messages.
        column_flag: The flag that names the column; None if there is none.

    Returns:
        A :class:`datasets.Dataset` with the one column ``text``, memory-mapped: it stays on disk, however
        large it is.

    Raises:
        DataError: If it cannot be read, or has no such column, or something other than text in it.
    """
    files = files_of(name, flag)
    tables = [sources.read_table(path, flag, READERS) for path in files]
    columns = ["text" if path.suffix.lower() == ".txt" else column for path in files] or [column]
    if not tables:
        splits = sources.from_hub(name, flag, "or give local files")
        if "train" not in splits:
            raise DataError(f"{flag} {name}: no split is called train; there are {listed(splits)}.")
        tables = [splits["train"]]
    for number, (table, column) in enumerate(zip(tables, columns, strict=True)):
        if column not in table.column_names:
            named = f"Name the text's column with {column_flag}."
            raise DataError(
                f"{flag} {name}: there is no column '{column}'; there are {listed(table.column_names)}. "
                + (named if column_flag else f"Rename the text's column to '{column}'.")
            )
        if getattr(table.features[column], "dtype", None) not in STRINGS or only_numbers(
            table, column
        ):
            raise DataError(f"{flag} {name}: the column '{column}' holds no text.")
        table = table.select_columns([column])
        if column != "text":
            table = table.rename_column(column, "text")
        # csv files are read as large_string, the others as string, and only equals are joined.
        same = table.features["text"].dtype == "string"
        tables[number] = table if same else table.cast_column("text", Value("string"))
    return concatenate_datasets(tables)


def load_corpus(specs: Sequence[str], *, column: str, held_out: int | None) -> tuple[Any, Any]:
    """Read documents, set some aside, and weight the sources.

    Each source is shuffled once, always in the same way, so that all runs on it hold out the same
    documents and their losses can be compared; its share of ``held_out`` documents (by number of
    documents, but at least one) is set aside, and ``weight`` times as many documents as are left go into
    training (a weight of 0.5 takes half of them, 2 takes each twice). The only document of a source is
    trained on.

    Args:
        specs: Sources ``name[:weight]``, as for :func:`parse_corpus`.
        column: Column of the texts.
        held_out: Number of documents to set aside; None takes a tenth, at most 2,000.

    Returns:
        Training and held-out documents, as datasets with the one column ``text``.

    Raises:
        UserError: With all mistakes of :func:`parse_corpus` and :func:`read_documents`.
    """
    problems = Problems()
    parts = []
    for spec in specs:
        with problems.collect():
            source = parse_corpus(spec)
            table = read_documents(source.name, column, column_flag="--text-column")
            parts.append((table.shuffle(seed=0), source.weight))
    problems.raise_if_any()
    total = sum(len(documents) for documents, _ in parts)
    held_out = min(2000, total // 10) if held_out is None else held_out
    train, aside = [], []
    for documents, weight in parts:
        off = max(1, round(held_out * len(documents) / total)) if len(documents) > 1 else 0
        rest = len(documents) - off
        if rest < 1:
            problems.add(
                f"--held-out {held_out} leaves no document of {len(documents)} to train on; lower it."
            )
            continue
        if off:
            aside.append(documents.select(range(off)))
        count = round(rest * weight)
        if not count:
            problems.add(
                f"--corpus: of {many(rest, 'document')} a weight of {weight:g} takes none; raise it."
            )
        train.append(documents.select([off + i % rest for i in range(count)]))
    if all(len(documents) == 1 for documents, _ in parts):
        problems.add(
            "--corpus: a source's only document is trained on, and no source has a second one to set aside. "
            "Give more documents, or put the files into one folder, which is one source."
        )
    problems.raise_if_any()
    return concatenate_datasets(train), concatenate_datasets(aside)


@dataclass(frozen=True)
class Sample:
    """Lists of texts, for training a tokenizer; each iteration reads them from disk.

    Attributes:
        documents: Dataset with the column ``text``.
        most: Number of documents that are taken, from the first on.
    """

    documents: Dataset
    most: int

    def __iter__(self) -> Iterator[list[str]]:
        taken = self.documents.select(range(min(self.most, len(self.documents))))
        batch: Any
        for batch in taken.iter(batch_size=DOCUMENTS):
            yield [text for text in batch["text"] if text]


def check_any_piece(counts: Mapping[str, int]) -> None:
    """Make sure that every part of a corpus has a piece.

    Args:
        counts: Number of pieces of each part, by its name for messages.

    Raises:
        DataError: If a part has none.
    """
    if empty := [name for name, count in counts.items() if not count]:
        raise DataError(
            f"--corpus: its {' and '.join(empty)} hold no text of six tokens or more (shorter ones are left "
            "out). Give longer texts, or more of them."
        )


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
        documents: Dataset with the column ``text``.
        tokenizer: A fast Hugging Face tokenizer.
        room: Most tokens per piece.
        least: Fewest tokens per piece; shorter pieces are dropped.

    Returns:
        Columns ``input_ids`` (list of int), ``length`` and ``first``, whether a document begins with it.
    """

    def cut(batch: dict[str, list[str]]) -> dict[str, list[Any]]:
        texts = [text or "" for text in batch["text"]]  # a missing text is not a document
        encoded = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
        kept = [[p for p in even_pieces(ids, room) if len(p) >= least] for ids in encoded]
        pieces = [piece for document in kept for piece in document]
        first = [not number for document in kept for number in range(len(document))]
        return {"input_ids": pieces, "length": [len(ids) for ids in pieces], "first": first}

    # A corpus may have many gigabytes; the fingerprint is already made of its files' content.
    return map_tokenized(
        documents,
        cut,
        tokenizer,
        room,
        least,
        code_hash(even_pieces, tokenize),
        identity=documents._fingerprint,
        batch_size=DOCUMENTS,
        # Else a corpus without a single piece would have no columns.
        features=Features(
            {"input_ids": ListOf(Value("int32")), "length": Value("int64"), "first": Value("bool")}
        ),
    )


def pieces_hash(pieces: Dataset, key: str = "") -> str:
    """Hash all token ids, each piece after its length; read them once, and make no Python objects.

    The dataset's own fingerprint is of no use: it changes when the datasets library's cache is emptied.

    Args:
        pieces: Dataset with the column ``input_ids``, as from :func:`tokenize`.
        key: Text for whatever else the hash is to depend on.
    """
    found = sha256(key.encode())
    batch: Any
    for batch in pieces.with_format("arrow", columns=["input_ids"]).iter(batch_size=PIECES):
        ids = batch["input_ids"].combine_chunks()
        lengths = ids.value_lengths().to_numpy()
        heads = np.cumsum(lengths + 1) - lengths - 1
        words = np.empty(int((lengths + 1).sum()), np.int32)
        plain = np.ones(len(words), bool)
        plain[heads] = False
        words[heads] = lengths.astype(">i4").view(np.int32)
        words[plain] = ids.flatten().to_numpy()
        found.update(words.tobytes())
    return found.hexdigest()


def special_frame(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Return the ids that the tokenizer puts before and after a single text."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    framed = tokenizer("a")["input_ids"]
    start = next(i for i in range(len(framed)) if framed[i : i + len(bare)] == bare)
    return framed[:start], framed[start + len(bare) :]
