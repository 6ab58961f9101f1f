"""Pretraining as one call: documents, pieces, masks, fit, held-out loss."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from nlptl.data import corpus
from nlptl.data.batching import LengthBatches
from nlptl.engine.hooks import EvaluateEvery, ProgressBar, Trackers
from nlptl.engine.setup import Plan, seed_dropout, train
from nlptl.models.building import set_dropout
from nlptl.models.loading import load_masked_lm, save_pretrained
from nlptl.records import FitState
from nlptl.tasks import masked_lm

#: The model as it was before its first update; what --resume builds on.
START = "models/update-0000000"


def start_model(
    directory: Path, build: Callable[[], tuple[Any, Any]], accelerator: Any
) -> tuple[Any, Any]:
    """Build a model and its tokenizer once, keep both, and read them back.

    A vocabulary that is trained twice on the same texts may order its entries differently, so a
    resumed run must never train its own again; and each process needs the same one.

    Args:
        directory: The run's directory; the model goes to :data:`START` below it.
        build: Makes the masked language model and its tokenizer.
        accelerator: Only the main process builds.

    Returns:
        The model, float32, and its tokenizer.
    """
    start = directory / START
    with accelerator.main_process_first():
        if not (start / "tokenizer.json").exists():
            save_pretrained(*build(), start)
    return load_masked_lm(str(start))


def pretrain(
    model: Any,
    tokenizer: Any,
    documents: Any,
    held_out: Any,
    *,
    plan: Plan,
    batch_size: int,
    max_length: int,
    mask_share: float,
    bag_weight: float,
    dropout: float,
    seed: int,
    accelerator: Any,
    output_dir: Path,
    eval_every: int,
    save_every: int,
    resume: bool = False,
) -> FitState:
    """Train a masked language model on documents, in place.

    Args:
        model: Already frozen where it shall not train.
        tokenizer: Its tokenizer.
        documents: Training texts, a dataset with the column ``text``.
        held_out: Texts that are scored with the same masks every time; losses go to ``log.jsonl``.
        plan: How long and how.
        batch_size: Pieces a batch, over all processes.
        max_length: Tokens a piece, special tokens included.
        mask_share: Share of the tokens to predict.
        bag_weight: Weight of predicting each piece's words from its first token.
        dropout: Rate while training.
        seed: Of order and masks.
        accelerator: Devices, processes, precision.
        output_dir: Where ``log.jsonl`` and ``checkpoints/`` go.
        eval_every: Updates between held-out losses.
        save_every: Updates between checkpoints.
        resume: Go on from the newest whole checkpoint.

    Returns:
        The final state.
    """
    set_dropout(model, dropout)
    seed_dropout(accelerator, seed)
    collate = masked_lm.collator(tokenizer, share=mask_share, bags=bag_weight > 0)

    def batches(texts: Any, *, seed: int | None) -> LengthBatches:
        with accelerator.main_process_first():
            pieces = corpus.tokenize(texts, tokenizer, max_length=max_length)
        process = (accelerator.process_index, accelerator.num_processes)
        lengths = corpus.lengths(pieces)
        return LengthBatches(
            pieces, lengths, collate, batch_size=batch_size, seed=seed, process=process
        )

    aside = batches(held_out, seed=None)
    score = EvaluateEvery(
        lambda m: masked_lm.held_out_loss(m, aside, accelerator),
        output_dir / "log.jsonl",
        accelerator,
        every=eval_every,
    )
    return train(
        masked_lm.MaskedPositions(model, bag_weight=bag_weight),
        batches(documents, seed=seed),
        step=masked_lm.masked_lm_step,
        plan=plan,
        accelerator=accelerator,
        hooks=[ProgressBar(accelerator), Trackers(accelerator), score],
        checkpoint_dir=output_dir / "checkpoints",
        checkpoint_every=save_every,
        resume=resume,
    )
