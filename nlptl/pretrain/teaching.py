"""A teacher's states of every piece of a corpus: computed once, kept on disk, read by row."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nlptl.data.encoding import tokenizer_hash
from nlptl.data.files import write_json
from nlptl.data.progress import counted
from nlptl.models.identity import checkpoint_hash
from nlptl.models.loading import load_with_head, save_pretrained
from nlptl.pretrain.corpus import pieces_hash
from nlptl.pretrain.objectives import Objective
from nlptl.pretrain.pieces import Pieces
from nlptl.pretrain.start import load_start
from nlptl.pretrain.warm_start import set_words, taught_embeddings
from nlptl.train.checkpoints import START
from nlptl.train.features import body_states
from nlptl.train.terminal import say

#: Number of pieces in memory at a time, and of pieces that give mean and deviation.
CHUNK = 4096
#: File beside a run's start that shows that its word vectors are a teacher's.
WORDS = "words.json"


@dataclass(frozen=True)
class Taught:
    """Pieces with a teacher's states.

    Attributes:
        pieces: Pieces with random access by index.
        states: States of the teacher, shape ``(pieces, values)``.
    """

    pieces: Any
    states: np.ndarray

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        """Return the piece, and its states under ``teacher``."""
        return {**self.pieces[index], "teacher": self.states[index]}


def learn_from(
    teacher: str,
    pieces: Pieces,
    tokenizer: Any,
    directory: Path,
    accelerator: Any,
    *,
    new: tuple[Any, Objective] | None = None,
) -> Pieces:
    """Let a teacher read the training pieces, once, and add its states to them.

    Args:
        teacher: Bundled name, directory or hub name.
        pieces: Pieces to train on.
        tokenizer: Tokenizer of the model.
        directory: Directory of the run; the states are kept in ``teacher/`` below it.
        accelerator: Accelerator with devices and processes.
        new: A new model and its objective: its word vectors start from the teacher's states.

    Returns:
        The pieces, each with the teacher's states under ``teacher``.
    """
    table = pieces.tables["train"]
    states = teacher_states(table, tokenizer, teacher, directory / "teacher", accelerator)
    taught = Taught(table, states)
    if new:
        model, objective = new
        teach_words(model, tokenizer, taught, directory, objective, accelerator)
    return pieces.with_features(taught)


def teacher_states(
    pieces: Any, tokenizer: Any, teacher: str, path: Path, accelerator: Any
) -> np.ndarray:
    """Compute the mean state of each piece at the teacher's middle and last block, standardised.

    From each value its mean is subtracted, and it is divided by its standard deviation, both over 4,096 pieces
    drawn from all: a cosine between raw states would mostly see what all texts have in common.

    Args:
        pieces: Dataset with the column ``input_ids``, without special tokens.
        tokenizer: Tokenizer that turns them back into texts, for the teacher to tokenize in its own way.
        teacher: Bundled name, directory or hub name.
        path: Folder of the states, which are found there again if nothing that they depend on has changed.
        accelerator: Accelerator with devices and processes; each process computes a share.

    Returns:
        States, shape ``(pieces, 2 * width)``, float16, memory-mapped.
    """
    file = path / f"{_key(pieces, tokenizer, teacher)[:16]}.npy"
    if not file.exists():  # the same answer on all processes, because all wait at the end
        say(f"teacher: {teacher} reads {len(pieces):,} pieces, once")
        _compute(pieces, tokenizer, teacher, file, accelerator)
    accelerator.wait_for_everyone()
    return np.load(file, mmap_mode="r")


def _key(pieces: Any, tokenizer: Any, teacher: str) -> str:
    """Hash the texts and the teacher's weights."""
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
    for start in counted(range(0, len(pieces), CHUNK), "teacher", unit="chunks"):
        states = read(range(start, min(start + CHUNK, len(pieces))))
        if kept is not None:
            kept[start : start + len(states)] = (states - mean) / deviation
    if kept is not None:
        kept.flush()
        partial.replace(file)


def teach_words(
    model: Any,
    tokenizer: Any,
    taught: Taught,
    directory: Path,
    objective: Objective,
    accelerator: Any,
) -> None:
    """Start a new model's word vectors, in place (:func:`~nlptl.pretrain.warm_start.taught_embeddings`).

    This is done once: the vectors go into the start that the run keeps, where a resumed run reads them.

    Args:
        model: New model, of which every process has a copy.
        tokenizer: Its tokenizer.
        taught: Training pieces and the teacher's states.
        directory: Directory of the run.
        objective: Objective, which knows the class of the model.
        accelerator: Accelerator whose main process computes.
    """
    start, draft = directory / START, directory / "models/draft"
    done = (start / WORDS).exists()
    accelerator.wait_for_everyone()  # all have looked before it appears
    if done:
        return
    if accelerator.is_main_process:
        say(f"word vectors: from the teacher's states of {len(taught.states):,} pieces")
        ids = list(taught.pieces.with_format("numpy", columns=["input_ids"])["input_ids"])
        new = load_start(directory, objective)
        sizes = new.config.vocab_size, new.config.hidden_size
        set_words(new, taught_embeddings(ids, taught.states, *sizes))
        save_pretrained(new, tokenizer, draft)
        for file in draft.glob("*.safetensors"):  # whole or not at all
            file.replace(start / file.name)
        shutil.rmtree(draft)
        write_json(start / WORDS, {"teacher_pieces": len(taught.states)})
    accelerator.wait_for_everyone()
    words = load_start(directory, objective).get_input_embeddings().weight
    model.get_input_embeddings().weight.data.copy_(words)
