"""Pooling of a text's states to the one vector that a head reads, and the classifier above a pooled body."""

import inspect
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from nlptl.errors import ModelError
from nlptl.models.adapters import unwrap_peft
from nlptl.models.layer_map import ENCODER, layer_map
from nlptl.models.sentence_encoder import Declared, write_dense, write_modules
from nlptl.models.tracing import hidden, made_up_texts, undisturbed, width_of

Pooling = Literal["auto", "first", "mean", "last"]

#: Names of the first token and of the mean in configurations that have an entry for the classifier's pooling.
ENTRY = {"cls": "first", "bos": "first", "mean": "mean", "late": "mean"}
#: Entries of configurations for dropout before a head, in the order in which they count.
DROPOUT = ("classifier_dropout", "seq_classif_dropout", "hidden_dropout_prob", "dropout_rate")
#: Attributes that a pooled classifier has from its body.
OF_BODY = (
    *("device", "dtype", "name_or_path", "get_input_embeddings", "is_gradient_checkpointing"),
    *("gradient_checkpointing_enable", "gradient_checkpointing_disable"),
    *("enable_input_require_grads", "disable_input_require_grads", "_no_split_modules"),
)


def pool(states: Tensor, mask: Tensor | None, pooling: str) -> Tensor:
    """Make one vector of a text's states; padding, on the right, does not count.

    Args:
        states: States of the last block, ``(batch, length, width)``; with a length of 1 they are the pooled
            vectors already.
        mask: 1 for real tokens, 0 for padding, ``(batch, length)``; None if all are real.
        pooling: ``first``, ``mean`` or ``last``.

    Returns:
        Pooled states, ``(batch, width)``; a mean in float32.
    """
    if states.shape[1] == 1 or pooling == "first":
        return states[:, 0]
    if mask is None:
        mask = torch.ones(states.shape[:2], device=states.device)
    if pooling == "last":
        return states[torch.arange(len(states), device=states.device), mask.sum(1).long() - 1]
    share = mask / mask.sum(1, keepdim=True)
    return (states.float() * share.unsqueeze(-1)).sum(1)


def head_reads(config: Any) -> str:
    """Say what Hugging Face's classifier reads of a text: its ``first`` or ``last`` token, or the ``mean``.

    Decoders and encoder-decoders read the last token; an encoder reads the first, unless its configuration has
    an entry ``classifier_pooling``. The encoder of an encoder-decoder alone has no such class; its mean is
    taken (Ni et al., 2022, "Sentence-T5").
    """
    entry = getattr(config, "classifier_pooling", None)
    if entry is not None:
        return ENTRY.get(entry, "mean")
    if is_encoder_alone(config):
        return "mean"
    return "last" if getattr(config, "is_encoder_decoder", False) or is_causal(config) else "first"


def is_causal(config: Any) -> bool:
    """Whether each token sees only those before it: a language model that fills in no masks."""
    from transformers.modeling_layers import GenericForSequenceClassification
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CAUSAL,
    )
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_MASKED_LM_MAPPING_NAMES as MASKED,
    )
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING as CLASSIFIERS,
    )

    kind = config.model_type
    decoder = kind in CAUSAL and kind not in MASKED
    if type(config) in CLASSIFIERS:  # the form of decoders' heads in transformers
        head: Any = CLASSIFIERS[type(config)]
        decoder |= issubclass(head, GenericForSequenceClassification)
    return decoder and not getattr(config, "use_bidirectional_attention", False)


def is_encoder_alone(config: Any) -> bool:
    """Whether a checkpoint holds only the encoder of an encoder-decoder, such as T5's."""
    made = (getattr(config, "architectures", None) or [""])[0]
    return made.endswith(ENCODER)


def head_settings(config: Any, pooling: str) -> dict[str, Any] | None:
    """Return what makes Hugging Face's class read so: entries of its configuration; None if nothing does."""
    if is_encoder_alone(config):
        return None
    if head_reads(config) == pooling:
        return {}
    entry = getattr(config, "classifier_pooling", None)
    if entry is None or pooling == "last":
        return None
    first = "cls" if entry == "cls" or config.model_type != "eurobert" else "bos"
    return {"classifier_pooling": first if pooling == "first" else "mean"}


def reads_encoder(config: Any, pooling: str) -> bool:
    """Whether a pooled classifier has only the encoder of an encoder-decoder as its body."""
    both = getattr(config, "is_encoder_decoder", False)
    return is_encoder_alone(config) or bool(both and pooling != "last")


def body_class(config: Any, pooling: str) -> tuple[Any, dict[str, Any]]:
    """Return the class of the body of a pooled classifier, and arguments that leave out what it does not read.

    Raises:
        ModelError: If an encoder-decoder has no class for its encoder alone.
    """
    from transformers import AutoModel, AutoModelForTextEncoding

    auto: Any = AutoModelForTextEncoding if reads_encoder(config, pooling) else AutoModel
    known = auto._model_mapping
    if type(config) not in known:
        raise ModelError(
            f"--pooling {pooling}: transformers has no class for the encoder of {config.model_type} alone, so "
            "there are no states that a text's tokens could be pooled from. Use --pooling last, which its own "
            "head reads."
        )
    kind: Any = known[type(config)]
    takes = "add_pooling_layer" in inspect.signature(kind.__init__).parameters
    return auto, {"add_pooling_layer": False} if takes else {}


def check_pooling(config: Any, pooling: str, name: str) -> None:
    """Make sure that a checkpoint's states can be pooled so, before its weights are read.

    Args:
        config: Configuration of the checkpoint.
        pooling: ``first``, ``mean`` or ``last``.
        name: Name of the checkpoint, for the message.

    Raises:
        ModelError: If not; the message says why, and what to do.
    """
    if pooling == "first" and is_causal(config):
        raise ModelError(
            f"--pooling first: in {name}, a {config.model_type}, the first token sees no other, so its state "
            "says nothing of the text. Use last or mean."
        )
    if head_settings(config, pooling) is None:
        body_class(config, pooling)


class PooledClassifier(nn.Module):
    """A linear classifier on the pooled states of a body, where Hugging Face's class would read another token.

    It computes what sentence-transformers computes by the directory that :meth:`save_pretrained` writes. A
    vector of length 1 has entries of about 1 / sqrt(width), on which a head at the usual rates learns next to
    nothing. So the classifier reads ``scale`` times the vector, and the dense layer in the directory has
    ``scale`` times its weights: the same logits to the last bit, since the scale is a power of two.

    Args:
        body: One of Hugging Face's models without a head.
        pooling: ``first``, ``mean`` or ``last``.
        normalize: Whether the pooled state is scaled to length 1.
        max_length: Most tokens per text, for the directory.
        options: Arguments of the body's class with which it was opened, for the directory.

    Attributes:
        config: Configuration of the body, with the names of the labels.
        classifier: The linear layer that gives the logits.
        scale: Length of the vectors that it reads where they are normalized; else 1.
    """

    base_model_prefix = "body"

    def __init__(
        self,
        body: Any,
        *,
        pooling: str,
        normalize: bool = False,
        max_length: int | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.options = dict(options or {})
        self.config = config = body.config
        self.pooling, self.normalize, self.max_length = pooling, normalize, max_length
        self.scale = 2.0 ** round(math.log2(width_of(config)) / 2) if normalize else 1.0
        self.body = body
        rates = (getattr(config, name, None) for name in DROPOUT)
        self.dropout = nn.Dropout(next((r for r in rates if r is not None), 0.0))
        self.classifier = nn.Linear(width_of(config), config.num_labels)
        self.reset_head()

    def __getattr__(self, name: str) -> Any:
        """Look up what only the body knows, such as its device, there."""
        found = super().__getattr__
        return getattr(found("body"), name) if name in OF_BODY else found(name)

    def reset_head(self) -> None:
        """Draw new weights for the classifier."""
        std = getattr(self.config, "initializer_range", None) or 0.02
        nn.init.normal_(self.classifier.weight, std=std)
        nn.init.zeros_(self.classifier.bias)

    def rebuilt(self, config: Any) -> "PooledClassifier":
        """Build a classifier of the same kind with random weights for a changed configuration of the body."""
        return PooledClassifier(
            type(self.body)(config, **self.options),
            pooling=self.pooling,
            normalize=self.normalize,
            max_length=self.max_length,
            options=self.options,
        )

    @property
    def base_model(self) -> Any:
        """The body."""
        return self.body

    def embed(self, states: Tensor, mask: Tensor | None) -> Tensor:
        """Make the vector that the classifier reads of a text's states.

        Args:
            states: States that the body returns, ``(batch, length, width)``.
            mask: As in :func:`pool`.

        Returns:
            The vectors, ``(batch, width)``.
        """
        pooled = pool(states, mask, self.pooling)
        return self.scale * nn.functional.normalize(pooled, dim=-1) if self.normalize else pooled

    def forward(self, attention_mask: Tensor | None = None, **inputs: Any) -> Any:
        """Return an output with ``logits``, ``(batch, labels)``; the inputs are the body's."""
        from transformers.modeling_outputs import SequenceClassifierOutput

        inputs = {name: given for name, given in inputs.items() if name != "labels"}
        states = self.body(attention_mask=attention_mask, **inputs).last_hidden_state
        logits = self.classifier(self.dropout(self.embed(states, attention_mask)))
        return SequenceClassifierOutput(logits=logits)

    def save_pretrained(self, directory: str | Path) -> None:
        """Write a sentence-transformers directory: the body as plain transformers, pooling, a dense head.

        ``encode`` of what sentence-transformers opens there gives the logits. The names of the labels are in
        the configuration of the body (``id2label``).
        """
        directory = Path(directory)
        self.body.save_pretrained(directory)
        about = Declared(
            pooling=self.pooling,
            normalize=self.normalize,
            max_length=self.max_length,
            head="Dense",
            outputs=self.classifier.out_features,
            options=self.options,
        )
        folders = write_modules(directory, about, width=self.classifier.in_features)
        write_dense(
            directory / folders[-1],
            {"weight": self.scale * self.classifier.weight, "bias": self.classifier.bias},
        )

    def load_head(self, weights: Mapping[str, Tensor]) -> bool:
        """Take over the dense layer of a directory, if it fits; return whether it does."""
        own = dict(self.classifier.named_parameters())
        fits = {n: p.shape for n, p in own.items()} == {n: t.shape for n, t in weights.items()}
        if fits:
            weight, bias = weights["weight"] / self.scale, weights["bias"]
            self.classifier.load_state_dict({"weight": weight, "bias": bias})
        return fits


def pooling_of(model: Any) -> str:
    """Return what a model's head reads of a text: ``first``, ``last``, ``mean``, or anything else in words.

    Args:
        model: A model with a head, wrapped by peft or not.
    """
    base = unwrap_peft(model)
    return base.pooling if isinstance(base, PooledClassifier) else layer_map(base).pooled


@torch.no_grad()
def pools_last_block(model: Any) -> bool:
    """Whether what is pooled is the last block's output itself, so that the mean over a text can be kept.

    Of a norm between the two (T5's, ModernBERT's) the mean is not the norm of the mean.

    Args:
        model: A model with a head, wrapped by peft or not.
    """
    base, seen = unwrap_peft(model), []
    last = layer_map(base).blocks[-1]
    hook = last.register_forward_hook(lambda block, given, output: seen.append(hidden(output)))
    try:
        with undisturbed(base):
            base.eval()
            found = base.base_model(**made_up_texts(base)).last_hidden_state
    finally:
        hook.remove()
    return torch.equal(seen[-1], found)
