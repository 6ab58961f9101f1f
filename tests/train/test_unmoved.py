"""Parameters that no text moves: several processes must know of them before the first step."""

import pytest
import torch

from nlptl.errors import RunError
from nlptl.models.loading import quiet_transformers
from nlptl.models.zoo import tiny_inputs, tiny_model
from nlptl.modes.base import apply_mode, parse_mode
from nlptl.train.setup import _unused_explained, unmoved


@pytest.mark.parametrize("kind", ["xlnet", "markuplm", "bert"])
def test_they_are_those_that_get_no_gradient(kind):
    with quiet_transformers():
        model, _ = apply_mode(tiny_model(kind), parse_mode("full"), newly_initialized=frozenset())
    inputs, _ = tiny_inputs(model, "sequence classification")
    model.train()(**inputs).logits.square().sum().backward()
    without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert unmoved(model) == without
    assert bool(without) == (kind != "bert")


def test_under_an_adapter_only_what_trains_counts():
    with quiet_transformers():
        mode = parse_mode("lora")
        model, _ = apply_mode(tiny_model("xlnet"), mode, newly_initialized=frozenset())
    assert unmoved(model) == []


def test_of_a_model_without_a_map_nothing_is_known():
    assert unmoved(torch.nn.Linear(2, 2)) == []


def test_torchs_error_says_what_to_do():
    with pytest.raises(RunError, match="Set find_unused = True"), _unused_explained():
        raise RuntimeError("Expected to have finished reduction in the prior iteration before …")
    with pytest.raises(RuntimeError, match="other"), _unused_explained():
        raise RuntimeError("other")
