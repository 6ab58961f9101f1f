"""Checkpoints whose files are not what they seem, and tokenizers that do not fit their model."""

import ast
import json
import shutil
from pathlib import Path

import pytest
from transformers import (
    AutoConfig,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    RobertaConfig,
    XLNetConfig,
)

import nlptl
from nlptl.errors import ModelError
from nlptl.models.loading import BUNDLED, load_config, load_tokenizer
from nlptl.runs.predictor import load_predictor

BERT = BUNDLED / "bert"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 437955512\n"


@pytest.fixture
def folder(tmp_path) -> Path:
    """A configuration and a tokenizer; what stands in for the weights is never read."""
    target = tmp_path / "model"
    AutoTokenizer.from_pretrained(BERT).save_pretrained(target)
    AutoConfig.from_pretrained(BERT).save_pretrained(target)
    (target / "model.safetensors").write_bytes(b"x" * 2000)
    return target


def tokenizer_files(folder: Path) -> list[Path]:
    return [
        file for file in folder.iterdir() if file.name not in ("config.json", "model.safetensors")
    ]


def test_a_checkpoint_without_a_tokenizer_is_refused(folder):
    load_tokenizer(str(folder))
    for file in tokenizer_files(folder):
        file.unlink()
    with pytest.raises(ModelError, match="has no tokenizer"):
        load_tokenizer(str(folder))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    with pytest.raises(ModelError, match="has no tokenizer"):
        load_tokenizer(str(folder))
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n")
    with pytest.raises(ModelError, match="no tokens besides"):
        load_tokenizer(str(folder))


def test_byte_pairs_without_their_merges_are_refused(folder):
    for file in tokenizer_files(folder):
        file.unlink()
    RobertaConfig(vocab_size=10).save_pretrained(folder)
    tokens = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "a", "b", "ab"]
    (folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}))
    with pytest.raises(ModelError, match=r"no merges\.txt"):
        load_tokenizer(str(folder))
    (folder / "merges.txt").write_text("#version: 0.2\na b\n")
    assert load_tokenizer(str(folder))("ab")["input_ids"] == [0, 7, 2]


@pytest.mark.parametrize("longest", ["64", 0, 2, None, True])
def test_a_length_that_no_text_can_have_is_refused(folder, longest):
    """``[CLS]`` and ``[SEP]`` alone are two tokens."""
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_max_length": longest}))
    if longest is None:  # says nothing: transformers takes no limit
        assert load_tokenizer(str(folder)).model_max_length > 10**9
        return
    with pytest.raises(
        ModelError, match=f"model_max_length {longest!r}; expected a number above 2"
    ):
        load_tokenizer(str(folder))


def test_more_tokens_than_embeddings_are_refused(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = len(tokenizer)
    tokenizer.add_tokens(["[USER]", "soup"])
    tokenizer.save_pretrained(folder)
    with pytest.raises(ModelError, match=rf"{rows + 2:,} entries.*{rows:,} rows.*\[USER\], soup"):
        load_tokenizer(str(folder))
    assert len(load_tokenizer(str(folder), flag="--tokenizer")) == rows + 2  # for a new model
    config = AutoConfig.from_pretrained(folder)
    config.vocab_size += 2
    config.save_pretrained(folder)
    assert len(load_tokenizer(str(folder))) == rows + 2


@pytest.mark.parametrize(
    ("config", "kept"),
    [
        (BertConfig(), True),
        (RobertaConfig(type_vocab_size=1), False),
        (GPT2Config(), False),  # would read them as words
        (XLNetConfig(), True),  # has room for them, and no entry that says so
    ],
)
def test_token_types_are_given_only_where_the_model_has_them(folder, config, kept):
    config.vocab_size = 9000
    config.save_pretrained(folder)
    tokenizer = load_tokenizer(str(folder))
    assert ("token_type_ids" in tokenizer("a", "b")) == kept


def test_the_token_of_the_configuration_serves_as_padding(folder):
    file = folder / "tokenizer.json"
    text = file.read_text().replace("[PAD]", "[EMPTY]")
    file.write_text(text)
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]"})
    )
    number = json.loads(text)["model"]["vocab"]["[EMPTY]"]
    for given, right in ((number, True), (number + 100, False)):
        config = AutoConfig.from_pretrained(BERT, pad_token_id=given)
        config.save_pretrained(folder)
        if right:
            assert load_tokenizer(str(folder)).pad_token == "[EMPTY]"
        else:
            with pytest.raises(ModelError, match="no padding token"):
                load_tokenizer(str(folder))


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_pointer_of_git_lfs_is_refused(folder, file):
    (folder / "pytorch_model.bin").write_text(POINTER)  # not read beside safetensors
    (folder / "tf_model.h5").write_text(POINTER)
    load_config(str(folder))
    (folder / file).write_text(POINTER)
    with pytest.raises(ModelError, match=rf"{file}.*only a pointer of git-lfs"):
        load_config(str(folder))
    with pytest.raises(ModelError, match="git lfs pull"):
        load_tokenizer(str(folder))


@pytest.mark.parametrize("whole", [True, False])
def test_an_adapter_is_refused_with_its_base(folder, whole):
    about = {"peft_type": "LORA", "base_model_name_or_path": "somebody/base"}
    (folder / "adapter_config.json").write_text(json.dumps(about))
    if not whole:
        (folder / "config.json").unlink()
    with pytest.raises(ModelError, match=r"PEFT adapter \(of the model somebody/base\).*Merge"):
        load_config(str(folder))
    (folder / "adapter_config.json").write_text("[]")
    with pytest.raises(ModelError, match="PEFT adapter"):
        load_config(str(folder))


def test_the_adapter_of_a_run_names_the_runs_model(folder, tmp_path):
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter/adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match=rf"Did you mean {tmp_path}/model\?"):
        load_config(str(tmp_path / "adapter"))


@pytest.mark.parametrize(
    ("labels", "kind", "said"),
    [
        (1, None, "a number for a text"),
        (1, "regression", "a number for a text"),
        (2, "regression", "2 numbers for a text"),
        (3, "multi_label_classification", "any number of its 3 labels"),
    ],
)
@pytest.mark.parametrize("task", [None, "text-classification"])
def test_predict_refuses_outputs_that_are_not_one_class(folder, labels, kind, said, task):
    shape = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = BertConfig(
        vocab_size=8192, intermediate_size=8, num_labels=labels, problem_type=kind, **shape
    )
    shutil.rmtree(folder)
    BertForSequenceClassification(config).save_pretrained(folder)
    with pytest.raises(ModelError, match=f"{said}.*not one class"):
        load_predictor(folder, task=task)


def test_no_code_of_a_checkpoint_is_asked_for_anywhere():
    """Without the argument, transformers asks on the terminal whether it may run code."""
    asked = []
    for path in Path(nlptl.__file__).parent.rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text("utf-8"))):
            name = ast.unparse(call.func) if isinstance(call, ast.Call) else ""
            if not name.endswith((".from_pretrained", ".from_config")) or "Peft" in name:
                continue
            given = {word.arg: ast.unparse(word.value) for word in call.keywords}
            if given.get("trust_remote_code") != "False":
                asked.append(f"{path.name}: {name}")
    assert not asked
