"""Tokenization, with nothing in a text mistaken for a special token."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from nlptl.data.kept import cache_folder, is_whole, seal
from nlptl.data.progress import bar, quiet_datasets
from nlptl.data.rows import without_file_columns
from nlptl.data.windows import Tokens, frame_of, tokenize, window_starts

#: Hashes of tables, by what they give their values as.
_HASHES: WeakKeyDictionary[Any, dict[str, str]] = WeakKeyDictionary()


@dataclass(frozen=True)
class EncodedSplit:
    """A split's examples as the model sees them.

    Attributes:
        rows: Rows ``{"input_ids": [...], …}`` with random access by index; one or more per example.
        lengths: Tokens of each row, shape ``(rows,)``.
        truncated: Number of texts that were longer than the model takes.
    """

    rows: Sequence[Mapping[str, Any]]
    lengths: np.ndarray
    truncated: int


def tokenizer_hash(tokenizer: Any) -> str:
    """Hash a fast tokenizer's whole definition, except truncation and padding, which each call sets."""
    definition = json.loads(tokenizer.backend_tokenizer.to_str())
    definition |= {"truncation": None, "padding": None}
    return sha256(json.dumps(definition).encode()).hexdigest()


def content_hash(table: Any) -> str:
    """Hash a dataset's columns and values in their order, wherever they are stored; reads all of it once.

    Columns of the file that no task reads (:mod:`nlptl.data.rows`) do not count. The hash of a table is
    remembered for as long as the table lives.
    """
    form = str(getattr(table, "format", ""))
    try:
        known = _HASHES.setdefault(table, {})
    except TypeError:  # a table of another library
        known = {}
    if form not in known:
        known[form] = _content_hash(table)
    return known[form]


def _content_hash(table: Any) -> str:
    digest = sha256()
    for batch in without_file_columns(table).iter(batch_size=1000):
        digest.update(json.dumps(batch, ensure_ascii=False, default=repr).encode())
    return digest.hexdigest()


def splits_hash(splits: Mapping[str, Any]) -> str:
    """Hash the content of all splits."""
    each = [f"{name} {content_hash(splits[name])}" for name in sorted(splits)]
    return sha256("\n".join(each).encode()).hexdigest()


def map_kept(
    table: Any,
    function: Callable[..., Any],
    *key: object,
    identity: str | None = None,
    desc: str = "reading",
    **options: Any,
) -> Any:
    """Replace a dataset's columns by what a function makes of them, and keep the result for the next time.

    The library would look for it by a hash of the function, whose state changes as it is used, and of the
    file's path. Here the key is what the result depends on, so that another seed, another process and a
    copy of the file find it. For a table in memory (a predictor's) nothing is kept.

    Args:
        table: A :class:`datasets.Dataset` with the columns that the function reads, and no others.
        function: Function from rows to rows, batched.
        key: Text for whatever else the result depends on, including the code (by
            :func:`nlptl.data.code_hash.code_hash`).
        identity: Text that stands for the content, where reading all of it would take too long.
        desc: What is done, for the bar.
        options: Further arguments of :meth:`datasets.Dataset.map`.

    Returns:
        The new table; memory-mapped from ``nlptl/`` in the datasets library's cache, if ``table`` is in a
        file. A kept one that is damaged is made again.
    """
    kept = bool(table.cache_files)
    identity = identity or (content_hash(table) if kept else str(table._fingerprint))
    name = sha256("|".join([identity, *map(str, key)]).encode()).hexdigest()[:32]
    path = cache_folder() / f"{name}.arrow" if kept else None
    whole = path is not None and is_whole(path)
    with quiet_datasets(), counting(function, len(table), desc) as counted:
        made = table.map(
            counted,
            batched=True,
            remove_columns=table.column_names,
            new_fingerprint=name,
            cache_file_name=str(path) if path else None,
            load_from_cache_file=whole,  # a damaged file is made again
            **options,
        )
    if path and not whole and path.exists():  # an empty table has no file
        seal(path)
    return made


@contextmanager
def counting(function: Callable[..., Any], total: int, what: str) -> Iterator[Callable[..., Any]]:
    """Yield a function of a batch of rows that counts them under a bar.

    Args:
        function: Function from a batch, a mapping from columns to lists, and maybe more, to another.
        total: Number of all rows.
        what: What is done with them.
    """
    shown = bar(total, what, "rows")

    def counted(batch: Any, *more: Any) -> Any:
        found = function(batch, *more)
        shown.update(len(batch[next(iter(batch))]))
        return found

    try:
        yield counted
    finally:
        shown.close()


def map_tokenized(
    table: Any, function: Callable[..., Any], tokenizer: Any, *key: object, **options: Any
) -> Any:
    """Replace a dataset's columns by tokens: :func:`map_kept`, with the tokenizer's definition in the key."""
    own = (tokenizer_hash(tokenizer), *tokenizer.model_input_names)
    return map_kept(table, function, *own, *key, desc="tokenizing", **options)


def numbers_of(table: Any, column: str) -> np.ndarray:
    """Read a column of numbers as an array, from the file and without making Python objects."""
    if table._indices is None:
        return table.data.column(column).to_numpy()
    return np.asarray(table.with_format("numpy")[column][:])


def broken_up(text: str, tokenizer: Any) -> str:
    """Put a space into every literal special token of a text: ``</s>`` becomes ``< /s>``."""
    for token in tokenizer.all_special_tokens:
        text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


def encode_texts(
    texts: Sequence[str], tokenizer: Any, *, max_length: int
) -> tuple[list[list[int]], list[bool]]:
    """Tokenize single texts; longer ones keep their beginning and the special tokens at the end.

    Special tokens that occur literally in a text are read as plain text. Where a vocabulary has
    them as ordinary pieces too (T5's Unigram has ``</s>``), the text is broken up first: T5's
    classifier refuses a batch in which one text has more ``</s>`` than another.

    Args:
        texts: The texts.
        tokenizer: A fast Hugging Face tokenizer.
        max_length: Most tokens per text, special tokens included.

    Returns:
        Token ids of each text, and whether it was truncated.
    """
    made = _encoded([list(texts)], tokenizer, max_length)
    return made["input_ids"], made["truncated"]


def encode_pairs(
    first: Sequence[str], second: Sequence[str], tokenizer: Any, *, max_length: int
) -> dict[str, list[Any]]:
    """Tokenize pairs of texts by the tokenizer's own template; see :func:`encode_texts`.

    If a pair is too long, tokens are removed from the end of the longer text until it fits.

    Returns:
        ``input_ids`` and ``truncated``, and ``token_type_ids`` where the tokenizer makes them.
    """
    return _encoded([list(first), list(second)], tokenizer, max_length)


def _encoded(columns: list[list[str]], tokenizer: Any, max_length: int) -> dict[str, list[Any]]:
    plain = {"split_special_tokens": True, "verbose": False}
    made = tokenizer(*columns, **plain)
    names = ["input_ids", *["token_type_ids"] * (len(columns) > 1 and "token_type_ids" in made)]
    found: dict[str, list[Any]] = {name: made[name] for name in names}
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    empty = tokenizer(*[""] * len(columns), **plain)["input_ids"]
    frame = sum(token in special for token in empty)
    found["truncated"] = []

    def put(row: int, again: Mapping[str, Any]) -> None:
        for name in names:
            found[name][row] = again[name]

    for row, texts in enumerate(zip(*columns, strict=True)):
        if sum(token in special for token in found["input_ids"][row]) > frame:
            texts = tuple(broken_up(text, tokenizer) for text in texts)
            put(row, tokenizer(*texts, **plain))
        found["truncated"].append(len(found["input_ids"][row]) > max_length)
        if found["truncated"][-1]:
            put(row, tokenizer(*texts, truncation=True, max_length=max_length, **plain))
    return found


def encode_words(
    sentences: Sequence[Sequence[str]],
    tokenizer: Any,
    *,
    max_length: int,
    stride: int | None = None,
) -> dict[str, list[Any]]:
    """Tokenize sentences that are split into words, as if the words were a text with single spaces.

    Special tokens that occur literally in a word become unknown ones, and a word of which the tokenizer leaves
    nothing, such as a lone control character, is an unknown token. A sentence that is too long is cut into
    windows that overlap. Each word is read in one of them, at its first token, where most tokens can be seen
    on both sides of it: no word is left out.

    Args:
        sentences: Words of each sentence.
        tokenizer: A fast tokenizer.
        max_length: Most tokens per window, special tokens included.
        stride: Tokens that neighbouring windows share; None for a quarter of a window.

    Returns:
        A row for each window that reads a word: ``input_ids``; ``places``, the token at which each of its
        words is read; ``example``, the number of the sentence; ``word``, the number of the first word.
    """
    frame = frame_of(tokenizer)
    room = max_length - len(frame.before) - len(frame.after)
    stride = room // 4 if stride is None else stride
    found: dict[str, list[Any]] = {name: [] for name in ("input_ids", "places", "example", "word")}
    texts = [" ".join(words) for words in sentences]
    each = zip(sentences, tokenize(texts, tokenizer, frame), strict=True)
    for example, (words, tokens) in enumerate(each):
        ids, places = word_places(words, tokens, frame.unknown)
        begins = np.asarray(window_starts(len(ids), room, stride))
        # A word in the overlap of two windows is read in the one whose border is farther away.
        owners = np.searchsorted(begins[1:] + stride // 2, places, side="right")
        for window in np.unique(owners):
            begin = begins[window]
            own = np.flatnonzero(owners == window)
            part = ids[begin : begin + room].tolist()
            found["input_ids"].append([*frame.before, *part, *frame.after])
            found["places"].append((places[own] - begin + len(frame.before)).tolist())
            found["example"].append(example)
            found["word"].append(int(own[0]))
    return found


def word_places(
    words: Sequence[str], tokens: Tokens, unknown: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Find the first token of each word; a word without any gets an unknown one.

    Args:
        words: Words of a text, which had single spaces between them.
        tokens: Tokens of that text.
        unknown: Id of the unknown token; None if there is none, and then a word is read at its neighbour's.

    Returns:
        Ids of the tokens, and the number of each word's first token.
    """
    begins = np.cumsum([0, *(len(word) + 1 for word in words)])[:-1]
    ends = begins + np.asarray([len(word) for word in words])
    places = np.searchsorted(tokens.ends, begins, side="right")
    last = len(tokens.ids) - 1
    lost = (places > last) | (np.append(tokens.starts, 0)[np.minimum(places, last + 1)] >= ends)
    if not lost.any():
        return tokens.ids, places
    if unknown is None and last >= 0:
        return tokens.ids, np.minimum(places, last)
    ids = np.insert(tokens.ids, places[lost], unknown or 0)
    return ids, places + np.cumsum(lost) - lost


def of_windows(made: Mapping[str, Any], order: Sequence[int]) -> dict[str, Any]:
    """Give each window of :func:`encode_words` the number of its example in the table, and its words' labels.

    Args:
        made: Rows of some examples, and ``gold``, a list for each example, if they are labelled.
        order: Number of each of these examples in the table.
    """
    windows = dict(made)
    if "gold" in made:
        parts = zip(made["example"], made["word"], made["places"], strict=True)
        windows["gold"] = [made["gold"][i][word : word + len(own)] for i, word, own in parts]
    return {**windows, "example": [order[i] for i in made["example"]]}


def word_outputs(
    rows: Sequence[Mapping[str, Any]], outputs: Sequence[np.ndarray], examples: int
) -> list[np.ndarray]:
    """Put together the outputs of each example's words from its windows.

    Args:
        rows: Windows of :func:`encode_words`.
        outputs: Outputs of each window, shape ``(tokens, outputs)``.
        examples: Number of examples.

    Returns:
        Outputs of each example's words, shape ``(words, outputs)``.
    """
    parts: list[list[np.ndarray]] = [[] for _ in range(examples)]
    for number, (row, logits) in enumerate(zip(rows, outputs, strict=True)):
        parts[row.get("example", number)].append(logits[row["places"]])
    return [np.concatenate(each) for each in parts]
