"""The part of a report or a comparison on what a checkpoint forgot of its pretraining."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nlptl.data.squad import read_questions
from nlptl.errors import DataError, ModelError
from nlptl.models.adapters import unwrap_peft
from nlptl.models.layer_map import depth
from nlptl.models.loading import BUNDLED, load_config, load_tokenizer, load_with_head
from nlptl.pretrain.corpus import load_corpus
from nlptl.pretrain.forgetting import (
    Forgetting,
    below_the_head,
    forgetting,
    similarity_forgetting,
)
from nlptl.pretrain.objectives import MASK_SEED
from nlptl.tasks.base import Task
from nlptl.train.features import body_states, pooled_states

OWN = "bundled/reviews without labels, and the passages of bundled/passages"
#: Note on whether a checkpoint saw the texts that forgetting is measured on.
UNSEEN = (
    "The texts were written for nlptl: no checkpoint saw them, except one that was pretrained further on the "
    "bundled data (nlptl run pretrain --corpus bundled/…)."
)
GIVEN = "Whether the checkpoint saw these texts while it was pretrained is not known."


def bundled_texts() -> list[str]:
    """Read the texts that come with nlptl, about 800 short reviews and the passages, in a mixed order."""
    reviews, _ = load_corpus([str(BUNDLED / "reviews/unlabelled.jsonl")], column="text", held_out=1)
    passages: list[str] = []
    for path in sorted((BUNDLED / "passages").glob("*.json")):
        passages += read_questions(path, "--dataset")["context"][:]
    texts = [*reviews["text"][:], *dict.fromkeys(passages)]
    return [texts[i] for i in np.random.default_rng(0).permutation(len(texts))]


def upstream_entry(
    name: str,
    adapted: Any,
    texts: Sequence[str] | None,
    accelerator: Any,
    most: int,
    *,
    adapter: tuple[Task, Path] | None = None,
    pooling: str | None = "auto",
    refit: bool = False,
) -> dict[str, Any]:
    """Make the report's part on forgetting.

    Args:
        name: The checkpoint before fine-tuning.
        adapted: The fine-tuned model; None leaves the part out, with the reason.
        texts: Held-out text; None takes :func:`bundled_texts`.
        accelerator: Accelerator with the device.
        most: Most pieces to score.
        adapter: The task and LoRA's adapter, to show that without it the checkpoint is unchanged.
        pooling: Pooling under the task's head, below the adapter.
        refit: Whether to measure what a refitted head wins back, too.
    """
    note, source = (UNSEEN, OWN) if texts is None else (GIVEN, "given")
    if adapted is None:
        return _upstream(None, source, note, "no trained model was given")
    if depth(unwrap_peft(adapted).config) != depth(load_config(name)):
        return _upstream(None, source, note, "the model has fewer blocks than the checkpoint")
    texts = bundled_texts() if texts is None else texts
    try:
        found = forgetting(name, adapted, texts, accelerator=accelerator, most=most, refit=refit)
    except DataError as error:
        return _upstream(None, source, note, str(error))
    except ModelError:  # a sentence encoder, or a checkpoint saved without its LM head
        states = (
            pooled_states(name, texts[:400], accelerator=accelerator)[:, -1],
            body_states(adapted, load_tokenizer(name), texts[:400], accelerator=accelerator)[:, -1],
        )
        found = similarity_forgetting(*states)
        return _upstream(found, source, note, None)
    entry = _upstream(found, source, note, None)
    if adapter is not None:
        task, path = adapter
        off = forgetting(
            name,
            _with_adapter(name, task, path, pooling).unload(),
            texts,
            accelerator=accelerator,
            most=most,
        )
        entry["recoverable"] = off.after == found.before and _same_body(
            _with_adapter(name, task, path, pooling).merge_and_unload(), adapted
        )
    return entry


def _upstream(
    found: Forgetting | None, source: str, note: str, missing: str | None
) -> dict[str, Any]:
    return {
        "missing": missing,
        "objective": found and found.objective,
        "unit": found and found.unit,
        "texts": source,
        "sequences": found and found.sequences,
        "tokens": found and found.tokens,
        "mask_seed": MASK_SEED if found and found.objective != "sentence-similarity" else None,
        "before": found and found.before,
        "after": found and found.after,
        "forgetting": found and found.loss,
        "ci95": found and [found.low, found.high],
        "recoverable": None,
        "head_refit_before": found and found.refit and found.refit[0],
        "head_refit_after": found and found.refit and found.refit[1],
        "contamination_note": note,
    }


def _with_adapter(name: str, task: Task, adapter: Path, pooling: str | None) -> Any:
    """Load the untouched checkpoint below a saved adapter."""
    from peft import PeftModel

    kind, head = task.auto_class, task.head
    model = load_with_head(name, auto_class=kind, head=head, pooling=pooling).model
    return PeftModel.from_pretrained(model, str(adapter))


def _same_body(one: Any, two: Any) -> bool:
    """Whether two models have the same embeddings and blocks, up to the rounding of a merge.

    Where checkpoint and adapter give the trained model, nothing but the adapter was trained, and taking it
    off loses nothing.
    """
    import torch

    first, second = below_the_head(one), below_the_head(two)
    return first.keys() == second.keys() and all(
        torch.allclose(first[key].cpu(), second[key].cpu(), rtol=1e-4, atol=1e-6) for key in first
    )
