"""Where states are kept, by a key of what they depend on: in memory for the runs that follow, or on disk."""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from nlptl.errors import RunError
from nlptl.train.processes import from_main
from nlptl.train.stem_cache import directory
from nlptl.train.stem_cache.ragged import Ragged, checksum

#: Seconds after which another run's unfinished entry counts as abandoned.
ABANDONED = 6 * 3600.0

Arrays = Mapping[str, Ragged]
#: States kept in memory for the next seeds of the same run: hash of the frozen weights, entry, arrays.
_KEPT: dict[str, dict[str, Arrays]] = {}


def free_states(*, but: str | None = None) -> None:
    """Free the states that are kept in memory for further runs on the same frozen blocks.

    Args:
        but: Hash of the weights whose states stay.
    """
    for weights in list(_KEPT):
        if weights != but:
            del _KEPT[weights]


@dataclass(frozen=True)
class Entry:
    """The states of one split.

    Attributes:
        weights: Hash of the frozen weights.
        key: Hash of all that the states depend on.
        names: What a file is called, one for each stack of blocks.
        rows: States of each text.
        width: Their size.
        dtype: ``float32`` or ``float16``.
        about: What it holds, in words.
    """

    weights: str
    key: str
    names: tuple[str, ...]
    rows: np.ndarray
    width: int
    dtype: str
    about: str

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.key}-{self.dtype}"

    @property
    def path(self) -> Path:
        """Its folder, where it is on disk."""
        return directory.folder() / self.name

    def is_there(self, kind: str) -> bool:
        """Whether an earlier run left it, whole or not."""
        if kind == "memory":
            return self.name in _KEPT.get(self.weights, {})
        return (self.path / "meta.json").is_file()

    def open(self, kind: str) -> Arrays | None:
        """The arrays; None if there are none, or damaged ones."""
        if kind == "memory":
            return _KEPT.get(self.weights, {}).get(self.name)
        try:
            sums = json.loads((self.path / "meta.json").read_text())["checksums"]
            arrays = self.arrays(self.path)
            if {name: checksum(self.path / name) for name in self.names} != sums:
                return None
            directory.touch(self.path)
        except (OSError, ValueError, KeyError):
            return None
        return arrays

    def drop(self, kind: str) -> None:
        """Remove what turned out to be wrong."""
        if kind == "memory":
            _KEPT.get(self.weights, {}).pop(self.name, None)
        else:
            shutil.rmtree(self.path, ignore_errors=True)

    def keep(self, arrays: Arrays) -> None:
        """Keep arrays in memory."""
        _KEPT.setdefault(self.weights, {})[self.name] = arrays

    def arrays(
        self, folder: Path | None, *, create: bool = False, write: bool = False
    ) -> dict[str, Ragged]:
        """Arrays for the states, in memory or in files of a folder."""
        return {
            name: Ragged(
                self.rows,
                self.width,
                self.dtype,
                folder and folder / name,
                create=create,
                write=write,
            )
            for name in self.names
        }


class Draft:
    """An entry while it is written to disk, under a name of its own: other runs may write the same one.

    Args:
        entry: What it shall be.
        accelerator: Its processes, all on this machine, write to the same files.

    Raises:
        RunError: If nothing can be written there.
    """

    def __init__(self, entry: Entry, accelerator: Any) -> None:
        self.entry, self.accelerator = entry, accelerator
        mark = from_main(uuid4().hex, accelerator)
        self.path = directory.folder() / f".{entry.key}.{mark}"
        if accelerator.is_main_process:
            self.path.mkdir(parents=True)
            entry.arrays(self.path, create=True)
        accelerator.wait_for_everyone()
        self.arrays = entry.arrays(self.path, write=True)

    def publish(self) -> Arrays:
        """Give it its name, or drop it if another run was faster.

        Raises:
            RunError: If it was taken away meanwhile.
        """
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            try:
                self._rename()
            except OSError:
                self.drop()
            directory.shrink(directory.limit(), sparing=ABANDONED)
        self.accelerator.wait_for_everyone()
        opened = self.entry.open("disk")
        if opened is None:
            raise RunError(
                f"The cache in {directory.folder()} was removed while it was written, or NLPTL_CACHE_GB is "
                "smaller than one entry. Use --cache memory or off."
            )
        return opened

    def _rename(self) -> None:
        sums = {name: checksum(self.path / name) for name in self.entry.names}
        record = {"checksums": sums, "about": self.entry.about}
        (self.path / "meta.json").write_text(json.dumps(record))
        if self.entry.path.exists() and self.entry.open("disk") is None:
            self.entry.drop("disk")  # damaged
        os.replace(self.path, self.entry.path)  # fails where another run's lies

    def drop(self) -> None:
        """Remove what was written."""
        shutil.rmtree(self.path, ignore_errors=True)
