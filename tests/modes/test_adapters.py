"""Adapters: nothing changes at step 0, merging changes nothing, and the head is saved with each of them."""

import sys
from pathlib import Path

import pytest
import torch
from datasets import ClassLabel, Dataset

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "train"))
from test_learner import learner
from test_modes import load
from test_parts import step_three_times

from nlptl.errors import ModeError
from nlptl.models.adapters import (
    can_merge,
    kind_of,
    merge_adapter,
    open_adapter,
    save_adapter,
    scaled_names,
)
from nlptl.models.layer_map import layer_map
from nlptl.modes.base import apply_mode, parse_mode

MERGED = ("lora-r4", "rslora-r4", "dora-r4", "ia3")


def logits_of(model, seed=1):
    ids = torch.randint(10, 60, (4, 9), generator=torch.Generator().manual_seed(seed))
    ids[:, -1] = model.config.eos_token_id or 3
    with torch.no_grad():
        return model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).logits


def applied(checkpoints, family, name):
    loaded = load(checkpoints, family)
    return apply_mode(
        loaded.model, parse_mode(name), newly_initialized=loaded.new, task_type="SEQ_CLS"
    )[0]


@pytest.mark.parametrize("name", MERGED)
def test_at_step_0_the_model_is_the_base(checkpoints, family, name):
    torch.manual_seed(0)
    expected = logits_of(load(checkpoints, family).model)
    torch.manual_seed(0)
    found = logits_of(applied(checkpoints, family, name))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6 if "dora" in name else 0)


@pytest.mark.parametrize("name", [*MERGED, "lora-r4-top-1"])
def test_merged_equals_unmerged(checkpoints, family, name, tmp_path):
    model = applied(checkpoints, family, name)
    step_three_times(model)
    expected = logits_of(model)
    assert can_merge(model) and kind_of(model) == ("ia3" if name == "ia3" else "lora")
    save_adapter(model, tmp_path)
    opened = open_adapter(
        load(checkpoints, family).model, tmp_path
    )  # plain peft, the head included
    torch.testing.assert_close(logits_of(opened), expected, rtol=0, atol=1e-6)
    plain = merge_adapter(model)
    assert type(plain) is type(load(checkpoints, family).model) and not hasattr(
        plain, "peft_config"
    )
    torch.testing.assert_close(logits_of(plain), expected, rtol=0, atol=1e-5)
    assert (logits_of(plain) - logits_of(load(checkpoints, family).model)).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["prompt-4", "prefix-4"])
@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_prompts_are_saved_with_the_head_and_cannot_be_merged(checkpoints, family, name, tmp_path):
    model = applied(checkpoints, family, name)
    step_three_times(model)
    expected = logits_of(model)
    assert not can_merge(model)
    save_adapter(model, tmp_path)
    body = load(checkpoints, family).model
    torch.testing.assert_close(logits_of(open_adapter(body, tmp_path)), expected, rtol=0, atol=1e-6)
    plain = merge_adapter(model)  # the vectors go, the head stays
    parts = layer_map(plain).part_of(plain)
    again = load(checkpoints, family).model
    for (key, one), (_, two) in zip(
        plain.named_parameters(), again.named_parameters(), strict=True
    ):
        assert (parts[key] == "head") or torch.equal(one, two), key
    assert (logits_of(plain) - expected).abs().max() > 1e-4


def test_vectors_take_their_positions_from_the_text(checkpoints):
    """64 positions: 60 are left beside four vectors, whichever stage brings them."""
    config = load(checkpoints, "bert").model.config
    names = ("prompt-4", "prefix-4", "chain:full,prefix-4", "lora", "full")
    assert [parse_mode(name).vectors for name in names] == [4, 4, 4, 0, 0]
    long = Dataset.from_dict(
        {"text": ["good text " * 50, "bad text " * 50] * 8, "label": [1, 0] * 8}
    )
    for name in names[:2]:
        made = learner(checkpoints["bert"], name, epochs=1.0)
        made.fit(long.cast_column("label", ClassLabel(names=["no", "yes"])))
        assert made.max_length == config.max_position_embeddings - 4
    with pytest.raises(ModeError, match="leave fewer than 8 of them to a text. Take at most 56"):
        parse_mode("prompt-57").check(3, "it", config)


def test_the_scale_of_rslora(checkpoints):
    """alpha / sqrt(rank): 32 / 4 for rank 16, where LoRA has 32 / 16."""
    for name, scale in (("lora-r16", 2.0), ("rslora-r16", 8.0)):
        model = applied(checkpoints, "bert", name)
        found = {
            m.scaling["default"]
            for m in model.modules()
            if hasattr(m, "scaling") and hasattr(m, "lora_A")
        }
        assert found == {scale}


def test_dropout_goes_to_the_adapters(checkpoints):
    model = load(checkpoints, "bert").model
    mode = parse_mode("lora", dropout=0.25)
    model, _ = apply_mode(model, mode)
    found = {m.p for n, m in model.named_modules() if n.endswith("lora_dropout.default")}
    assert found == {0.25}


def test_ia3_scales_keys_values_and_inner_states(checkpoints, family):
    scaled, inner = scaled_names(load(checkpoints, family).model)
    ends = {"k", "v"} if family == "t5" else {"key", "value"}
    assert {name.rsplit(".", 1)[-1] for name in scaled} == ends
    assert {name.rsplit(".", 1)[-1] for name in inner} == {"wo" if family == "t5" else "dense"}
    assert len(scaled) == 2 * (9 if family == "t5" else 3) and len(inner) == (
        6 if family == "t5" else 3
    )


def test_prompts_are_refused_where_they_cannot_work(checkpoints):
    model = load(checkpoints, "t5").model
    for name in ("prompt", "prefix-3"):
        with pytest.raises(ModeError, match="it is an encoder-decoder.*Take lora"):
            parse_mode(name).check(6, "it", model.config)
        with pytest.raises(
            ModeError, match="T5ForSequenceClassification cannot be called with one"
        ):
            apply_mode(model, parse_mode(name), task_type="SEQ_CLS")
        for task in ("TOKEN_CLS", "QUESTION_ANS", None):
            with pytest.raises(ModeError, match="needs a task with an output for a whole text"):
                apply_mode(load(checkpoints, "bert").model, parse_mode(name), task_type=task)
        with pytest.raises(ModeError, match="expected 1 or more vectors"):
            parse_mode(f"{name.partition('-')[0]}-0")


def test_a_decoder_that_looks_for_padding_in_the_token_ids_takes_no_prompt():
    """GPT-2's classifier then reads a padding token; a prefix leaves the token ids as they are."""
    from nlptl.models.zoo import tiny_model

    with pytest.raises(ModeError, match="GPT2For.* gives a text other outputs with padding behind"):
        apply_mode(tiny_model("gpt2"), parse_mode("prompt-2"), task_type="SEQ_CLS")
    _, manifest = apply_mode(tiny_model("gpt2"), parse_mode("prefix-2"), task_type="SEQ_CLS")
    assert manifest.parts["prompt"]["trainable"] > 0
    apply_mode(tiny_model("distilbert"), parse_mode("prompt-2"), task_type="SEQ_CLS")


def test_an_unknown_kind_of_attention_is_refused_by_ia3():
    from transformers import AutoConfig, AutoModelForSequenceClassification

    config = AutoConfig.for_model(
        "bert", hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(config)
    with pytest.raises(ModeError, match="a feed-forward layer that narrows"):
        scaled_names(model)
