"""Configuration files and command lines: values of the wrong type, all told at once."""

from pathlib import Path

import pytest

from nlptl.config import (
    CompareConfig,
    PretrainConfig,
    QAConfig,
    SentimentConfig,
    load_yaml,
    parse_args,
    to_yaml,
)
from nlptl.errors import ConfigError, UserError


def written(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    return path


def test_values_of_another_type_are_told_all_at_once(tmp_path):
    lines = [
        *("batch_size: '32'", "epochs: abc", "model: 3", "output_dir: 5", "cache: maybe"),
        *("resume: 1", "seeds: 1.5", "lora_targets: [1]", "mode:", "seed: true", "mdoe: full"),
    ]
    with pytest.raises(UserError) as caught:
        load_yaml(SentimentConfig, path := written(tmp_path, "\n".join(lines)))
    message = str(caught.value)
    assert message.startswith("11 things need your attention:")
    for part in (
        "batch_size is '32'; expected a whole number.",
        "epochs is 'abc'; expected a number.",
        "model is 3; expected text.",
        "output_dir is 5; expected a path.",
        "cache is 'maybe'; expected one of auto, off, memory, disk.",
        "resume is 1; expected true or false.",
        "seeds is 1.5; expected a whole number.",
        "lora_targets is [1]; expected a list of texts.",
        "mode is None; expected text.",
        "seed is True; expected a whole number.",
    ):
        assert f"--config {path}: {part}" in message
    assert "unknown key 'mdoe'. Did you mean 'mode'" in message


def test_what_yaml_writes_in_its_own_way_is_read_as_declared(tmp_path):
    """YAML 1.1 takes 1e-4 for text, off for false and 2.0 for a number."""
    text = "learning_rate: 1e-4\ncache: off\nsquad_version: 2.0\nepochs: 3\ntrain_file: a.json\npatience:"
    assert load_yaml(QAConfig, written(tmp_path, text)) == {
        "learning_rate": 1e-4,
        "cache": "off",
        "squad_version": "2.0",
        "epochs": 3.0,
        "train_file": Path("a.json"),
        "patience": None,
    }
    assert load_yaml(PretrainConfig, written(tmp_path, "corpus: a.txt"))["corpus"] == ("a.txt",)
    config = CompareConfig(model=("a", "b"), cache="off", epochs=2.0)
    again = CompareConfig(**load_yaml(CompareConfig, written(tmp_path, to_yaml(config))))
    assert again == config


def test_a_configuration_that_is_no_utf8(tmp_path):
    (tmp_path / "c.yaml").write_bytes("label_column: größe".encode("latin-1"))
    with pytest.raises(ConfigError, match="expected a text file in UTF-8, found other bytes"):
        parse_args(SentimentConfig, ["--config", str(tmp_path / "c.yaml")])
