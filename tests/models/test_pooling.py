"""Pooling: by hand, as a checkpoint declares it, refused, and opened by sentence-transformers."""

import json

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from tiny import DEPTH, sentence_encoder
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, GPT2Config

from nlptl.data.encoding import encode_texts
from nlptl.errors import ModeError, ModelError
from nlptl.models import zoo
from nlptl.models.identity import architecture_hash, checkpoint_hash
from nlptl.models.layer_map import layer_map
from nlptl.models.loading import (
    load_config,
    load_tokenizer,
    load_trained,
    load_with_head,
    reading,
    save_pretrained,
    trained_config,
)
from nlptl.models.one_token import can_read_one_token
from nlptl.models.pooling import (
    PooledClassifier,
    body_class,
    check_pooling,
    head_reads,
    head_settings,
    pool,
    pooling_of,
    pools_last_block,
)
from nlptl.models.reuse import keep_layers
from nlptl.models.tokenizer import longest_input
from nlptl.modes.base import apply_mode, parse_mode
from nlptl.tasks.classification import TextClassification

TEXTS = [
    "the film was good",
    "I hated it",
    "a [SEP] in a text , and [MASK] , are read as plain text",
    " ".join(["The Music was NOT very good and the plot was dull"] * 6),
]
CLASSES = ("poor", "fair", "fine")
HEAD = TextClassification(CLASSES).head


def load(name, pooling="auto", head=HEAD):
    torch.manual_seed(0)
    kind = AutoModelForSequenceClassification
    return load_with_head(str(name), auto_class=kind, head=head, pooling=pooling)


@torch.no_grad()
def logits(model, tokenizer, texts, limit=24, more=0):
    """Logits of a padded batch, with some more padding."""
    ids, _ = encode_texts(texts, tokenizer, max_length=limit)
    length = max(map(len, ids)) + more
    rows = [row + [tokenizer.pad_token_id] * (length - len(row)) for row in ids]
    mask = [[1] * len(row) + [0] * (length - len(row)) for row in ids]
    given = {"input_ids": torch.tensor(rows), "attention_mask": torch.tensor(mask)}
    return model.eval()(**given).logits.numpy()


def test_pooled_states_by_hand():
    states = torch.randn(3, 5, 4)
    lengths = (5, 2, 1)
    mask = torch.arange(5) < torch.tensor(lengths)[:, None]
    states[~mask] = 1e6  # what stands at padding must not count
    for number, length in enumerate(lengths):
        real = states[number, :length]
        by_hand = {"mean": sum(real) / length, "first": real[0], "last": real[length - 1]}
        for pooling, expected in by_hand.items():
            found = pool(states, mask.long(), pooling)[number]
            torch.testing.assert_close(found, expected)
    torch.testing.assert_close(pool(states[:1], None, "mean"), states[:1].mean(1))
    assert pool(states[:, :1], mask, "mean").equal(states[:, 0])  # a kept, pooled state


@pytest.mark.parametrize("pooling", ["mean", "last", "first"])
def test_padding_changes_no_logit(checkpoints, family, pooling):
    loaded = load(checkpoints[family], pooling)
    together = logits(loaded.model, loaded.tokenizer, TEXTS, more=9)
    for number, text in enumerate(TEXTS):
        alone = logits(loaded.model, loaded.tokenizer, [text])
        np.testing.assert_allclose(together[number], alone[0], atol=1e-5)
    if isinstance(loaded.model, PooledClassifier):
        assert loaded.new == {"classifier.weight", "classifier.bias"}
        assert not hasattr(loaded.model.body, "pooler") or loaded.model.body.pooler is None


def test_the_mean_of_a_text_by_hand(checkpoints):
    loaded = load(checkpoints["bert"], "mean")
    model, tokenizer = loaded.model.eval(), loaded.tokenizer
    ids, _ = encode_texts(TEXTS[:1], tokenizer, max_length=24)
    with torch.no_grad():
        states = model.body(input_ids=torch.tensor(ids)).last_hidden_state[0]
        mean = torch.stack([states[:, i].sum() / len(ids[0]) for i in range(32)])
        expected = model.classifier.weight @ mean + model.classifier.bias
    found = logits(model, tokenizer, TEXTS[:2])[0]
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)


def test_without_a_declaration_the_usual_head_decides(checkpoints):
    usual = {"bert": "first", "roberta": "first", "t5": "last"}
    for family, expected in usual.items():
        found = reading(str(checkpoints[family]))
        assert (found.pooling, found.settings) == (expected, {})
        model = load(checkpoints[family], expected).model
        assert type(model).__name__.endswith("ForSequenceClassification")
        assert pooling_of(model) == expected
    assert not can_read_one_token(load(checkpoints["bert"], "mean").model)
    assert can_read_one_token(load(checkpoints["bert"], "first").model)


def test_a_configuration_with_an_entry_for_it_needs_no_class_of_ours():
    modern = AutoConfig.for_model("modernbert", classifier_pooling="mean")
    assert head_reads(modern) == "mean"
    assert head_settings(modern, "mean") == {}
    assert head_settings(modern, "first") == {"classifier_pooling": "cls"}
    assert head_settings(modern, "last") is None
    assert head_settings(AutoConfig.for_model("eurobert"), "first") == {"classifier_pooling": "bos"}
    assert head_settings(AutoConfig.for_model("bert"), "mean") is None


@pytest.mark.parametrize("subfolder", ["", "0_Transformer"])
@pytest.mark.parametrize("normalize", [True, False])
def test_auto_is_what_a_directory_declares(checkpoints, tmp_path, subfolder, normalize):
    given = {"normalize": normalize, "subfolder": subfolder}
    path = sentence_encoder(tmp_path / "made", checkpoints["bert"], **given)
    found = reading(str(path))
    assert (found.pooling, found.normalize) == ("mean", normalize)
    assert found.settings is None and found.head is None
    loaded = load(path)
    assert isinstance(loaded.model, PooledClassifier) and loaded.model.normalize is normalize
    assert longest_input(load_config(str(path)), loaded.tokenizer, None) == 24
    plain = reading(str(path), "first")
    assert (plain.settings, plain.normalize) == ({}, False)
    assert layer_map(load(path, "first").model)  # Hugging Face's class, from the same folder
    # The pooled state is sentence-transformers' own embedding.
    model, embed = loaded.model.eval(), SentenceTransformer(str(path), device="cpu")
    ids, _ = encode_texts(TEXTS, loaded.tokenizer, max_length=24)
    for text, row in zip(TEXTS, ids, strict=True):
        if "[" in text:  # plain transformers reads a literal [SEP] as the token
            continue
        with torch.no_grad():
            states = model.body(input_ids=torch.tensor([row])).last_hidden_state
            mine = model.embed(states, None)[0] / model.scale
        np.testing.assert_allclose(mine.numpy(), embed.encode(text), atol=1e-6)


@pytest.mark.parametrize(("mode", "pooling"), [("cls", "first"), ("lasttoken", "last")])
def test_the_form_of_today_is_read_too(checkpoints, tmp_path, mode, pooling):
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    body = Transformer(str(checkpoints["bert"]), max_seq_length=17)
    SentenceTransformer(modules=[body, Pooling(32, mode)], device="cpu").save(str(tmp_path / "new"))
    found = reading(str(tmp_path / "new"))
    assert found.pooling == pooling
    assert (found.settings == {}) is (pooling == "first")
    assert load_tokenizer(str(tmp_path / "new")).model_max_length == 17


def test_lower_case_is_part_of_the_declaration(checkpoints, tmp_path):
    path = sentence_encoder(tmp_path / "made", checkpoints["roberta"])
    asked = {"max_seq_length": 24, "do_lower_case": True}
    (path / "sentence_bert_config.json").write_text(json.dumps(asked))
    tokenizer = load_tokenizer(str(path))
    ids, _ = encode_texts(["The FILM", "the film"], tokenizer, max_length=24)
    assert ids[0] == ids[1]
    theirs = SentenceTransformer(str(path), device="cpu").tokenizer(["The FILM"])["input_ids"]
    assert theirs[0] == ids[0]


@pytest.mark.parametrize(
    ("pooling", "said"), [("max", "pools max"), ("mean max", "pools max and mean")]
)
def test_other_poolings_are_refused_with_what_to_do(checkpoints, tmp_path, pooling, said):
    path = sentence_encoder(tmp_path / "made", checkpoints["bert"], pooling)
    with pytest.raises(ModelError, match=rf"{said} .*the first token, the last, or the mean\. Use"):
        reading(str(path))
    assert reading(str(path), "mean").pooling == "mean"
    assert load(path, "mean").model.normalize is False  # declared with another pooling


def test_weighted_means_and_directories_without_a_pooling_are_refused(checkpoints, tmp_path):
    path = sentence_encoder(tmp_path / "made", checkpoints["bert"])
    about = {"embedding_dimension": 32, "pooling_mode": "weightedmean"}
    (path / "1_Pooling/config.json").write_text(json.dumps(about))
    with pytest.raises(ModelError, match="pools weightedmean"):
        reading(str(path))
    modules = json.loads((path / "modules.json").read_text())
    (path / "modules.json").write_text(json.dumps(modules[:1]))
    with pytest.raises(ModelError, match="no module of the kind Pooling"):
        reading(str(path))
    modules[1]["path"] = "../elsewhere"
    (path / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ModelError, match="outside of the checkpoint"):
        load_config(str(path))
    (path / "modules.json").write_text("{")
    with pytest.raises(ModelError, match=r"modules\.json, or a file that this names"):
        load_config(str(path))


def test_a_directory_without_a_transformer_is_refused(tmp_path):
    kinds = [{"path": "", "type": "sentence_transformers.models.StaticEmbedding"}]
    (tmp_path / "modules.json").write_text(json.dumps(kinds))
    with pytest.raises(ModelError, match="of the kind StaticEmbedding.* with a transformer"):
        load_config(str(tmp_path))


def test_what_cannot_be_pooled_is_refused():
    with pytest.raises(ModelError, match="the first token sees no other.*Use last or mean"):
        check_pooling(GPT2Config(), "first", "gpt2")
    check_pooling(GPT2Config(), "mean", "gpt2")
    assert head_reads(GPT2Config()) == "last"
    bart = AutoConfig.for_model("bart")
    with pytest.raises(ModelError, match="no class for the encoder of bart alone"):
        check_pooling(bart, "mean", "bart")
    check_pooling(bart, "last", "bart")


def test_modules_above_the_pooling_are_left_out_with_a_notice(checkpoints, tmp_path):
    """As in sentence-t5, whose dense layer without activation lies below its norm."""
    path = sentence_encoder(tmp_path / "made", checkpoints["bert"], normalize=False)
    modules = json.loads((path / "modules.json").read_text())
    dense = {"in_features": 32, "out_features": 3, "bias": False}
    dense |= {"activation_function": "torch.nn.modules.linear.Identity"}
    (path / "2_Dense").mkdir()
    (path / "2_Dense/config.json").write_text(json.dumps(dense))
    for kind in ("Dense", "Normalize"):
        folder = "2_Dense" if kind == "Dense" else "3_Normalize"
        modules.append({"path": folder, "type": f"sentence_transformers.models.{kind}"})
    (path / "modules.json").write_text(json.dumps(modules))
    loaded = load(path)
    assert loaded.model.normalize is False and loaded.new
    assert "(Dense, Normalize) are left out" in loaded.notices[0]


SAVED = [("bert", "auto"), ("bert", "last"), ("roberta", "mean"), ("t5", "mean"), ("t5", "first")]


@pytest.mark.parametrize(("family", "pooling"), SAVED)
def test_sentence_transformers_opens_what_is_saved(checkpoints, tmp_path, family, pooling):
    """The same logits by `encode`, truncation and literal special tokens included."""
    name = checkpoints[family]
    if pooling == "auto":
        name = sentence_encoder(tmp_path / "made", name)
    loaded = load(name, pooling)
    loaded.model.max_length = 15
    torch.nn.init.normal_(loaded.model.classifier.bias)
    save_pretrained(loaded.model, loaded.tokenizer, tmp_path / "model")
    expected = logits(loaded.model, loaded.tokenizer, TEXTS, limit=15)
    opened = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    np.testing.assert_allclose(opened.encode(TEXTS), expected, atol=1e-5)
    assert opened.max_seq_length == 15
    assert tuple(opened[0].auto_model.config.id2label.values()) == CLASSES
    again = load_trained(str(tmp_path / "model"), AutoModelForSequenceClassification)
    np.testing.assert_array_equal(logits(again, loaded.tokenizer, TEXTS, limit=15), expected)
    assert load_tokenizer(str(tmp_path / "model")).model_max_length == 15
    # Saved by sentence-transformers in its own form, it is still this model.
    opened.save(str(tmp_path / "theirs"))
    third = load_trained(str(tmp_path / "theirs"), AutoModelForSequenceClassification)
    np.testing.assert_allclose(
        logits(third, loaded.tokenizer, TEXTS, limit=15), expected, atol=1e-6
    )
    assert not any(path.suffix == ".bin" for path in (tmp_path / "model").rglob("*"))


def test_a_trained_head_is_kept_for_the_same_labels_only(checkpoints, tmp_path):
    first = load(checkpoints["bert"], "mean")
    torch.nn.init.normal_(first.model.classifier.weight)
    save_pretrained(first.model, first.tokenizer, tmp_path / "model")
    same = load(tmp_path / "model")
    assert not same.new and not same.notices
    weight = first.model.classifier.weight
    assert torch.equal(same.model.classifier.weight, weight)
    other = load(tmp_path / "model", head=TextClassification(("bad", "so", "good")).head)
    assert other.new == {"classifier.weight", "classifier.bias"}
    assert not torch.equal(other.model.classifier.weight, weight)
    assert "has a head for the labels poor, fair, fine; it gets a new one" in other.notices[0]
    more = load(tmp_path / "model", head=TextClassification(("a", "b")).head)
    assert more.new and more.model.classifier.out_features == 2
    bare = str(sentence_encoder(tmp_path / "bare", checkpoints["bert"]))
    with pytest.raises(ModelError, match="no trained head"):
        load_trained(bare, AutoModelForSequenceClassification)


def test_the_declaration_is_part_of_what_a_checkpoint_is(checkpoints, tmp_path):
    plain = str(checkpoints["bert"])
    norm, free = (
        str(sentence_encoder(tmp_path / str(normalize), plain, normalize=normalize))
        for normalize in (True, False)
    )
    assert len({architecture_hash(name) for name in (plain, norm, free)}) == 3
    task = TextClassification(CLASSES)
    loaded = load(plain, "mean")
    save_pretrained(loaded.model, loaded.tokenizer, tmp_path / "a")
    torch.nn.init.normal_(loaded.model.classifier.weight)
    save_pretrained(loaded.model, loaded.tokenizer, tmp_path / "b")
    each = [str(tmp_path / name) for name in "ab"]
    assert len({checkpoint_hash(name, task=task) for name in each}) == 2
    assert len({checkpoint_hash(name) for name in each}) == 1  # the backbone alone


def test_only_what_is_read_is_trained(checkpoints):
    """The encoder alone of a T5, a BERT without its pooler: every parameter gets a gradient."""
    assert trained_config(str(checkpoints["t5"]), "mean").is_encoder_decoder is False
    assert trained_config(str(checkpoints["t5"]), "auto").is_encoder_decoder is True
    for family in ("bert", "t5"):
        model = load(checkpoints[family], "mean").model
        assert len(layer_map(model).blocks) == DEPTH
        model(input_ids=torch.tensor([[5, 6, 7]])).logits.sum().backward()
        assert all(p.grad is not None for p in model.parameters())
    # A norm lies between T5's last block and the mean, so that no mean can be kept.
    assert pools_last_block(load(checkpoints["bert"], "mean").model)
    assert not pools_last_block(load(checkpoints["t5"], "mean").model)


def test_normalized_states_have_a_length_that_a_head_learns_on(checkpoints, tmp_path):
    model = load(sentence_encoder(tmp_path / "made", checkpoints["bert"])).model
    assert (
        model.scale == 4.0
    )  # the power of two nearest to the root of 32, so that nothing is rounded
    found = model.embed(torch.randn(2, 3, 32), None)
    torch.testing.assert_close(found.norm(dim=-1), torch.tensor([4.0, 4.0]))


def test_tokenizers_agree(checkpoints, tmp_path):
    loaded = load(checkpoints["bert"], "mean")
    save_pretrained(loaded.model, loaded.tokenizer, tmp_path / "model")
    other = AutoTokenizer.from_pretrained(tmp_path / "model")
    ids, _ = encode_texts(TEXTS, loaded.tokenizer, max_length=24)
    assert other(TEXTS, truncation=True, max_length=24)["input_ids"] == ids
    assert other.padding_side == "right"


@pytest.mark.parametrize("kind", ["distilbert", "gpt2", "mistral4", "bart", "modernbert"])
def test_the_rule_for_usual_heads_is_what_they_do(kind):
    model = zoo.tiny_model(kind)
    assert layer_map(model).pooled == head_reads(model.config)


@pytest.mark.parametrize("kind", ["distilbert", "deberta-v2", "mt5"])
def test_other_architectures_are_pooled_too(kind):
    config = zoo.tiny_model(kind).config
    auto_class, options = body_class(config, "mean")
    config.is_encoder_decoder = False
    model = PooledClassifier(auto_class.from_config(config, **options), pooling="mean")
    assert layer_map(model).pooled == "mean"
    assert len(layer_map(model).blocks) == zoo.BLOCKS


def test_a_trained_head_is_kept_in_the_order_of_the_task(checkpoints, tmp_path):
    first = load(checkpoints["bert"], "mean")
    torch.nn.init.normal_(first.model.classifier.weight)
    save_pretrained(first.model, first.tokenizer, tmp_path / "model")
    other = load(tmp_path / "model", head=TextClassification(("fine", "Poor", "fair")).head)
    assert not other.new
    assert torch.equal(other.model.classifier.weight, first.model.classifier.weight[[2, 0, 1]])


def test_fewer_blocks_and_prompts(checkpoints):
    whole = load(checkpoints["bert"], "mean").model
    model, new = keep_layers(whole, (0, 2))
    assert isinstance(model, PooledClassifier) and model.pooling == "mean"
    assert len(layer_map(model).blocks) == 2 and "classifier.weight" in new
    kept = model.body.encoder.layer[1].output.dense.weight
    assert torch.equal(kept, whole.body.encoder.layer[2].output.dense.weight)
    with pytest.raises(ModeError, match="under --pooling mean .* Take lora, or --pooling first"):
        apply_mode(whole, parse_mode("prefix"), task_type="SEQ_CLS")
