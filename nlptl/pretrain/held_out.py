"""Measures of how well a checkpoint does what it was pretrained for, on any text."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nlptl.data.batching import LengthBatches
from nlptl.data.encoding import numbers_of
from nlptl.data.files import read_object
from nlptl.data.progress import counted, quiet_datasets
from nlptl.errors import DataError
from nlptl.metrics.ratio import ratio_with_error
from nlptl.models.families import check_family
from nlptl.models.loading import load_config, load_tokenizer, load_trained
from nlptl.models.tokenizer import longest_input
from nlptl.pretrain.corpus import special_frame, tokenize
from nlptl.pretrain.masked_lm import MaskedLM
from nlptl.pretrain.objectives import Fixed, Objective
from nlptl.pretrain.span_corruption import SpanCorruption
from nlptl.train.machine import gather


def objective_of(name: str) -> Objective:
    """Return the objective that a checkpoint's family was pretrained with.

    Raises:
        ModelError: If the checkpoint cannot be read or its family has no pretraining objective.
    """
    kind = load_config(name).model_type
    check_family(kind, name)
    return SpanCorruption() if kind == "t5" else MaskedLM()


def pretraining_flops(name: str) -> float | None:
    """Sum the operations that went into a checkpoint, if all of them are known.

    A run leaves its record beside its ``model/``; the record names what the run started from, and so on back
    to a model that was new.

    Args:
        name: Checkpoint as for :func:`upstream_loss`; only a run's ``model/`` on this machine has a record.

    Returns:
        The sum (:func:`nlptl.models.flops.training_flops`), or None.
    """
    total, start, seen = 0.0, name, set()
    while start is not None:
        record = Path(start).resolve().with_name("result.json")
        if Path(start).name != "model" or record in seen or not record.is_file():
            return None
        try:
            found = read_object(record, "training_flops", "model")
        except ValueError:  # damaged
            return None
        if found["training_flops"] is None:
            return None
        seen.add(record)
        total, start = total + found["training_flops"], found["model"]
    return total


def upstream_loss(
    name: str,
    texts: Sequence[str],
    *,
    accelerator: Any,
    objective: Objective | None = None,
    max_length: int = 128,
    batch_size: int = 32,
) -> dict[str, float]:
    """Measure the held-out loss of a checkpoint's own objective, with fixed masks and dropout off.

    The masks depend on the tokenizer and on the texts alone, so that figures of checkpoints with one
    tokenizer can be compared.

    Args:
        name: Bundled name, directory or hub name; its pretraining head must be in the file.
        texts: Texts to measure on.
        accelerator: Accelerator from :func:`nlptl.train.setup.new_accelerator`.
        objective: Objective; None takes the family's (:func:`objective_of`).
        max_length: Most tokens per input, or fewer if the model takes fewer; longer texts are cut into pieces.
        batch_size: Pieces per batch.

    Returns:
        ``loss`` in nats per predicted token, its standard error ``se`` over texts (NaN of a single one), and
        ``tokens``.

    Raises:
        ModelError: If the checkpoint has no pretraining head.
    """
    objective = objective or objective_of(name)
    tokenizer = load_tokenizer(name, split_special_tokens=False)
    model = load_trained(name, objective.auto_class)
    longest = longest_input(model.config, tokenizer, None, usual=max_length)
    batches = fixed_batches(
        texts,
        tokenizer,
        objective,
        max_length=longest,
        batch_size=batch_size,
        process=(accelerator.process_index, accelerator.num_processes),
    )
    loss = objective.loss(model).to(accelerator.device)
    return held_out_loss(loss, batches, objective, accelerator)


def fixed_batches(
    texts: Sequence[str],
    tokenizer: Any,
    objective: Objective,
    *,
    max_length: int = 128,
    batch_size: int = 32,
    most: int | None = None,
    process: tuple[int, int] = (0, 1),
) -> LengthBatches:
    """Make batches of texts as pieces, corrupted in the same way every time.

    Args:
        texts: Texts to cut into pieces.
        tokenizer: Tokenizer of the checkpoint.
        objective: Objective that corrupts them.
        max_length: Most tokens per input; longer texts are cut into pieces.
        batch_size: Pieces per batch.
        most: Most pieces; the first ones are taken.
        process: Rank of this process and number of processes, if each is to have its share.

    Raises:
        DataError: If no text is long enough.
    """
    from datasets import Dataset

    documents = Dataset.from_dict({"text": list(texts)})
    with quiet_datasets():
        pieces = tokenize(documents, tokenizer, room=objective.room(max_length, tokenizer))
    if not len(pieces):
        raise DataError("no text of six tokens or more to measure the held-out loss on")
    pieces = pieces.select(range(min(most or len(pieces), len(pieces))))
    collate, lengths = objective.collator(tokenizer), numbers_of(pieces, "length")
    return LengthBatches(Fixed(pieces), lengths, collate, batch_size=batch_size, process=process)


def document_of(pieces: Any) -> np.ndarray:
    """Number the documents that pieces were cut from, ``(pieces,)``, from 0 on.

    Args:
        pieces: Pieces from :func:`nlptl.pretrain.corpus.tokenize`, in their order.
    """
    return np.cumsum(np.asarray(pieces.with_format("numpy")["first"][:], int)) - 1


def held_out_loss(
    loss: torch.nn.Module, batches: LengthBatches, objective: Objective, accelerator: Any
) -> dict[str, float]:
    """Measure the loss in nats per predicted token on held-out text, corrupted in the same way every time.

    Args:
        loss: Loss from :meth:`nlptl.pretrain.objectives.Objective.loss`, wrapped or not.
        batches: Batches of :class:`nlptl.pretrain.objectives.Fixed` pieces, without a shuffle seed; each
            process has its share.
        objective: The same objective.
        accelerator: Accelerator with device and processes.

    Returns:
        ``loss``, its standard error ``se`` over documents (predicted tokens of one document are not
        independent; NaN of a single one), and ``tokens``.
    """
    parts = gather([piece_losses(loss, batches, objective, accelerator.device)], accelerator)
    nats, counts = (np.sum(column, axis=0) for column in zip(*parts, strict=True))
    document = document_of(batches.features.pieces)
    sums = np.bincount(document, nats), np.bincount(document, counts)
    value, error = ratio_with_error(zip(*sums, strict=True))
    return {"loss": value, "se": error, "tokens": int(counts.sum())}


@torch.no_grad()
def piece_losses(
    loss: torch.nn.Module, batches: LengthBatches, objective: Objective, device: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the nats and count the predicted tokens of each piece, in the pieces' order, with dropout off.

    Args:
        loss: Loss from :meth:`nlptl.pretrain.objectives.Objective.loss`; it stays in the mode it is in.
        batches: Batches from :func:`fixed_batches`.
        objective: The same objective.
        device: Device of the model.

    Returns:
        Two arrays of shape ``(pieces,)``: sums of nats, and numbers of tokens; 0 of another process' share.
    """
    was_training = loss.training
    loss.eval()
    sums, counts = np.zeros(len(batches.lengths)), np.zeros(len(batches.lengths))
    for batch in counted(batches.epoch(0), "held-out texts", len(batches)):
        losses = loss(**batch.to(device).inputs)["outputs"]["losses"]
        if batch.indices:
            at = np.asarray(batch.indices)[objective.rows(batch.inputs).cpu().numpy()]
            np.add.at(sums, at, losses.double().cpu().numpy())
            np.add.at(counts, at, 1)
    loss.train(was_training)
    return sums, counts


@torch.no_grad()
def pseudo_log_likelihood(
    model: Any, tokenizer: Any, text: str, *, batch_size: int = 64
) -> np.ndarray:
    """Compute log p(token | all others) of each token, one mask per position (Salazar et al., 2020, eq. 1).

    Args:
        model: A masked language model in eval mode.
        tokenizer: Its tokenizer.
        text: A text that the model takes whole; special tokens are not scored.
        batch_size: Positions per forward pass.

    Returns:
        Nats, shape ``(tokens,)``; their sum is the text's PLL.
    """
    before, after = special_frame(tokenizer)
    own = tokenizer(text, add_special_tokens=False)["input_ids"]
    ids = torch.tensor([*before, *own, *after])
    places = torch.arange(len(own)) + len(before)
    found = []
    for part in places.split(batch_size):
        masked = ids.repeat(len(part), 1)
        rows = torch.arange(len(part))
        masked[rows, part] = tokenizer.mask_token_id
        logits = model(input_ids=masked.to(model.device)).logits[rows, part].float().cpu()
        found.append(logits.log_softmax(-1)[rows, ids[part]])
    return torch.cat(found).numpy() if found else np.zeros(0)


def pseudo_perplexity(
    model: Any, tokenizer: Any, texts: Sequence[str], *, batch_size: int = 64
) -> float:
    """Compute exp of minus the mean PLL per token over all texts (Salazar et al., 2020, eq. 3).

    Figures of models with different vocabularies cannot be compared.
    """
    scores = [pseudo_log_likelihood(model, tokenizer, t, batch_size=batch_size) for t in texts]
    return float(np.exp(-np.concatenate(scores).mean()))
