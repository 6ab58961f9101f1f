"""Linear probes: what a frozen body already knows, read off by one linear layer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nlptl.data.batching import LengthBatches
from nlptl.data.encoding import encode_texts
from nlptl.data.padding import pad, real_tokens
from nlptl.engine.predict import predict
from nlptl.models.loading import load_with_head, longest_input
from nlptl.records import Batch, StepOutput

#: Inverse strengths of the probe's L2 penalty; the best on validation data is taken.
GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)


@dataclass(frozen=True)
class Probe:
    """A fitted probe.

    Attributes:
        inverse_penalty: What was chosen from the grid (scikit-learn's C).
        validation: Accuracy on the validation examples.
        predictions: Class of each test example, shape ``(n,)``.
        accuracy: Share of the test examples that are right.
    """

    inverse_penalty: float
    validation: float
    predictions: np.ndarray
    accuracy: float


def pooled_states(
    name: str,
    texts: Sequence[str],
    *,
    accelerator: Any,
    max_length: int | None = None,
    batch_size: int = 64,
) -> np.ndarray:
    """Mean state of each text after the embeddings and after each encoder block.

    The mean is over all tokens that are no padding, the model in eval mode. Of T5 only the encoder runs,
    and its last row is after the final norm.

    Args:
        name: Bundled name, directory or hub name; a head in the file is left out.
        texts: One or more.
        accelerator: From :func:`nlptl.engine.setup.new_accelerator`.
        max_length: Tokens a text at most; None takes what the model does, at most 512.
        batch_size: Texts a batch.

    Returns:
        Shape ``(texts, blocks + 1, width)``, float32.
    """
    from transformers import AutoModel

    loaded = load_with_head(name, auto_class=AutoModel, head={})
    limit = longest_input(loaded.model.config, loaded.tokenizer, max_length)
    ids, _ = encode_texts(texts, loaded.tokenizer, max_length=limit)
    seq2seq = getattr(loaded.model.config, "is_encoder_decoder", False)
    body = (loaded.model.get_encoder() if seq2seq else loaded.model).to(accelerator.device)
    fill = loaded.tokenizer.pad_token_id

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
    outputs, _ = predict(body, batches, step=_pool, accelerator=accelerator)
    return np.stack(outputs["states"])


def _pool(model: nn.Module, batch: Batch) -> StepOutput:
    layers = model(**batch.inputs, output_hidden_states=True).hidden_states
    real = batch.inputs["attention_mask"].unsqueeze(-1)
    means = [(states * real).sum(1) / real.sum(1) for states in layers]
    return StepOutput(torch.zeros(()), len(batch.indices), {"states": torch.stack(means, 1)})


def fit_probe(
    train: tuple[np.ndarray, Sequence[Any]],
    validation: tuple[np.ndarray, Sequence[Any]],
    test: tuple[np.ndarray, Sequence[Any]],
    *,
    grid: Sequence[float] = GRID,
) -> Probe:
    """Fit multinomial logistic regression on standardised states (L-BFGS: a convex fit, no seed).

    Args:
        train: States ``(n, width)`` and their classes.
        validation: The same; chooses the penalty, the strongest among equals.
        test: The same; scored once.
        grid: Inverse penalties to try.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    best: Any = None
    for strength in sorted(grid):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000))
        score = float(model.fit(*train).score(*validation))
        if best is None or score > best[0]:
            best = score, strength, model
    predictions = best[2].predict(test[0])
    right = float(np.mean(predictions == np.asarray(test[1])))
    return Probe(best[1], best[0], predictions, right)
