"""A masked language model that also points at spans, and the loss of pointing."""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from nlptl.models.adapters import unwrap_peft
from nlptl.pretrain.masked_lm import through_head
from nlptl.pretrain.objectives import LanguageLoss, language_loss

#: Logits of tokens that cannot be pointed at.
NEVER = torch.finfo(torch.float32).min


class PointingLM:
    """A class in the manner of transformers' auto classes: a masked language model with ``qa_outputs``.

    The added head has the name, the form and the start that it has in Hugging Face's class for question
    answering. So ``AutoModelForMaskedLM`` and ``AutoModelForQuestionAnswering`` both open what is saved.
    """

    @classmethod
    def from_pretrained(cls, path: Any, *, config: Any, **options: Any) -> Any:
        """Read a checkpoint; ``qa_outputs`` is missing, and new, where it was never trained."""
        options.pop("trust_remote_code", None)  # never
        kind = pointing_class(type(config))
        return kind.from_pretrained(path, config=config, trust_remote_code=False, **options)

    @classmethod
    def from_config(cls, config: Any) -> Any:
        """Make a new model."""
        return pointing_class(type(config))(config)


@cache
def pointing_class(kind: type) -> Any:
    """Return the masked language model of a kind of configuration, with a head that points besides.

    Raises:
        KeyError: If there is no such masked language model.
    """
    from transformers import MODEL_FOR_MASKED_LM_MAPPING

    language_model: Any = MODEL_FOR_MASKED_LM_MAPPING[kind]

    def __init__(self: Any, config: Any) -> None:
        language_model.__init__(self, config)
        self.qa_outputs = nn.Linear(config.hidden_size, 2)
        self.post_init()

    def forward(self: Any, *args: Any, **inputs: Any) -> Any:
        found = language_model.forward(self, *args, **inputs | {"output_hidden_states": True})
        start, end = self.qa_outputs(found.hidden_states[-1]).unbind(-1)
        found["start_logits"], found["end_logits"] = start, end
        return found

    # The name is what stands in the saved configuration.
    own = {"__init__": __init__, "forward": forward, "__module__": language_model.__module__}
    return type(language_model.__name__, (language_model,), own)


class SpanPointer(LanguageLoss):
    """A loss that points at the first and the last token of a span, among the tokens that are allowed.

    Without the masked language model's term the LM head has no gradient.

    Args:
        model: A model of :class:`PointingLM`.
    """

    find_unused = True

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        allowed: Tensor,
        rows: Tensor,
        targets: Tensor,
        token_type_ids: Tensor | None = None,
    ) -> dict[str, Any]:
        """Return the mean loss, and the nats of each start and end, ``(2 * questions,)``.

        Args:
            input_ids: Ids, ``(batch, length)``.
            attention_mask: Mask of the real tokens, same shape.
            allowed: True where an answer may begin and end, same shape.
            rows: Rows with a question, ``(questions,)``.
            targets: First and last token of their answers, ``(questions, 2)``.
            token_type_ids: 0 up to the passage and 1 from there on, for models that have token types.
        """
        model = unwrap_peft(self.model)
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        body = model.base_model
        states = body(input_ids=input_ids, attention_mask=attention_mask, **types).last_hidden_state
        logits = model.qa_outputs(states[rows]).float()  # (questions, length, 2)
        logits = logits.masked_fill(~allowed[rows].unsqueeze(-1), NEVER)
        losses = nn.functional.cross_entropy(logits, targets, reduction="none")
        self.keep(states, states[:, 0], attention_mask)
        return language_loss(losses.flatten())

    def project(self, states: Tensor) -> Tensor:
        """Send states through the LM head: ``(…, width)`` to ``(…, vocabulary)``."""
        return through_head(self.model, states)
