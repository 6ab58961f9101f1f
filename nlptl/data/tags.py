"""Tags of words: CoNLL files, and the writings of entities."""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from nlptl.data.bytes import open_text
from nlptl.data.columns import values_of
from nlptl.data.kept import Batches
from nlptl.data.labels import label_names, read_label, with_values
from nlptl.errors import DataError

#: Number of sentences that are turned into columns together.
ROWS = 1000
#: First word of the line that begins a document in the files of CoNLL-2003.
DOCUMENT = "-DOCSTART-"
#: Number of a line that CoNLL-U puts between words: a contraction (1-2) or a word left unsaid (1.1).
INSERTED = re.compile(r"\d+[-.]\d+")
#: Tag of an entity in the usual writings.
TAG = re.compile(r"[BILUES]-[A-Z]+|O")


def read_conll(path: Path, where: str) -> Batches:
    """Read a file with a word and its tags on each line, and a blank line after each sentence.

    The word is the first field and becomes the column ``tokens``; the last field becomes ``tags``; fields
    between them become ``column_2``, ``column_3``, … Fields are separated by tabs if the first line has one,
    else by white space. Lines that begin a document (``-DOCSTART-``) are left out, and so are comments (``# ``
    without a tab) where tabs separate. A first field that counts the words of each sentence is left out, and
    the next one is the word; then lines that begin with ``#`` or stand between words (``1-2``) are left out.

    Args:
        path: Path of a file in UTF-8.
        where: The flag and the path, for messages.

    Raises:
        DataError: If a line has another number of fields than the first one, or a single field.
    """
    from datasets import Features, List, Value

    form = _form(path, where)
    middle = [f"column_{number}" for number in range(form.word + 2, form.width)]
    features = Features({name: List(Value("string")) for name in ("tokens", *middle, "tags")})
    return features, _batches(path, where, form, features.arrow_schema)


def holds_tags(path: Path, known: Collection[str]) -> bool:
    """Whether a text file has a word and its tag on each line, as far as that is sure; else lines are texts.

    It is sure where at least half of the lines end with a tag, or have fields without spaces between tabs.

    Args:
        path: Path of a file.
        known: Tags that are expected, beside the usual ones of entities.
    """
    total = found = 0
    with open_text(path, errors="replace") as lines:
        for line in lines:
            fields = line.split()
            if not fields or line.startswith(("# ", DOCUMENT)):
                continue
            ends = fields[-1] in known or TAG.fullmatch(fields[-1])
            total += 1
            found += len(fields) > 1 and bool(ends or len(fields) == len(line.strip().split("\t")))
    return total > 1 and 2 * found >= total


@dataclass(frozen=True)
class Form:
    """How a file writes its words and tags.

    Attributes:
        tabs: Whether tabs separate fields, and not any white space.
        width: Number of fields on a line.
        word: Place of the word; 1 where the first field counts the words of each sentence, as in CoNLL-U.
    """

    tabs: bool
    width: int
    word: int = 0

    def fields(self, line: str) -> list[str]:
        """Return the fields of a line."""
        if self.tabs:
            return [one.strip() for one in line.strip("\r\n").split("\t")]
        return line.split()

    def is_beside(self, line: str) -> bool:
        """Whether a line within a sentence holds no word of its own: a comment, or what CoNLL-U inserts."""
        if self.word:
            first = self.fields(line)[0]
            return first.startswith("#") or bool(INSERTED.fullmatch(first))
        return self.tabs and "\t" not in line and line.startswith("# ")


def _form(path: Path, where: str) -> Form:
    """Find out how a file writes its words and tags.

    Raises:
        DataError: If its first line has a single field, or there is none.
    """
    with open_text(path) as lines:
        for line in lines:
            if not line.strip() or line.startswith(("# ", DOCUMENT)):
                continue
            form = Form("\t" in line, 0)
            if (width := _counted(path, form)) > 2:
                return replace(form, width=width, word=1)
            if (width := len(form.fields(line))) > 1:
                return replace(form, width=width)
            raise DataError(
                f"{where}: the line {line.strip()[:80]!r} has one field; expected a word and its tag on each "
                "line, separated by a tab or a space, and a blank line after each sentence."
            )
    raise DataError(f"{where}: the file holds no rows.")


def _counted(path: Path, form: Form) -> int:
    """Return the number of fields of the first word's line if the first field counts the words; else 0.

    It does so where it goes on from 0 or 1 in each sentence, and some sentence has two words.
    """
    width, last, begin, most = 0, None, None, 0
    with open_text(path) as lines:
        for line in lines:
            if not line.strip() or line.startswith(DOCUMENT):
                last = None
                continue
            if replace(form, word=1).is_beside(line):
                continue
            first, *others = form.fields(line)
            begin = first if begin is None and first in ("0", "1") else begin
            if begin is None or first != (begin if last is None else str(int(last) + 1)):
                return 0
            last, width, most = first, width or len(others) + 1, max(most, int(first) - int(begin))
    return width if most else 0


def _sentences(path: Path, where: str, form: Form) -> Iterator[list[list[str]]]:
    """Yield the lines of each sentence, each as its fields."""
    rows: list[list[str]] = []
    with open_text(path, newline="\n") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.startswith(DOCUMENT):
                if rows:
                    yield rows
                rows = []
                continue
            if form.is_beside(line):
                continue
            row = form.fields(line)
            if len(row) != form.width or not all(row):
                raise DataError(
                    f"{where}: line {number} has {sum(map(bool, row))} fields, the first has {form.width}, "
                    f"with {'tabs' if form.tabs else 'white space'} between fields: {line.strip()[:80]!r}. "
                    "Expected a word and its tags on each line, and a blank line after each sentence."
                )
            rows.append(row)
    if rows:
        yield rows


def _batches(path: Path, where: str, form: Form, schema: Any) -> Iterator[Any]:
    import pyarrow as pa

    sentences = _sentences(path, where, form)
    places = range(form.word, form.width)
    while some := list(islice(sentences, ROWS)):
        columns = [[[row[place] for row in rows] for rows in some] for place in places]
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
