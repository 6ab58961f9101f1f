"""Tables on disk, each checked when it is opened again: a damaged one is made again."""

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from nlptl.data.files import file_record, write_json
from nlptl.errors import DataError


class Again(Exception):
    """A table has to be read a second time, because a later row showed what the first ones did not."""


#: A table's :class:`datasets.Features`, and its rows as :class:`pyarrow.RecordBatch`.
Batches = tuple[Any, Iterator[Any]]


def cache_folder() -> Path:
    """Return the folder of nlptl's own tables in the datasets library's cache, and make it if need be.

    Raises:
        DataError: If nothing can be written there.
    """
    from datasets import config

    folder = Path(config.HF_DATASETS_CACHE) / "nlptl"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(f"Permission denied: '{folder}'")
    except OSError as error:
        raise _unwritable(folder, error) from error
    return folder


def _unwritable(folder: Path, error: OSError) -> DataError:
    return DataError(
        f"The cache {folder} cannot be written ({error.strerror or error}), and every table is kept there "
        "once it is read. Set HF_HOME to a folder that can be written and has room."
    )


def kept_table(name: str, read: Callable[[], Batches]) -> Any:
    """Open a table that was kept, or read and keep it.

    Args:
        name: Name for whatever the table depends on; its fingerprint too.
        read: Function that reads it. If its batches raise :class:`Again`, it is called once more.

    Returns:
        A :class:`datasets.Dataset`, memory-mapped.

    Raises:
        DataError: If the cache cannot be written, or what ``read`` raises.
    """
    path = cache_folder() / f"{name}.arrow"
    if not is_whole(path):
        while True:
            with suppress(Again):
                _write(path, read)
                break
    from datasets import Dataset

    table = Dataset.from_file(str(path))
    table._fingerprint = name
    return table


def _seal(path: Path) -> Path:
    return path.with_suffix(".json")


def is_whole(path: Path) -> bool:
    """Whether a kept table is there with the size and the checksum that were noted when it was written."""
    try:
        record = json.loads(_seal(path).read_text("utf-8"))
        return path.stat().st_size == record["bytes"] and file_record(path) == record
    except (OSError, ValueError, KeyError, TypeError):
        return False


def seal(path: Path) -> None:
    """Note a kept table's size and checksum beside it; others may not read it, as it holds texts or tokens."""
    path.chmod(0o600)
    write_json(_seal(path), file_record(path))


def _write(path: Path, read: Callable[[], Batches]) -> None:
    """Write a table under another name, move it to its place, and seal it."""
    import pyarrow as pa

    features, batches = read()
    schema = features.arrow_schema
    partial = None
    try:
        handle, partial = tempfile.mkstemp(prefix=path.stem, suffix=".partial", dir=path.parent)
        with open(handle, "wb") as file, pa.ipc.new_stream(file, schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
        os.replace(partial, path)
        seal(path)
    except OSError as error:
        raise _unwritable(path.parent, error) from error
    finally:
        if partial is not None:
            Path(partial).unlink(missing_ok=True)
