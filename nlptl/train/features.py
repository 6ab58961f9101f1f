"""States of texts under a backbone, pooled to one vector per text for each layer."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from nlptl.data.batching import LengthBatches
from nlptl.data.encoding import encode_texts
from nlptl.data.padding import pad, real_tokens
from nlptl.models.layer_map import layer_map
from nlptl.models.loading import load_with_head
from nlptl.models.tokenizer import longest_input
from nlptl.train.loop import predict
from nlptl.train.losses import Loss

Pool = Literal["mean", "token"]


def pooled_states(
    name: str,
    texts: Sequence[str],
    *,
    accelerator: Any,
    max_length: int | None = None,
    batch_size: int = 64,
    pool: Pool = "mean",
) -> np.ndarray:
    """Compute the mean state of each text after the embeddings and after each encoder block.

    The mean is over all tokens that are not padding, with the model in eval mode. Only T5's encoder runs,
    and its last row is after the final norm.

    Args:
        name: Bundled name, directory or hub name; a head in the file is left out.
        texts: One or more texts.
        accelerator: Accelerator from :func:`nlptl.train.setup.new_accelerator`.
        max_length: Most tokens per text; None takes as many as the model, at most 512.
        batch_size: Texts per batch.
        pool: Pooling; ``token`` takes the token that the model's classification head reads, first or last,
            instead of the mean.

    Returns:
        States, shape ``(texts, blocks + 1, width)``, float32.
    """
    from transformers import AutoModel, AutoModelForSequenceClassification

    kind = AutoModelForSequenceClassification if pool == "token" else AutoModel
    loaded = load_with_head(name, auto_class=kind, head={})
    return body_states(
        loaded.model,
        loaded.tokenizer,
        texts,
        accelerator=accelerator,
        max_length=max_length,
        batch_size=batch_size,
        pool=pool,
    )


def body_states(
    model: Any,
    tokenizer: Any,
    texts: Sequence[str],
    *,
    accelerator: Any,
    max_length: int | None = None,
    batch_size: int = 64,
    pool: Pool = "mean",
) -> np.ndarray:
    """Compute :func:`pooled_states` of a model in memory, with or without a head."""
    limit = longest_input(model.config, tokenizer, max_length)
    ids, _ = encode_texts(texts, tokenizer, max_length=limit)
    seq2seq = getattr(model.config, "is_encoder_decoder", False)
    base = model.base_model
    body = (base.get_encoder() if seq2seq else base).to(accelerator.device)
    fill = tokenizer.pad_token_id

    def collate(features: Sequence[Any], rng: np.random.Generator) -> dict[str, Tensor]:
        return {
            "input_ids": torch.from_numpy(pad(features, "input_ids", fill)),
            "attention_mask": torch.from_numpy(real_tokens(features).astype(np.int64)),
        }

    rows = [{"input_ids": row} for row in ids]
    batches = LengthBatches(
        rows,
        [len(row) for row in ids],
        collate,
        batch_size=batch_size,
        process=(accelerator.process_index, accelerator.num_processes),
    )
    which = layer_map(model).pooled if pool == "token" else "mean"
    loss = LayerStates(body, which).train(body.training)
    outputs, _ = predict(loss, batches, accelerator=accelerator)
    return np.stack(outputs["states"])


class LayerStates(Loss):
    """A module with no loss at all: it gives one state per text for each layer.

    Args:
        body: An encoder.
        which: Pooling: ``mean``, or the ``first`` or ``last`` token.
    """

    def __init__(self, body: nn.Module, which: str) -> None:
        super().__init__(body)
        self.which = which

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Any]:
        """Return the states under ``outputs``, ``(batch, layers, width)``."""
        found = self.model(
            input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True
        )
        real = attention_mask.unsqueeze(-1)
        rows, last = torch.arange(len(real)), real.sum(1).squeeze(-1) - 1
        if self.which == "mean":
            each = [(states * real).sum(1) / real.sum(1) for states in found.hidden_states]
        else:
            at = last if self.which == "last" else 0 * last
            each = [states[rows, at] for states in found.hidden_states]
        states = torch.stack(each, 1)
        return {"loss": torch.zeros(()), "size": len(real), "outputs": {"states": states}}
