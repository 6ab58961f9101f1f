"""Pieces of a corpus: cut once, checked against those that a run began with, and put into batches."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from nlptl.data.batching import LengthBatches
from nlptl.data.encoding import numbers_of
from nlptl.data.files import read_kept, write_json
from nlptl.errors import DataError
from nlptl.pretrain import corpus
from nlptl.pretrain.objectives import Fixed, Objective
from nlptl.records import Collate
from nlptl.train.checkpoints import START

#: Names in messages of the texts of the training pieces and of the scored ones.
TEXTS = {"train": corpus.TRAINING, "held_out": "held-out texts"}
#: File beside the start that says which pieces the run has.
PIECES = "pieces.json"


@dataclass(frozen=True)
class Pieces:
    """A corpus as a pretraining run sees it.

    Attributes:
        tables: ``train`` and ``held_out``, as from :func:`nlptl.pretrain.corpus.tokenize`.
        documents: Number of texts that each was cut from.
        features: Training data: the training table, or that table with a teacher's states.
    """

    tables: Mapping[str, Any]
    documents: Mapping[str, int]
    features: Any

    @property
    def lengths(self) -> np.ndarray:
        """Plain tokens of each training piece, ``(pieces,)``."""
        return numbers_of(self.tables["train"], "length")

    def with_features(self, features: Any) -> "Pieces":
        """Return the same pieces with more for each, such as a teacher's states."""
        return replace(self, features=features)

    def training(
        self, collate: Collate, batch_size: int, accelerator: Any, *, seed: int
    ) -> LengthBatches:
        """Return the batches that are trained on."""
        process = (accelerator.process_index, accelerator.num_processes)
        return LengthBatches(
            self.features, self.lengths, collate, batch_size=batch_size, seed=seed, process=process
        )

    def held_out(self, collate: Collate, batch_size: int, accelerator: Any) -> LengthBatches:
        """Return the batches that are scored, corrupted in the same way every time."""
        table = self.tables["held_out"]
        process = (accelerator.process_index, accelerator.num_processes)
        return LengthBatches(
            Fixed(table),
            numbers_of(table, "length"),
            collate,
            batch_size=batch_size,
            process=process,
        )


def cut_pieces(
    documents: Any,
    held_out: Any,
    tokenizer: Any,
    objective: Objective,
    max_length: int,
    output_dir: Path,
    accelerator: Any,
) -> Pieces:
    """Cut training and held-out texts into pieces.

    Args:
        documents: Training texts, a dataset with the column ``text``.
        held_out: Texts that are scored.
        tokenizer: Tokenizer of the model.
        objective: Objective, which knows how many plain tokens an input has room for.
        max_length: Tokens per input, special tokens included.
        output_dir: Directory of the run; a resumed run must have the same pieces.
        accelerator: Accelerator of which one process tokenizes for all.

    Raises:
        DataError: If there are none, or the corpus has changed since the run began.
    """
    room = objective.room(max_length, tokenizer)
    texts = {"train": documents, "held_out": held_out}
    with accelerator.main_process_first():
        tables = {name: corpus.tokenize(t, tokenizer, room=room) for name, t in texts.items()}
    check_pieces(output_dir / START / PIECES, tables, accelerator)
    return Pieces(tables, {name: len(t) for name, t in texts.items()}, tables["train"])


def check_pieces(file: Path, pieces: Mapping[str, Any], accelerator: Any) -> None:
    """Make sure that a run has something to train on and to score on, and continues with the pieces it had.

    Args:
        file: File with their number and hashes of their lengths and of their tokens.
        pieces: Pieces to train on (``train``) and to score on (``held_out``), as from
            :func:`nlptl.pretrain.corpus.tokenize`.
        accelerator: Accelerator whose main process writes the file.

    Raises:
        DataError: If there are none, or the corpus has changed since the run began.
    """
    corpus.check_any_piece({TEXTS[name]: len(table) for name, table in pieces.items()})
    found = {
        name: {
            "pieces": len(table),
            "sha256": sha256(numbers_of(table, "length").astype(np.int64).tobytes()).hexdigest(),
            "tokens_sha256": corpus.pieces_hash(table),
        }
        for name, table in pieces.items()
    }
    before = read_kept(file, *found) if file.exists() else found
    accelerator.wait_for_everyone()
    if changed := [name for name in found if before[name] != found[name]]:
        how = [
            _difference(TEXTS[name], before[name]["pieces"], found[name]["pieces"])
            for name in changed
        ]
        raise DataError(
            f"--resume: the corpus is not the one that the run began with ({', '.join(how)}), so it cannot "
            "continue exactly. Bring the old texts back, or start again in another --output-dir."
        )
    if accelerator.is_main_process:
        write_json(file, found)


def _difference(texts: str, then: int, now: int) -> str:
    end = "as many now, with other tokens" if now == then else f"{now:,} now"
    return f"{then:,} pieces of {texts} then, {end}"
