"""Folders of data: files named after their splits, shards as on the hub, and what ``save_to_disk`` leaves."""

import json
import re
from collections.abc import Mapping, Sequence
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

from nlptl.data.sources import READERS, SPLIT_NAMES, kind_of, unreadable
from nlptl.errors import DataError, listed

#: Name of a part of a split: train-00000-of-00001, maybe with a hash behind it.
SHARD = re.compile(r"(?P<name>.+)-(?P<number>\d+)-of-(?P<total>\d+)(-[0-9a-f]+)?", re.IGNORECASE)

#: Word of a name, also where a capital letter begins it.
WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


def folder_splits(
    path: Path, where: str, readers: Mapping[str, str] = READERS
) -> dict[str, list[Path]]:
    """Find each split's files in a folder.

    Looked for are, in this order: files named after a split, alone or in shards, here or in ``data/``; folders
    named after a split; files with a split's name as a word of theirs (``reviews_train.csv``); a single table
    that is not named after the validation or the test set.

    Args:
        path: Path of the folder.
        where: The flag and the name, for messages.
        readers: Kinds of files that are looked for, by file extension. Where a file of a usual kind
            (:data:`nlptl.data.sources.READERS`) and one of another fit the same split, the former is taken.

    Returns:
        Mapping from ``train``, ``validation`` and ``test``, as far as they are there, to their files in order.

    Raises:
        DataError: If there is no training set, two files could be a split, or a shard is missing.
    """
    homes = [home for home in (path, path / "data") if home.is_dir()]
    for home in homes:
        found = {split: _by_name(_tables(home, readers), split, where) for split in SPLIT_NAMES}
        if found["train"]:
            return {split: files for split, files in found.items() if files}
    for home in homes:
        found = {split: _by_folder(home, split, readers) for split in SPLIT_NAMES}
        if found["train"]:
            return {split: files for split, files in found.items() if files}
    for home in homes:
        found = {split: _by_word(_tables(home, readers), split, where) for split in SPLIT_NAMES}
        if found["train"]:
            return {split: files for split, files in found.items() if files}
    packed = [p for home in homes for p in sorted(home.iterdir()) if _is_packed(p)]
    for home in homes:
        tables = _tables(home)
        if len(tables) == 1 and not packed and not _held_out(tables):
            return {"train": tables}
    raise _no_train(path, where, readers, packed)


def left_out(
    path: Path, found: Mapping[str, Sequence[Path]], readers: Mapping[str, str] = READERS
) -> list[str]:
    """Name the files of a folder that are named after a split, and that no split has.

    A packed file counts only if its split is not there.

    Args:
        path: Path of the folder.
        found: The files of each split, from :func:`folder_splits`.
        readers: Kinds of files, as for :func:`folder_splits`.
    """
    homes = [home for home in (path, path / "data") if home.is_dir()]
    used = {file for files in found.values() for file in files}
    others = [p for home in homes for p in sorted(home.iterdir()) if p.is_file() and p not in used]
    return [
        p.name
        for p in others
        if (splits := _splits_in(p))
        and (kind_of(p, readers) or (unreadable(p) and splits - {*found}))
    ]


def _is_packed(path: Path) -> bool:
    """Whether a file is named after the training set and cannot be read as it is: packed, or a workbook."""
    return bool(unreadable(path)) and "train" in _splits_in(path) and path.is_file()


def _held_out(tables: Sequence[Path]) -> list[Path]:
    """List the files that are named after the validation or the test set, and not after the training set."""
    return [p for p in tables if (splits := _splits_in(p)) and "train" not in splits]


def _no_train(
    path: Path, where: str, readers: Mapping[str, str], packed: Sequence[Path]
) -> DataError:
    """Say that a folder has no training set, what it has instead, and what to do."""
    holds = listed([p.name for p in sorted(path.iterdir())]) or "nothing"
    found = f"{where}: the folder has no train{{{','.join(readers)}}}; it holds {holds}."
    if packed:
        return DataError(
            f"{found} {packed[0].name} cannot be read as it is.{unreadable(packed[0])}"
        )
    tables = _tables(path) + (_tables(path / "data") if (path / "data").is_dir() else [])
    if len(tables) == 1 and _held_out(tables):
        name, split = tables[0].name, min(_splits_in(tables[0]))
        found += (
            f" {name} is named after the {split} set, so it is not trained on. Put the training set beside "
            f"it, or give --train-file {tables[0]} to train on it."
        )
    return DataError(f"{found}{_below(path, where)}")


def _tables(home: Path, readers: Mapping[str, str] = READERS) -> list[Path]:
    return [p for p in sorted(home.iterdir()) if kind_of(p, readers) and p.is_file()]


def _usual(found: Sequence[Path]) -> list[Path]:
    """Of files that fit the same split, take those of a usual kind, if there are any."""
    return [p for p in found if kind_of(p)] or list(found)


def _below(path: Path, where: str) -> str:
    """Name the folders inside that hold a training set, such as the configurations of a hub data set."""
    good = []
    for folder in sorted(p for p in path.iterdir() if p.is_dir() and p.name != "data"):
        if any(_stem(p) in SPLIT_NAMES["train"] for p in _tables(folder)):
            good.append(f"{where}/{folder.name}")
    return f" Did you mean {' or '.join(good[:3])}?" if good else ""


def _stem(path: Path) -> str:
    """Return a file's name without its extension and without the number of a shard, in small letters."""
    shard = SHARD.fullmatch(path.stem)
    return (shard["name"] if shard else path.stem).lower()


def _by_name(tables: Sequence[Path], split: str, where: str) -> list[Path]:
    """List the file or the shards that are named after a split.

    Raises:
        DataError: If there are several files, or a shard is missing.
    """
    found = _usual([p for p in tables if _stem(p) in SPLIT_NAMES[split]])
    whole = [p for p in found if not SHARD.fullmatch(p.stem)]
    if len(whole) > 1 or (whole and len(found) > len(whole)):
        raise _unclear(where, split, found)
    return whole or _all_shards(found, split, where)


def _all_shards(found: Sequence[Path], split: str, where: str) -> list[Path]:
    shards = [(match, p) for p in found if (match := SHARD.fullmatch(p.stem))]
    if not shards:
        return []
    numbers = sorted(int(match["number"]) for match, _ in shards)
    totals = {(match["name"], int(match["total"]), p.suffix) for match, p in shards}
    total = next(iter(totals))[1]
    if len(totals) > 1 or len(set(numbers)) < len(numbers):
        raise _unclear(where, split, found)
    if lost := sorted(set(range(total)) - set(numbers)):
        raise DataError(
            f"{where}: the {split} split has {total} files by their names, and number {listed(lost, 5)} is "
            "missing. Download the folder again."
        )
    return [p for _, p in sorted(shards, key=lambda shard: int(shard[0]["number"]))]


def _unclear(where: str, split: str, found: Sequence[Path]) -> DataError:
    return DataError(
        f"{where}: several files could be the {split} split: {listed([p.name for p in found], 5)}. Say which: "
        f"--{split}-file NAME."
    )


def _by_folder(home: Path, split: str, readers: Mapping[str, str]) -> list[Path]:
    """List all tables in the folder that is named after a split."""
    folders = [
        p for p in sorted(home.iterdir()) if p.is_dir() and p.name.lower() in SPLIT_NAMES[split]
    ]
    return [table for folder in folders[:1] for table in _usual(_tables(folder, readers))]


def _by_word(tables: Sequence[Path], split: str, where: str) -> list[Path]:
    """List the one file that has this split's name, and no other split's, among the words of its own.

    Raises:
        DataError: If there are several.
    """
    found = _usual([p for p in tables if _splits_in(p) == {split}])
    if len(found) > 1:
        return _all_shards(found, split, where) or _refuse(where, split, found)
    return found


def _splits_in(path: Path) -> set[str]:
    """Name the splits that a file has in its name: ``reviews_train``, ``reviewsTrain`` or ``trainset``."""
    words = {word.lower() for word in WORD.findall(path.stem)}
    return {
        split
        for split, names in SPLIT_NAMES.items()
        if words & {name + end for name in names for end in ("", "set", "data")}
    }


def _refuse(where: str, split: str, found: Sequence[Path]) -> list[Path]:
    raise _unclear(where, split, found)


def joined(tables: Sequence[Any], where: str) -> Any:
    """Put the shards of a split together.

    Raises:
        DataError: If their columns differ.
    """
    if len(tables) == 1:
        return tables[0]
    from datasets import concatenate_datasets

    columns = sorted({listed(sorted(table.column_names)) for table in tables})
    if len(columns) > 1:
        raise DataError(
            f"{where}: the files of a split have different columns: {' / '.join(columns)}."
        )
    try:
        return concatenate_datasets(list(tables))
    except ValueError as error:
        raise DataError(
            f"{where}: the files of a split have columns of different types: {str(error).splitlines()[0]}"
        ) from error


def is_saved(path: Path) -> bool:
    """Whether a folder is what ``Dataset.save_to_disk`` leaves."""
    return (path / "state.json").is_file() and (path / "dataset_info.json").is_file()


def read_saved(path: Path, where: str) -> Any:
    """Open a data set that ``Dataset.save_to_disk`` wrote; its fingerprint is that of its files' content.

    Raises:
        DataError: If it is damaged, or names files elsewhere.
    """
    from datasets import Dataset

    try:
        state = json.loads((path / "state.json").read_text("utf-8"))
        files = [path / one["filename"] for one in state["_data_files"]]
        if any(file.resolve().parent != path.resolve() and not file.is_symlink() for file in files):
            raise ValueError("it names a file outside its folder")
        digest = sha256()
        for file in [path / "state.json", path / "dataset_info.json", *files]:
            with file.open("rb") as content:
                digest.update(file_digest(content, sha256).digest())
        table = Dataset.load_from_disk(str(path))
        table.data.validate(full=True)
    except Exception as error:  # the library raises a dozen kinds
        reason = (str(error).splitlines() or [""])[0][:200]
        raise DataError(
            f"{where}: the data set in this folder cannot be read ({type(error).__name__}: {reason}). Save it "
            "again with save_to_disk."
        ) from error
    if not len(table):
        raise DataError(f"{where}: the data set holds no rows.")
    table._fingerprint = digest.hexdigest()[:32]
    return table


def saved_splits(path: Path, where: str) -> Mapping[str, Any] | None:
    """Open what ``save_to_disk`` wrote of a training set or of several splits; None for another folder.

    A split with a name that none has here is None.

    Raises:
        DataError: If it is damaged.
    """
    if is_saved(path):
        return {"train": read_saved(path, where)}
    names = path / "dataset_dict.json"
    if not names.is_file():
        return None
    try:
        splits = [str(name) for name in json.loads(names.read_text("utf-8"))["splits"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{where}: dataset_dict.json does not list the splits.") from error
    known = {name for each in SPLIT_NAMES.values() for name in each}
    wanted = [name for name in splits if name in known]
    if lost := [name for name in wanted if not is_saved(path / name)]:
        raise DataError(f"{where}: dataset_dict.json names {listed(lost)}, which is not there.")
    return {**dict.fromkeys(splits), **{name: read_saved(path / name, where) for name in wanted}}
