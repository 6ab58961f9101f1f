"""Modes that train other parts than the upper blocks: exact names by hand, and bytes after three steps."""

import sys
from pathlib import Path

import pytest
import torch
from every import EACH, fits
from tiny import FAMILIES

sys.path.insert(0, str(Path(__file__).parent))
from test_modes import HEAD, blocks, head_names, load, trainable

from nlptl.errors import ModeError
from nlptl.models.adapters import unwrap_peft
from nlptl.models.layer_map import layer_map
from nlptl.modes.base import apply_mode, first_mode, parse_mode
from nlptl.modes.freezing import blocks as some_blocks
from nlptl.modes.freezing import top
from nlptl.train.optimizer import make_optimizer

OFTEN = ("top-2", "blocks-0-1", "bitfit", "norm-only", "dora", "ia3", "prefix-3")


def names_in(checkpoints, family, name):
    loaded = load(checkpoints, family)
    mode = parse_mode(name)
    depth = 6 if family == "t5" else 3
    mode.check(depth, "it", loaded.model.config)
    model, manifest = apply_mode(
        loaded.model, mode, newly_initialized=loaded.new, task_type="SEQ_CLS"
    )
    return trainable(model), manifest


def norms(family):
    """The names of norms, as one reads them in transformers' files."""
    if family == "t5":
        return {
            f"transformer.{stack}.block.{number}.layer.{part}.layer_norm.weight"
            for stack, parts in (("encoder", 2), ("decoder", 3))
            for number in range(3)
            for part in range(parts)
        } | {f"transformer.{stack}.final_layer_norm.weight" for stack in ("encoder", "decoder")}
    places = [f"encoder.layer.{i}.{p}output" for i in range(3) for p in ("attention.", "")]
    return {
        f"{family}.{place}.LayerNorm.{kind}"
        for place in [*places, "embeddings"]
        for kind in ("weight", "bias")
    }


def test_the_highest_blocks_and_a_run_of_blocks(checkpoints, family):
    every, depth = blocks(family), 6 if family == "t5" else 3
    found, manifest = names_in(checkpoints, family, "top-2")
    assert found == head_names(family).union(*every[-2:])
    assert not manifest.parts[f"block {depth - 3}"]["trainable"]
    assert names_in(checkpoints, family, "top-0")[0] == head_names(family)
    assert names_in(checkpoints, family, "blocks-1-1")[0] == head_names(family) | every[1]
    found = names_in(checkpoints, family, "blocks-0-1")[0]
    assert found == head_names(family).union(*every[:2])
    everything = {name for name, _ in load(checkpoints, family).model.named_parameters()}
    found, manifest = names_in(checkpoints, family, "freeze-embeddings")
    assert found == head_names(family).union(*every) and found < everything
    assert names_in(checkpoints, family, "scratch")[0] == everything
    assert names_in(checkpoints, family, "gradual")[0] == head_names(family)


def test_blocks_that_are_not_there_are_refused(checkpoints):
    model = load(checkpoints, "bert").model
    with pytest.raises(ModeError, match=r"top-4: .* has 3 blocks. Choose 0 .* to 3"):
        top(model, 4)
    for first, last in ((2, 3), (2, 1)):
        with pytest.raises(ModeError, match=r"has the blocks 0 to 2. Choose two of these numbers"):
            some_blocks(model, first, last)
        with pytest.raises(ModeError, match="it has the blocks 0 to 2"):
            parse_mode(f"blocks-{first}-{last}").check(3, "it", model.config)
    with pytest.raises(ModeError, match="has 3 blocks; expected top-1 to top-3"):
        parse_mode("lora-top-4").check(3, "it", model.config)
    with pytest.raises(ModeError, match="gradual-0: expected 1 or more blocks"):
        parse_mode("gradual-0").check(3, "it", model.config)


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_bitfit_trains_every_bias_and_the_head(checkpoints, family):
    found, manifest = names_in(checkpoints, family, "bitfit")
    everything = {name for name, _ in load(checkpoints, family).model.named_parameters()}
    assert found == {n for n in everything if n.endswith(".bias")} | head_names(family)
    # By hand, width 32: four projections, two norms, 64 inside and 32 out; the embeddings' norm.
    assert manifest.trainable == 1122 + 3 * (4 * 32 + 2 * 32 + 64 + 32) + 32
    assert (
        any("LayerNorm.bias" in n for n in found) and f"{family}.embeddings.LayerNorm.bias" in found
    )


def test_bitfit_is_refused_where_there_are_no_biases(checkpoints):
    """T5's table of relative positions is called a bias, and is none."""
    with pytest.raises(ModeError, match="has no biases; expected some to train. Take norm-only"):
        names_in(checkpoints, "t5", "bitfit")
    with pytest.raises(ModeError, match="has no biases"):
        apply_mode(load(checkpoints, "t5").model, parse_mode("bitfit"))


def test_norm_only_trains_every_norm_and_the_head(checkpoints, family):
    assert names_in(checkpoints, family, "norm-only")[0] == norms(family) | head_names(family)


def test_adapters_by_hand(checkpoints, family):
    """Width 32, head 1,122 or 1,154: rank 2 on q and v is 2 x 2 x 32 each; (IA)^3 k, v and 64 inside."""
    head, attentions = (1154, 9) if family == "t5" else (1122, 3)
    counts = {
        "lora-r2": attentions * 2 * 128,
        "rslora-r2": attentions * 2 * 128,
        "dora-r2": attentions * 2 * (128 + 32),
        "ia3": attentions * 64 + (6 if family == "t5" else 3) * 64,
        "lora-r2-top-1": (2 if family == "t5" else 1) * 2 * 128,
    }
    if family != "t5":
        counts |= {"prefix-5": 5 * 3 * 2 * 32, "prompt-5": 5 * 32}
    for name, own in counts.items():
        found, manifest = names_in(checkpoints, family, name)
        assert manifest.trainable == head + own, name
        assert manifest.parts["head"]["trainable"] == head
        assert manifest.parts.get("prompt", {"total": 0})["total"] == (own if name[0] == "p" else 0)
        for module in HEAD[family]:
            assert [n for n in found if module.rpartition(".")[2] in n and "lora_" not in n]


def step_three_times(model):
    """Three AdamW steps on made-up texts."""
    generator = torch.Generator().manual_seed(0)
    plan = {"learning_rate": 1e-2, "weight_decay": 0.1, "betas": (0.9, 0.999)}
    optimizer = make_optimizer(model.train(), **plan)
    for _ in range(3):
        ids = torch.randint(10, 60, (4, 9), generator=generator)
        ids[:, -1] = model.config.eos_token_id or 3
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 1, 0])).backward()
        optimizer.step()
        optimizer.zero_grad()


#: BERT in every mode and the others in one of each kind; all of them with -m slow.
PAIRS = [
    pytest.param(kind, name, marks=() if kind == "bert" or name in OFTEN else pytest.mark.slow)
    for kind in FAMILIES
    for name in EACH
    if fits(name, kind) and name != "as-is"
]


@pytest.mark.parametrize(("family", "name"), PAIRS)
def test_frozen_bytes_stay_and_the_others_move(checkpoints, family, name):
    loaded = load(checkpoints, family)
    mode = first_mode(loaded.model, parse_mode(name))
    model, _ = apply_mode(loaded.model, mode, newly_initialized=loaded.new, task_type="SEQ_CLS")
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    step_three_times(model)
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert moved <= trainable(model)
    # Rows of tables that no text has, and what a key's bias adds to all scores alike, may stay.
    still = trainable(model) - moved
    assert all("key.bias" in n or "embeddings" in n for n in still), still


def test_the_frozen_blocks_above_pass_the_gradient_on(checkpoints, family):
    loaded = load(checkpoints, family)
    model, _ = apply_mode(loaded.model, parse_mode("blocks-0-0"), newly_initialized=loaded.new)
    above = layer_map(unwrap_peft(model)).blocks[1:]
    model.train()
    inside = [module for block in above for module in block.modules()]
    assert not any(module.training for module in inside)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    step_three_times(model)
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert moved & blocks(family)[0] and not moved & blocks(family)[1]
