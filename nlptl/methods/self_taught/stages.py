"""First stages: what is learned from texts without labels, before any label is looked at."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nlptl.data.batching import LengthBatches
from nlptl.data.encoding import encode_texts
from nlptl.data.padding import pad, real_tokens
from nlptl.methods.self_taught.terms import Contrastive
from nlptl.models.adapters import unwrap_peft
from nlptl.models.tracing import width_of
from nlptl.modes.base import default_learning_rate, parse_mode
from nlptl.pretrain.further import piece_length
from nlptl.train.learner import Learner
from nlptl.train.machine import from_main
from nlptl.train.setup import TrainArgs


def contrastive(
    learner: Learner,
    texts: Any,
    *,
    steps: int,
    batch_size: int,
    temperature: float,
    rate: float | None = None,
    home: Path | None = None,
) -> dict[str, Any]:
    """Train all of a learner's model to tell texts apart, by the loss :class:`Contrastive`.

    A tenth of the texts is set aside; their loss, with dropout, is measured before and after.

    Args:
        learner: A learner with any mode, or none; its mode is ``full`` afterwards.
        texts: Texts, a dataset with the column ``text``.
        steps: Optimizer steps.
        batch_size: Texts per batch, over all processes.
        temperature: Temperature of the loss.
        rate: Peak rate; None takes the default of ``--mode full``.
        home: Folder of its checkpoints, from which a killed training goes on; None writes none.

    Returns:
        ``stage_before`` and ``stage_after``, the loss on what was set aside in nats a text; ``seconds``.
    """
    full, args = parse_mode("full"), learner.args
    learner.mode(full)
    config = unwrap_peft(learner.model).config
    length = piece_length(config, args.max_length)
    rows = texts["text"][:]
    order = np.random.default_rng([args.seed, 3]).permutation(len(rows))
    aside = max(1, len(rows) // 10)
    batches, held_out = (
        text_batches(learner, [rows[place] for place in part], length, batch_size, seed=seed)
        for part, seed in ((order[aside:], args.seed), (order[:aside], None))
    )
    # One token's state gets a projection as in the paper; a mean was trained to be compared as it is.
    made = Contrastive(
        learner.model, width_of(config), project=args.pooling != "mean", temperature=temperature
    )
    before = held_out_loss(made, held_out, learner.accelerator)
    peak = default_learning_rate(full, config) if rate is None else rate
    asked, learner.copies.args = (
        learner.copies.args,
        replace(args, augment=None),
    )  # not of these texts
    state = learner.fit(
        batches,
        loss=made,
        plan=TrainArgs(steps=steps, learning_rate=peak),
        home=home,
        resume=home is not None,
    )
    learner.copies.args = asked
    after = held_out_loss(made, held_out, learner.accelerator)
    made.unwatch()
    return {"stage_before": before, "stage_after": after, "seconds": state.clock.training}


def text_batches(
    learner: Learner, texts: Sequence[str], length: int, batch_size: int, *, seed: int | None
) -> LengthBatches:
    """Cut single texts into batches of similar length.

    Args:
        learner: Learner whose tokenizer and processes count.
        texts: The texts; longer ones are cut.
        length: Most tokens of a text.
        batch_size: Texts per batch, over all processes.
        seed: Seed of the order of a training set; None sorts by length.
    """
    ids, _ = encode_texts(texts, learner.tokenizer, max_length=length)
    fill, accelerator = learner.tokenizer.pad_token_id, learner.accelerator

    def collate(
        features: Sequence[Mapping[str, Any]], rng: np.random.Generator
    ) -> dict[str, torch.Tensor]:
        return {
            "input_ids": torch.from_numpy(pad(features, "input_ids", fill)),
            "attention_mask": torch.from_numpy(real_tokens(features).astype(np.int64)),
        }

    return LengthBatches(
        [{"input_ids": row} for row in ids],
        [len(row) for row in ids],
        collate,
        batch_size=batch_size,
        seed=seed,
        process=(accelerator.process_index, accelerator.num_processes),
    )


@torch.no_grad()
def held_out_loss(loss: Contrastive, batches: LengthBatches, accelerator: Any) -> float:
    """Measure the loss on texts that are not trained on, under the same dropout each time.

    Args:
        loss: The loss; it is in train mode meanwhile, because dropout is what its pairs differ by.
        batches: Their batches, sorted by length.
        accelerator: Accelerator of the run; the main process' share counts.
    """
    training = loss.training
    loss.to(accelerator.device).train()
    sums, texts = 0.0, 0
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for batch in batches.epoch(0):
            with accelerator.autocast():
                found = loss(**batch.to(accelerator.device).inputs)
            sums += float(found["loss"]) * len(batch.indices)
            texts += len(batch.indices)
    loss.train(training)
    return from_main(sums / texts if texts else 0.0, accelerator)
