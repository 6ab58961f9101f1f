"""The layer map: equal to rows written by hand for three families, and not fooled by ten traps of others.

The traps were found by running every architecture of transformers 5.23 that has a head for texts.
"""

import copy
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from tiny import DEPTH, tiny_config
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForQuestionAnswering,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from nlptl.errors import ModeError, ModelError
from nlptl.models.adapters import merge_adapter, target_names
from nlptl.models.deriving import is_linear
from nlptl.models.frozen_stem import FrozenStem, between, frozen_blocks
from nlptl.models.layer_map import depth, layer_map, longest_text, map_of
from nlptl.models.tracing import made_up_texts
from nlptl.modes.adapters import lora
from nlptl.modes.base import parse_mode
from nlptl.modes.definition import thaw
from nlptl.modes.freezing import freeze_lower, freeze_parts, full, head_only

SIZES = {
    "vocab_size": 60,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "pad_token_id": 0,
}
BART = {
    **{"vocab_size": 60, "d_model": 16, "encoder_layers": 3, "decoder_layers": 3},
    **{f"{stack}_{what}": n for stack in ("encoder", "decoder") for what, n in (("ffn_dim", 32),)},
    **{"encoder_attention_heads": 2, "decoder_attention_heads": 2, "max_position_embeddings": 64},
}
GPT2 = {
    "vocab_size": 60,
    "n_embd": 16,
    "n_layer": 3,
    "n_head": 2,
    "n_positions": 64,
    "pad_token_id": 0,
}
GPT2 |= {"bos_token_id": 1, "eos_token_id": 2}


def tiny(kind, auto=AutoModelForSequenceClassification, **changes):
    torch.manual_seed(0)
    sizes = {"bart": BART, "bigbird_pegasus": BART, "gpt2": GPT2, "openai-gpt": GPT2}.get(
        kind, SIZES
    )
    return auto.from_config(AutoConfig.for_model(kind, **{**sizes, **changes})).eval()


# ---- rows by hand
HEADS = {
    ("bert", AutoModelForSequenceClassification): ("bert.pooler.", "classifier."),
    ("roberta", AutoModelForSequenceClassification): ("classifier.",),
    ("t5", AutoModelForSequenceClassification): (
        "classification_head.",
        "transformer.decoder.final_layer_norm.",
    ),
    ("bert", AutoModelForQuestionAnswering): ("qa_outputs.",),
    ("roberta", AutoModelForQuestionAnswering): ("qa_outputs.",),
    ("t5", AutoModelForQuestionAnswering): ("qa_outputs.", "decoder.final_layer_norm."),
    ("bert", AutoModelForTokenClassification): ("classifier.",),
    ("t5", AutoModelForTokenClassification): (
        "classifier.",
        "transformer.encoder.final_layer_norm.",
    ),
    ("bert", AutoModelForMaskedLM): ("cls.",),
    ("roberta", AutoModelForMaskedLM): ("lm_head.",),
    ("t5", AutoModelForSeq2SeqLM): ("decoder.final_layer_norm.",),
    ("bert", AutoModel): ("pooler.",),
    ("t5", AutoModel): ("decoder.final_layer_norm.",),
}


def by_hand(family, model, name, heads):
    """The part of a parameter by its name, as the rows of three families once said."""
    stacks = {"encoder": 0, "decoder": DEPTH}
    words = name.split(".")
    if name.startswith(heads):
        return "head"
    for before, number in pairwise(words):
        if before in ("layer", "block") and number.isdigit():
            stack = next((w for w in words if w in stacks), "encoder")
            return f"block {stacks[stack] + int(number)}"
    return f"block {DEPTH - 1}" if "encoder.final_layer_norm" in name else "embeddings"


@pytest.mark.parametrize(
    ("family", "auto"), HEADS, ids=lambda each: getattr(each, "__name__", each)
)
def test_three_families_are_as_their_rows_by_hand_said(family, auto):
    torch.manual_seed(0)
    model = auto.from_config(tiny_config(family, 90))
    layers, pair = layer_map(model), family == "t5" and auto is not AutoModelForTokenClassification
    parts = layers.part_of(model)
    assert parts == {n: by_hand(family, model, n, HEADS[family, auto]) for n in parts}
    assert layers.stacks == ((DEPTH, DEPTH) if pair else (DEPTH,))
    assert [model.get_submodule(name) for name in layers.names] == list(layers.blocks)
    targets = ("q", "v") if family == "t5" else ("query", "value")
    assert set(layers.lora_targets) == {
        name
        for name, module in model.named_modules()
        if is_linear(module) and name.split(".")[-1] in targets
    }
    assert layers.pre_norm == (family == "t5")
    assert layers.positions == {"bert": 64, "roberta": 62, "t5": None}[family]
    pooled = {"bert": "first", "roberta": "first", "t5": "last"}[family]
    bodies = ("",) if family == "bert" else ("", "each")
    if auto is AutoModelForSequenceClassification:
        assert layers.pooled == pooled
    elif auto is not AutoModel:
        assert layers.pooled == "each"
    else:
        assert layers.pooled in bodies
    assert not layers.dead
    assert layers.crossing == {
        f"{name}.layer.1.EncDecAttention.{own}"
        for name in (layers.names[DEPTH:] if pair else ())
        for own in "kv"
    }
    assert layer_map(model) is layers  # kept
    assert (
        layer_map(copy.deepcopy(model)).blocks[0] is not layers.blocks[0]
    )  # and not another model's


@pytest.mark.parametrize("family", ["bert", "roberta", "t5"])
def test_a_configuration_alone_says_the_same(family):
    config = tiny_config(family, 91)
    pair = family == "t5"
    assert depth(config) == (DEPTH, DEPTH if pair else 0)
    assert longest_text(config) == {"bert": 64, "roberta": 62, "t5": None}[family]
    assert map_of(config).pre_norm == pair and map_of(config).partial is None


def test_tracing_leaves_the_model_and_the_random_numbers_alone():
    model = tiny("bert").train()
    model.bert.encoder.layer[0].eval()
    model.bert.embeddings.requires_grad_(False)
    before = [m.training for m in model.modules()], [p.requires_grad for p in model.parameters()]
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    model.config.pad_token_id = None
    layer_map(model)
    assert torch.equal(torch.rand(3), expected)
    assert before == (
        [m.training for m in model.modules()],
        [p.requires_grad for p in model.parameters()],
    )
    assert all(p.grad is None for p in model.parameters()) and model.config.pad_token_id is None


@pytest.mark.parametrize(
    ("kind", "sizes", "reason"),
    [
        (
            "xlm",
            {"emb_dim": 16, "n_layers": 2, "n_heads": 2, "n_words": 60, "pad_index": 0},
            "parallel lists",
        ),
        (
            "squeezebert",
            {**SIZES, "embedding_size": 16},
            "no list of modules that runs on a text alone",
        ),
    ],
)
def test_what_cannot_be_verified_is_refused_with_the_reason(kind, sizes, reason):
    model = AutoModelForSequenceClassification.from_config(AutoConfig.for_model(kind, **sizes))
    with pytest.raises(
        ModelError, match=f"architecture '{kind}' cannot be divided into .*{reason}"
    ):
        layer_map(model)


# ---- ten traps
def passes(model, count):
    """The states at a border in two passes in train mode, with live dropout."""
    stem, texts = FrozenStem(model, count), made_up_texts(model)
    model.train()
    return [stem.run(lambda: model(**texts)) for _ in range(2)]


def constant(model, count):
    first, second = passes(model, count)
    return all(torch.equal(tensor, second[name]) for name, tensor in first.items())


@pytest.mark.parametrize("kind", ["bart", "gpt2"])
def test_trap_1_dropout_outside_of_frozen_modules(kind):
    """BART drops out embeddings in its stack's own function, GPT-2 in a module beside them."""
    model = tiny(kind)
    for name, module in model.named_modules():  # parameters alone: the states are noise
        if name.endswith(
            (".0", "embed_tokens", "wte", "wpe", "embed_positions", "layernorm_embedding")
        ):
            module.requires_grad_(False)
    assert not constant(model, 1)
    freeze_lower(thaw(model), 1)
    assert constant(model, 1) and frozen_blocks(model) == 1
    upper = layer_map(model).blocks[1:]
    assert all(m.training for block in upper for m in block.modules())
    assert not any(m.training for m in between(model)) and model.training
    assert all(m.training for m in thaw(model).modules())


def test_trap_2_layers_dropped_by_their_container():
    """In train mode BART skips blocks at random, frozen ones too."""
    model = tiny("bart", encoder_layerdrop=0.5, decoder_layerdrop=0.5, dropout=0.0)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    torch.manual_seed(1)
    runs = []
    model.model.encoder.layers[1].register_forward_hook(lambda *_: runs.append(1))
    texts = made_up_texts(model)
    for _ in range(12):
        model.train()(**texts)
    assert len(runs) < 12
    freeze_lower(model, 3)
    runs.clear()
    for _ in range(12):
        model.train()(**texts)
    assert len(runs) == 12


def test_trap_3_blocks_that_share_weights():
    """ALBERT runs one block three times; three groups of one block each are three blocks."""
    model = tiny("albert", embedding_size=16)
    config = model.config
    assert layer_map(model).runs == (3,) and depth(config) == (1, 0)
    for refuse in (
        lambda: freeze_lower(model, 1),
        lambda: parse_mode("freeze-lower-2").check(1, "it", config),
        lambda: parse_mode("lora-above-1").check(1, "it", config),
    ):
        with pytest.raises(ModeError, match="cannot be frozen: .* runs 3 times in one pass"):
            refuse()
    assert frozen_blocks(head_only(model)) == 1
    freeze_parts(thaw(model), {"embeddings"})
    assert all(p.requires_grad for p in thaw(model).parameters())
    own = tiny("albert", embedding_size=16, num_hidden_groups=3)
    assert layer_map(own).partial is None and layer_map(own).stacks == (3,)
    assert frozen_blocks(freeze_lower(own, 2)) == 2


def test_trap_4_two_modules_with_one_weight():
    """Zamba2's adapters would be merged twice into it."""
    model = tiny(
        "zamba2",
        num_hidden_layers=4,
        layers_block_type=["linear_attention", "hybrid"] * 2,
        **{"num_mem_blocks": 1, "mamba_d_state": 4, "chunk_size": 8, "attention_head_dim": 16},
        **{"num_key_value_heads": 2, "mamba_ngroups": 1, "n_mamba_heads": 2},
    )
    with pytest.raises(ModeError, match="two layers with one weight, so that merging would add"):
        lora(model, targets=["q_proj"])
    assert {name.rsplit(".", 1)[-1] for name in layer_map(model).lora_targets} == {"in_proj"}
    adapted, texts = lora(model), made_up_texts(model)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if ".lora_B." in name:
                parameter.normal_()
        expected = adapted.eval()(**texts).logits
        torch.testing.assert_close(merge_adapter(adapted)(**texts).logits, expected)


def test_trap_5_a_border_that_needs_a_gradient():
    """Without its kernel MRA makes zeros that need a gradient, and reads neither queries nor keys."""
    model = tiny("mra", max_position_embeddings=128)
    with pytest.raises(
        ModeError, match=r"'mra' cannot be frozen: above the 1 lowest .* need a gradient"
    ):
        freeze_lower(model, 1)
    assert all(p.requires_grad for p in full(model).parameters())


def test_trap_6_parameters_that_nothing_reads():
    """LiLT's last layout branch moves no output: it gets no adapter. I-BERT has nothing to adapt."""
    model = tiny("lilt", channel_shrink_ratio=2, max_2d_position_embeddings=64, hidden_size=24)
    layers = layer_map(model)
    assert layers.dead and all("encoder.layer.2.layout" in n or "layout" in n for n in layers.dead)
    chosen = target_names(model, ["all-linear"])
    assert not any(f"{name}.weight" in layers.dead for name in chosen)
    adapted = lora(model)
    adapted(**made_up_texts(model)).logits.sum().backward()
    assert all(p.grad is not None for n, p in adapted.named_parameters() if ".lora_B." in n)
    mra = layer_map(tiny("mra", max_position_embeddings=128))  # without its kernel no query is read
    assert {f"{name}.attention.self.query.weight" for name in mra.names} <= mra.dead
    assert not mra.lora_targets
    with pytest.raises(ModeError, match=r"no linear layer .* nothing can be adapted"):
        lora(tiny("ibert", max_position_embeddings=40, pad_token_id=1))


def test_trap_7_the_token_that_the_head_reads_is_measured():
    assert layer_map(tiny("gpt2")).pooled == "last"
    assert (
        layer_map(tiny("distilbert", dim=16, n_layers=2, n_heads=2, hidden_dim=32)).pooled
        == "first"
    )
    modern = {"num_hidden_layers": 2, "max_position_embeddings": 64, "pad_token_id": 0}
    assert layer_map(tiny("modernbert", classifier_pooling="mean", **modern)).pooled == "mean"
    assert layer_map(tiny("modernbert", classifier_pooling="cls", **modern)).pooled == "first"
    xlnet = tiny("xlnet", d_model=16, n_layer=2, n_head=2, d_inner=32)
    assert layer_map(xlnet).pooled == "last, padding too"


def test_trap_7_padding_that_is_the_final_token_moves_it():
    """A generic head takes the last token that is not padding: with pad = eos the one before a final eos."""
    for pad, found in ((0, "last"), (2, "1 positions of 18 tokens and 6 of padding")):
        model = tiny("gpt2", pad_token_id=pad)
        texts = made_up_texts(model)
        texts["input_ids"][0, -1] = texts["input_ids"][1, 17] = model.config.eos_token_id
        assert layer_map(model, texts).pooled == found


@pytest.mark.parametrize(
    ("kind", "rows", "longest"),
    [("roberta", 64, 62), ("mpnet", 64, 62), ("bert", 64, 64), ("bart", 64, 64), ("gpt2", 64, 64)],
)
def test_trap_8_rows_of_tables_that_no_text_uses(kind, rows, longest):
    """RoBERTa's positions begin behind the padding's; BART's table has two rows more than it says."""
    room = {"n_positions": rows} if kind == "gpt2" else {"max_position_embeddings": rows}
    model = tiny(
        kind, **room, **({"pad_token_id": 1} if kind in ("roberta", "mpnet", "bart") else {})
    )
    assert longest_text(model.config) == longest
    if kind != "bart":  # its own number is the right one there
        assert layer_map(model).positions == longest


def test_trap_9_names_that_lie():
    """BigBird-Pegasus calls its last norm layernorm_embedding; DeBERTa's in_proj is query, key and value."""
    model = tiny("bigbird_pegasus", attention_type="original_full")
    parts = layer_map(model).part_of(model)
    assert parts["model.encoder.layernorm_embedding.weight"] == "block 2"
    assert parts["model.decoder.layernorm_embedding.weight"] == "head"
    assert parts["model.encoder.embed_positions.weight"] == "embeddings"
    deberta = layer_map(tiny("deberta"))
    assert {name.rsplit(".", 1)[-1] for name in deberta.lora_targets} == {"in_proj"}
    assert not deberta.pre_norm  # DebertaLayerNorm closes the block
    prelayer = tiny("roberta-prelayernorm", pad_token_id=1)
    assert layer_map(prelayer).pre_norm  # its class names have "PreLayerNorm" in them


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [
        ("openai-gpt", {}),  # a list
        (
            "xlnet",
            {"d_model": 16, "n_layer": 3, "n_head": 2, "d_inner": 32},
        ),  # the length comes first
        ("lilt", {"channel_shrink_ratio": 2, "max_2d_position_embeddings": 64, "hidden_size": 24}),
        ("bart", {}),
        ("gpt2", {}),
    ],
)
def test_trap_10_forms_of_what_blocks_return(kind, sizes):
    """Left-out blocks return states in their own form; their weights do not matter."""
    model = tiny(kind, **sizes)
    for count in (1, len(layer_map(model).blocks) - 1, len(layer_map(model).blocks)):
        model = (
            freeze_parts(thaw(model), {"embeddings", *(f"block {i}" for i in range(count))})
            or model
        )
        stem, texts = FrozenStem(model.eval(), count), made_up_texts(model)
        assert stem.fits
        if kind == "lilt":  # two streams
            assert stem.names == ("states", "states_1") and stem.widths["states_1"] == 12
        states, expected = stem.run(partial(model, **texts)), model(**texts).logits
        assert all(tensor.shape[:2] == texts["input_ids"].shape for tensor in states.values())
        below = [p for block in layer_map(model).blocks[:count] for p in block.parameters()]
        kept = [p.detach().clone() for p in below]
        with torch.no_grad():
            for parameter in below:
                parameter.fill_(float("nan"))
        with stem.left_out():
            stem.feed(states)
            torch.testing.assert_close(model(**texts).logits, expected, rtol=1e-4, atol=1e-5)
        with torch.no_grad():
            for parameter, was in zip(below, kept, strict=True):
                parameter.copy_(was)


def test_trap_10_states_that_are_not_one_a_token_are_not_kept():
    """Funnel's blocks shorten a text."""
    sizes = {"d_model": 16, "n_head": 2, "d_head": 8, "d_inner": 32, "block_sizes": [1, 1, 1]}
    config = AutoConfig.for_model("funnel", vocab_size=60, pad_token_id=0, **sizes)
    model = AutoModelForSequenceClassification.from_config(config)
    assert [FrozenStem(model, count).fits for count in (1, 3)] == [True, False]


def test_a_number_of_texts_does_not_depend_on_the_vocabulary():
    """Made-up texts of any vocabulary: of unequal length, without special tokens, not consecutive."""
    for size in (8, 60, 50_000):
        model = tiny("bert", vocab_size=size)
        texts = made_up_texts(model)
        ids, real = texts["input_ids"].numpy(), texts["attention_mask"].numpy().astype(bool)
        assert ids.max() < size and list(real.sum(1)) == [24, 18]
        assert (ids[real] != 0).all() and (ids[~real] == 0).all()
        assert not (np.diff(ids[0]) == 1).all() and (ids[0] != ids[1]).any()
