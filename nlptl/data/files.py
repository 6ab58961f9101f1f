"""Files that are never seen half-written, and files that are checked when they are read again."""

import json
import math
import os
from collections.abc import Mapping
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

from nlptl.errors import ConfigError, ModelError, shortened


def write_whole(path: Path, content: str | bytes) -> Path:
    """Write a file under another name, wait for the disk, and move it to its place; text as UTF-8.

    Returns:
        The path.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
        synced(partial)
        return partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def synced(path: Path) -> Path:
    """Wait until a file or a folder is on the disk, so that a power cut after a rename loses nothing.

    Returns:
        The path.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:  # a file system that cannot
        if not path.is_dir():
            raise
    finally:
        os.close(handle)
    return path


#: Name of the file in a sealed folder that has size and checksum of all the others.
SEAL = "files.json"


def file_record(path: Path) -> dict[str, Any]:
    """Return a file's size in bytes and its SHA-256."""
    with path.open("rb") as file:
        digest = file_digest(file, sha256).hexdigest()
        return {"bytes": os.fstat(file.fileno()).st_size, "sha256": digest}


def seal_folder(folder: Path) -> None:
    """Note the size and the checksum of each file in a folder, once they are on the disk."""
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and path.name != SEAL]
    write_json(folder / SEAL, {path.name: file_record(synced(path)) for path in files})
    synced(folder)


def damage_of(folder: Path) -> str | None:
    """Return what is wrong with a sealed folder, in words; None if every file is as it was written."""
    try:
        records = json.loads((folder / SEAL).read_text("utf-8"))
        there = {path.name for path in folder.iterdir() if path.is_file() and path.name != SEAL}
        if unknown := there - set(records):
            return f"{SEAL} does not have {min(unknown)}"
        for name, record in records.items():
            path = folder / name
            if not path.is_file():
                return f"{name} is missing"
            if path.stat().st_size != record["bytes"]:
                return f"{name} has {path.stat().st_size:,} bytes of {record['bytes']:,}"
            if file_record(path) != record:
                return f"{name} has changed since it was written"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{SEAL} cannot be read ({type(error).__name__})"
    return None


def read_object(path: Path, *names: str) -> dict[str, Any]:
    """Read a json object.

    Args:
        path: Path of the file.
        names: Keys that it must have.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is no json, no object, or has not all of these keys.
    """
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"no json: {error}") from error
    if not isinstance(found, dict):
        raise ValueError("no json object")
    if lost := [name for name in names if name not in found]:
        raise ValueError(f"no '{lost[0]}' in it")
    return found


def read_kept(path: Path, *names: str) -> dict[str, Any]:
    """Read a json object that an earlier session of a run left.

    Args:
        path: Path of the file.
        names: Keys that it must have.

    Raises:
        ConfigError: If it is damaged.
    """
    try:
        return read_object(path, *names)
    except ValueError as error:
        raise ConfigError(
            f"--resume: {path} is damaged, and the run cannot go on exactly without it. Bring it back, or "
            "start again in another --output-dir."
        ) from error


def read_result(path: Path, *names: str) -> dict[str, Any]:
    """Read the record of a finished run, ``result.json``.

    Args:
        path: Path of the file.
        names: Keys that it must have.

    Raises:
        ModelError: If it is not there, or is damaged.
    """
    try:
        return read_object(path, *names)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ModelError(
            f"{path.parent} is not a finished run: expected {path.name} in it, found none. Give the directory "
            "that a run left."
        ) from error
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{path} is damaged ({shortened(str(error))}); it says what the run was and what its "
            "model's outputs mean. Bring it back, make the run again, or give model/ alone, copied elsewhere."
        ) from error


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read a ``.jsonl`` file of a finished run.

    Raises:
        OSError: If it cannot be read.
        ValueError: If a line is no json object; the message names the line.
    """
    found = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            found.append(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"line {number} is no json: {error}") from error
        if not isinstance(found[-1], dict):
            raise ValueError(f"line {number} is no json object")
    return found


def write_json(path: Path, record: Mapping[str, Any]) -> Path:
    """Write indented JSON with :func:`write_whole`; a number that could not be computed (nan) becomes null.

    Returns:
        The path.
    """
    text = json.dumps(finite(record), indent=2, ensure_ascii=False, allow_nan=False)
    return write_whole(path, text + "\n")


def write_checked(path: Path, values: Any) -> Path:
    """Write json values with their checksum, with :func:`write_whole`.

    Returns:
        The path.
    """
    values = json.loads(json.dumps(values))  # as it is read: tuples are lists, keys are text
    return write_whole(path, json.dumps({"sha256": _checksum(values), "values": values}))


def read_checked(path: Path) -> Any:
    """Read what :func:`write_checked` wrote; None if it is not there, or damaged."""
    try:
        kept = read_object(path, "sha256", "values")
    except (OSError, ValueError):
        return None
    return kept["values"] if kept["sha256"] == _checksum(kept["values"]) else None


def _checksum(values: Any) -> str:
    return sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def json_line(record: Mapping[str, Any]) -> str:
    """Return a line of a ``.jsonl`` file with its line end; nan, which could not be computed, becomes null."""
    return json.dumps(finite(record), ensure_ascii=False, allow_nan=False) + "\n"


class KeyTwice(ValueError):
    """A key stands twice in one json object, so that one of its values would be lost."""


def once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of json's keys and values, for :data:`STRICT`.

    Raises:
        KeyTwice: If a key is there twice; json's own reader would take the last value without a word.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in found if names.count(name) > 1)
        raise KeyTwice(f"an object has {twice[:40]!a} twice")
    return found


#: Reader of json that comes from others.
STRICT = json.JSONDecoder(object_pairs_hook=once_each)


def finite(value: Any) -> Any:
    """Replace nan and infinite numbers by None, because JSON has none."""
    if isinstance(value, Mapping):
        return {key: finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
