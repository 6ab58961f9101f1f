"""Pretraining from its command line: it learns, resumes exactly, and feeds the sentiment recipe."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from launching import command, result, run_in_process, took_long
from safetensors.torch import load_file
from tiny import WORDS, sentences

from nlptl.cli.config import PretrainConfig, load_yaml
from nlptl.cli.pretrain import default_rate, prepare_pretraining, pretraining_args, read_corpus
from nlptl.errors import ConfigError, DataError, UserError
from nlptl.models.loading import load_config, load_tokenizer
from nlptl.modes.base import parse_mode
from nlptl.train.setup import new_accelerator


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "texts.txt"
    path.write_text("\n".join(sentences(400, seed=9)) + "\n")
    return path


def flags(corpus, directory, steps=40):
    return [
        *("--corpus", corpus, "--held-out", 40, "--steps", steps, "--output-dir", directory),
        *("--depth", 2, "--width", 32, "--positions", 64, "--vocab-size", 300),
        *("--eval-every", 20, "--save-every", 10, "--learning-rate", 5e-3),
    ]


def unfinish(directory):
    """Take away what was saved after training."""
    shutil.rmtree(directory / "model")
    (directory / "result.json").unlink()


@pytest.fixture(scope="module")
def finished(corpus, tmp_path_factory):
    directory = tmp_path_factory.mktemp("pretrain") / "run"
    run_in_process("pretrain", *flags(corpus, directory))
    return directory


def test_it_logs_the_held_out_loss_and_saves_a_model(finished):
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    log = [json.loads(line) for line in (finished / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [0, 20, 40]
    assert log[0]["tokens"] == log[-1]["tokens"] > 30  # the same masks each time
    assert log[-1]["loss"] < log[0]["loss"] - 2 * log[0]["se"]
    assert all(line["tokens_per_second"] > 0 for line in log[1:])
    model = AutoModelForMaskedLM.from_pretrained(finished / "model")
    assert model.config.num_hidden_layers == 2
    assert len(AutoTokenizer.from_pretrained(finished / "model")) == model.config.vocab_size
    assert {p.name for p in finished.iterdir()} == {
        *("model", "models", "log.jsonl", "checkpoints", "config.yaml"),
        *("result.json", "README.md"),
    }


def test_it_leaves_a_record_a_card_and_its_whole_configuration(corpus, finished):
    from transformers import AutoTokenizer

    record = result(finished)
    log = [json.loads(line) for line in (finished / "log.jsonl").read_text().splitlines()]
    assert record["history"] == log
    assert record["metrics"] == {
        **{"loss": log[-1]["loss"], "loss_se": log[-1]["se"]},
        **{"start_loss": log[0]["loss"], "start_loss_se": log[0]["se"]},
    }
    assert (record["task"], record["model"], record["mode"]) == ("masked-lm", None, "full")
    assert record["n"]["train"] == 360 and record["n"]["held_out"] == 40
    assert record["n"]["held_out_tokens"] == log[0]["tokens"]
    assert record["reload_difference"] <= 1e-6
    tensors = load_file(finished / "model/model.safetensors")
    count = sum(t.numel() for t in tensors.values())
    assert record["parameters"]["total"] == record["parameters"]["trainable"] == count
    rates = [rate for _, rate in record["learning_rates"]]  # 4 of 40 steps warm up
    assert rates == pytest.approx(
        [5e-3 * i / 4 for i in range(4)] + [5e-3 * i / 36 for i in range(36, 0, -1)]
    )
    assert record["launch"] == {"mixed_precision": "no", "processes": 1}
    assert {"model", "mode", "batch_size"} <= set(record["defaults"])
    assert not {"steps", "learning_rate"} & set(record["defaults"])
    assert record["timing"]["train_seconds"] > 0 and "torch" in record["versions"]
    tokenizer = AutoTokenizer.from_pretrained(finished / "model")
    each = [len(ids) for ids in tokenizer(corpus.read_text().splitlines())["input_ids"]]
    # Two blocks of width 32, feed-forward 128, forward and back, of pieces of at least six plain tokens.
    block = np.mean([(8 * 32 * 32 + 4 * 32 * 128) * n + 4 * n * n * 32 for n in each if n >= 8])
    epochs, more = divmod(40, -(-record["n"]["train_pieces"] // 16))
    seen = epochs * record["n"]["train_pieces"] + 16 * more
    assert record["training_flops"] == pytest.approx(seen * 3 * 2 * block, rel=0.03)
    card = (finished / "README.md").read_text()
    assert f"| loss | {log[-1]['loss']:.4f} | {log[-1]['se']:.4f} |" in card
    assert "masked-lm, from scratch, mode `full`" in card and str(corpus) in card
    config = load_yaml(PretrainConfig, finished / "config.yaml")
    assert config["objective"] == "masked-lm" and config["optimizer"] == "adamw"
    assert config["max_length"] == 64  # as many as --positions
    assert config["learning_rate"] == 5e-3


def test_what_was_no_flag_is_filled_in_and_taken_back(corpus, finished, tmp_path):
    given = ("--model", finished / "model", "--corpus", corpus, "--steps", 3, "--held-out", 20)
    run_in_process("pretrain", *given, "--output-dir", tmp_path / "one")
    config = load_yaml(PretrainConfig, tmp_path / "one/config.yaml")
    assert (config["learning_rate"], config["max_length"]) == (
        2e-3,
        64,
    )  # 5e-4 at width 128, here 32
    assert "learning_rate" in result(tmp_path / "one")["defaults"]
    run_in_process(
        *("pretrain", "--config", tmp_path / "one/config.yaml", "--output-dir", tmp_path / "two")
    )
    one, two = result(tmp_path / "one"), result(tmp_path / "two")
    assert one["metrics"] == two["metrics"] and one["settings"] == two["settings"]


def test_a_finished_run_is_not_trained_again(corpus, finished, capsys):
    before = {p: p.stat().st_mtime_ns for p in finished.rglob("*") if p.name != ".lock"}
    run_in_process("pretrain", *flags(corpus, finished), "--resume")
    assert "is finished, there is nothing left to do" in capsys.readouterr().out
    after = {p: p.stat().st_mtime_ns for p in finished.rglob("*") if p.name != ".lock"}
    assert before == after


def test_killed_while_it_saves_it_trains_nothing_again(corpus, tmp_path, monkeypatch):
    """Steps 10 and 12 have checkpoints: the last one always has."""
    from nlptl.runs import directory as runs

    def cut(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "save_pretrained", cut)
    with pytest.raises(KeyboardInterrupt):
        run_in_process("pretrain", *flags(corpus, tmp_path / "run", steps=12))
    monkeypatch.undo()
    assert result(tmp_path / "run")["reload_difference"] is None
    kept = sorted(p.name for p in (tmp_path / "run/checkpoints").iterdir())
    assert kept == ["step-0000010", "step-0000012"]
    monkeypatch.setattr("nlptl.train.loop._read_loss", cut)  # after a step
    run_in_process("pretrain", *flags(corpus, tmp_path / "run", steps=12), "--resume")
    assert result(tmp_path / "run")["reload_difference"] <= 1e-6
    assert (tmp_path / "run/model/model.safetensors").exists()


def test_a_model_that_reads_back_otherwise_is_told(corpus, tmp_path, monkeypatch):
    from nlptl.errors import RunError
    from nlptl.runs import directory as runs

    save = runs.save_pretrained

    def wrong(model, *rest, **options):
        model.cls.predictions.bias.data[:20] += 1
        save(model, *rest, **options)

    monkeypatch.setattr(runs, "save_pretrained", wrong)
    with pytest.raises(RunError, match="Reloading .* changed the losses by .* please report this"):
        run_in_process("pretrain", *flags(corpus, tmp_path / "run", steps=2))
    assert result(tmp_path / "run")["reload_difference"] is None


def test_killed_and_resumed_it_gives_the_same_weights(corpus, finished, tmp_path, monkeypatch):
    from nlptl.train.hooks import ProgressBar

    class PowerCut(Exception):
        pass

    step = ProgressBar.on_step

    def cut(self, state):
        if state.step == 27:
            raise PowerCut
        return step(self, state)

    # A vocabulary is not trained twice alike, so both runs begin with the same start.
    shutil.copytree(finished / "models", tmp_path / "run/models")
    began = (finished / "config.yaml").read_text().replace(str(finished), str(tmp_path / "run"))
    (tmp_path / "run/config.yaml").write_text(began)
    monkeypatch.setattr(ProgressBar, "on_step", cut)
    with pytest.raises(PowerCut):
        run_in_process("pretrain", *flags(corpus, tmp_path / "run"), "--resume")
    monkeypatch.undo()
    log = tmp_path / "run/log.jsonl"
    with log.open("a") as file:  # scored after the checkpoint: will be scored again
        file.write('{"step": 25}\n')
    run_in_process("pretrain", *flags(corpus, tmp_path / "run"), "--resume")
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == [0, 20, 40]
    one = load_file(finished / "model/model.safetensors")
    two = load_file(tmp_path / "run/model/model.safetensors")
    assert all((tensor == two[name]).all() for name, tensor in one.items())
    log = [json.loads(x) for x in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [0, 20, 40]


def test_a_resumed_runs_time_is_that_of_all_its_sessions(corpus, finished, tmp_path):
    own = ("--model", finished / "model", "--corpus", corpus, "--held-out", 20, "--steps", 4)
    own += ("--save-every", 2, "--output-dir", tmp_path)
    run_in_process("pretrain", *own)
    unfinish(tmp_path)
    shutil.rmtree(tmp_path / "checkpoints/step-0000004")
    took_long(tmp_path)
    run_in_process("pretrain", *own, "--resume")
    timing = result(tmp_path)["timing"]
    assert 1000 < timing["train_seconds"] < 1060 and 100 < timing["held_out_seconds"] < 160
    assert timing["examples_per_second"] == pytest.approx(4 * 16 / 1000, abs=0.006)
    assert (
        f"- {timing['train_seconds']:.1f} s, 0.1 examples" in (tmp_path / "README.md").read_text()
    )


@pytest.mark.slow
def test_two_processes_resume_exactly_and_only_as_two(corpus, finished, tmp_path):
    """Masks and dropout are drawn by each process, so that one process has the same loss at the start alone.

    There, on held-out text, it is the same but for rounding: its masks depend on each piece.
    """
    own = ("--model", finished / "model", "--corpus", corpus, "--held-out", 20, "--steps", 6)
    own += ("--save-every", 3, "--eval-every", 3, "--dropout", 0.1)
    two = tmp_path / "two"
    run_in_process("pretrain", *own, "--output-dir", tmp_path / "one")

    def launched(*more):
        done = command(
            *("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", 2),
            *("recipes/pretrain.py", *own, "--output-dir", two, *more),
        )
        assert done.returncode == 0, done.stderr
        lines = (two / "log.jsonl").read_text().splitlines()
        losses = {(line := json.loads(text))["step"]: line["loss"] for text in lines}
        return load_file(two / "model/model.safetensors"), losses

    whole, losses = launched()
    record = result(two)
    assert record["launch"] == {"mixed_precision": "no", "processes": 2}
    history = result(tmp_path / "one")["history"]
    assert list(losses) == [line["step"] for line in history] == [0, 3, 6]
    assert [line["examples"] for line in record["history"]] == [
        line["examples"] for line in history
    ]
    assert losses[0] == pytest.approx(history[0]["loss"], abs=1e-5)
    assert losses[6] == record["metrics"]["loss"] != losses[0]

    unfinish(two)
    shutil.rmtree(two / "checkpoints/step-0000006")
    with pytest.raises(ConfigError, match="by 2 processes .*; now it is 1 process in"):
        run_in_process("pretrain", *own, "--output-dir", two, "--resume")
    again, same = launched("--resume")
    assert same == losses
    assert all((tensor == again[name]).all() for name, tensor in whole.items())


def test_killed_before_its_first_checkpoint_the_log_begins_anew(
    corpus, finished, tmp_path, monkeypatch
):
    from nlptl.train.hooks import ProgressBar

    class PowerCut(Exception):
        pass

    step = ProgressBar.on_step

    def cut(self, state):
        if state.step == 6:
            raise PowerCut
        return step(self, state)

    own = [
        *("--model", finished / "model", "--corpus", corpus, "--held-out", 20, "--steps", 12),
        *("--eval-every", 4, "--save-every", 10, "--output-dir", tmp_path),
    ]
    monkeypatch.setattr(ProgressBar, "on_step", cut)
    with pytest.raises(PowerCut):
        run_in_process("pretrain", *own)
    monkeypatch.undo()

    def logged():
        lines = (tmp_path / "log.jsonl").read_text().splitlines()
        return [json.loads(line)["step"] for line in lines]

    assert logged() == [0, 4] and not list(tmp_path.glob("checkpoints/*"))
    run_in_process("pretrain", *own, "--resume")
    assert logged() == [0, 4, 8, 12]


def test_t5_resumes_exactly_under_adafactor(corpus, tmp_path):
    """24 steps at once, and the last 12 of them again from a checkpoint."""
    own = (*flags(corpus, tmp_path, 24), "--architecture", "t5", "--learning-rate", 2e-2)
    own += ("--save-every", 12, "--warm-start")
    own += ("--dropout", 0.1)  # which must be on again, and draw the same
    run_in_process("pretrain", *own)
    one = load_file(tmp_path / "model/model.safetensors")
    state = load_file(tmp_path / "checkpoints/step-0000024/optimizer.safetensors")
    assert any(name.startswith("row_var:") for name in state)
    shutil.rmtree(tmp_path / "checkpoints/step-0000024")
    unfinish(tmp_path)
    run_in_process("pretrain", *own, "--resume")
    two = load_file(tmp_path / "model/model.safetensors")
    assert all((tensor == two[name]).all() for name, tensor in one.items())


def test_going_on_from_a_checkpoint_grows_on_demand(corpus, finished, tmp_path):
    run_in_process(
        "pretrain",
        *("--model", finished / "model", "--corpus", corpus, "--depth", 4, "--steps", 5),
        *("--held-out", 20, "--output-dir", tmp_path / "deep"),
    )
    config = json.loads((tmp_path / "deep/model/config.json").read_text())
    assert config["num_hidden_layers"] == 4


def test_a_share_of_the_start_is_mixed_in_once(corpus, finished, tmp_path):
    def run(name, *more, start=finished):
        run_in_process(
            "pretrain",
            *("--model", start / "model", "--corpus", corpus, "--steps", 10, "--held-out", 20),
            *("--learning-rate", 1e-3, "--save-every", 10, "--output-dir", tmp_path / name, *more),
        )
        log = (tmp_path / name / "log.jsonl").read_text().splitlines()
        model = load_file(tmp_path / name / "model/model.safetensors")
        return model, [json.loads(line) for line in log]

    plain, log = run("plain")
    mixed, mixed_log = run("mixed", "--start-share", 0.25)
    start = load_file(finished / "model/model.safetensors")
    moved = 0
    for name, tensor in mixed.items():
        np.testing.assert_allclose(tensor, 0.75 * plain[name] + 0.25 * start[name], atol=1e-6)
        moved += bool((plain[name] != start[name]).any())
    assert moved > 10
    # The trained model's loss, then that of the mean, which is saved: the next run begins with it.
    assert [line["step"] for line in mixed_log] == [0, 10, 10]
    assert [line["loss"] for line in mixed_log[:2]] == [line["loss"] for line in log]
    assert mixed_log[2]["start_share"] == 0.25
    _, next_log = run("next", "--warmup", 0, start=tmp_path / "mixed")
    assert next_log[0]["loss"] == pytest.approx(mixed_log[2]["loss"], abs=1e-5)
    assert mixed_log[2]["loss"] != pytest.approx(mixed_log[1]["loss"], abs=1e-4)
    unfinish(tmp_path / "mixed")
    again, again_log = run("mixed", "--start-share", 0.25, "--resume")
    assert all((tensor == mixed[name]).all() for name, tensor in again.items())
    assert [line["loss"] for line in again_log] == [line["loss"] for line in mixed_log]


def test_its_model_fine_tunes(finished, reviews, tmp_path):
    """Masked-LM training drops BERT's pooler: it is new, and trains, in every mode."""
    run_in_process(
        "sentiment",
        *("--model", finished / "model", "--train-file", reviews, "--mode", "lora"),
        *("--epochs", 1, "--output-dir", tmp_path / "run"),
    )
    record = json.loads((tmp_path / "run/result.json").read_text())
    assert "bert.pooler.dense.weight" in record["parameters"]["new"]


@pytest.mark.parametrize("architecture", ["roberta", "t5"])
def test_the_other_families_learn_keep_models_and_fine_tune(
    corpus, reviews, tmp_path, architecture
):
    from transformers import AutoTokenizer

    run_in_process(
        "pretrain",
        *(*flags(corpus, tmp_path / "run"), "--architecture", architecture, "--keep", 3),
        *(() if architecture == "t5" else ("--whole-words",)),
    )
    log = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [0, 1, 6, 20, 40]  # 40^0, 40^(1/2), 40^1 are kept
    assert log[-1]["loss"] < log[0]["loss"] - 2 * log[0]["se"]
    assert all(line["tokens_per_second"] > 0 for line in log[1:])
    kept = sorted(path.name for path in (tmp_path / "run/models").iterdir())
    assert kept == [f"step-{n:07d}" for n in (0, 1, 6, 40)]
    assert len(AutoTokenizer.from_pretrained(tmp_path / "run/models/step-0000006")) <= 300
    last = load_file(tmp_path / "run/models/step-0000040/model.safetensors")
    final = load_file(tmp_path / "run/model/model.safetensors")
    assert all((tensor == final[name]).all() for name, tensor in last.items())
    run_in_process(
        "sentiment",
        *("--model", tmp_path / "run/model", "--train-file", reviews, "--mode", "freeze-lower-1"),
        *("--epochs", 1, "--output-dir", tmp_path / "tuned"),
    )
    assert (tmp_path / "tuned/model").exists()


@pytest.mark.parametrize("mode", ["freeze-lower-1", "lora", "head-only"])
def test_continued_pretraining_takes_the_modes(corpus, finished, tmp_path, mode):
    """Frozen tensors keep their bytes; LoRA's adapter is merged, and kept beside."""
    run_in_process(
        "pretrain",
        *("--model", finished / "model", "--corpus", corpus, "--mode", mode, "--steps", 6),
        *("--held-out", 20, "--learning-rate", 5e-3, "--output-dir", tmp_path / "run"),
        *("--keep", 2),
    )
    before = load_file(finished / "model/model.safetensors")
    after = load_file(tmp_path / "run/model/model.safetensors")
    assert set(before) == set(after)
    kept = load_file(tmp_path / "run/models/step-0000006/model.safetensors")
    assert all((tensor == after[name]).all() for name, tensor in kept.items())
    assert set(kept) == set(after)
    moved = {name for name, tensor in before.items() if not (tensor == after[name]).all()}
    assert moved
    assert not any("embeddings" in name or "layer.0." in name for name in moved) or mode == "lora"
    if mode == "lora":
        assert (tmp_path / "run/adapter/adapter_config.json").exists()
        inside = {name for name in moved if ".layer." in name}
        assert len(inside) == 4 and all(".query." in n or ".value." in n for n in inside)


def test_a_head_that_no_checkpoint_had_trains_under_lora_and_is_recorded(
    corpus, checkpoints, tmp_path
):
    """The tiny body has no LM head; its output bias starts at 0 and must move."""
    from nlptl.train.checkpoints import START

    given = ("--model", checkpoints["bert"], "--corpus", corpus, "--mode", "lora", "--steps", 3)
    run_in_process(
        *("pretrain", *given, "--held-out", 20, "--learning-rate", 5e-3),
        *("--output-dir", tmp_path / "run"),
    )
    bias = "cls.predictions.bias"
    new = json.loads((tmp_path / "run" / START / "new_parameters.json").read_text())["new"]
    assert bias in new and not any("encoder" in name for name in new)
    before = load_file(tmp_path / "run" / START / "model.safetensors")
    after = load_file(tmp_path / "run/model/model.safetensors")
    assert (before[bias] == 0).all() and (after[bias] != 0).float().mean() > 0.9
    adapter = load_file(tmp_path / "run/adapter/adapter_model.safetensors")
    assert (adapter[f"base_model.model.{bias}"] == after[bias]).all()


def test_a_head_that_no_checkpoint_had_takes_nothing_from_its_random_start(
    corpus, checkpoints, tmp_path
):
    """The body is the mean of before and after; the LM head is as it was trained."""
    from nlptl.train.checkpoints import START

    given = ("--model", checkpoints["bert"], "--corpus", corpus, "--steps", 3, "--held-out", 20)
    for name, more in (("plain", ()), ("mixed", ("--start-share", 0.5))):
        run_in_process("pretrain", *given, *more, "--output-dir", tmp_path / name)
    names = "plain/model", "mixed/model", f"mixed/{START}"
    plain, mixed, start = (load_file(tmp_path / name / "model.safetensors") for name in names)
    dense = "cls.predictions.transform.dense.weight"
    assert (mixed[dense] == plain[dense]).all() and (plain[dense] != start[dense]).any()
    query = "bert.encoder.layer.0.attention.self.query.weight"
    np.testing.assert_allclose(mixed[query], (plain[query] + start[query]) / 2, atol=1e-7)
    assert (mixed[query] != plain[query]).any()


def test_lora_begins_alike_whether_the_start_is_built_or_read_back(corpus, checkpoints, tmp_path):
    """Building draws an LM head, reading it back draws nothing: what comes next must not tell them apart."""
    from nlptl.modes.base import apply_mode
    from nlptl.pretrain.start import start_model
    from nlptl.train.setup import start_accelerator

    own = {"model": str(checkpoints["bert"]), "mode": "lora", "corpus": (str(corpus),)}
    ready = prepare_pretraining(PretrainConfig(**own, output_dir=tmp_path))

    def begin():
        accelerator = start_accelerator(tracker=None, output_dir=tmp_path, seed=3)
        model, _, new = start_model(tmp_path, ready.build, ready.objective, accelerator, 3)
        adapted, _ = apply_mode(model, ready.mode, newly_initialized=new)
        return {n: p.detach().clone() for n, p in adapted.named_parameters() if "lora_A" in n}

    built, read = begin(), begin()
    assert len(built) == 6 and all((read[name] == drawn).all() for name, drawn in built.items())


def test_a_teachers_states_are_computed_once_and_predicted(
    corpus, finished, checkpoints, tmp_path, monkeypatch
):
    """Each value standardised, by hand from the teacher's own states; a resumed run goes on exactly."""
    from nlptl.train.features import pooled_states
    from nlptl.train.setup import new_accelerator

    teacher = checkpoints["roberta"]
    given = flags(corpus, tmp_path / "run", steps=20)
    given += ["--teacher", teacher, "--model", finished / "model"]
    given = [
        v
        for i, v in enumerate(given)
        if not {"--width", "--positions", "--vocab-size"} & {v, given[i - 1]}
    ]
    given = [v for v in given if v != "--warm-start"]
    run_in_process("pretrain", *given)
    (file,) = (tmp_path / "run/teacher").glob("*.npy")
    kept = np.load(file)
    texts = corpus.read_text().splitlines()
    assert 200 < len(kept) <= 360 and kept.shape[1] == 64  # texts below six tokens are left out
    assert kept.dtype == np.float16
    assert np.abs(kept.astype(float).mean(0)).max() < 0.01
    assert kept.astype(float).std(0) == pytest.approx(np.ones(64), abs=0.02)
    layers = pooled_states(str(teacher), texts, accelerator=new_accelerator())
    raw = np.concatenate([layers[:, 1], layers[:, -1]], axis=1)  # blocks 0 to 3: the middle is 1
    lined = [
        np.corrcoef(kept[0].astype(float), row)[0, 1] for row in (raw - raw.mean(0)) / raw.std(0)
    ]
    lined.sort()  # the first piece is one of the documents, but for letter case
    assert lined[-1] > 0.85 > 0.7 > lined[-2]

    def never(*args, **more):
        raise AssertionError("computed again")

    monkeypatch.setattr("nlptl.pretrain.teaching._compute", never)
    whole = load_file(tmp_path / "run/model/model.safetensors")
    unfinish(tmp_path / "run")
    shutil.rmtree(tmp_path / "run/checkpoints/step-0000020")
    assert list((tmp_path / "run/checkpoints").glob("step-*"))
    run_in_process("pretrain", *given, "--resume")
    again = load_file(tmp_path / "run/model/model.safetensors")
    assert set(again) == set(whole) and "teacher" not in " ".join(whole)
    assert all((tensor == again[name]).all() for name, tensor in whole.items())


def test_a_new_models_words_start_from_its_teacher(corpus, checkpoints, tmp_path, monkeypatch):
    """Once: a run that is killed before its first checkpoint reads them back, and ends in the same weights."""
    import nlptl.pretrain.teaching as module
    from nlptl.train.checkpoints import START

    calls, real = [], module.taught_embeddings

    def spied(pieces, states, *sizes):
        calls.append((pieces, states, real(pieces, states, *sizes)))
        return calls[-1][-1]

    monkeypatch.setattr(module, "taught_embeddings", spied)
    given = [*flags(corpus, tmp_path / "run", steps=20), "--teacher", checkpoints["roberta"]]
    given += ["--warm-start"]
    run_in_process("pretrain", *given)
    start, whole = tmp_path / "run" / START, load_file(tmp_path / "run/model/model.safetensors")
    table = load_file(start / "model.safetensors")["bert.embeddings.word_embeddings.weight"]
    ((pieces, states, vectors),) = calls
    assert len(pieces) == len(states) == result(tmp_path / "run")["n"]["train_pieces"]
    ratio = table.numpy()[vectors.any(1)] / vectors[vectors.any(1)]
    assert vectors.any(1).sum() == len(WORDS) and ratio.std() < 1e-3 * ratio.mean()
    assert not (tmp_path / "run/models/draft").exists()

    unfinish(tmp_path / "run")
    shutil.rmtree(tmp_path / "run/checkpoints")
    (tmp_path / "run/log.jsonl").unlink()
    run_in_process("pretrain", *given, "--resume")
    assert len(calls) == 1
    again = load_file(tmp_path / "run/model/model.safetensors")
    assert all((tensor == again[name]).all() for name, tensor in whole.items())


def test_mistakes_come_together_and_nothing_is_written(tmp_path):
    with pytest.raises(UserError) as caught:
        run_in_process(
            "pretrain",
            *("--corpus", tmp_path / "no.txt", "--width", 100, "--steps", 0),
            *("--architecture", "gpt2", "--output-dir", tmp_path / "out", "--start-share", 0.5),
        )
    messages = ("there is no file", "--width is 100", "--steps is 0", "--architecture gpt2")
    for part in (*messages, "--start-share needs --model"):
        assert part in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_too_few_sentinels_are_told_beside_the_other_mistakes(checkpoints, tmp_path):
    """Of a new vocabulary, which gets 100, and of a checkpoint's, which has 20."""
    wrong = ("--corpus", tmp_path / "no.txt", "--output-dir", tmp_path / "out")
    with pytest.raises(UserError) as caught:
        run_in_process(
            "pretrain",
            *(*wrong, "--architecture", "t5", "--positions", 4000, "--max-length", 1810),
        )
    for part in ("there is no file", "--max-length 1810 with", "vocabulary has 100 such"):
        assert part in str(caught.value)
    with pytest.raises(UserError) as caught:
        run_in_process(
            "pretrain",
            # Not 64, as the tokenizer says: T5 takes any length, and pieces have what was asked for.
            *(*wrong, "--model", checkpoints["t5"], "--max-length", 400, "--mask-share", 0.7),
        )
    for part in ("there is no file", "--max-length 400 with", "vocabulary has 20 such"):
        assert part in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_corpus_that_grew_is_told_before_a_run_goes_on(corpus, tmp_path):
    """Another order, and other held-out texts: documents that were trained on already would be scored."""
    own = tmp_path / "texts.txt"
    shutil.copy(corpus, own)
    run_in_process("pretrain", *flags(own, tmp_path / "run", steps=10))
    unfinish(tmp_path / "run")
    with own.open("a") as file:
        file.write("one more film with a good plot\n")
    with pytest.raises(
        DataError, match=r"the corpus is not the one .* pieces of training texts then"
    ):
        run_in_process("pretrain", *flags(own, tmp_path / "run", steps=10), "--resume")
    shutil.copy(corpus, own)
    run_in_process("pretrain", *flags(own, tmp_path / "run", steps=10), "--resume")
    assert result(tmp_path / "run")["reload_difference"] <= 1e-6


def test_a_word_that_changed_is_told_before_a_run_goes_on(corpus, tmp_path):
    """As many pieces of the same lengths, with another word in some of them."""
    own = tmp_path / "texts.txt"
    shutil.copy(corpus, own)
    run_in_process("pretrain", *flags(own, tmp_path / "run", steps=2))
    unfinish(tmp_path / "run")
    own.write_text(own.read_text().replace("good", "dull"))
    with pytest.raises(DataError, match=r"of training texts then, as many now, with other tokens"):
        run_in_process("pretrain", *flags(own, tmp_path / "run", steps=2), "--resume")


def maskless(checkpoint, tmp_path):
    """A copy of a checkpoint whose tokenizer has nothing to hide words with."""
    path = shutil.copytree(checkpoint, tmp_path / "maskless")
    record = json.loads((path / "tokenizer_config.json").read_text())
    del record["mask_token"]
    record["tokenizer_class"] = "PreTrainedTokenizerFast"  # BERT's own class has one anyway
    (path / "tokenizer_config.json").write_text(json.dumps(record))
    return path


def test_a_corpus_without_text_to_train_on_leaves_the_directory_free(tmp_path, checkpoints):
    (tmp_path / "titles.txt").write_text("good film\nbad film\n" * 30)
    given = ("--corpus", tmp_path / "titles.txt", "--output-dir", tmp_path / "out")
    wrong = "its training texts and held-out texts hold no text of six tokens or more"
    new = ("--width", 32, "--depth", 1, "--vocab-size", 120, "--steps", 2)
    with pytest.raises(DataError, match=wrong):
        run_in_process("pretrain", *given, *new)
    assert not (tmp_path / "out").exists()
    # Which counts the training texts before.
    with pytest.raises(DataError, match="its training texts hold no text of six tokens or more"):
        run_in_process("pretrain", *given, *new, "--warm-start")
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError) as caught:
        run_in_process(
            *("pretrain", "--corpus", f"{tmp_path / 'titles.txt'}:0.001", *given[2:], *new[:4]),
            *("--tokenizer", checkpoints["t5"]),
        )
    for part in (
        "of 54 documents a weight of 0.001 takes none",
        "its tokenizer has no mask_token",
    ):
        assert part in str(caught.value)
    with pytest.raises(UserError, match="--model .*: its tokenizer has no mask_token"):
        run_in_process("pretrain", *given, "--model", maskless(checkpoints["bert"], tmp_path))
    with pytest.raises(UserError, match="--tokenizer nowhere/x: is not a local directory"):
        run_in_process("pretrain", *given, *new[:4], "--tokenizer", "nowhere/x")


def test_weights_that_cannot_be_read_leave_the_directory_free(finished, corpus, tmp_path):
    shutil.copytree(finished / "model", tmp_path / "cut")
    weights = tmp_path / "cut/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match="the checkpoint cannot be read"):
        run_in_process(
            *("pretrain", "--model", tmp_path / "cut", "--corpus", corpus, "--steps", 2),
            *("--output-dir", tmp_path / "out"),
        )
    assert not (tmp_path / "out").exists()


def test_a_depth_that_a_checkpoint_cannot_grow_to(checkpoints, corpus, tmp_path):
    """Of the tiny T5 only the encoder's three blocks count; fewer blocks are no growth either."""
    for family, depth in (("bert", 7), ("t5", 8), ("bert", 2)):
        with pytest.raises(
            UserError, match=f"--depth {depth} is not a multiple of the .* 3 blocks"
        ):
            run_in_process(
                *("pretrain", "--model", checkpoints[family], "--corpus", corpus),
                *("--depth", depth, "--output-dir", tmp_path / "out"),
            )
        assert not (tmp_path / "out").exists()


def test_a_wrong_teacher_is_told_beside_the_other_mistakes(checkpoints, tmp_path):
    with pytest.raises(UserError) as caught:
        run_in_process(
            "pretrain",
            *("--corpus", tmp_path / "no.txt", "--model", checkpoints["t5"], "--whole-words"),
            *("--teacher", "bundled/nope", "--output-dir", tmp_path / "out", "--start-share", 1.0),
        )
    messages = ("there is no file", "--whole-words and --bag-weight", "--teacher bundled/nope")
    for part in (*messages, "--start-share is 1.0"):
        assert part in str(caught.value)
    with pytest.raises(UserError, match="lower --lora-alpha"):
        run_in_process(
            "pretrain",
            *("--model", checkpoints["bert"], "--mode", "lora", "--start-share", 0.5),
            *("--corpus", tmp_path / "no.txt", "--output-dir", tmp_path / "out"),
        )


def test_without_a_flag_the_bundled_checkpoint_goes_on_with_the_bundled_texts(monkeypatch):
    """Five epochs over 720 short reviews; a few are longer than a piece has room for."""
    monkeypatch.setattr("nlptl.cli.pretrain.reserve_output_dir", lambda config: None)
    monkeypatch.setattr("nlptl.cli.pretrain.check_directory", lambda config: None)
    ready = prepare_pretraining(PretrainConfig())
    assert ready.config.model == "bundled/bert" and ready.config.architecture is None
    assert (len(ready.documents), len(ready.held_out)) == (720, 80)
    accelerator, config = new_accelerator(), load_config("bundled/bert")
    model, tokenizer = SimpleNamespace(config=config), load_tokenizer("bundled/bert")
    args = pretraining_args(ready, model, tokenizer, accelerator)
    sizes = [len(tokenizer.tokenize(text)) for text in ready.documents["text"]]
    pieces = sum(-(-size // 126) for size in sizes if size >= 6)
    assert 720 < pieces <= 736  # 46 batches
    assert (args.train.steps, args.max_length) == (230, 128)
    for given, steps in (({"epochs": 2.0}, 92), ({"batch_size": 1, "epochs": 15.0}, 15 * pieces)):
        ready = prepare_pretraining(PretrainConfig(**given))
        assert pretraining_args(ready, model, tokenizer, accelerator).train.steps == steps
    ready = prepare_pretraining(PretrainConfig(gradient_accumulation_steps=2))
    assert pretraining_args(ready, model, tokenizer, accelerator).train.steps == 115
    ready = prepare_pretraining(PretrainConfig(width=32))
    assert ready.config.model is None
    assert (ready.config.architecture, ready.config.vocab_size) == ("bert", 8192)
    assert pretraining_args(ready, model, tokenizer, accelerator).train.steps == 10_000


def test_epochs_are_passes_over_the_pieces(corpus, finished, tmp_path):
    run_in_process(
        *("pretrain", "--model", finished / "model", "--corpus", corpus, "--epochs", 0.5),
        *("--held-out", 40, "--output-dir", tmp_path / "run"),
    )
    log = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert 8 <= log[-1]["step"] <= 12  # 360 texts less those below six tokens, 16 a batch
    assert log[-1]["examples"] == pytest.approx(16 * log[-1]["step"], abs=16)
    saved = PretrainConfig(**load_yaml(PretrainConfig, tmp_path / "run/config.yaml"))
    assert saved.epochs == 0.5 and saved.steps is None


def refused(tmp_path, *argv):
    with pytest.raises(UserError) as caught:
        run_in_process("pretrain", *argv, "--output-dir", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    return str(caught.value)


def test_flags_of_a_new_model_contradict_a_checkpoint(tmp_path):
    message = refused(
        tmp_path,
        *("--model", "bundled/bert", "--depth", 6, "--width", 64, "--architecture", "t5"),
        *("--warm-start", "--epochs", 1, "--steps", 5),
    )
    assert message.startswith("3 things need your attention:")
    assert "bundled/bert and --architecture, --width, --warm-start contradict" in message
    assert "--depth 6 is not a multiple of the checkpoint's 12 blocks" in message
    assert "--epochs and --steps both say how long" in message
    message = refused(tmp_path, "--tokenizer", "bundled/bert", "--vocab-size", 300)
    assert message.startswith("--tokenizer and --vocab-size")
    assert "not a multiple of the checkpoint's 12 blocks" in refused(tmp_path, "--depth", 18)


def test_a_new_model_too_small_for_what_it_shall_hold(tmp_path):
    own = ("--max-length", 500, "--positions", 64, "--vocab-size", 3)
    for family, least in (("bert", 100), ("roberta", 261), ("t5", 200)):
        message = refused(tmp_path, *own, "--architecture", family)
        assert "--max-length 500: the new model takes at most 64 tokens (--positions)" in message
        assert f"--vocab-size is 3; expected {least} or more" in message
    message = refused(tmp_path, "--architecture", "bert", "--max-length", 300)
    assert "takes at most 256 tokens" in message


@pytest.mark.parametrize(
    ("given", "rate"),
    [
        ({"model": "bundled/bert"}, 5e-4),
        (
            {"model": "bundled/bert", "mode": "freeze-lower-8"},
            1e-3,
        ),  # twice full's
        ({"model": "bundled/bert", "mode": "lora"}, 3e-3),  # 5e-4 * 768 / 128
        ({"model": "bundled/bert", "mode": "head-only"}, 1.2e-2),
        ({"model": "bundled/roberta", "optimizer": "adafactor"}, 1e-2),
        ({"model": "bundled/t5"}, 1e-2),
        ({"model": "bundled/t5", "mode": "lora"}, 3e-3),  # AdamW's
        ({"model": "bundled/bert", "learning_rate": 0.5}, 0.5),
        ({"architecture": "bert"}, 1e-3),
        ({"architecture": "t5", "width": 256}, 2e-2),
    ],
)
def test_the_rate_depends_on_mode_optimizer_and_start(given, rate, tmp_path):
    config = PretrainConfig(**given, output_dir=tmp_path / "out")
    assert prepare_pretraining(config).config.learning_rate == pytest.approx(rate)
    saved = PretrainConfig(**load_yaml(PretrainConfig, tmp_path / "out/config.yaml"))
    assert saved.learning_rate == pytest.approx(rate)


def test_adapters_may_lie_above_blocks_that_the_model_grows_by(tmp_path):
    own = {"model": "bundled/bert", "depth": 24}
    config = PretrainConfig(**own, mode="lora-above-18", output_dir=tmp_path / "out")
    assert prepare_pretraining(config).mode.frozen_blocks(24) == 18
    config = PretrainConfig(**own, mode="lora-above-24", output_dir=tmp_path / "none")
    with pytest.raises(UserError, match="has 24 blocks"):
        prepare_pretraining(config)


def test_a_wide_model_goes_on_at_a_smaller_rate():
    config = PretrainConfig(model="bundled/roberta")
    assert default_rate(config, parse_mode("full"), "roberta", 768, "adamw") == 8.3e-5


def test_subsets_of_the_documents_are_seeded_and_scored_ones_the_same():
    """The two sources are mixed in a subset of their documents."""
    corpus = ("bundled/reviews/unlabelled.jsonl", "bundled/reviews/train.jsonl")
    own = {"corpus": corpus, "max_train_examples": 50, "max_eval_examples": 9}
    all_train, all_aside = read_corpus(PretrainConfig(corpus=corpus))
    train, aside = read_corpus(PretrainConfig(**own))
    assert (len(train), len(aside)) == (50, 9) and len(all_train) > 1000
    later = set(all_train["text"][720:])
    assert 10 < sum(text in later for text in train["text"]) < 40
    assert set(aside["text"]) < set(all_aside["text"])
    again, same = read_corpus(PretrainConfig(**own, seed=1))
    assert set(again["text"]) != set(train["text"]) and same["text"][:] == aside["text"][:]
    whole = read_corpus(PretrainConfig(**{**own, "max_train_examples": 10**6}))[0]
    assert whole["text"][:] == all_train["text"][:]
