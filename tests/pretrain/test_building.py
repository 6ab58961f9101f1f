"""New models: growth, starts from counts, dropout that leaves no trace in the configuration."""

from copy import deepcopy
from weakref import ref

import numpy as np
import pytest
import torch
from datasets import Dataset
from scipy.sparse import csr_array
from tiny import sentences, tiny_tokenizer
from torch import nn

from nlptl.cli.config import PretrainConfig
from nlptl.cli.pretrain import check_sizes, piece_length
from nlptl.errors import ModelError, UserError
from nlptl.models.layer_map import layer_map
from nlptl.models.loading import load_config, load_tokenizer
from nlptl.pretrain.architecture import (
    check_architecture,
    longest_position,
    new_config,
    new_model,
)
from nlptl.pretrain.building import (
    grow_depth,
    model_to_train,
    set_dropout,
    train_byte_level_bpe,
    train_unigram,
    train_wordpiece,
)
from nlptl.pretrain.masked_lm import MaskedLM
from nlptl.pretrain.span_corruption import SpanCorruption
from nlptl.pretrain.warm_start import (
    RIDGE,
    count_embeddings,
    count_pairs,
    set_words,
    sinusoids,
    taught_embeddings,
    warm_start,
)


@pytest.fixture(scope="session")
def tokenizer():
    return train_wordpiece([sentences(300)], vocab_size=300, max_length=64)


def make(tokenizer, depth=2):
    torch.manual_seed(0)
    return new_model(new_config("bert", tokenizer=tokenizer, depth=depth, width=32, positions=64))


def test_a_grown_model_copies_what_it_can_and_computes_the_same(tokenizer):
    """Two blocks to six: each is followed by two silent copies; norms are plain, so it is exact."""
    shallow = make(tokenizer).eval()
    with torch.no_grad():
        shallow.cls.predictions.bias.normal_()
    deep = grow_depth(shallow, 6).eval()
    assert deep.config.num_hidden_layers == len(deep.bert.encoder.layer) == 6
    for number, block in enumerate(deep.bert.encoder.layer):
        source = shallow.bert.encoder.layer[number // 3].state_dict()
        same = {n for n, tensor in block.state_dict().items() if torch.equal(tensor, source[n])}
        changed = {"attention.output.dense.weight", "output.dense.weight"} if number % 3 else set()
        assert set(source) - same == changed
    assert deep.cls.predictions.decoder.weight is deep.bert.embeddings.word_embeddings.weight
    ids = torch.arange(5, 25)[None]
    torch.testing.assert_close(deep(ids).logits, shallow(ids).logits, rtol=0, atol=1e-5)
    deep(ids).logits.sum().backward()
    for block in deep.bert.encoder.layer:
        assert block.output.dense.weight.grad.abs().sum() > 0
    with pytest.raises(
        ModelError, match="--depth 5 is not a multiple of the checkpoint's 2 blocks"
    ):
        grow_depth(shallow, 5)


def test_a_t5_grows_its_encoder_and_computes_nearly_the_same():
    """Three blocks write a third each: the same to first order. Decoder and position bias stay."""
    own = tiny_tokenizer("t5")
    torch.manual_seed(0)
    shallow = new_model(new_config("t5", tokenizer=own, depth=2, width=32, positions=64)).eval()
    with torch.no_grad():
        shallow.encoder.final_layer_norm.weight.uniform_(0.5, 1.5)

    ids = torch.arange(5, 25)[None]

    def change(size):
        """Largest change of a logit by growth, where blocks write so much; and the grown model."""
        start = deepcopy(shallow)
        with torch.no_grad():
            for block in start.encoder.block:
                block.layer[0].SelfAttention.o.weight.mul_(size)
                block.layer[1].DenseReluDense.wo.weight.mul_(size)
        grown = grow_depth(start, 6).eval()
        both = [each(input_ids=ids, labels=ids).logits for each in (start, grown)]
        return (both[1] - both[0]).abs().max().item(), grown

    # Steps a tenth as long: an error of second order is a hundredth.
    assert change(0.1)[0] == pytest.approx(change(0.01)[0] * 100, rel=0.3)
    assert 0 < change(0.01)[0] < 1e-3
    _, deep = change(1.0)
    assert (len(deep.encoder.block), len(deep.decoder.block)) == (6, 2)
    assert (deep.config.num_layers, deep.config.num_decoder_layers) == (6, 2)
    deep(input_ids=ids, labels=ids).loss.backward()
    for number, block in enumerate(deep.encoder.block):
        old = shallow.encoder.block[number // 3]
        for name, tensor in block.named_parameters():
            if "relative_attention_bias" in name and number:
                continue
            writes = name.endswith((".o.weight", ".wo.weight"))
            torch.testing.assert_close(tensor * (3 if writes else 1), old.get_parameter(name))
            assert tensor.grad.abs().sum() > 0, name  # none waits for another to begin
    with pytest.raises(
        ModelError, match="--depth 5 is not a multiple of the checkpoint's 2 blocks"
    ):
        grow_depth(shallow, 5)


def test_dropout_is_off_while_the_configuration_keeps_its_rate(family):
    own = tiny_tokenizer(family)
    model = new_model(new_config(family, tokenizer=own, depth=2, width=32, positions=64)).train()
    ids = torch.arange(5, 25)[None]
    given = {"input_ids": ids, **({"labels": ids} if family == "t5" else {})}
    set_dropout(model, 0.0)
    state = torch.get_rng_state()
    assert torch.equal(model(**given).logits, model(**given).logits)
    assert torch.equal(torch.get_rng_state(), state)  # attention draws nothing either
    config = model.config
    assert (config.dropout_rate if family == "t5" else config.hidden_dropout_prob) == 0.1
    set_dropout(model, 0.5)
    assert not torch.equal(model(**given).logits, model(**given).logits)
    assert {m.p for m in model.modules() if isinstance(m, nn.Dropout)} == {0.5}


def test_pairs_are_counted_by_hand():
    """Tokens 0 1 2: (0, 1) and (1, 2) at distance 1, (0, 2) at 2; nothing across texts."""
    unigram, pairs = count_pairs([[0, 1, 2], [2]], 4, window=2)
    assert unigram.tolist() == [1, 1, 2, 0]
    expected = np.zeros((4, 4))
    for a, b, weight in ((0, 1, 1.0), (1, 2, 1.0), (0, 2, 0.5)):
        expected[a, b] = expected[b, a] = weight
    assert pairs.toarray().tolist() == expected.tolist()


def test_embeddings_factor_the_information_matrix():
    """At full rank U S U' is the matrix again, so U sqrt(S) (uncentred) has its row geometry."""
    rng = np.random.default_rng(0)
    table = rng.random((6, 6)) ** 8
    table = (table + table.T).astype(np.float32)
    rows, context = table.sum(1, keepdims=True), table.sum(0) ** 0.75
    pmi = np.maximum(np.log(table / rows) - np.log(context / context.sum()), 0)
    left, sizes, _ = np.linalg.svd(pmi)
    expected = left * np.sqrt(sizes)
    expected -= expected.mean(0)
    found = count_embeddings(csr_array(table), 6, seed=0)
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-4)


def test_taught_embeddings_are_a_reduced_rank_ridge_regression(monkeypatch):
    """Against scikit-learn's ridge, and numpy's best approximation of what it guesses."""
    from sklearn.linear_model import Ridge

    monkeypatch.setattr("nlptl.pretrain.warm_start.CHUNK", 7)  # several, the last one shorter
    rng = np.random.default_rng(0)
    pieces = [rng.integers(1, 9, size=rng.integers(2, 6)) for _ in range(40)]  # never token 0
    states = rng.normal(size=(40, 5)).astype(np.float16)
    shares = np.stack([np.bincount(piece, minlength=9) / len(piece) for piece in pieces])
    wanted = states.astype(float)
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    fit = Ridge(alpha=RIDGE, fit_intercept=False).fit(shares, wanted).coef_.T

    whole = taught_embeddings(pieces, states, 9, 7)
    assert whole.shape == (9, 7) and not whole[:, 5:].any() and not whole[0].any()
    np.testing.assert_allclose(whole @ whole.T, fit @ fit.T, atol=1e-4)
    left, sizes, _ = np.linalg.svd(shares @ fit, full_matrices=False)
    best = (left[:, :2] * sizes[:2]) @ (left[:, :2] * sizes[:2]).T
    guesses = shares @ taught_embeddings(pieces, states, 9, 2)
    np.testing.assert_allclose(guesses @ guesses.T, best, atol=1e-4)


def test_words_are_scaled_to_those_they_replace(tokenizer):
    model = new_model(new_config("bert", tokenizer=tokenizer, depth=1, width=32, positions=64))
    table = model.get_input_embeddings().weight
    before, scale = table.detach().clone(), table.std().item()
    vectors = np.zeros(table.shape, dtype=np.float32)
    vectors[3:9] = np.random.default_rng(0).normal(size=(6, 32))
    set_words(model, vectors)
    assert table[3:9].std().item() == pytest.approx(scale, rel=1e-5)
    ratio = table[3:9].detach().numpy() / vectors[3:9]
    assert ratio.std() < 1e-5 < ratio.mean()
    assert torch.equal(table[:3], before[:3]) and torch.equal(table[9:], before[9:])


def test_position_code_is_vaswanis():
    code = sinusoids(10, 8)
    assert code.shape == (10, 8)
    assert code[0].tolist() == [0] * 4 + [1] * 4
    assert code[3, 1] == pytest.approx(np.sin(3 / 10000 ** (2 / 8)), abs=1e-6)
    assert code[7, 6] == pytest.approx(np.cos(7 / 10000 ** (4 / 8)), abs=1e-6)


def test_a_warm_start_counts_all_sources(monkeypatch):
    """Of a corpus whose second part comes last, words of both are counted, though few documents are read."""
    monkeypatch.setattr("nlptl.pretrain.warm_start.COUNTED", 20)
    texts = ["film film film film film film"] * 200 + ["book book book book book book"] * 200
    config = PretrainConfig(
        architecture="bert", depth=1, width=32, positions=32, vocab_size=120, warm_start=True
    )
    model, tokenizer, _ = model_to_train(config, MaskedLM(), Dataset.from_dict({"text": texts}))
    bias = model.cls.predictions.bias.tolist()
    seen = [bias[tokenizer.convert_tokens_to_ids(word)] for word in ("film", "book")]
    assert min(seen) > np.median(bias) + 2


def test_t5s_vocabulary_is_trained_as_it_is_used(tmp_path):
    """Signs that a compatibility normalizer would have replaced are in it; after reloading too."""
    texts = ["wait … half ½ a brand™ of films", "the plot was good … ½"] * 40
    own = train_unigram([texts], vocab_size=160, max_length=64)
    own.save_pretrained(tmp_path)
    for tokenizer in (own, load_tokenizer(str(tmp_path))):
        assert tokenizer.unk_token_id not in tokenizer("wait … ½ brand™")["input_ids"]


def test_a_warm_start_begins_at_the_unigram_distribution(tokenizer):
    model = make(tokenizer)
    spread = model.get_input_embeddings().weight.std().item()
    pieces = tokenizer(sentences(200))["input_ids"]
    warm_start(model, pieces, seed=0)
    counts = np.bincount(np.concatenate(pieces), minlength=len(tokenizer)) + 1
    expected = torch.from_numpy(np.log(counts / counts.sum())).float()
    torch.testing.assert_close(model.cls.predictions.bias, expected)
    table = model.get_input_embeddings().weight
    seen = torch.from_numpy(counts > 1)
    assert table[seen].std().item() == pytest.approx(spread, rel=1e-3)


def test_t5s_warm_start_looks_near_and_finds_its_sentinels():
    """Scores fall with the distance, more slowly in each further head; equal tokens attend to each other."""
    own = tiny_tokenizer("t5")
    torch.manual_seed(0)
    model = new_model(new_config("t5", tokenizer=own, depth=2, width=64, positions=64))
    warm_start(model, own(sentences(200), add_special_tokens=False)["input_ids"], seed=0)
    bias = model.encoder.block[0].layer[0].SelfAttention.compute_bias(9, 9)[0]
    steps = (bias[:, 4, 1:8] - bias[:, 4, 4:5]).tolist()
    assert steps[0] == [-1.5, -1.0, -0.5, 0.0, -0.5, -1.0, -1.5]
    assert steps[1] == [-0.75, -0.5, -0.25, 0.0, -0.25, -0.5, -0.75]
    cross = model.decoder.block[0].layer[1].EncDecAttention
    words = model.shared.weight[own.convert_tokens_to_ids([f"<extra_id_{i}>" for i in range(8)])]
    scores = cross.q(words) @ cross.k(words).T
    assert (scores.argmax(1) == torch.arange(8)).all()


def test_impossible_architectures_are_refused_together():
    with pytest.raises(UserError, match=r"(?s)--architecture gpt2.*--width is 100"):
        check_architecture("gpt2", depth=2, width=100, positions=None)


def test_new_models_of_every_family(family):
    """Heads of 32 dimensions, feed-forward four times as wide, the longest input as asked."""
    own = tiny_tokenizer(family)
    model = new_model(new_config(family, tokenizer=own, depth=3, width=64, positions=50))
    layers = layer_map(model)
    assert len(layers.blocks) == (5 if family == "t5" else 3)
    assert model.config.num_attention_heads == 2
    assert layers.positions == (None if family == "t5" else 50)
    assert model.get_input_embeddings().num_embeddings == len(own)
    ids = torch.randint(5, len(own), (2, 50))
    given = {"labels": ids} if family == "t5" else {}
    assert model(input_ids=ids, **given).logits.shape == (2, 50, len(own))


def test_trained_vocabularies_have_the_size_asked_for():
    for train, more in (
        (train_wordpiece, {}),
        (train_byte_level_bpe, {}),
        (train_unigram, {"sentinels": 30}),
    ):
        own = train([sentences(300)], vocab_size=300, max_length=64, **more)
        assert 60 < len(own) <= 300
        assert own.decode(
            own("the film was good")["input_ids"], skip_special_tokens=True
        ).strip() == ("the film was good")


@pytest.mark.parametrize("train", [train_wordpiece, train_byte_level_bpe, train_unigram])
def test_the_same_texts_give_the_same_vocabulary(train):
    """The libraries' trainers go through hash tables in another order each time."""
    letters = [chr(code) for code in range(0xE0, 0xF7)]  # each in one word: kept only to be spelt
    texts = [*sentences(300), *(f"{letter}film{letter}" for letter in letters)]
    one, two = (train([texts], vocab_size=500, max_length=64) for _ in range(2))
    assert one.backend_tokenizer.to_str() == two.backend_tokenizer.to_str()


def test_characters_of_a_wordpiece_vocabulary_are_the_most_frequent(monkeypatch):
    monkeypatch.setattr("nlptl.pretrain.building.ALPHABET", 3)
    own = train_wordpiece([["aab abc", "bca d d e"]], vocab_size=5 + 3 + 3, max_length=8)
    # a 4, b 3, c 2, d 2, e 1; of c and d the first in the alphabet; "##a" and so on where they stand so
    assert set(own.get_vocab()) - set(own.all_special_tokens) == {
        "a",
        "b",
        "c",
        "##a",
        "##b",
        "##c",
    }


def test_characters_of_a_unigram_vocabulary_are_the_most_frequent(tmp_path):
    """Of five entries beside the special ones four are characters, the space among them."""
    texts = ["abab aab ab"] * 20 + ["acd", "ad", "efgh"]  # a, b, then d 2, all others 1
    own = train_unigram([texts], vocab_size=3 + 5 + 2, max_length=8, sentinels=2)
    assert len(own) == 10
    found = set(own.get_vocab()) - set(own.all_special_tokens)
    assert {piece for piece in found if len(piece) == 1} == {"▁", "a", "b", "d"}
    own.save_pretrained(tmp_path)
    for tokenizer in (own, load_tokenizer(str(tmp_path))):
        ids = tokenizer("dcd", add_special_tokens=False)["input_ids"]
        pieces = tokenizer.convert_ids_to_tokens(ids)
        assert pieces == ["▁", "d", "<unk>", "d"]
    again = train_unigram([texts], vocab_size=10, max_length=8, sentinels=2)
    assert again.backend_tokenizer.to_str() == own.backend_tokenizer.to_str()


@pytest.mark.parametrize("train", [train_wordpiece, train_byte_level_bpe, train_unigram])
def test_texts_of_a_vocabulary_are_not_held_in_memory(train):
    class Documents(list):
        """Says by a weak reference whether it is still there."""

    held, most = [], []

    class Texts:
        def __iter__(self):
            for start in range(0, 3000, 300):
                batch = Documents(sentences(300, seed=start))
                held.append(ref(batch))
                most.append(sum(each() is not None for each in held))
                yield batch

    assert len(train(Texts(), vocab_size=300, max_length=64)) > 60
    assert len(held) >= 10 and max(most) <= 2


def test_a_configuration_gives_the_architecture(family, tmp_path):
    """Everything from the file but the vocabulary, the special tokens, and the depth asked for."""
    from transformers import AutoConfig

    sizes = (
        {
            "d_model": 48,
            "d_ff": 80,
            "d_kv": 24,
            "num_heads": 2,
            "num_layers": 4,
            "num_decoder_layers": 1,
        }
        if family == "t5"
        else {
            "hidden_size": 48,
            "intermediate_size": 80,
            "num_attention_heads": 2,
            "num_hidden_layers": 4,
        }
    )
    AutoConfig.for_model(family, **sizes).save_pretrained(tmp_path)
    own = tiny_tokenizer(family)
    for given in (str(tmp_path), str(tmp_path / "config.json")):
        model = new_model(new_config(given, tokenizer=own, depth=2))
        layers = layer_map(model)
        assert len(layers.blocks) == (3 if family == "t5" else 2)
        config = model.config
        assert (config.hidden_size, config.num_attention_heads) == (48, 2)
        assert (config.vocab_size, config.pad_token_id) == (len(own), own.pad_token_id)
        assert config.eos_token_id == own.eos_token_id


def hub_with(monkeypatch, directory, name, config):
    """A fake hub cache: what a user has who once downloaded a configuration."""
    from huggingface_hub import constants

    home = directory / "hub" / f"models--{name}"
    config.save_pretrained(home / "snapshots" / ("0" * 40))
    (home / "refs").mkdir()
    (home / "refs/main").write_text("0" * 40)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(directory / "hub"))
    monkeypatch.setattr("transformers.utils.hub.constants.HF_HUB_CACHE", str(directory / "hub"))


def test_a_hub_name_without_a_slash_gives_the_architecture(tmp_path, monkeypatch):
    from transformers import AutoConfig

    sizes = {"num_hidden_layers": 4, "max_position_embeddings": 99, "pad_token_id": 1}
    config = AutoConfig.for_model("roberta", hidden_size=48, num_attention_heads=2, **sizes)
    hub_with(monkeypatch, tmp_path, "roberta-base", config)
    hub_with(monkeypatch, tmp_path, "gpt2", AutoConfig.for_model("gpt2"))
    none = {"depth": None, "positions": None}
    assert check_architecture("roberta-base", width=None, **none) == "roberta"
    assert longest_position("roberta-base", None, None) == 99 - 2
    own = tiny_tokenizer("roberta")
    model = new_model(new_config("roberta-base", tokenizer=own, depth=2))
    assert (model.config.hidden_size, len(layer_map(model).blocks)) == (48, 2)
    with pytest.raises(UserError, match="the file says the width"):
        check_architecture("roberta-base", width=64, **none)
    with pytest.raises(UserError, match=r"--architecture gpt2 is of the family 'gpt2'") as caught:
        check_architecture("gpt2", width=None, **none)
    assert "or name a family" not in str(caught.value)
    with pytest.raises(
        UserError, match=r"(?s)robrta: is not a local .* the hub .*, or name a"
    ) as caught:
        check_architecture("robrta", width=None, **none)
    assert str(caught.value).endswith("family: bert, roberta, t5. Did you mean 'roberta'?")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.json").write_text("{}")
    with pytest.raises(UserError) as caught:  # a file, whether it is there or not
        check_architecture("smal.json", width=None, **none)
    assert str(caught.value) == (
        "--architecture smal.json: there is no such file. Did you mean 'small.json'?"
    )


def test_a_new_model_is_float32_whatever_its_configuration_says(family):
    name = f"bundled/{family}"
    assert load_config(name).dtype == torch.float16
    own = tiny_tokenizer(family)
    model = new_model(new_config(name, tokenizer=own, depth=1))
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert model.config.dtype == torch.float32


def test_a_t5_takes_any_length_and_its_tokenizer_follows():
    documents = Dataset.from_dict({"text": sentences(300)})
    own = {"depth": 1, "width": 32, "vocab_size": 200}
    for given, longest in (({}, 256), ({"max_length": 512}, 512), ({"max_length": 64}, 256)):
        config = PretrainConfig(architecture="t5", **own, **given)
        check_sizes(config, "t5")
        assert piece_length(config, "t5") == given.get("max_length", 128)
        tokenizer = model_to_train(config, SpanCorruption(), documents)[1]
        assert tokenizer.model_max_length == longest
    with pytest.raises(UserError, match="--max-length 512: the new model takes at most 64 tokens"):
        check_sizes(PretrainConfig(architecture="t5", positions=64, max_length=512), "t5")


@pytest.mark.parametrize(
    ("name", "given", "longest"),
    [
        ("bert", {"positions": 64}, 64),  # the bundled tokenizer says 256
        ("bert", {}, 256),
        ("roberta", {"positions": 700}, 700),
        ("t5", {"positions": 64}, 64),
        ("t5", {"max_length": 3000}, 3000),
    ],
)
def test_a_given_tokenizer_says_what_the_new_model_takes(name, given, longest, tmp_path):
    documents = Dataset.from_dict({"text": sentences(10)})
    config = PretrainConfig(
        architecture=name, tokenizer=f"bundled/{name}", depth=1, width=32, **given
    )
    model, tokenizer, _ = model_to_train(config, MaskedLM(), documents)
    tokenizer.save_pretrained(tmp_path)
    assert tokenizer.model_max_length == longest
    assert load_tokenizer(str(tmp_path)).model_max_length == longest
    assert layer_map(model).positions in (longest, None)


def test_a_configuration_that_is_none_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{not json")
    sizes = {"depth": None, "positions": None}
    with pytest.raises(UserError, match=r"--architecture \S+config.json: is not a model config"):
        check_architecture(str(tmp_path / "config.json"), width=None, **sizes)
    with pytest.raises(UserError, match=r"(?s)--architecture \S+nowhere.*the file says the width"):
        check_architecture(str(tmp_path / "nowhere"), width=64, **sizes)
