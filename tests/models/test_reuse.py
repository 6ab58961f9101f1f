"""Shallower models, blocks drawn again, and models without pretraining."""

import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from nlptl.errors import ModelError
from nlptl.models.layer_map import layer_map
from nlptl.models.loading import load_with_head
from nlptl.models.reuse import check_kept, keep_layers, read_kept, redraw_top
from nlptl.models.zoo import tiny_model

sys.path.insert(0, str(Path(__file__).parent.parent / "modes"))
from test_modes import LABELS

DEPTHS = {"bert": (3, 0), "roberta": (3, 0), "t5": (3, 3)}


def load(path):
    return load_with_head(str(path), auto_class=AutoModelForSequenceClassification, head=LABELS)


def inputs(model):
    ids = torch.randint(10, 60, (3, 9), generator=torch.Generator().manual_seed(0))
    ids[:, -1] = model.config.eos_token_id or 3
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def states_of(model, family):
    given = inputs(model)
    if family == "t5":
        given["decoder_input_ids"] = given["input_ids"]
    with torch.no_grad():
        return model.eval().base_model(**given, output_hidden_states=True)


def test_the_lowest_blocks_compute_what_they_did(checkpoints, family, tmp_path):
    loaded = load(checkpoints[family])
    made, new = keep_layers(loaded.model, (0, 1))
    before, after = states_of(loaded.model, family), states_of(made, family)
    if family == "t5":  # its last state is after the norm, so the one before is compared
        assert torch.equal(before.encoder_hidden_states[1], after.encoder_hidden_states[1])
        assert len(after.encoder_hidden_states) == len(after.decoder_hidden_states) == 3
    else:
        assert torch.equal(before.hidden_states[2], after.last_hidden_state)
    blocks = layer_map(made).blocks
    assert len(blocks) == (4 if family == "t5" else 2) and len(layer_map(loaded.model).blocks) >= 3
    parts = layer_map(made).part_of(made)
    assert {parts[name] for name in new} == {"head"}
    assert {n for n in made.state_dict() if "classif" in n} <= new
    made.save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    assert config.num_hidden_layers == 2 and getattr(config, "num_decoder_layers", 2) == 2
    again = AutoModelForSequenceClassification.from_pretrained(
        tmp_path
    ).eval()  # plain transformers
    given = inputs(made)
    with torch.no_grad():
        assert torch.equal(again(**given).logits, made.eval()(**given).logits)


def test_any_blocks_can_be_kept(checkpoints, family):
    loaded = load(checkpoints[family])
    made, _ = keep_layers(loaded.model, (0, 2))
    old, new = layer_map(loaded.model).blocks, layer_map(made).blocks
    places = (0, 2, 3, 5) if family == "t5" else (0, 2)
    for block, place in zip(new, places, strict=True):
        for one, two in zip(block.parameters(), old[place].parameters(), strict=True):
            assert torch.equal(one, two) and one is not two


def test_what_cannot_be_kept_is_refused(checkpoints):
    loaded = load(checkpoints["t5"])
    with pytest.raises(ModelError, match="relative_attention_bias.*keep block 0"):
        keep_layers(loaded.model, (1, 2))
    with pytest.raises(
        ModelError, match="has 3 and a decoder of 3 blocks.*block 3 is not there. The"
    ):
        check_kept((0, 3), loaded.model.config, "it")
    with pytest.raises(ModelError, match="it has 3 blocks, numbered from 0; the block 4 is not"):
        check_kept((4,), load(checkpoints["bert"]).model.config, "it")
    assert check_kept((0, 2), loaded.model.config, "it") == 4
    for text in ("0", "", "a", "2,1", "1,1", "1.5", "-3", "1,", "999999", "9" * 5000):
        with pytest.raises(ModelError, match="expected a number of blocks from 1 up"):
            read_kept(text)


def test_no_tensor_of_a_kept_block_is_lost():
    """ModernBERT's first block has no norm before its attention: the embeddings have one."""
    model = tiny_model("modernbert")
    made, _ = keep_layers(model, (0, 2))
    assert len(layer_map(made).blocks) == 2
    with pytest.raises(ModelError, match="attn_norm.weight, which the shallower.*keep block 0"):
        keep_layers(model, (1, 2))


def test_the_highest_blocks_are_drawn_by_the_models_own_rule(checkpoints, family):
    loaded = load(checkpoints[family])
    model = loaded.model
    with torch.no_grad():  # far from what any rule draws
        for parameter in model.parameters():
            parameter.fill_(3.0)
    parts = layer_map(model).part_of(model)
    new = redraw_top(model, 2)
    last = 6 if family == "t5" else 3
    drawn = {f"block {last - 2}", f"block {last - 1}"}
    for name, parameter in model.named_parameters():
        if parts[name] in drawn:
            assert name in new and not bool((parameter == 3).any()), name
        elif parts[name] != "head":
            assert name not in new and bool((parameter == 3).all()), name
    assert {parts[name] for name in new} == drawn | {"head"}
    if family != "t5":
        block = layer_map(model).blocks[-1]
        weight = block.intermediate.dense.weight
        assert float(weight.detach().std()) == pytest.approx(0.02, rel=0.1)  # initializer_range
        assert bool((block.output.LayerNorm.weight == 1).all())
        assert not block.output.dense.bias.any()
    with pytest.raises(ModelError, match=r"--reinit-top 9: .* expected 1 to that"):
        redraw_top(model, 9)
