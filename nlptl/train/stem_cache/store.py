"""Storage of states by a key of what they depend on: ragged arrays, in memory or in files."""

import json
import os
import shutil
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import torch
from torch import Tensor

from nlptl.data.padding import padded_length
from nlptl.errors import RunError
from nlptl.train.machine import from_main
from nlptl.train.stem_cache import directory

#: Bytes of a file that are summed at a time.
CHUNK = 1 << 24


class Ragged:
    """Arrays of shape ``(length_i, width)``, one after the other.

    Args:
        lengths: Number of rows of each array.
        width: Number of columns.
        dtype: ``float32``, or ``float16`` for half the space and a relative error of about 2e-4.
        path: File to map into memory; None keeps everything in memory.
        create: Whether to make a new file; else it must exist, with the right size.
        write: Whether to open an existing file for writing.

    Raises:
        OSError: If the file is missing or of another size.
    """

    def __init__(
        self,
        lengths: Sequence[int] | np.ndarray,
        width: int,
        dtype: str = "float32",
        path: Path | None = None,
        *,
        create: bool = True,
        write: bool = False,
    ) -> None:
        self.offsets = np.concatenate([[0], np.cumsum(np.asarray(lengths, dtype=np.int64))])
        self.width, self.dtype, self.path = width, dtype, path
        shape = (int(self.offsets[-1]), width)
        self.flat: Any
        if path is None:
            self.flat = np.zeros(shape, dtype)
            return
        size = shape[0] * width * np.dtype(dtype).itemsize
        if create:
            with path.open("wb") as file:
                file.truncate(size)
        elif path.stat().st_size != size:
            raise OSError(f"{path} has {path.stat().st_size} bytes, expected {size}")
        self.flat = np.memmap(path, dtype, "r+" if create or write else "r", shape=shape)

    def put(self, index: int, rows: np.ndarray) -> None:
        """Write one array."""
        self.flat[self.offsets[index] : self.offsets[index + 1]] = rows

    def padded(self, indices: Sequence[int]) -> Tensor:
        """Return some arrays, padded with zeros: ``(batch, padded_length, width)``, float32."""
        begins, ends = self.offsets[list(indices)], self.offsets[[i + 1 for i in indices]]
        longest = padded_length(int((ends - begins).max()))
        # In torch's own memory, which is always aligned in the same way: else sums may differ in the last bit.
        made = torch.zeros(len(begins), longest, self.width)
        filled = made.numpy()
        for row, (begin, end) in enumerate(zip(begins, ends, strict=True)):
            filled[row, : end - begin] = self.flat[begin:end]
        return made

    def flush(self) -> None:
        """Make sure that a file holds what was written."""
        if self.path is not None:
            self.flat.flush()

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return int(self.flat.nbytes)


def checksum(path: Path) -> int:
    """Compute the CRC-32 of a file, read in pieces."""
    found = 0
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            found = zlib.crc32(piece, found)
    return found


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
        widths: Size of a state by the name of its file, one for each stack of blocks.
        rows: Number of states of each text.
        dtype: Type of the states, ``float32`` or ``float16``.
        about: Description of the content.
    """

    weights: str
    key: str
    widths: Mapping[str, int]
    rows: np.ndarray
    dtype: str
    about: str

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"{self.key}-{self.dtype}"

    @property
    def path(self) -> Path:
        """The entry's folder on disk."""
        return directory.folder() / self.name

    def is_there(self, kind: str) -> bool:
        """Whether an earlier run left it, whole or not."""
        if kind == "memory":
            return self.name in _KEPT.get(self.weights, {})
        return (self.path / "meta.json").is_file()

    def open(self, kind: str) -> Arrays | None:
        """Open the arrays; return None if there are none, or they are damaged."""
        if kind == "memory":
            return _KEPT.get(self.weights, {}).get(self.name)
        try:
            sums = json.loads((self.path / "meta.json").read_text())["checksums"]
            arrays = self.arrays(self.path)
            if {name: checksum(self.path / name) for name in self.widths} != sums:
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
        """Make arrays for the states, in memory or in files of a folder."""
        return {
            name: Ragged(
                self.rows,
                width,
                self.dtype,
                folder and folder / name,
                create=create,
                write=write,
            )
            for name, width in self.widths.items()
        }


class Draft:
    """An entry while it is written to disk, under a name of its own: other runs may write the same one.

    Args:
        entry: Entry to be written.
        accelerator: Accelerator whose processes, all on this machine, write to the same files.

    Raises:
        RunError: If nothing can be written there.
    """

    def __init__(self, entry: Entry, accelerator: Any) -> None:
        self.entry, self.accelerator = entry, accelerator
        mark = from_main(uuid4().hex, accelerator)
        self.path = directory.folder() / f".{entry.key}.{mark}"
        if accelerator.is_main_process:
            self.path.mkdir(mode=0o700, parents=True)
            entry.arrays(self.path, create=True)
        accelerator.wait_for_everyone()
        self.arrays = entry.arrays(self.path, write=True)

    def publish(self) -> Arrays:
        """Give it its name, or drop it if another run was faster.

        Raises:
            RunError: If it was removed meanwhile.
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
        sums = {name: checksum(self.path / name) for name in self.entry.widths}
        record = {"checksums": sums, "about": self.entry.about}
        (self.path / "meta.json").write_text(json.dumps(record))
        if self.entry.path.exists() and self.entry.open("disk") is None:
            self.entry.drop("disk")  # damaged
        os.replace(self.path, self.entry.path)  # fails where another run's lies

    def drop(self) -> None:
        """Remove what was written."""
        shutil.rmtree(self.path, ignore_errors=True)
