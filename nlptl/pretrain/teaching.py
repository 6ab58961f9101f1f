"""A teacher's states of every piece of a corpus: computed once, kept on disk, read by row."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from nlptl.data.encoding import tokenizer_hash
from nlptl.models.identity import checkpoint_hash
from nlptl.models.loading import load_with_head
from nlptl.pretrain.corpus import pieces_hash
from nlptl.train.features import body_states
from nlptl.train.terminal import say

#: Pieces that are held in memory at a time, and that give mean and deviation.
CHUNK = 4096


@dataclass(frozen=True)
class Taught:
    """Pieces with a teacher's states.

    Attributes:
        pieces: Random access by index.
        states: Shape ``(pieces, values)``.
    """

    pieces: Any
    states: np.ndarray

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        """The piece, and its states under ``teacher``."""
        return {**self.pieces[index], "teacher": self.states[index]}


def teacher_states(
    pieces: Any, tokenizer: Any, teacher: str, path: Path, accelerator: Any
) -> np.ndarray:
    """Mean state of each piece at the teacher's middle and last block, standardised.

    Each value loses its mean and is divided by its standard deviation, both over 4,096 pieces drawn from all:
    a cosine between raw states would mostly see what all texts have in common.

    Args:
        pieces: Column ``input_ids``, without special tokens.
        tokenizer: Turns them back into texts, for the teacher to tokenize in its own way.
        teacher: Bundled name, directory or hub name.
        path: Folder where they are kept; found there again if nothing that they depend on has changed.
        accelerator: Devices and processes; each computes a share.

    Returns:
        Shape ``(pieces, 2 * width)``, float16, memory-mapped.
    """
    file = path / f"{_key(pieces, tokenizer, teacher)[:16]}.npy"
    if not file.exists():  # the same answer on all processes, because all wait at the end
        say(f"teacher: {teacher} reads {len(pieces):,} pieces, once")
        _compute(pieces, tokenizer, teacher, file, accelerator)
    accelerator.wait_for_everyone()
    return np.load(file, mmap_mode="r")


def _key(pieces: Any, tokenizer: Any, teacher: str) -> str:
    """Hash of the texts and the teacher's weights."""
    return pieces_hash(pieces, f"2 {checkpoint_hash(teacher)} {tokenizer_hash(tokenizer)}")


def _compute(pieces: Any, tokenizer: Any, teacher: str, file: Path, accelerator: Any) -> None:
    from transformers import AutoModel

    partial = file.with_suffix(".partial")
    loaded = load_with_head(teacher, auto_class=AutoModel, head={})

    def read(rows: Any) -> np.ndarray:
        texts = tokenizer.batch_decode(pieces[rows]["input_ids"], skip_special_tokens=True)
        layers = body_states(loaded.model, loaded.tokenizer, texts, accelerator=accelerator)
        middle = (layers.shape[1] - 1) // 2
        return np.concatenate([layers[:, middle], layers[:, -1]], axis=1)

    drawn = read(np.random.default_rng(0).permutation(len(pieces))[:CHUNK])
    mean, deviation, kept = drawn.mean(0), drawn.std(0) + 1e-6, None
    if accelerator.is_main_process:
        file.parent.mkdir(parents=True, exist_ok=True)
        kept = np.lib.format.open_memmap(partial, "w+", np.float16, (len(pieces), len(mean)))
    for start in tqdm(
        range(0, len(pieces), CHUNK), desc="teacher", disable=not accelerator.is_main_process
    ):
        states = read(range(start, min(start + CHUNK, len(pieces))))
        if kept is not None:
            kept[start : start + len(states)] = (states - mean) / deviation
    if kept is not None:
        kept.flush()
        partial.replace(file)
