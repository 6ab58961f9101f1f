"""Self-taught learning: formulas by hand, null switches, labels that stay unread, controls that never win."""

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from launching import KillAt, Killed, command
from tiny import sentences
from transformers import AutoModelForSequenceClassification

from nlptl.cli.config import GridConfig, parse_args, with_options
from nlptl.errors import ConfigError, DataError, UserError
from nlptl.methods.self_taught import stages
from nlptl.methods.self_taught.method import SelfTaught
from nlptl.methods.self_taught.options import CONTRASTIVE, MASKED, NONE, SelfTaughtOptions
from nlptl.methods.self_taught.page import page
from nlptl.methods.self_taught.render import figure, markdown
from nlptl.methods.self_taught.self_taught import (
    arm_names,
    check_stages,
    read_data,
    self_taught,
    write_self_taught,
)
from nlptl.methods.self_taught.terms import Contrastive, info_nce
from nlptl.methods.self_taught.texts import (
    Sees,
    as_table,
    cut_to,
    named,
    read_texts,
    shuffled,
    without,
)
from nlptl.methods.self_taught.verdict import contrasts, judge_all, sentence, warnings_of
from nlptl.modes.base import parse_mode
from nlptl.pretrain import further
from nlptl.stats.bootstrap import joint_bootstrap
from nlptl.study.render.style import as_svg
from nlptl.study.study import Study
from nlptl.tasks.classification import TextClassification
from nlptl.train.finetune import finetune
from nlptl.train.learner import Learner
from nlptl.train.setup import FinetuneArgs, start_accelerator

TASK = TextClassification(("no", "yes"))
CONFIG = with_options(GridConfig, SelfTaughtOptions)


def config_of(*words):
    return parse_args(CONFIG, [str(word) for word in words])


# ---- the contrastive loss
def test_the_contrastive_loss_by_hand():
    """Two texts at right angles: each is told from the other by exp(1 / t) against exp(0)."""
    states = torch.eye(2)
    assert float(info_nce(3 * states, states, 0.5)) == pytest.approx(np.log(1 + np.exp(-2)))
    assert float(info_nce(states, states.flip(0), 0.5)) == pytest.approx(np.log(1 + np.exp(2)))
    assert float(info_nce(states[:1], states[:1])) == 0


def test_the_contrastive_loss_of_alike_texts_is_that_of_guessing():
    states = torch.ones(5, 3, requires_grad=True)
    loss = info_nce(states, torch.ones(5, 3))
    assert float(loss.detach()) == pytest.approx(np.log(5))


# ---- texts
def test_shuffled_words_are_the_same_words_in_texts_of_the_same_length():
    texts = ["a b c", "d e", "f g h i", "j"]
    made = shuffled(texts, 1)
    assert Counter(" ".join(made).split()) == Counter(" ".join(texts).split())
    assert [len(text.split()) for text in made] == [3, 2, 4, 1]
    assert made == shuffled(texts, 1) != shuffled(texts, 2)
    together = [{"a", "b"} <= set(text.split()) for text in shuffled(["a b"] * 400, 0)]
    assert 0.4 < np.mean(together) < 0.6  # words come from all texts, not from their own alone


def test_texts_of_the_test_set_are_left_out():
    texts = ["One  text", "another", "ONE text", "", "  ", "test  TEXT", "another"]
    assert without(texts, ["Test text"]) == ["One  text", "another"]


def test_texts_are_cut_to_a_number_of_words():
    texts = [f"{number} b c d" for number in range(50)]
    made = cut_to(texts, 21, 0)
    assert len(made) == 5 and made == sorted(made, key=texts.index)
    assert cut_to(texts, 1, 0) != [] and cut_to(texts, 999, 0) == texts
    assert cut_to(texts, 21, 1) != made


def test_passages_of_questions_are_texts(tmp_path):
    found = read_texts("bundled/passages", "text", "--other")
    assert len(found) >= 100 and len(set(found)) == len(found)
    (tmp_path / "some.txt").write_text("one text\nanother\n\n")
    assert read_texts(str(tmp_path / "some.txt"), "text", "--other") == ["one text", "another"]
    with pytest.raises(DataError, match="--other nowhere.txt: there is no file"):
        read_texts("nowhere.txt", "text", "--other")
    with pytest.raises(DataError, match="Name the text's column with --unlabelled-column"):
        read_texts("bundled/reviews/unlabelled.jsonl", "body", "--unlabelled")


def test_the_usual_texts_are_those_of_bundled_sets_alone(tmp_path):
    assert named(config_of())["same"] == ("bundled/reviews/unlabelled.jsonl",)
    assert named(config_of())["other"] == ("bundled/passages",)
    assert named(config_of("--unlabelled", "a.txt")) == {"same": ("a.txt",), "other": ()}
    with pytest.raises(ConfigError, match="--unlabelled is missing"):
        named(config_of("--train-file", tmp_path / "own.csv"))
    with pytest.raises(ConfigError, match=r"--other a.txt is --unlabelled too"):
        named(config_of("--unlabelled", "a.txt", "--other", "a.txt"))


def labelled(count, seed):
    texts = [
        " ".join([("bad", "good")[number % 2], *text.split()[1:]])
        for number, text in enumerate(sentences(count, seed))
    ]
    return Dataset.from_dict({"text": texts, "label": ["no", "yes"] * (count // 2)})


def test_an_arm_sees_its_own_texts_and_its_seeds_labels():
    same, other = as_table(["a b c", "d e"] * 20), as_table(["f"] * 20)
    splits = {"train": labelled(40, 1), "validation": labelled(20, 2), "test": labelled(10, 3)}
    splits |= {"same": same, "other": other}
    assert "unlabelled" not in Sees()(TASK, splits, 0)
    assert Sees("other")(TASK, splits, 0)["unlabelled"] is other
    mixed = Sees("shuffled")(TASK, splits, 0)["unlabelled"]["text"][:]
    assert mixed != same["text"][:] and len(mixed) == 40
    few = [Sees("same", 20)(TASK, splits, seed) for seed in (0, 1)]
    assert [len(few[0][name]) for name in ("train", "validation", "test")] == [18, 2, 10]
    assert few[0]["train"]["text"][:] != few[1]["train"]["text"][:]


def test_what_cannot_be_had_is_said_before_the_work(checkpoints, masked_lm_checkpoint):
    words = ("--first-stage", "contrastiv", "masked-lm", "--save", "masked-lm some")
    with pytest.raises(UserError) as found:
        check_stages(config_of("--model", checkpoints["bert"], *words))
    for part in (
        "--first-stage contrastiv: there is no such stage. Did you mean 'contrastive'?",
        "--first-stage masked-lm: expected a checkpoint with a masked-LM head",
        "Take --first-stage contrastive, or take bundled/bert",
        "--save masked-lm some: expected one of the arms (none, masked-lm same",
    ):
        assert part in str(found.value)
    check_stages(config_of("--model", masked_lm_checkpoint, "--save", "masked-lm shuffled"))
    with pytest.raises(UserError, match="reads the state of every token"):
        check_stages(config_of("--model", masked_lm_checkpoint, "--task", "token-classification"))


def test_labels_and_texts_are_read_and_what_is_in_both_is_left_out(tmp_path):
    for name, count, seed in (("train", 40, 1), ("test", 10, 3)):
        labelled(count, seed).to_csv(tmp_path / f"{name}.csv")
    own = [*sentences(30, 7), *labelled(10, 3)["text"][:], ""]
    (tmp_path / "own.txt").write_text("\n".join(own))
    (tmp_path / "other.txt").write_text(
        "\n".join(["one word after another"] * 2 + sentences(90, 8))
    )
    words = ("--train-file", tmp_path / "train.csv", "--test-file", tmp_path / "test.csv")
    words += ("--unlabelled", tmp_path / "own.txt", "--other", tmp_path / "other.txt")
    task, splits, origin = read_data(config_of(*words, "--max-train-examples", 20))
    assert len(splits["train"]) == 36 and task.name == "text-classification"
    same = origin["texts"]["same"]
    assert same["texts"] == len(set(sentences(30, 7))) and same["left_out"] == 10
    assert not {*splits["test"]["text"]} & {*splits["same"]["text"]}
    assert origin["texts"]["other"]["words"] <= same["words"] and origin["texts"]["other"]["cut"]
    assert arm_names(config_of(), splits) == [
        *("none", "masked-lm same", "masked-lm other", "masked-lm shuffled"),
        *("contrastive same", "contrastive other", "contrastive shuffled"),
    ]
    (tmp_path / "few.txt").write_text("\n".join(f"text {n}" for n in range(10)))
    with pytest.raises(UserError, match=r"--unlabelled .*: expected at least 20 texts, found 10"):
        read_data(config_of(*words, "--unlabelled", tmp_path / "few.txt"))
    with pytest.raises(UserError) as found:  # mistakes of both, at once
        read_data(config_of(*words, "--label-column", "mood", "--unlabelled", "no.txt"))
    assert "--label-column mood" in str(found.value) and "--unlabelled no.txt" in str(found.value)


def test_the_first_lines_name_the_model_and_how_it_trains(monkeypatch, capsys):
    monkeypatch.setattr(Study, "run", None)
    splits = {"train": labelled(40, 1), "validation": labelled(20, 2), "test": labelled(10, 3)}
    splits |= {"same": as_table(["a b c", "d e"] * 20)}
    origin = {"data": {"dataset": "own"}, "texts": {}}
    args = FinetuneArgs("bundled/bert", parse_mode("full"), 3e-4, 2.0, batch_size=8)
    config = config_of("--batch-size", 8, "--mode", "full")
    with pytest.raises(TypeError):  # the first run
        self_taught(config, (TASK, splits, origin), lambda examples, task: args)
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.startswith("model bundled/bert (bert, 12 blocks, width 128; a demonstration")
    assert re.search(r"train mode full\*?, 2 epochs\*, rate 0.0003\*, batch 8 ", shown)


# ---- verdicts on planted scores
def planted(*rates, seeds=5, texts=600):
    """Right or wrong for each arm: with a higher rate the same texts stay right, and more become so."""
    rng = np.random.default_rng(0)
    hard = rng.random((1, texts, 1))
    noise = [0.02 * rng.standard_normal((seeds, texts, 1)) for _ in rates]
    return [(hard + own < rate).astype(float) for own, rate in zip(noise, rates, strict=True)]


def judged(none, same, shuffled_words, majority=0.5, **more):
    names = (NONE, "masked-lm same", "masked-lm shuffled")
    scores = dict(zip(names, planted(none, same, shuffled_words, **more), strict=True))
    rows = {}
    for name, own in scores.items():
        alone, over = joint_bootstrap(own, None), joint_bootstrap(own, scores[NONE])
        rows[name] = {
            **{"what": name, "bound": name != names[1], "mean": float(own.mean()), "sd": 0.0},
            **{"ci95": [alone.low, alone.high], "seeds": list(range(len(own))), "seconds": 1.0},
            **{"difference": None if name == NONE else vars(over), "reading": None},
            **{"stage_loss": [None, None], "diverged": 0},
        }
    pairs = [
        (one, other, joint_bootstrap(scores[one], scores[other]))
        for one, other in contrasts(["masked-lm"], list(rows))
    ]
    return rows, judge_all(rows, pairs, majority)


def record_of(rows, pairs):
    floors = {"majority": 0.5, "bag_of_words": 0.9}
    return {
        **{"rows": rows, "compared": pairs, "floors": floors, "metric": "accuracy"},
        **{"n": {"train": 40, "validation": 8, "test": 600}, "model": "m", "mode": "head-only"},
        **{"texts": {}, "seeds": [0, 1, 2, 3, 4], "settings": {"first_steps": 3}, "test": "t"},
        **{"warnings": warnings_of(rows, floors, "accuracy"), "versions": {}},
    }


def test_a_gain_of_reading_is_told():
    rows, pairs = judged(0.6, 0.75, 0.55)
    assert [one.get("word") for one in rows.values()] == [None, "helped", "control"]
    assert rows["masked-lm same"]["reading"]["word"] == "helped" and len(pairs) == 1
    said = sentence(record_of(rows, pairs))
    assert "Helped: masked-lm same (+" in said and "it is what the texts say that helped" in said
    assert "a bag of words" in " ".join(record_of(rows, pairs)["warnings"]).lower()


def test_a_gain_that_shuffled_words_have_too_is_none():
    rows, pairs = judged(0.6, 0.75, 0.75)
    assert [one.get("word") for one in rows.values()] == [None, "cannot tell", "control"]
    assert "Helped" not in sentence(record_of(rows, pairs))
    assert any("words in random order scored" in one for one in record_of(rows, pairs)["warnings"])
    rows, pairs = judged(0.6, 0.8, 0.7)  # more than the control's
    assert rows["masked-lm same"]["word"] == "helped"


def test_what_is_not_above_always_one_answer_is_never_called_helped():
    rows, _ = judged(0.3, 0.5, 0.3, majority=0.55)
    assert rows["masked-lm same"]["word"] == "cannot tell"


def test_without_a_difference_nothing_is_told_and_harm_is():
    rows, _ = judged(0.7, 0.7, 0.7, seeds=3, texts=200)
    assert rows["masked-lm same"]["word"] in ("cannot tell", "alike")
    rows, _ = judged(0.7, 0.55, 0.7)
    assert rows["masked-lm same"]["word"] == "hurt"


def test_table_picture_and_page_hold_the_arms():
    record = record_of(*judged(0.6, 0.75, 0.55))
    record |= {"sentence": sentence(record)}
    record["texts"] = {"same": {"names": ["<b>"], "texts": 3, "words": 9, "left_out": 1, "cut": 0}}
    record["versions"] = {"nlptl": "1", "torch": "2", "transformers": "5"}
    text, drawn = page(record, as_svg(figure(record))), markdown(record)
    for name in record["rows"]:
        assert name in text and f"| {name} |" in drawn
    assert "<b>" not in text.replace("<body>", "") and "1 of 1 first stages helped" in text


def test_the_terminal_has_a_table_of_80_columns_and_the_file_markdown(tmp_path):
    record = record_of(*judged(0.6, 0.75, 0.55))
    record |= {"sentence": sentence(record), "model": "own_model"}
    record["texts"] = {"same": {"names": ["own_texts"], "texts": 3, "words": 9, "left_out": 0}}
    shown = write_self_taught(record, tmp_path)
    assert max(map(len, shown.splitlines())) <= 80 and not set("|*\\") & set(shown)
    assert shown.startswith(
        "40 + 8 labels, 600 test examples; 3 steps of each first stage; own_model"
    )
    assert re.search(r"^masked-lm same +[\d.]+ +\+1[\d.]+ \[.* to .*\] +helped$", shown, re.M)
    assert all(f"note: {one}" in " ".join(shown.split()) for one in record["warnings"])
    assert " ".join(shown.split()).count(record["sentence"]) == 1
    assert "|---|---:|" in (tmp_path / "self_taught.md").read_text()


def test_stages_that_learn_nothing_are_told():
    rows, _ = judged(0.6, 0.75, 0.55)
    floors = {"majority": 0.5, "bag_of_words": None}
    rows["masked-lm same"]["stage_loss"] = [3.0, 3.1]
    (said,) = warnings_of(rows, floors, "accuracy")
    assert "did not fall on texts that it had not seen (3.000 before, 3.100 after)" in said
    rows["masked-lm same"]["stage_loss"] = [3.0, 2.9]
    assert not warnings_of(rows, floors, "accuracy")


def test_contrasts_are_of_arms_that_there_are():
    names = ["none", "masked-lm same", "masked-lm shuffled", "contrastive same"]
    assert contrasts(["masked-lm", "contrastive"], names) == [
        ("masked-lm same", "masked-lm shuffled")
    ]


# ---- runs
@pytest.fixture(scope="module")
def splits():
    return {
        **{"train": labelled(40, 1), "validation": labelled(20, 2), "test": labelled(20, 3)},
        "unlabelled": as_table(sentences(60, 9)),
    }


def run(stage, splits, checkpoint, *, steps=3, mode="head-only", home=None):
    head = "fit" if mode == "head-only" else "random"
    mode = parse_mode(mode)
    args = FinetuneArgs(str(checkpoint), mode, 2e-3, epochs=2.0, batch_size=12, head=head)
    accelerator = start_accelerator(tracker=None, output_dir=None, seed=0)
    method = SelfTaught(stage, steps=steps, batch_size=12)
    return method(TASK, splits, args, accelerator=accelerator, home=home)


def weights(made):
    return {name: p.detach() for name, p in made.model.named_parameters()}


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def body(made):
    """Weights below the head."""
    return {name: p for name, p in weights(made).items() if "encoder.layer" in name}


@pytest.fixture(scope="module")
def alone(splits, masked_lm_checkpoint):
    return run(NONE, splits, masked_lm_checkpoint)


def test_without_a_first_stage_it_is_plain_fine_tuning(splits, masked_lm_checkpoint, alone):
    accelerator = start_accelerator(tracker=None, output_dir=None, seed=0)
    labels = {name: splits[name] for name in ("train", "validation", "test")}
    plain = finetune(TASK, labels, alone.args, accelerator=accelerator)
    assert same(weights(plain), weights(alone)) and plain.predictions == alone.predictions
    found = run(CONTRASTIVE, splits, masked_lm_checkpoint, steps=0)
    assert same(weights(found), weights(alone)) and found.predictions == alone.predictions
    assert SelfTaught(MASKED, steps=0).settings == SelfTaught().settings


class Spy(dict):
    """Splits whose labelled tables may be taken only after the first stage."""

    ended = False

    def __getitem__(self, name):
        assert self.ended or name == "unlabelled", f"{name} is read by the first stage"
        return super().__getitem__(name)

    def get(self, name, default=None):
        return self[name]


@pytest.mark.parametrize(
    ("stage", "room", "function"),
    [(CONTRASTIVE, stages, "contrastive"), (MASKED, further, "pretrain_further")],
)
def test_the_first_stage_reads_no_label_and_no_test_text(
    splits, masked_lm_checkpoint, alone, stage, room, function, monkeypatch
):
    seen, real = Spy(splits), getattr(room, function)

    def spied(*given, **more):
        assert not any(isinstance(one, dict) for one in given)
        found = real(*given, **more)
        Spy.ended = True
        return found

    monkeypatch.setattr(Spy, "ended", False)
    monkeypatch.setattr(room, function, spied)
    first = run(stage, seen, masked_lm_checkpoint)
    assert Spy.ended and not same(body(first), body(alone))
    wrong = ["yes" if one == "no" else "no" for one in splits["train"]["label"][:]]
    other = {**splits, "train": splits["train"].remove_columns("label").add_column("label", wrong)}
    other["test"] = labelled(20, 5)
    again = run(stage, other, masked_lm_checkpoint)
    assert same(body(first), body(again))
    assert first.measured["stage_before"] == again.measured["stage_before"] > 0
    assert first.args.model == str(masked_lm_checkpoint)


def test_the_contrastive_loss_falls_on_texts_that_were_not_seen(splits, checkpoints):
    mode, accelerator = parse_mode("full"), start_accelerator(tracker=None, output_dir=None, seed=0)
    args = FinetuneArgs(str(checkpoints["bert"]), mode, 1e-3, epochs=1.0, pooling="mean")
    about = {"steps": 10, "batch_size": 12, "temperature": 0.05, "rate": 1e-3}
    learner = Learner(TASK, args, accelerator)
    found = stages.contrastive(learner, splits["unlabelled"], **about)
    assert 0 < found["stage_after"] < found["stage_before"] / 2


def test_only_one_tokens_state_has_a_projection(checkpoints):
    model = AutoModelForSequenceClassification.from_pretrained(checkpoints["bert"])
    assert sum(p.numel() for p in Contrastive(model, 32).projection.parameters()) == 33 * 32
    assert Contrastive(model, 32, project=False).projection is None


def test_keys_differ_by_what_a_first_stage_computes():
    every = [SelfTaught(), SelfTaught(MASKED), SelfTaught(CONTRASTIVE), SelfTaught(MASKED, steps=9)]
    every += [SelfTaught(MASKED, rate=1e-3), SelfTaught(CONTRASTIVE, temperature=0.1)]
    assert len({one.identity() for one in every}) == len(every)
    assert SelfTaught(MASKED, temperature=1.0).identity() == SelfTaught(MASKED).identity()
    assert SelfTaught(MASKED, steps=0).identity() == SelfTaught().identity()


@pytest.mark.slow
@pytest.mark.parametrize("stage", [MASKED, CONTRASTIVE])
def test_killed_and_resumed_is_unbroken(splits, masked_lm_checkpoint, stage, tmp_path, monkeypatch):
    from nlptl.pretrain import pretrain
    from nlptl.train import learner

    rooms = [learner, pretrain]
    about = {"steps": 8, "mode": "full"}
    whole = run(stage, splits, masked_lm_checkpoint, home=tmp_path / "a", **about)
    for room in rooms:
        monkeypatch.setattr(room, "ProgressBar", lambda *_: KillAt(6))
    with pytest.raises(Killed):
        run(stage, splits, masked_lm_checkpoint, home=tmp_path / "b", **about)
    monkeypatch.undo()
    folder = {MASKED: "pretraining/checkpoints", CONTRASTIVE: "first"}[stage]
    assert list((tmp_path / "b" / folder).glob("step-*"))
    again = run(stage, splits, masked_lm_checkpoint, home=tmp_path / "b", **about)
    assert same(weights(whole), weights(again)) and whole.predictions == again.predictions
    for name in ("stage_before", "stage_after"):
        assert whole.measured[name] == again.measured[name]


TWO = """
import sys
sys.path[:0] = sys.argv[3:5]
import torch
import torch.distributed as dist
from test_self_taught import TASK, as_table, labelled, run, sentences

splits = {"train": labelled(24, 1), "validation": labelled(12, 2), "test": labelled(12, 3),
          "unlabelled": as_table(sentences(50, 9))}
made = run(sys.argv[2], splits, sys.argv[1], steps=5)
total = sum(p.detach().double().sum() for p in made.model.parameters())
gathered = [torch.zeros_like(total) for _ in range(dist.get_world_size())]
dist.all_gather(gathered, total)
if dist.get_rank() == 0:
    print("SAME", torch.equal(*gathered), len(made.predictions), flush=True)
dist.destroy_process_group()
"""


@pytest.mark.slow
@pytest.mark.parametrize("stage", [MASKED, CONTRASTIVE])
def test_two_processes_end_alike(masked_lm_checkpoint, tmp_path, stage):
    script = tmp_path / "two.py"
    script.write_text(TWO)
    here = Path(__file__).parent
    done = command(
        *("-m", "torch.distributed.run", "--nproc_per_node", 2, script),
        *(masked_lm_checkpoint, stage, here, here.parent),
    )
    assert "SAME True 12" in done.stdout, done.stdout + done.stderr


@pytest.mark.slow
def test_the_recipe_writes_table_picture_and_page(
    masked_lm_checkpoint, tmp_path, monkeypatch, capsys
):
    import importlib.util

    root = Path(__file__).parents[2]
    spec = importlib.util.spec_from_file_location(
        "recipe_self_taught", root / "recipes/self_taught.py"
    )
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    for name, count, seed in (("train", 60, 1), ("test", 30, 3)):
        labelled(count, seed).to_csv(tmp_path / f"{name}.csv")
    for name, seed in (("own", 7), ("other", 8)):
        (tmp_path / f"{name}.txt").write_text("\n".join(sentences(60, seed)))
    words = [
        *("--model", masked_lm_checkpoint, "--train-file", tmp_path / "train.csv"),
        *("--test-file", tmp_path / "test.csv", "--unlabelled", tmp_path / "own.txt"),
        *("--other", tmp_path / "other.txt", "--first-steps", 3, "--first-batch-size", 12),
        *("--seeds", 2, "--max-train-examples", 40, "--save", "contrastive same"),
        *("--augment", "typos", "--output-dir", tmp_path / "out"),
    ]
    recipe.main(config_of(*words))
    record = json.loads((tmp_path / "out/self_taught.json").read_text())
    assert next(iter(record["rows"])) == NONE and len(record["rows"]) == 7
    controls = [one["word"] for name, one in record["rows"].items() if "shuffled" in name]
    assert controls == ["control", "control"]
    assert record["sentence"] in " ".join(capsys.readouterr().out.split())
    text = (tmp_path / "out/self_taught.html").read_text()
    assert "First stages" in text and "http://" not in text.replace("http://www.w3.org", "")
    saved = json.loads((tmp_path / "out/run/result.json").read_text())
    assert saved["reload_difference"] < 1e-5 and saved["method"] == "contrastive same"
    monkeypatch.setattr(SelfTaught, "__call__", None)  # a finished run is never made again
    recipe.main(config_of(*words))
    again = json.loads((tmp_path / "out/self_taught.json").read_text())
    assert again["sentence"] == record["sentence"]
