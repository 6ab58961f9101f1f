"""Rows of different lengths in one flat array: real tokens only, in memory or in a file."""

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nlptl.data.padding import padded_length

#: Bytes of a file that are summed at a time.
CHUNK = 1 << 24


class Ragged:
    """Arrays of shape ``(length_i, width)`` behind one another.

    Args:
        lengths: Rows of each array.
        width: Columns.
        dtype: ``float32``, or ``float16`` for half the space and a relative error of about 2e-4.
        path: A file to map into memory; None keeps everything in memory.
        create: Make the file anew; else it must be there, with the right size.
        write: Open a file that is there for writing.

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
        """Some arrays, zeros behind the shorter ones: ``(batch, padded_length, width)``, float32."""
        begins, ends = self.offsets[list(indices)], self.offsets[[i + 1 for i in indices]]
        longest = padded_length(int((ends - begins).max()))
        # In torch's own memory, which is aligned alike every time: sums may differ in the last bit else.
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
    """CRC-32 of a file, read in pieces."""
    found = 0
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            found = zlib.crc32(piece, found)
    return found
