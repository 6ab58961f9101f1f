"""Tags of words: CoNLL files, and the writings of entities."""

import re
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from nlptl.data.columns import values_of
from nlptl.data.kept import Batches
from nlptl.data.labels import label_names, read_label, with_values
from nlptl.errors import DataError

#: Number of sentences that are turned into columns together.
ROWS = 1000
#: First word of the line that begins a document in the files of CoNLL-2003.
DOCUMENT = "-DOCSTART-"
#: Tag of an entity in the usual writings.
TAG = re.compile(r"[BILUES]-[A-Z]+|O")


def read_conll(path: Path, where: str) -> Batches:
    """Read a file with a word and its tags on each line, and a blank line after each sentence.

    The word is the first field and becomes the column ``tokens``; the last field becomes ``tags``; fields
    between them become ``column_2``, ``column_3``, … Fields are separated by tabs if the first line has one,
    else by white space. Lines that begin a document (``-DOCSTART-``) are left out, and so are comments (``# ``
    without a tab) where tabs separate.

    Args:
        path: Path of a file in UTF-8.
        where: The flag and the path, for messages.

    Raises:
        DataError: If a line has another number of fields than the first one, or a single field.
    """
    from datasets import Features, List, Value

    tabs, width = _form(path, where)
    middle = [f"column_{number}" for number in range(2, width)]
    features = Features({name: List(Value("string")) for name in ("tokens", *middle, "tags")})
    return features, _batches(path, where, tabs, width, features.arrow_schema)


def holds_tags(path: Path, known: Collection[str]) -> bool:
    """Whether a text file has a word and its tag on each line, as far as that is sure; else lines are texts.

    It is sure where at least half of the lines end with a tag, or have fields without spaces between tabs.

    Args:
        path: Path of a file.
        known: Tags that are expected, beside the usual ones of entities.
    """
    total = found = 0
    with path.open(encoding="utf-8-sig", errors="replace") as lines:
        for line in lines:
            fields = line.split()
            if not fields or line.startswith(("# ", DOCUMENT)):
                continue
            ends = fields[-1] in known or TAG.fullmatch(fields[-1])
            total += 1
            found += len(fields) > 1 and bool(ends or len(fields) == len(line.strip().split("\t")))
    return total > 1 and 2 * found >= total


def _form(path: Path, where: str) -> tuple[bool, int]:
    """Return whether tabs separate fields, and how many fields a line has."""
    with path.open(encoding="utf-8-sig") as lines:
        for line in lines:
            if not line.strip() or line.startswith(("# ", DOCUMENT)):
                continue
            tabs = "\t" in line
            width = len(_fields(line, tabs))
            if width > 1:
                return tabs, width
            raise DataError(
                f"{where}: the line {line.strip()[:80]!r} has one field; expected a word and its tag on each "
                "line, separated by a tab or a space, and a blank line after each sentence."
            )
    raise DataError(f"{where}: the file holds no rows.")


def _fields(line: str, tabs: bool) -> list[str]:
    return [one.strip() for one in line.strip("\r\n").split("\t")] if tabs else line.split()


def _sentences(path: Path, where: str, tabs: bool, width: int) -> Iterator[list[list[str]]]:
    """Yield the lines of each sentence, each as its fields."""
    rows: list[list[str]] = []
    with path.open(encoding="utf-8-sig", newline="\n") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.startswith(DOCUMENT):
                if rows:
                    yield rows
                rows = []
                continue
            if tabs and "\t" not in line and line.startswith("# "):
                continue
            row = _fields(line, tabs)
            if len(row) != width or not all(row):
                raise DataError(
                    f"{where}: line {number} has {sum(map(bool, row))} fields, the first has {width}, with "
                    f"{'tabs' if tabs else 'white space'} between fields: {line.strip()[:80]!r}. Expected a "
                    "word and its tags on each line, and a blank line after each sentence."
                )
            rows.append(row)
    if rows:
        yield rows


def _batches(path: Path, where: str, tabs: bool, width: int, schema: Any) -> Iterator[Any]:
    import pyarrow as pa

    sentences = _sentences(path, where, tabs, width)
    while some := list(islice(sentences, ROWS)):
        columns = [[[row[place] for row in rows] for rows in some] for place in range(width)]
        arrays = [pa.array(c, field.type) for c, field in zip(columns, schema, strict=True)]
        yield pa.record_batch(arrays, schema=schema)


def _named(table: Any, column: str) -> Iterator[list[str]]:
    """Yield the tags of each row by name; other values than lists of tags are left out."""
    names = label_names(table, column)
    for value in values_of(table, column):
        tags = read_label(value, names)
        if isinstance(tags, list) and None not in tags:
            yield tags


def begun_inside(tags: Sequence[str]) -> int:
    """Count the tags ``I-`` that continue no entity of their kind.

    Example:
        >>> begun_inside(["I-PER", "I-PER", "O", "B-LOC", "I-PER"])
        2
    """
    before, count = "O", 0
    for tag in tags:
        mark, _, kind = tag.partition("-")
        count += mark == "I" and before not in (f"B-{kind}", f"I-{kind}")
        before = tag
    return count


def is_iob1(table: Any, column: str) -> bool:
    """Whether entities begin with ``I-``; ``B-`` only separates two neighbours (Ramshaw & Marcus, 1995)."""
    inside = False
    for tags in _named(table, column):
        for before, tag in zip(["O", *tags], tags, strict=False):
            mark, _, kind = tag.partition("-")
            if mark == "B" and before not in (f"B-{kind}", f"I-{kind}"):
                return False
            if kind and mark not in ("B", "I"):
                return False
            inside = inside or mark == "I"
    return inside


def in_iob2(table: Any, column: str) -> Any:
    """Return a dataset whose tags in IOB1 are in IOB2, where each entity begins with ``B-``."""
    from datasets import List, Value

    names = label_names(table, column)
    rows = [read_label(value, names) for value in values_of(table, column)]
    if not all(isinstance(tags, list) and None not in tags for tags in rows):
        return table  # :func:`nlptl.data.label_lists.check_label_lists` says which
    return with_values(table, column, [to_iob2(tags) for tags in rows], List(Value("string")))


def to_iob2(tags: Sequence[str]) -> list[str]:
    """Begin each entity with ``B-``.

    Example:
        >>> to_iob2(["I-PER", "I-PER", "B-PER", "O", "I-LOC"])
        ['B-PER', 'I-PER', 'B-PER', 'O', 'B-LOC']
    """
    made, before = [], "O"
    for tag in tags:
        mark, _, kind = tag.partition("-")
        begins = mark == "I" and before not in (f"B-{kind}", f"I-{kind}")
        made.append(f"B-{kind}" if begins else tag)
        before = tag
    return made
