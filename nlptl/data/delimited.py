"""Rows of csv and tsv files: separator and quoting are found out, or the file is refused.

Each value is a string as it is written, also where all of a column are numbers: ``007`` and ``True`` are names
of classes. Whatever needs a number reads it from the string (:func:`nlptl.data.columns.as_number`).
"""

import csv
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from nlptl.data.bytes import BLOCK, open_text
from nlptl.data.columns import check_once
from nlptl.data.kept import Batches
from nlptl.errors import DataError, listed, shortened

#: Separators by name; the first of a kind of file is the one that its ending promises.
SEPARATORS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a vertical bar"}
#: Number of rows that are turned into columns together.
ROWS = 1000
#: Most records above a header that is looked for.
ABOVE = 10
#: Field in quotation marks, in which every inner mark is doubled.
QUOTED = re.compile(r'"(?:[^"]|"")*"')

csv.field_size_limit(2**31 - 1)


@dataclass(frozen=True)
class Form:
    """How a file writes its fields.

    Attributes:
        separator: Character between fields.
        quoted: Whether fields may stand in quotation marks, with inner marks doubled.
        padded: Whether white space follows each separator and belongs to no field.
        skipped: Number of lines before the header (Excel's ``sep=;``).
    """

    separator: str
    quoted: bool = True
    padded: bool = False
    skipped: int = 0

    def records(self, path: Path) -> Iterator[tuple[int, list[str]]]:
        """Yield each record that is not a blank line, with the number of the line that it ends on.

        Raises:
            csv.Error: If the quotation marks do not match.
        """
        with open_text(path, newline="") as lines:
            reader = csv.reader(
                islice(lines, self.skipped, None),
                delimiter=self.separator,
                quoting=csv.QUOTE_MINIMAL if self.quoted else csv.QUOTE_NONE,
                skipinitialspace=self.padded,
                strict=True,
            )
            for record in reader:
                if record:
                    yield reader.line_num + self.skipped, record


def read_delimited(path: Path, where: str, separator: str) -> Batches:
    """Read a file of fields.

    Args:
        path: Path of a file in UTF-8.
        where: The flag and the path, for messages.
        separator: Separator that the file's ending promises.

    Raises:
        DataError: If rows and header have different numbers of fields, quotation marks do not match, a
            column's name stands twice, or the header stands again among the rows.
    """
    from datasets import Features, Value

    form = form_of(path, where, separator)
    try:
        _, header = next(form.records(path))
    except StopIteration:
        raise DataError(f"{where}: the file is empty.") from None
    except csv.Error as error:
        raise _unmatched(path, where, form, error) from error
    if header[0].strip() and len(header) > 1 and not any(map(str.strip, header[1:])):
        _check_title(path, where, form, header)
    names = [name.strip() or f"Unnamed: {i}" for i, name in enumerate(header)]
    check_once(names, where)
    features = Features({name: Value("string") for name in names})
    return features, _batches(path, where, form, header, features.arrow_schema)


def _check_title(path: Path, where: str, form: Form, header: Sequence[str]) -> None:
    """Refuse a header with one name for many columns above a line in which each column has one.

    Raises:
        DataError: If it is so: spreadsheets write a title and empty cells.
    """
    with suppress(csv.Error):
        for line, row in islice(form.records(path), 1, 2):
            if len(row) == len(header) and all(map(str.strip, row)):
                raise DataError(
                    f"{where}: the first line has the name {shortened(header[0], 80)!r} and no other one. The "
                    f"header seems to be line {line} ({listed(row, 8)}). Remove the lines above it."
                )


def _batches(
    path: Path, where: str, form: Form, header: Sequence[str], schema: Any
) -> Iterator[Any]:
    import pyarrow as pa

    def batch(rows: list[list[str]]) -> Any:
        columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
        return pa.record_batch(columns, schema=schema)

    rows = _rows(path, where, form, header)
    found = False
    while some := list(islice(rows, ROWS)):
        found = True
        yield batch(some)
    if not found:
        raise DataError(f"{where}: the file has a header and no rows.")


def _rows(path: Path, where: str, form: Form, header: Sequence[str]) -> Iterator[list[str]]:
    """Yield the rows below the header, without a leading column of row numbers that has no name."""
    width, numbered, count = len(header), None, -1
    try:
        records = islice(form.records(path), 1, None)
        for count, (line, row) in enumerate(records):
            if numbered is None:
                numbered = int(row[0]) if len(row) == width + 1 and row[0] in ("0", "1") else -1
            if numbered >= 0:
                if len(row) != width + 1 or row[0] != str(numbered + count):
                    raise _miscounted(path, where, form, header)
                row = row[1:]
            elif len(row) != width:
                raise _miscounted(path, where, form, header)
            if row == header:
                raise DataError(
                    f"{where}: line {line} is the header once more. Were two files joined? Remove the line."
                )
            yield row
    except csv.Error as error:
        raise _unmatched(path, where, form, error) from error


def form_of(path: Path, where: str, separator: str) -> Form:
    """Find out how a file writes its fields.

    The separator is the promised one if it stands in the header, else the only other one that does.
    Tab-separated files come in two kinds: GLUE's quote nothing and have lone quotation marks in their texts;
    pandas writes them as any csv. A file is of the second kind if each field that begins with a quotation
    mark ends with one and has its inner ones doubled, or if its lines have different numbers of fields and
    its quoted records have not.

    Raises:
        DataError: If several separators could be meant.
    """
    skipped, first = _first_line(path)
    if skipped:
        return _quoting(path, where, Form(first, skipped=1))
    widths = {one: _width(path, Form(one, quoted=one != "\t")) for one in SEPARATORS}
    several = [one for one, width in widths.items() if width > 1]
    if separator in several or not several:
        chosen = separator
    elif len(several) == 1:
        chosen = several[0]
    else:
        raise DataError(
            f"{where}: the header has {' and '.join(SEPARATORS[one] for one in several)}, and it is unclear "
            f"which of them separates fields. Save the file with {SEPARATORS[separator]}."
        )
    form = _quoting(path, where, Form(chosen))
    header = _header_line(path)
    padded = f"{chosen} " in header and header.count(f"{chosen} ") == header.count(chosen)
    return replace(form, padded=padded and chosen != "\t")


def _first_line(path: Path) -> tuple[bool, str]:
    """Read Excel's ``sep=;``: whether it is there, and the separator."""
    with open_text(path) as lines:
        found = re.fullmatch(r'"?sep=(.)"?', next(lines, "").rstrip("\n"), re.IGNORECASE)
    return (True, found[1]) if found and found[1] in SEPARATORS else (False, "")


def _header_line(path: Path) -> str:
    with open_text(path) as lines:
        return next((line for line in lines if line.strip()), "")


def _width(path: Path, form: Form) -> int:
    """Count the header's fields; 0 if it cannot be read so."""
    try:
        return len(next(form.records(path))[1])
    except (csv.Error, StopIteration):
        return 0


def _quoting(path: Path, where: str, form: Form) -> Form:
    """Decide whether quotation marks quote; where no tabs separate, they always do.

    Raises:
        DataError: If the file can be read in both ways, and gives different rows.
    """
    if form.separator != "\t":
        return form
    bare = replace(form, quoted=False)
    with path.open("rb") as file:
        if not any(b'"' in block for block in iter(lambda: file.read(BLOCK), b"")):
            return bare
    paired, even, width = True, True, 0
    for _, record in bare.records(path):
        width = width or len(record)
        even = even and len(record) == width
        paired = paired and all(QUOTED.fullmatch(f) for f in record if f.startswith('"'))
    if even and not paired and _fits(path, form):
        raise DataError(
            f"{where}: some fields begin with a quotation mark and end with one in a later line or field, so "
            "the file can be read with quoting and without. Write it as jsonl."
        )
    return form if (paired if even else _fits(path, form)) else bare


def _fits(path: Path, form: Form) -> bool:
    """Whether all records have as many fields as the header."""
    width = 0
    try:
        for _, record in form.records(path):
            width = width or len(record)
            if len(record) != width:
                return False
    except csv.Error:
        return False
    return width > 1


def _begins_below(path: Path, form: Form) -> tuple[int, list[str]] | None:
    """Find the record from which on all have as many fields, if others are above it; return its line too.

    A title, a comment or a date may stand above the header: at most :data:`ABOVE` records.
    """
    begins: tuple[int, list[str]] = (0, [])
    widths: list[int] = []  # of the records above
    count = 0
    try:
        for line, record in form.records(path):
            if len(record) != len(begins[1]):
                widths += [len(begins[1])] * count
                begins, count = (line, record), 0
            count += 1
            if len(widths) > ABOVE:
                return None
    except csv.Error:
        return None
    width = len(begins[1])
    return begins if widths and width > 1 and width not in widths and count > 1 else None


def _miscounted(path: Path, where: str, form: Form, header: Sequence[str]) -> DataError:
    """Describe the rows whose number of fields is not the header's."""
    odd, total, first = 0, 0, (0, 0)
    try:
        for line, row in islice(form.records(path), 1, None):
            total += 1
            if len(row) != len(header):
                odd += 1
                first = first if first[0] else (line, len(row))
    except csv.Error as error:
        return _unmatched(path, where, form, error)
    name = SEPARATORS[form.separator]
    others = [one for one in SEPARATORS if one != form.separator and _fits(path, Form(one))]
    below = (
        _begins_below(path, replace(form, separator=one)) for one in (form.separator, *SEPARATORS)
    )
    line, names = next(filter(None, below), (0, []))
    if others:
        remedy = (
            f"Fields seem to be separated by {SEPARATORS[others[0]]}; save the file with {name}."
        )
    elif form.quoted:
        remedy = f'Put quotation marks around texts that hold {name}: "one, two".'.replace(
            ", ", f"{form.separator} "
        )
    else:
        remedy = (
            f"The file was read without quoting; a field that holds {name} or a line break needs quotation "
            "marks, and then every field that begins with a mark has to end with one."
        )
    if line and not others:
        remedy = (
            f"The header seems to be line {line} ({listed(names, 8)}), as all lines from there on have "
            f"{len(names)} fields: if it is, remove the lines above it. Else: {remedy}"
        )
    fields = "field" if first[1] == 1 else "fields"
    return DataError(
        f"{where}: line {first[0]} has {first[1]} {fields}, the header has {len(header)} "
        f"({listed(header, 8)}); so it is in {odd} of {total} rows, with {name} between fields. {remedy}"
    )


def _unmatched(path: Path, where: str, form: Form, error: csv.Error) -> DataError:
    """Describe where quotation marks do not match."""
    begins = 0
    with suppress(csv.Error):
        for line, _ in form.records(path):
            begins = line
    return DataError(
        f"{where}: the quotation marks do not match in the record that begins in line {begins + 1} "
        f"({error}). A field that begins with a mark has to end with one before the next separator, and a "
        'mark inside it is written twice: "He said ""no""".'
    )
