"""Local files as tables: each is checked, read once, and kept under its content."""

import os
from collections.abc import Iterator
from functools import cache, partial
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

from nlptl.data.bytes import check_kind, check_text, open_text
from nlptl.data.code_hash import code_hash
from nlptl.data.columns import check_once
from nlptl.data.delimited import read_delimited
from nlptl.data.json_rows import JsonTable
from nlptl.data.kept import Batches, kept_table
from nlptl.data.tags import read_conll
from nlptl.errors import DataError

#: Number of rows that are taken from a file together.
ROWS = 1000


def read_csv(path: Path, where: str) -> Batches:
    """Read a comma-separated file; see :func:`nlptl.data.delimited.read_delimited`."""
    return read_delimited(path, where, ",")


def read_tsv(path: Path, where: str) -> Batches:
    """Read a tab-separated file; see :func:`nlptl.data.delimited.read_delimited`."""
    return read_delimited(path, where, "\t")


def read_lines(path: Path, where: str) -> Batches:
    """Read a file of texts, one a line, into the column ``text``; blank lines count."""
    from datasets import Features, Value

    features = Features({"text": Value("string")})
    return features, _line_batches(path, features.arrow_schema)


def _line_batches(path: Path, schema: Any) -> Iterator[Any]:
    import pyarrow as pa

    with open_text(path) as lines:
        while some := [line.rstrip("\n") for _, line in zip(range(ROWS), lines, strict=False)]:
            yield pa.record_batch([pa.array(some, pa.string())], schema=schema)


def read_parquet(path: Path, where: str) -> Batches:
    """Read a parquet table; categories become their values, and columns of unknown types are left out.

    Raises:
        DataError: If the file is damaged, its strings are not UTF-8, or a column's name stands twice.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq
    from datasets import Features

    try:
        file = pq.ParquetFile(path)
        check_once(file.schema_arrow.names, where)
        schema = pa.schema(
            [
                field.with_type(field.type.value_type)
                if pa.types.is_dictionary(field.type)
                else field
                for field in file.schema_arrow
            ],
            metadata=file.schema_arrow.metadata,
        )
        usable = [field.name for field in schema if _is_usable(field)]
        schema = pa.schema([schema.field(name) for name in usable], metadata=schema.metadata)
        features = Features.from_arrow_schema(schema)
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError) as error:
        raise _damaged(where, error) from error
    return features, _parquet_batches(file, where, usable, features.arrow_schema)


def _is_usable(field: Any) -> bool:
    import pyarrow as pa
    from datasets import Features

    try:
        return bool(Features.from_arrow_schema(pa.schema([field])).arrow_schema)
    except (NotImplementedError, ValueError, TypeError):
        return False


def _damaged(where: str, error: Exception) -> DataError:
    reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
    return DataError(f"{where}: could not be read as parquet: {reason}")


def _parquet_batches(file: Any, where: str, names: list[str], schema: Any) -> Iterator[Any]:
    import pyarrow as pa

    found = False
    try:
        for batch in file.iter_batches(batch_size=ROWS, columns=names):
            batch.validate(full=True)  # strings are UTF-8
            columns = [batch.column(name) for name in names]
            plain = [
                c.dictionary_decode() if pa.types.is_dictionary(c.type) else c for c in columns
            ]
            cast = [
                c if c.type == kind else c.cast(kind)
                for c, kind in zip(plain, schema.types, strict=True)
            ]
            found = found or len(batch) > 0
            yield pa.record_batch(cast, schema=schema)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(where, error) from error
    if not found:
        raise DataError(f"{where}: the file has columns and no rows.")


#: Function of path and place that reads a kind of file, or class of objects that do.
KINDS: dict[str, Any] = {
    "csv": read_csv,
    "tsv": read_tsv,
    "json": JsonTable,
    "parquet": read_parquet,
    "lines": read_lines,
    "conll": read_conll,
}


@cache
def _code(kind: str) -> str:
    return code_hash(KINDS[kind])


def read_file(path: Path, where: str, kind: str) -> Any:
    """Read one file, or open what is kept of it.

    The result depends on the file's bytes, never on its time: a copy is found again, and a file that changed
    is read again.

    Args:
        path: Path of the file.
        where: The flag and the path, for messages.
        kind: A key of :data:`KINDS`.

    Returns:
        A :class:`datasets.Dataset`, memory-mapped from ``nlptl/`` in the datasets library's cache.

    Raises:
        DataError: If the file is of another kind, in another encoding, empty, or cannot be parsed.
    """
    before = _state(path)
    try:
        with path.open("rb") as file:
            content = file_digest(file, sha256).hexdigest()
    except OSError as error:
        raise DataError(f"{where}: the file cannot be opened ({error.strerror}).") from error

    def read() -> Batches:
        check_kind(path, where, parquet=kind == "parquet")
        if kind != "parquet":
            check_text(path, where)
        features, batches = source()
        return features, _unchanged(batches, path, where, before)

    one = KINDS[kind]
    source: Any = one(path, where) if isinstance(one, type) else partial(one, path, where)
    name = sha256(f"{kind}|{path.suffix}|{_code(kind)}|{content}".encode()).hexdigest()[:32]
    return kept_table(name, read)


def _state(path: Path) -> tuple[int, int]:
    about = os.stat(path)
    return about.st_mtime_ns, about.st_size


def _unchanged(
    batches: Iterator[Any], path: Path, where: str, before: tuple[int, int]
) -> Iterator[Any]:
    yield from batches
    if _state(path) != before:
        raise DataError(
            f"{where}: the file changed while it was read. Start again when it is whole."
        )
