"""Rows of json files: one object a line, a list of objects, and the forms in which pandas writes a table.

Values keep their types, and strings stay strings, also those that look like dates. A column with values of
several types (numbers and words, say) holds them as they are (:class:`datasets.Json`, which keeps 15 digits
of a fraction). A whole number that no 64 bits hold, as some ids are, becomes the text of its digits.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from nlptl.data.bytes import open_text
from nlptl.data.columns import check_once
from nlptl.data.files import KeyTwice, finite, once_each
from nlptl.data.kept import Again, Batches
from nlptl.errors import DataError, listed, many

#: Number of rows that are turned into columns together.
ROWS = 1000
#: Mark of a column with values of several types.
MIXED = "mixed"
#: Whole numbers that a column can hold: those of 64 bits, with or without a sign.
WHOLE = range(-(2**63), 2**64)
NOTHING = "the file holds no rows."
FORM = "Expected one object per line, or a list of objects, with one value for each column."


def _whole(digits: str) -> int | str:
    """Return a whole number, or its digits if no column can hold it."""
    return number if (number := int(digits)) in WHOLE else digits


#: Reader of json in which a key stands once in each object, and each number can be in a column.
READER = json.JSONDecoder(object_pairs_hook=once_each, parse_int=_whole)


class JsonTable:
    """A json file as a table, whose columns' types are found out while it is read.

    Args:
        path: Path of a file in UTF-8.
        where: The flag and the path, for messages.
    """

    def __init__(self, path: Path, where: str) -> None:
        self.path, self.where = path, where
        self.types: dict[str, Any] = {}

    def __call__(self) -> Batches:
        """Read the file; the types are those of the first rows, or what the last call found out.

        Raises:
            DataError: If the file holds no rows, or something else than rows.
            Again: While the batches are read: if later rows have other columns or types.
        """
        import pyarrow as pa
        from datasets import Features, Json

        if not self.types:
            self._learn(next(self._chunks(), []))
        plain = pa.schema([(n, pa.null() if t is MIXED else t) for n, t in self.types.items()])
        mixed = {name: Json() for name, kind in self.types.items() if kind is MIXED}
        features = Features({**Features.from_arrow_schema(plain), **mixed})
        return features, self._batches(features.arrow_schema)

    def _batches(self, schema: Any) -> Iterator[Any]:
        import pyarrow as pa

        chunks, known = self._chunks(), dict(self.types)
        for number, rows in enumerate(chunks):
            self._learn(rows, number)
            if self.types != known:
                for later, more in enumerate(chunks, number + 1):
                    self._learn(more, later)
                raise Again
            columns = [self._column(rows, field.name, schema) for field in schema]
            yield pa.record_batch(columns, schema=schema)

    def _chunks(self) -> Iterator[list[dict[str, Any]]]:
        rows, found = iter(_rows(self.path, self.where)), False
        while some := list(islice(rows, ROWS)):
            found = True
            yield some
        if not found:
            raise DataError(f"{self.where}: {NOTHING}")

    def _learn(self, rows: Sequence[Mapping[str, Any]], number: int = 0) -> None:
        """Widen the columns' types by those of some rows, the chunk of this number."""
        for name in dict.fromkeys(name for row in rows for name in row):
            if self.types.get(name) is MIXED:
                continue
            values = [row.get(name) for row in rows]
            try:
                self.types[name] = _wider(self.types.get(name), _type_of(values))
            except UnicodeEncodeError as error:
                raise self._half(name, values, number) from error

    def _half(self, name: str, values: Sequence[Any], number: int) -> DataError:
        row = next(i for i, value in enumerate(values) if not _is_whole(value))
        return DataError(
            f"{self.where}: row {number * ROWS + row} has half a character (a lone surrogate, \\ud800 to "
            f"\\udfff) in {name[:40]!a}. Write the character whole, or take it out."
        )

    def _column(self, rows: Sequence[Mapping[str, Any]], name: str, schema: Any) -> Any:
        import pyarrow as pa

        values, kind = [row.get(name) for row in rows], schema.field(name).type
        if self.types[name] is MIXED:
            values = [finite(value) for value in values]
            texts = [None if v is None else json.dumps(v, ensure_ascii=False) for v in values]
            return pa.ExtensionArray.from_storage(kind, pa.array(texts, kind.storage_type))
        try:
            return pa.array(values, kind)
        except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
            # A number too large for a column that turned from integers to floats.
            self.types[name] = MIXED
            raise Again from error


def _is_whole(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _type_of(values: Sequence[Any]) -> Any:
    """Return the Arrow type of some values, or :data:`MIXED`.

    Raises:
        UnicodeEncodeError: If a string holds half a character.
    """
    import pyarrow as pa

    try:
        found = pa.array(values).type
    except UnicodeEncodeError:
        raise
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        for value in values:
            json.dumps(value, ensure_ascii=False).encode()
        return MIXED
    if pa.types.is_floating(found) and any(isinstance(value, bool) for value in values):
        return MIXED
    return found


def _wider(one: Any, other: Any) -> Any:
    """Return the type that holds the values of two, or :data:`MIXED`."""
    import pyarrow as pa

    if one is None or one == other or other is MIXED:
        return other
    schemas = [pa.schema([("value", kind)]) for kind in (one, other)]
    try:
        return pa.unify_schemas(schemas, promote_options="permissive").field("value").type
    except pa.ArrowException:
        return MIXED


def _rows(path: Path, where: str) -> Iterator[dict[str, Any]]:
    """Yield the rows, line by line where each line is one; an empty line or ``null`` is none.

    Raises:
        DataError: If the file is something else.
    """
    if not _has_lines(path):
        with open_text(path) as file:
            text = file.read()
        yield from _objects(_records(_values(text, where), where), where)
        return
    with open_text(path) as lines:
        filled = ((n, line) for n, line in enumerate(lines, 1) if line.strip())
        yield from _objects((_parsed(line, where, n) for n, line in filled), where)


def _objects(values: Iterable[Any], where: str) -> Iterator[dict[str, Any]]:
    for row, value in enumerate(values):
        if isinstance(value, dict):
            yield value
        elif value is not None:
            raise DataError(f"{where}: row {row} is {_short(value)}. {FORM}")


def _short(value: Any) -> str:
    kinds = {list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


def _has_lines(path: Path) -> bool:
    """Whether the first value stands on one line and is an object, with something below it.

    In a ``.json`` an object alone may hold the whole table; elsewhere it is a row.
    """
    alone = path.suffix.lower() != ".json"
    with open_text(path) as lines:
        for line in lines:
            if line.strip() in ("", "null"):
                continue
            try:
                first = READER.decode(line)
            except KeyTwice:
                return True  # is reported with its line
            except (ValueError, RecursionError):
                return False
            return isinstance(first, dict) and (alone or any(more.strip() for more in lines))
    return False


def _parsed(text: str, where: str, line: int) -> Any:
    try:
        return READER.decode(text)
    except (ValueError, RecursionError) as error:
        raise _broken(where, error, line) from error


def _broken(where: str, error: Exception, line: int = 0) -> DataError:
    kind = where.rpartition(".")[2]
    if isinstance(error, RecursionError):
        reason = "it is nested too deeply"
    elif isinstance(error, json.JSONDecodeError):
        line = line or error.lineno
        reason = f"{error.msg} in line {line}, column {error.colno}"
    elif isinstance(error, KeyTwice):
        reason = str(error)
    else:
        reason = "a number has too many digits"
    at = f" (line {line})" if line and not isinstance(error, json.JSONDecodeError) else ""
    return DataError(f"{where}: could not be read as {kind}: {reason}{at}. {FORM}")


def _values(text: str, where: str) -> list[Any]:
    """Parse all values of a text, one after the other."""
    at, found = 0, []
    try:
        while at < len(text):
            if text[at] in " \t\r\n":
                at += 1
                continue
            value, at = READER.raw_decode(text, at)
            found.append(value)
    except (ValueError, RecursionError) as error:
        raise _broken(where, error) from error
    return found


def _records(values: Sequence[Any], where: str) -> Iterable[Any]:
    """Return the rows of a whole file's values: many, or one that holds the table in a usual form."""
    if len(values) != 1:
        return values
    (value,) = values
    if isinstance(value, list):
        if value and all(isinstance(row, list) for row in value):
            raise DataError(
                f"{where}: the rows are lists without the columns' names (pandas' orient='values'). Write "
                "orient='records'."
            )
        return value
    if value is None or value == {}:
        return []
    if not isinstance(value, dict):
        raise DataError(f"{where}: the file is {_short(value)}. {FORM}")
    return _table(value, where)


def _table(value: dict[str, Any], where: str) -> Iterable[Any]:
    """Return the rows of one object: a form of pandas, a list under one name, columns as lists, or one row."""
    if isinstance(value.get("columns"), list) and isinstance(value.get("data"), list):
        names = [str(name) for name in value["columns"]]
        check_once(names, where)
        if any(not isinstance(r, list) or len(r) != len(names) for r in value["data"]):
            raise DataError(
                f"{where}: some of its rows (data) have another length than its {many(len(names), 'column')}."
            )
        return [dict(zip(names, row, strict=True)) for row in value["data"]]
    if isinstance(value.get("schema"), dict) and isinstance(value.get("data"), list):
        return value["data"]
    lists = {name: one for name, one in value.items() if _is_rows(one)}
    if "rows" in lists and _is_rows(inner := [row.get("row") for row in lists["rows"]]):
        return inner  # the hub's viewer
    if len(lists) == 1:
        ((only, rows),) = lists.items()
        others = [len(v) for n, v in value.items() if n != only and isinstance(v, list)]
        if len(rows) not in others:
            return rows
    if lists and len(lists) == len(value):
        raise DataError(
            f"{where}: the file holds several tables ({listed(list(lists), 5)}). Put each into a file of its "
            "own."
        )
    if all(isinstance(column, list) for column in value.values()):
        if len({len(column) for column in value.values()}) > 1:
            raise DataError(
                f"{where}: its columns ({listed(list(value), 8)}) have different lengths."
            )
        return [dict(zip(value, row, strict=True)) for row in zip(*value.values(), strict=True)]
    if all(isinstance(column, dict) for column in value.values()):
        return _turned(value, where)
    return [value]


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def _turned(value: dict[str, dict[str, Any]], where: str) -> Iterable[Any]:
    """Return the rows of an object of objects: by columns (pandas' default), or by rows (orient='index').

    Rows are named by whole numbers, as pandas does; columns are not.
    """
    inner = dict.fromkeys(name for one in value.values() for name in one)
    numbered = [bool(names) and all(n.isdecimal() for n in names) for names in (value, inner)]
    if numbered == [True, False]:
        return list(value.values())
    if numbered == [False, True]:
        return [{name: column.get(row) for name, column in value.items()} for row in inner]
    raise DataError(
        f"{where}: the file is an object of objects, and its rows are not named by numbers, so it is unclear "
        "which are rows and which are columns. Write it with pandas' orient='records'."
    )
