"""Configuration files and command lines: values of the wrong type, all told at once."""

from dataclasses import MISSING, dataclass, fields
from pathlib import Path

import pytest

from nlptl.cli.config import (
    CompareConfig,
    PretrainConfig,
    QAConfig,
    SentimentConfig,
    TaskConfig,
    load_yaml,
    parse_args,
    to_yaml,
    with_options,
)
from nlptl.errors import ConfigError, UserError
from nlptl.tasks import TASKS, get_task
from nlptl.tasks.base import Task
from nlptl.tasks.options import BUILTIN_OPTIONS, TaskOptions
from nlptl.train.setup import FinetuneArgs, TrainArgs


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
        "lora_targets is [1]; expected a list of texts, such as ['1'].",
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


def test_all_mistakes_of_a_command_line_and_its_file_come_at_once(tmp_path):
    words = (
        "full --moed full --epocs 3 --batch-size two --seed --resume yes --epochs 1 2 --cache=maybe"
    )
    path = written(tmp_path, "seeds: many")
    with pytest.raises(UserError) as caught:
        parse_args(SentimentConfig, [*words.split(), "--config", str(path)])
    message = str(caught.value)
    assert message.startswith("9 things need your attention:")
    for part in (
        "'full' belongs to no flag; flags begin with --.",
        "--moed: there is no such flag. Did you mean '--mode'?",
        "--epocs: there is no such flag. Did you mean '--epochs'?",
        "--batch-size is two; expected a whole number.",
        "--seed has no value; expected a whole number.",
        "'yes' belongs to no flag; --resume takes none.",
        "'2' belongs to no flag; --epochs takes one value.",
        "--cache is maybe; expected one of auto, off, memory, disk.",
        "seeds is 'many'; expected a whole number.",
    ):
        assert part in message


def test_good_command_lines_pass_in_both_spellings():
    words = (
        "--output_dir a --no-resume --epochs None --seed -1 --train-file=b.csv --learning-rate 1e-4"
    )
    found = parse_args(SentimentConfig, words.split())
    assert (found.output_dir, found.resume, found.epochs) == (Path("a"), False, None)
    assert (found.seed, found.train_file, found.learning_rate) == (-1, Path("b.csv"), 1e-4)
    many = parse_args(CompareConfig, ["--model", "a", "b", "--mode", "full"])
    assert (many.model, many.mode) == (("a", "b"), ("full",))


def test_help_names_the_configuration_file(capsys):
    with pytest.raises(SystemExit) as caught:
        parse_args(SentimentConfig, ["--moed", "--help"], description="What it does.")
    assert caught.value.code == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "What it does. data --dataset TEXT Data set: bundled/remarks" in out
    assert "--config FILE YAML file with flags" in out


@pytest.mark.parametrize("words", [["--mode", "list"], ["--epochs", "x", "--mode=list"]])
@pytest.mark.parametrize("kind", [SentimentConfig, CompareConfig])
def test_mode_list_prints_every_mode_and_ends(words, kind, capsys):
    from nlptl.modes.definition import definitions

    with pytest.raises(SystemExit) as stopped:
        parse_args(kind, words)
    assert stopped.value.code == 0
    found = capsys.readouterr().out
    for definition in definitions():
        (part,) = [p for p in found.split("\n\n") if p.startswith(f"{definition.form}\n")]
        assert (
            "trains: " in part
            and "when: " in part
            and "rate: " in part
            and "epochs: " in part
            and "cache: " in part
        )
    lower, lora = (found.index(name) for name in ("\nfreeze-lower-N\n", "\nlora["))
    assert "2 (roberta 2.5, pre-norm 1.5) times the usual rate" in " ".join(found.split())
    assert "cache:  freeze-lower-2 the lowest 2 of 12 blocks" in found[lower : found.index("top-N")]
    assert "cache:  top-2 the lowest 10 of 12 blocks" in found
    assert "rate:   5e-4 for every model" in found[lora:]
    assert "lora-above-2 the lowest 2 of 12 blocks" in found[lora:]
    (as_is,) = [p for p in found.split("\n\n") if p.startswith("as-is\n")]
    assert "rate:   none" in as_is and "epochs: none" in as_is and "cache:  all blocks" in as_is


def test_a_registered_mode_is_listed(monkeypatch):
    from nlptl.modes.definition import MODES, definitions, mode
    from nlptl.modes.listing import describe_modes, modes_table

    definitions(builtin=True)
    monkeypatch.setattr(MODES, "things", dict(MODES.things))
    mode("mine-{n:int}", help="what I like", rate=4.0, frozen=lambda depth, n: n)(lambda m, n: m)
    (part,) = [p for p in describe_modes().split("\n\n") if p.startswith("mine-N\n")]
    assert (
        "trains: what I like" in part and "4 times the usual rate" in part and "when:" not in part
    )
    assert "cache:  mine-2 the lowest 2 of 12 blocks" in part
    assert "mine-N" not in modes_table()


def test_the_flags_of_a_task_come_from_the_task(tmp_path, capsys):
    found = parse_args(TaskConfig, ["--task", "qa", "--stride", "9", "--n-best", "3"])
    assert (found.stride, found.n_best, found.dataset) == (9, 3, "bundled/passages")
    assert not hasattr(found, "class_weights")
    path = written(tmp_path, to_yaml(found))
    assert parse_args(TaskConfig, ["--config", str(path)]) == found
    with pytest.raises(UserError, match="--stride: there is no such flag"):
        parse_args(TaskConfig, ["--stride", "9"])
    file = tmp_path / "mine.py"
    file.write_text(
        "from dataclasses import dataclass\nfrom nlptl.tasks.base import Task\n"
        "from nlptl.tasks.options import TaskOptions\n\n"
        "@dataclass(frozen=True, kw_only=True)\nclass Own(TaskOptions):\n    edge: float = 0.5\n\n"
        "@dataclass(frozen=True)\nclass Mine(Task):\n    edge: float = 0.5\n\n    options = Own\n"
    )
    own = parse_args(CompareConfig, ["--task", f"{file}:Mine", "--edge", "0.7", "--mode", "full"])
    assert (own.edge, own.mode, own.dataset) == (0.7, ("full",), None)
    with pytest.raises(ConfigError, match="--task sentimant: there is no such task. Did you mean"):
        parse_args(CompareConfig, ["--task", "sentimant"])
    with pytest.raises(SystemExit):
        parse_args(TaskConfig, ["--task", f"{file}:Mine", "--help"])
    assert "--edge NUMBER" in capsys.readouterr().out


def test_the_light_flags_of_nlptls_own_tasks_are_those_of_their_classes():
    assert set(BUILTIN_OPTIONS) == set(TASKS.places)
    for name, options in BUILTIN_OPTIONS.items():
        assert get_task(name).options is options and get_task(name).name == name


def test_a_field_of_a_task_takes_the_flag_of_its_name(tmp_path):
    @dataclass(frozen=True, kw_only=True)
    class Own(TaskOptions):
        edge: float = 0.5

    @dataclass(frozen=True)
    class Mine(Task):
        edge: float = 0.5
        options = Own

    (tmp_path / "t.csv").write_text("text,label\n" + "a film,yes\na book,no\n" * 10)
    config = with_options(TaskConfig, Own)(train_file=tmp_path / "t.csv", edge=0.9)
    task, _, _ = Mine.prepare(config)
    assert task == Mine(("no", "yes"), edge=0.9)


def test_a_program_and_a_command_line_have_the_same_defaults():
    """Of all arguments of a fine-tuning that a flag sets and that no mode or task chooses."""
    flags = {field.name: field.default for field in fields(SentimentConfig)}
    args = {field.name: field.default for field in fields(FinetuneArgs)}
    chosen = {"mode", "model", "learning_rate", "epochs", "head"}
    both = {name for name in flags.keys() & args.keys() if args[name] is not MISSING} - chosen
    assert len(both) > 12 and {"max_grad_norm", "gradient_checkpointing", "warmup"} <= both
    assert {n: args[n] for n in both} == {n: flags[n] for n in both}
    train = {field.name: field.default for field in fields(TrainArgs)}
    shared = {name for name in both & train.keys()}
    assert {n: train[n] for n in shared} == {n: flags[n] for n in shared}
