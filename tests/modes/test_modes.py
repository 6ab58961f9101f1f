"""What trains in each mode and family, as exact names, and what "frozen" means."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    RobertaForSequenceClassification,
)

from nlptl.errors import ModeError, UserError
from nlptl.models.adapters import add_lora, head_modules, target_names
from nlptl.models.families import FAMILIES
from nlptl.models.frozen_stem import between
from nlptl.models.layer_map import layer_map
from nlptl.models.loading import load_with_head
from nlptl.modes.base import apply_mode, default_learning_rate, parse_mode
from nlptl.modes.freezing import freeze_lower

HEAD = {
    "bert": {"bert.pooler.dense", "classifier"},
    "roberta": {"classifier.dense", "classifier.out_proj"},
    "t5": {"classification_head.dense", "classification_head.out_proj"},
}
LABELS = {"num_labels": 2, "id2label": {0: "no", 1: "yes"}, "label2id": {"no": 0, "yes": 1}}


def load(checkpoints, family, auto_class=AutoModelForSequenceClassification):
    return load_with_head(str(checkpoints[family]), auto_class=auto_class, head=LABELS)


def trainable(model):
    return {name for name, p in model.named_parameters() if p.requires_grad}


def head_names(family):
    names = {f"{module}.{kind}" for module in HEAD[family] for kind in ("weight", "bias")}
    return names | ({"transformer.decoder.final_layer_norm.weight"} if family == "t5" else set())


def bert_block(family, number):
    stem = f"{family}.encoder.layer.{number}"
    linear = (
        "attention.self.query",
        "attention.self.key",
        "attention.self.value",
        "attention.output.dense",
        "attention.output.LayerNorm",
        "intermediate.dense",
        "output.dense",
        "output.LayerNorm",
    )
    return {f"{stem}.{part}.{kind}" for part in linear for kind in ("weight", "bias")}


def t5_block(stack, number):
    stem = f"transformer.{stack}.block.{number}.layer"
    names = {f"{stem}.0.SelfAttention.{m}.weight" for m in "qkvo"} | {f"{stem}.0.layer_norm.weight"}
    if number == 0:
        names.add(f"{stem}.0.SelfAttention.relative_attention_bias.weight")
    last = 1
    if stack == "decoder":
        names |= {f"{stem}.1.EncDecAttention.{m}.weight" for m in "qkvo"}
        names.add(f"{stem}.1.layer_norm.weight")
        last = 2
    names |= {f"{stem}.{last}.DenseReluDense.{m}.weight" for m in ("wi", "wo")}
    return names | {f"{stem}.{last}.layer_norm.weight"}


def blocks(family):
    if family == "t5":
        encoder = [t5_block("encoder", i) for i in range(3)]
        encoder[-1] |= {"transformer.encoder.final_layer_norm.weight"}
        return encoder + [t5_block("decoder", i) for i in range(3)]
    return [bert_block(family, i) for i in range(3)]


def test_head_only_trains_exactly_the_head(checkpoints, family):
    loaded = load(checkpoints, family)
    model, manifest = apply_mode(
        loaded.model, parse_mode("head-only"), newly_initialized=loaded.new
    )
    assert trainable(model) == head_names(family)
    assert manifest.parts["embeddings"]["trainable"] == 0


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_freeze_lower_trains_the_blocks_above_and_the_head(checkpoints, family, count):
    loaded = load(checkpoints, family)
    model, _ = apply_mode(
        loaded.model, parse_mode(f"freeze-lower-{count}"), newly_initialized=loaded.new
    )
    assert trainable(model) == head_names(family).union(*blocks(family)[count:])


def test_t5_freezes_one_block_where_substrings_would_hit_all(checkpoints):
    """`layer.0.` and `layer.1.` stand in the name of every parameter of every T5 block."""
    model = load(checkpoints, "t5").model
    freeze_lower(model, 1)
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == t5_block("encoder", 0) | {"transformer.shared.weight"}
    assert any(".layer.0." in name for name in trainable(model))
    freeze_lower(model, 6)
    assert trainable(model) == head_names("t5")


def test_full_trains_everything(checkpoints, family):
    loaded = load(checkpoints, family)
    model, manifest = apply_mode(loaded.model, parse_mode("full"), newly_initialized=loaded.new)
    assert trainable(model) == {name for name, _ in model.named_parameters()}
    assert manifest.total == manifest.trainable == sum(p.numel() for p in model.parameters())


def test_lora_trains_adapters_in_the_blocks_and_the_whole_head(checkpoints, family):
    loaded = load(checkpoints, family)
    model, manifest = apply_mode(
        loaded.model, parse_mode("lora-r4"), newly_initialized=loaded.new, task_type="SEQ_CLS"
    )
    names = trainable(model)
    adapters = {name for name in names if ".lora_" in name}
    wrapped = {name.split(".modules_to_save.default")[0] for name in names - adapters}
    per_block = 2 * 2 * (2 if family == "t5" else 1)  # q and v, A and B; T5's decoder attends twice
    assert len(adapters) == (3 * 4 + 3 * per_block if family == "t5" else 3 * per_block)
    assert (
        wrapped == {f"base_model.model.{module}" for module in head_modules(loaded.model)}
        or wrapped
    )
    assert manifest.parts["embeddings"]["trainable"] == 0
    head = manifest.parts["head"]
    assert head["trainable"] == head["total"] > 0


def test_lora_parameter_count_of_roberta_base():
    """294,912 adapters (Hu et al., 2022, "0.3M") and 592,130 of the head: 887,042 in all."""
    config = AutoConfig.for_model(
        "roberta", vocab_size=50265, max_position_embeddings=514, type_vocab_size=1, pad_token_id=1
    )
    with torch.device("meta"):
        model = add_lora(RobertaForSequenceClassification(config), rank=8, alpha=16)
    adapters = sum(p.numel() for n, p in model.named_parameters() if ".lora_" in n)
    assert adapters == 294_912
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 887_042


def test_peft_alone_leaves_t5s_head_frozen_and_we_do_not(checkpoints):
    """peft's list of head names misses T5's, which is why ours comes from the layer map."""
    loaded = load(checkpoints, "t5")
    alone = get_peft_model(
        load(checkpoints, "t5").model, LoraConfig(task_type="SEQ_CLS", target_modules=["q", "v"])
    )
    assert not [n for n in trainable(alone) if "lora_" not in n]
    model, _ = apply_mode(
        loaded.model, parse_mode("lora"), newly_initialized=loaded.new, task_type="SEQ_CLS"
    )
    assert [n for n in trainable(model) if "classification_head" in n and "lora_" not in n]


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_lora_trains_and_saves_the_bias_beside_the_tied_decoder(checkpoints, family, tmp_path):
    """The masked-LM head's bias is in no module of the head alone; by hand: dense, norm and bias train."""
    from peft import PeftModel
    from transformers import AutoModelForMaskedLM

    from nlptl.models.adapters import merge_adapter, save_adapter

    loaded = load_with_head(str(checkpoints[family]), auto_class=AutoModelForMaskedLM, head={})
    bias = {"bert": "cls.predictions.bias", "roberta": "lm_head.bias"}[family]
    vocabulary = loaded.model.config.vocab_size
    assert bias in loaded.new
    model, manifest = apply_mode(loaded.model, parse_mode("lora"), newly_initialized=loaded.new)
    head = 32 * 32 + 32 + 2 * 32 + vocabulary
    assert manifest.parts["head"] == {"total": head, "trainable": head}
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_()
    ids = torch.arange(5, 15)[None]
    expected = model.eval()(input_ids=ids).logits
    save_adapter(model, tmp_path)
    again = load_with_head(str(checkpoints[family]), auto_class=AutoModelForMaskedLM, head={}).model
    opened = PeftModel.from_pretrained(again, tmp_path).eval()  # plain peft
    torch.testing.assert_close(opened(input_ids=ids).logits, expected, rtol=0, atol=1e-4)
    whole = merge_adapter(model)
    assert torch.equal(
        whole.get_parameter(bias), dict(opened.named_parameters())[f"base_model.model.{bias}"]
    )
    torch.testing.assert_close(whole(input_ids=ids).logits, expected, rtol=0, atol=1e-2)


def test_new_parameters_come_from_missing_keys(checkpoints, masked_lm_checkpoint, family):
    loaded = load(checkpoints, family)
    expected = {f"{m}.{k}" for m in HEAD[family] for k in ("weight", "bias")}
    if family == "bert":  # the tiny body was saved with its pooler
        expected -= {"bert.pooler.dense.weight", "bert.pooler.dense.bias"}
    assert loaded.new == expected
    after_mlm = load_with_head(
        str(masked_lm_checkpoint), auto_class=AutoModelForSequenceClassification, head=LABELS
    )
    assert "bert.pooler.dense.weight" in after_mlm.new
    model, _ = apply_mode(after_mlm.model, parse_mode("lora"), newly_initialized=after_mlm.new)
    assert any("pooler" in name for name in trainable(model))


def test_a_head_for_other_labels_is_replaced_with_a_notice(checkpoints, tmp_path):
    first = load(checkpoints, "bert")
    first.model.save_pretrained(tmp_path)
    first.tokenizer.save_pretrained(tmp_path)
    same = load_with_head(str(tmp_path), auto_class=AutoModelForSequenceClassification, head=LABELS)
    assert not same.new and not same.notices
    assert torch.equal(same.model.classifier.weight, first.model.classifier.weight)
    other = {"num_labels": 2, "id2label": {0: "a", 1: "b"}, "label2id": {"a": 0, "b": 1}}
    renamed = load_with_head(
        str(tmp_path), auto_class=AutoModelForSequenceClassification, head=other
    )
    assert renamed.new == {"classifier.weight", "classifier.bias"}
    assert not torch.equal(renamed.model.classifier.weight, first.model.classifier.weight)
    assert renamed.notices == (
        "The checkpoint has a head for the labels no, yes; it gets a new one for a, b.",
    )


def test_frozen_modules_stay_in_eval_mode_and_give_equal_features(checkpoints, family):
    model = load(checkpoints, family).model
    freeze_lower(model, 2)
    model.train()
    layers = layer_map(model)
    inside = between(model) + [m for block in layers.blocks[:2] for m in block.modules()]
    assert len(inside) > 10
    assert not any(m.training for m in inside)
    above = [m for block in layers.blocks[2:] for m in block.modules()]
    assert all(m.training for m in above)


def test_lora_above_leaves_the_lower_blocks_frozen_for_good(checkpoints, family):
    from nlptl.models.adapters import unwrap_peft
    from nlptl.models.frozen_stem import frozen_blocks

    loaded = load(checkpoints, family)
    mode = parse_mode("lora-r2-above-2")
    assert mode.settings["above"] == 2 and mode.settings["rank"] == 2
    assert mode.is_adapter and mode.frozen_blocks(6) == 2
    model, manifest = apply_mode(
        loaded.model, mode, newly_initialized=loaded.new, task_type="SEQ_CLS"
    )
    blocks = 6 if family == "t5" else 3
    trained = [manifest.parts[f"block {i}"]["trainable"] > 0 for i in range(blocks)]
    assert trained == [False, False] + [True] * (blocks - 2)
    model.train()
    layers = layer_map(unwrap_peft(model))
    assert not any(m.training for block in layers.blocks[:2] for m in block.modules())
    assert not any(m.training for m in between(unwrap_peft(model)))
    assert frozen_blocks(model) == 2
    with pytest.raises(ModeError, match=f"has {blocks} blocks, so none is left for an adapter"):
        apply_mode(load(checkpoints, family).model, parse_mode(f"lora-above-{blocks}"))


def test_mode_mistakes_are_named(checkpoints):
    with pytest.raises(ModeError, match="Did you mean 'freeze-lower-N'"):
        parse_mode("frezze-lower-8")
    with pytest.raises(ModeError, match="only go with --mode lora"):
        parse_mode("full", rank=4)
    with pytest.raises(ModeError, match="--lora-rank only go with"):
        parse_mode("full", rank=0)
    with pytest.raises(
        UserError, match=r"(?s)--lora-rank is 0; expected 1.*--lora-alpha is 0; exp"
    ):
        parse_mode("lora", rank=0, alpha=0)
    with pytest.raises(UserError, match="--lora-alpha is -1; expected a number above 0"):
        parse_mode("lora", alpha=-1)
    assert parse_mode("lora", alpha=0.5).settings["alpha"] == 0.5
    with pytest.raises(ModeError, match="contradict"):
        parse_mode("lora-r16", rank=4)
    with pytest.raises(ModeError, match="has 3 blocks. Choose 0 .* to 3"):
        freeze_lower(load(checkpoints, "bert").model, 4)
    with pytest.raises(
        ModeError, match=r"--lora-targets qery.*There are: dense, key, query, value"
    ):
        target_names(load(checkpoints, "bert").model, ["qery"])


def test_lora_targets_are_settable_and_never_the_head(checkpoints, family):
    model = load(checkpoints, family).model
    chosen = target_names(model, ["all-linear"])
    parts = layer_map(model).part_of(model)
    assert chosen
    assert all(parts[f"{name}.weight"].startswith("block") for name in chosen)


def test_learning_rates_differ_by_mode_and_grow_for_narrow_models():
    for family in FAMILIES:
        rates = [
            default_learning_rate(parse_mode(m), AutoConfig.for_model(family, num_hidden_layers=1))
            for m in ("full", "freeze-lower-8", "lora", "head-only")
        ]
        assert rates == sorted(rates)
    for width, rate in ((768, 3e-5), (384, 6e-5)):
        config = AutoConfig.for_model("bert", hidden_size=width, num_hidden_layers=1)
        assert default_learning_rate(parse_mode("full"), config) == rate
