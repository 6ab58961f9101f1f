"""Few labels: draws, pairs, fits and prompts by hand; labels that stay unread; leaders that are true."""

import json
import random
import re
from collections import Counter
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset
from launching import KillAt, Killed, command
from tiny import sentences, tiny_config, tiny_tokenizer
from transformers import AutoModelForSequenceClassification, pipeline

from nlptl.cli.config import GridConfig, parse_args, with_options
from nlptl.errors import ConfigError, DataError, ModelError, UserError
from nlptl.methods.few_shot.draws import Shots, check_enough, draw
from nlptl.methods.few_shot.few_shot import (
    arm_spec,
    check_methods,
    few_shot,
    labelled_methods,
    modes_of,
    write_few_shot,
)
from nlptl.methods.few_shot.fits import centroid_fit, probe_fit
from nlptl.methods.few_shot.method import FewShot
from nlptl.methods.few_shot.options import NAMES, PROMPT, FewShotOptions
from nlptl.methods.few_shot.render import markdown
from nlptl.methods.few_shot.terms import (
    Contrastive,
    PairBatches,
    contrast,
    draw_pairs,
    pair,
    pairs_drawn,
    pairs_of,
)
from nlptl.methods.few_shot.verdict import (
    compared,
    judge_levels,
    level_sentence,
    pays_from,
    row,
    sentence,
    study_record,
)
from nlptl.methods.few_shot.zero import ZeroShot, check_words, zero_methods
from nlptl.modes.base import parse_mode
from nlptl.report.zero_shot import (
    check_template,
    entailment_index,
    entailment_scores,
    prompt_scores,
)
from nlptl.stats.bootstrap import joint_bootstrap
from nlptl.study.arms import Arm
from nlptl.study.outcomes import Outcome
from nlptl.study.study import Study
from nlptl.tasks.classification import TextClassification
from nlptl.train.learner import Learner
from nlptl.train.setup import FinetuneArgs, new_accelerator, start_accelerator

TASK = TextClassification(("no", "yes"))
CONFIG = with_options(GridConfig, FewShotOptions)


def config_of(*words):
    return parse_args(CONFIG, [str(word) for word in words])


# ---- draws
def table(count, seed):
    gold = ["yes" if number % 3 else "no" for number in range(count)]
    texts = [
        f"{'good' if one == 'yes' else 'bad'} {text}"
        for one, text in zip(gold, sentences(count, seed), strict=True)
    ]
    return Dataset.from_dict({"text": texts, "label": gold})


def test_a_draw_has_so_many_of_each_class_and_holds_the_smaller_one():
    gold = [f"class {number % 5 % 3}" for number in range(200)]
    for seed in range(5):
        small, large = draw(gold, 2, seed), draw(gold, 9, seed)
        assert Counter(gold[row] for row in large) == dict.fromkeys(set(gold), 9)
        assert set(small) < set(large) and len(small) == 6
        assert draw(gold, 9, seed).tolist() == large.tolist() == sorted(large)
    assert len({tuple(draw(gold, 2, seed)) for seed in range(20)}) > 15


def test_validation_has_as_many_or_is_not_there():
    splits = {"train": table(60, 1), "validation": table(30, 2), "test": table(12, 3)}
    seen = Shots(4, validation=True)(TASK, splits, 0)
    assert [Counter(seen[name]["label"]) for name in ("train", "validation")] == [
        {"no": 4, "yes": 4}
    ] * 2
    assert set(Shots(4)(TASK, splits, 0)) == {"train", "test"}
    assert seen["test"] is splits["test"] and Shots(4).examples == 8


def test_too_few_examples_of_a_class_are_told():
    splits = {"train": table(30, 1), "validation": table(9, 2)}
    check_enough(TASK, splits, 10, ["train"])
    with pytest.raises(
        DataError, match=r"--shots 11: .* in the train split, found fewer of no \(10\)\. Lower"
    ):
        check_enough(TASK, splits, 11, ["train"])
    with pytest.raises(DataError, match="or take --validation none"):
        check_enough(TASK, splits, 4, ["train", "validation"])


# ---- pairs
@pytest.mark.parametrize("counts", [(1, 1), (3, 1), (4, 2, 5), (8, 8, 8, 8)])
def test_pairs_are_counted_and_numbered_as_a_list_of_all_has_them(counts):
    gold = np.repeat(np.arange(len(counts)), counts)
    members = [np.flatnonzero(gold == name) for name in range(len(counts))]
    every = list(combinations(range(len(gold)), 2))
    alone = {(int(rows[0]), int(rows[0])) for rows in members if len(rows) == 1}
    same = {p for p in every if gold[p[0]] == gold[p[1]]} | alone
    different = {p for p in every if gold[p[0]] != gold[p[1]]}
    assert pairs_of(counts) == (len(same), len(different))
    assert {pair(members, n, same=True) for n in range(len(same))} == same
    assert {pair(members, n, same=False) for n in range(len(different))} == different


def test_no_pair_comes_twice_before_all_have_come_once():
    gold = ["a"] * 6 + ["b"] * 5  # 25 pairs of one class, 30 of different ones
    found = draw_pairs(gold, 40, 0)
    assert len({tuple(one) for one in found}) == 40
    assert all((gold[i] == gold[j]) == bool(same) for i, j, same in found)
    assert found[:, 2].sum() == 20
    counts = Counter(map(tuple, draw_pairs(gold, 150, 0).tolist()))
    assert {counts[p] for p in counts if p[2]} == {3} and set(counts.values()) == {2, 3}
    assert draw_pairs(gold, 40, 0).tolist() == found.tolist() != draw_pairs(gold, 40, 1).tolist()


def test_pairs_of_many_texts_take_no_memory():
    gold = np.repeat([0, 1], 50_000)
    assert pairs_of([50_000] * 2) == (2 * 1_249_975_000, 2_500_000_000)
    found = draw_pairs(gold, 100, 0)
    assert found.shape == (100, 3) and found[:, :2].max() > 90_000
    members = [np.flatnonzero(gold == name) for name in (0, 1)]
    assert pair(members, 1_249_974_999, same=True) == (49_998, 49_999)
    assert pair(members, 2_499_999_999, same=False) == (49_999, 99_999)


def test_the_number_of_pairs_is_bounded():
    assert pairs_drawn([8] * 4, 20, 10_000) == 2 * 20 * 32
    assert pairs_drawn([64] * 4, 20, 2000) == 2000 and pairs_drawn([64] * 4, 20, 2001) == 2000


def test_the_contrastive_loss_by_hand():
    """Cosines 1, 0 and -1 of pairs that should have 1, 1 and 0: (0 + 1 + 1) / 3."""
    first = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    second = torch.tensor([[3.0, 0.0], [1.0, 0.0], [-1.0, -1.0]])
    loss, cosine = contrast(torch.cat([first, second]), torch.tensor([1.0, 1.0, 0.0]))
    assert float(loss) == pytest.approx(2 / 3) and cosine.tolist() == pytest.approx([1, 0, -1])


def test_batches_of_pairs_begin_anywhere_and_are_divided():
    features = [{"input_ids": [number]} for number in range(10)]
    pairs = draw_pairs(["a"] * 5 + ["b"] * 5, 14, 0)

    def collate(rows, rng):
        return {"input_ids": torch.tensor([one["input_ids"] for one in rows])}

    def read(start=0, process=(0, 1)):
        made = PairBatches(features, pairs, collate, batch_size=4, process=process)
        assert len(made) == 4
        return list(made.epoch(0, start))

    whole = read()
    seen = []
    for batch in whole:
        first, second = batch.inputs["input_ids"][:, 0].chunk(2)
        seen += [*zip(first.tolist(), second.tolist(), batch.inputs["same"].tolist(), strict=True)]
    assert seen == [tuple(one) for one in pairs.tolist()] and [one.size for one in whole] == [
        4,
        4,
        4,
        2,
    ]
    assert [one.indices for one in read(2)] == [one.indices for one in whole[2:]]
    halves = [read(process=(rank, 2)) for rank in (0, 1)]
    for batch, *own in zip(whole, *halves, strict=True):
        assert sorted((*own[0].indices, *own[1].indices)) == list(batch.indices)
        assert torch.equal(own[0].inputs["same"], batch.inputs["same"][0::2])


# ---- fits
def states(rows, seed):
    rng = np.random.default_rng(seed)
    gold = np.arange(rows) % 3
    return rng.normal(size=(rows, 4)) + 2 * np.eye(3, 4)[gold], gold


def test_the_largest_output_is_the_nearest_mean():
    train, gold = states(30, 0)
    test, _ = states(50, 1)
    about = {"outputs": 3, "sizes": np.ones(30)}
    found = centroid_fit("states", train, gold, "classes", **about).outputs(test)
    means = np.stack([train[gold == name].mean(0) for name in range(3)])
    distances = np.square(test[:, None] - means).sum(-1)
    assert (found.argmax(1) == distances.argmin(1)).all()
    own = np.square(train - means[gold]).sum(1).mean()
    np.testing.assert_allclose(found[:, 0] - found[:, 1], (distances[:, 1] - distances[:, 0]) / own)
    one = centroid_fit("states", train[:3], gold[:3], "classes", **(about | {"sizes": np.ones(3)}))
    assert (one.outputs(train[:3]).argmax(1) == gold[:3]).all() and np.isfinite(one.weight).all()


def test_the_probe_is_scikit_learns_logistic_regression():
    from sklearn.linear_model import LogisticRegression

    train, gold = states(30, 0)
    expected = LogisticRegression(max_iter=1000).fit(train, gold).predict_proba(train)
    for scale in (1.0, 16.0):
        given = (scale * train, gold, "classes")
        fit = probe_fit("states", *given, scale=scale, outputs=3, sizes=np.ones(30))
        found = torch.tensor(fit.outputs(scale * train)).softmax(-1).numpy()
        np.testing.assert_allclose(found, expected, atol=2e-3)


# ---- without labels
def test_a_prompt_without_a_text_favours_no_class(masked_lm_checkpoint):
    labels, templates = ["good", "bad", "dull"], ("It was {}.", "{} it is.")
    given = {"accelerator": new_accelerator(), "templates": templates}
    found = prompt_scores(str(masked_lm_checkpoint), ["", "a film", "[MASK] film"], labels, **given)
    assert found.shape == (2, 3, 3)
    np.testing.assert_allclose(found[:, 0], np.log(1 / 3), atol=1e-5)
    np.testing.assert_allclose(np.exp(found).sum(-1), 1, atol=1e-6)
    assert np.abs(found[:, 1] - np.log(1 / 3)).max() > 1e-4


@pytest.fixture(scope="module")
def entailment(tmp_path_factory, checkpoints):
    """A classifier of pairs whose entailment is neither the first nor the last output."""
    path = tmp_path_factory.mktemp("nli")
    tokenizer = tiny_tokenizer("bert")
    config = tiny_config("bert", len(tokenizer))
    config.id2label = {0: "neutral", 1: "ENTAILMENT", 2: "contradiction"}
    config.label2id = {name: number for number, name in config.id2label.items()}
    torch.manual_seed(1)
    model = AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():
        model.classifier.weight.mul_(50)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def test_entailment_is_what_plain_transformers_computes(entailment):
    from transformers import AutoTokenizer

    texts, labels, template = sentences(4, 5), ["film", "book", "kettle"], "It is a {}."
    model = AutoModelForSequenceClassification.from_pretrained(entailment).eval()
    tokenizer = AutoTokenizer.from_pretrained(entailment)
    expected = []
    for text in texts:
        pairs = tokenizer(
            [text] * 3, [f"It is a {x}." for x in labels], return_tensors="pt", padding=True
        )
        with torch.no_grad():
            expected.append(model(**pairs).logits[:, 1].softmax(0).numpy())
    given = {"accelerator": new_accelerator(), "templates": (template,)}
    found = np.exp(entailment_scores(str(entailment), texts, labels, **given)[0])
    np.testing.assert_allclose(found, expected, atol=1e-6)
    turned = np.exp(entailment_scores(str(entailment), texts, labels[::-1], **given)[0])
    np.testing.assert_allclose(turned[:, ::-1], found, atol=1e-6)
    judge = pipeline("zero-shot-classification", model=model, tokenizer=tokenizer)
    one = judge(texts[0], labels, hypothesis_template=template)
    by_name = dict(zip(one["labels"], one["scores"], strict=True))
    assert [by_name[x] for x in labels] == pytest.approx(found[0].tolist(), abs=1e-6)


def test_a_checkpoint_without_entailment_is_refused():
    for labels in ({"LABEL_0": 0, "LABEL_1": 1}, {}):
        with pytest.raises(ModelError, match="says that a sentence follows from a text"):
            entailment_index(SimpleNamespace(label2id=labels))
    assert entailment_index(SimpleNamespace(label2id={"no": 0, "Entailment": 2})) == 2


def test_templates_and_words_have_one_form():
    check_template("It is {}.")
    for wrong in ("It is.", "{} or {}", "{{}}", "{0}", "{} {x}", "{"):
        with pytest.raises(ConfigError, match="exactly one {}"):
            check_template(wrong)
    with pytest.raises(UserError, match="--label-words great: expected LABEL=WORDS"):
        check_words(config_of("--label-words", "great"))


def test_which_methods_without_labels_there_are(checkpoints, masked_lm_checkpoint, entailment):
    task = TextClassification(("good", "bad"))

    def found(model, *words):
        return zero_methods(config_of("--model", model, *words), task)[0]

    assert found(masked_lm_checkpoint) == [NAMES, PROMPT]
    assert found(checkpoints["t5"]) == [NAMES]
    assert found(masked_lm_checkpoint, "--shots", "1") == []
    assert found(entailment) == [NAMES, "entailment"]
    assert found(masked_lm_checkpoint, "--methods", "probe") == []
    assert found(masked_lm_checkpoint, "--methods", "probe", PROMPT) == [PROMPT]
    _, left_out = zero_methods(config_of("--model", masked_lm_checkpoint), task)
    assert len(left_out) == 1 and left_out[0].startswith(
        "entailment is left out: none of its labels"
    )
    with pytest.raises(
        UserError, match="--methods entailment: none of its labels .* give --zero-model"
    ):
        found(masked_lm_checkpoint, "--methods", "entailment")
    long = f"good={'good ' * 60}"
    with pytest.raises(UserError, match=r"entailment: the sentence '.*' has 6\d tokens.*takes 64"):
        found(entailment, "--methods", "entailment", "--label-words", long)
    with pytest.raises(
        UserError, match=r"prompt: the sentence '.*' has \d+ tokens.*shorter --templ"
    ):
        found(masked_lm_checkpoint, "--methods", PROMPT, "--templates", "good " * 60 + "{}")
    with pytest.raises(
        UserError, match=r"\('zzqq' is none\)\. Leave it out, give other words with --lab"
    ):
        found(masked_lm_checkpoint, "--methods", PROMPT, "--label-words", "good=zzqq")
    with pytest.raises(UserError, match="--label-words great=…: there is no such label"):
        found(masked_lm_checkpoint, "--label-words", "great=x")
    pairs = TextClassification(("good", "bad"), inputs=("a", "b"))
    with pytest.raises(UserError, match="it reads one text, and the task has a, b"):
        zero_methods(config_of("--model", masked_lm_checkpoint, "--methods", NAMES), pairs)


# ---- flags
def test_what_cannot_be_had_is_said_at_once():
    with pytest.raises(UserError) as found:
        check_methods(
            config_of(
                *(
                    "--methods",
                    "prob",
                    "prompt",
                    "contrastive",
                    "--shots",
                    "1",
                    "-2",
                    "--mode",
                    "head-only",
                ),
                *(
                    "--max-train-examples",
                    100,
                    "--save",
                    "full",
                    "--templates",
                    "no place",
                    "--augment",
                    "eda",
                ),
            )
        )
    for part in (
        "--methods prob: there is no such method. Did you mean 'probe'?",
        "--methods prompt takes no labels: add 0 to --shots",
        "--shots -2: expected whole numbers",
        "--mode head-only: contrastive moves the states of the blocks",
        "--max-train-examples: here --shots says",
        "--augment eda: contrastive read the texts as they are",
        "--save full: expected a method with labels (prob, contrastive)",
        "exactly one {}",
    ):
        assert part in str(found.value)
    with pytest.raises(UserError) as found:
        check_methods(
            config_of(
                *("--methods", "probe", "full", "--shots", "0", "--zero-model", "no/such"),
                *("--label-words", "a=b", "--pairs", 7, "--upstream-text", "no.txt"),
            )
        )
    for part in (
        "--methods probe full: they learn from labels; add a number above 0 to --shots",
        "--zero-model no/such: only entailment, prompt read it, and none of them is run here",
        "--label-words a=b: only label-names, entailment, prompt read it",
        "--pairs 7: only contrastive reads it, and it is not run here",
        "--upstream-text no.txt: nothing reads it in this study",
    ):
        assert part in str(found.value)
    good = config_of("--methods", "label-names", "freeze-lower-2", "probe", "--save", "probe")
    check_methods(good)
    assert labelled_methods(good) == ["freeze-lower-2", "probe"]
    assert modes_of(good) == ["freeze-lower-2", "head-only", "full"]
    assert modes_of(config_of("--methods", "label-names")) == ["head-only", "full"]


# ---- runs
@pytest.fixture(scope="module")
def splits():
    return {"train": table(60, 1), "validation": table(30, 2), "test": table(24, 3)}


def run(name, splits, checkpoint, *, home=None, shots=6, validation=False, seed=0, pairs=2):
    words = (
        "--model",
        checkpoint,
        "--validation",
        "same" if validation else "none",
        "--pairs",
        pairs,
    )
    config = config_of(*words)

    def args(mode, examples, task):
        return FinetuneArgs(
            str(checkpoint), parse_mode(mode), 2e-3, epochs=2.0, batch_size=8, seed=seed
        )

    spec = arm_spec(config, TASK, args, name, shots)
    accelerator = start_accelerator(tracker=None, output_dir=None, seed=seed)
    seen = splits if spec.view is None else spec.view(TASK, splits, seed)
    more = {"home": home} if home else {}
    return spec.method(TASK, seen, spec.args, accelerator=accelerator, **more)


def weights(made):
    return {name: p.detach().clone() for name, p in made.model.named_parameters()}


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("name", ["nearest-centroid", "probe", "contrastive"])
def test_a_method_reads_no_test_label_and_trains_what_it_says(splits, checkpoints, name):
    found = run(name, splits, checkpoints["bert"])
    other = ["yes" if one == "no" else "no" for one in splits["test"]["label"][:]]
    turned = {**splits, "test": splits["test"].remove_columns("label").add_column("label", other)}
    again = run(name, turned, checkpoints["bert"])
    assert same(weights(found), weights(again))
    assert found.metrics["accuracy"] + again.metrics["accuracy"] == pytest.approx(1)
    start = Learner(TASK, found.args, new_accelerator()).model
    own = weights(found)
    body = {n: p for n, p in start.named_parameters() if "classifier" not in n}
    moved = [n for n, p in body.items() if not torch.equal(p, own[n])]
    assert bool(moved) == (name == "contrastive")
    assert found.history == [] and set(found.num_examples) == {"train", "test"}
    if name == "contrastive":
        assert found.measured == {"pairs": 48, "same": 30, "different": 36, "steps": 6}
        assert found.flops > 0


def test_contrastive_without_pairs_is_the_probe(splits, checkpoints):
    found = run("contrastive", splits, checkpoints["bert"], pairs=0)
    plain = run("probe", splits, checkpoints["bert"])
    assert same(weights(found), weights(plain)) and found.predictions == plain.predictions


def test_with_validation_labels_the_head_is_scored_on_them(splits, checkpoints):
    found = run("probe", splits, checkpoints["bert"], validation=True)
    assert found.num_examples["validation"] == 12 and found.history


def test_without_pairs_of_one_class_but_itself_contrastive_trains(splits, checkpoints):
    found = run("contrastive", splits, checkpoints["bert"], shots=1)
    assert found.measured["same"] == 2 and found.measured["different"] == 1
    assert np.isfinite([p.sum().item() for p in found.model.parameters()]).all()


def test_keys_differ_by_what_a_method_computes():
    every = [FewShot("probe"), FewShot("contrastive"), FewShot("contrastive", pairs=3)]
    every += [ZeroShot(NAMES, ("{}",)), ZeroShot(NAMES, ("A {}.",)), ZeroShot(PROMPT, ("{}",))]
    every += [ZeroShot(NAMES, ("{}",), (("yes", "good"),))]
    assert len({one.identity() for one in every}) == len(every)
    assert FewShot("probe", pairs=3).identity() == FewShot("probe").identity()


@pytest.mark.slow
def test_killed_and_resumed_is_unbroken(splits, checkpoints, tmp_path, monkeypatch):
    from nlptl.train import learner as home

    whole = run("contrastive", splits, checkpoints["bert"], home=tmp_path / "a")
    bar = home.ProgressBar
    monkeypatch.setattr(home, "ProgressBar", lambda *_: KillAt(4))
    with pytest.raises(Killed):
        run("contrastive", splits, checkpoints["bert"], home=tmp_path / "b")
    monkeypatch.setattr(home, "ProgressBar", bar)
    again = run("contrastive", splits, checkpoints["bert"], home=tmp_path / "b")
    assert same(weights(whole), weights(again)) and whole.predictions == again.predictions


TWO = """
import sys
sys.path[:0] = sys.argv[2:4]
import torch
import torch.distributed as dist
from test_few_shot import run, table

splits = {"train": table(60, 1), "validation": table(30, 2), "test": table(24, 3)}
made = run("contrastive", splits, sys.argv[1])
total = sum(p.detach().double().sum() for p in made.model.parameters())
gathered = [torch.zeros_like(total) for _ in range(dist.get_world_size())]
dist.all_gather(gathered, total)
if dist.get_rank() == 0:
    print("SAME", torch.equal(*gathered), len(made.predictions), flush=True)
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_end_alike(checkpoints, tmp_path):
    script = tmp_path / "two.py"
    script.write_text(TWO)
    here = Path(__file__).parent
    done = command(
        *("-m", "torch.distributed.run", "--nproc_per_node", 2, script),
        *(checkpoints["bert"], here, here.parent),
    )
    assert "SAME True 24" in done.stdout, done.stdout + done.stderr


def test_the_loss_has_no_gradient_on_the_head(checkpoints):
    args = FinetuneArgs(str(checkpoints["bert"]), parse_mode("full"), 1e-3, 1.0, pooling="mean")
    learner = Learner(TASK, args, new_accelerator()).mode(args.mode)
    part = learner.encode(table(4, 1))
    loss = Contrastive(learner.model, TASK)
    pairs = np.array([[0, 1, 0], [1, 2, 1]])
    batch = next(PairBatches(part.rows, pairs, learner.collate, batch_size=2).epoch(0))
    found = loss(**batch.inputs)
    found["loss"].backward()
    grads = {n: p.grad is not None for n, p in learner.model.named_parameters()}
    assert (
        not grads.pop("classifier.weight")
        and not grads.pop("classifier.bias")
        and any(grads.values())
    )
    assert found["size"] == 2 and loss.find_unused and not loss.cacheable


# ---- verdicts
def arm(right, seeds, name="probe"):
    """An arm whose share of right answers is given for each draw."""
    rng = np.random.default_rng(random.Random(name).randrange(2**32))
    made = []
    for seed, share in zip(range(seeds), right, strict=True):
        each = (rng.random(400) < share).astype(float)
        made.append(
            Outcome(
                **{
                    "seed": seed,
                    "learning_rate": 0.0,
                    "score": each.mean(),
                    "best": 0,
                    "epochs": 1.0,
                },
                **{"statistics": tuple((x,) for x in each), "validation": (), "seconds": 1.0},
                **{"flops": 0.0, "peak_memory": 0.0, "trainable": 0, "total": 1},
            )
        )
    return Arm(tuple(made), FinetuneArgs(learning_rate=0.0, epochs=1.0))


def levels_of(tables):
    found = [
        {
            "shots": shots,
            "rows": {
                name: row(name, one, "accuracy", None, None, 0.25) for name, one in arms.items()
            },
        }
        for shots, arms in tables.items()
    ]
    judge_levels(found, tables, None, None)
    return found


def test_who_leads_is_told_where_it_can_be():
    flat = arm([0.7] * 5, 5, "names")
    names = Arm(tuple(replace(flat.outcomes[0], seed=n) for n in range(5)), flat.args)
    weak, strong, alike = (arm([share] * 5, 5, str(share)) for share in (0.4, 0.9, 0.899))
    tables = {
        0: {NAMES: names},
        1: {NAMES: names, "probe": weak},
        8: {NAMES: names, "probe": strong, "full": weak},
        64: {NAMES: names, "probe": strong, "full": alike},
    }
    zero, one, eight, many = levels_of(tables)
    assert zero["rows"][NAMES]["word"] == "best" and level_sentence(zero).startswith(
        "Without labels: label"
    )
    assert one["rows"][NAMES]["word"] == "leads" and one["rows"]["probe"]["word"] == "behind"
    assert "which takes none, still leads; of those with labels probe" in level_sentence(one)
    assert eight["rows"]["probe"]["word"] == "leads" and "probe (" in level_sentence(eight)
    assert many["rows"][many["best"]]["word"] == "best" and len(many["together"]) == 1
    assert "not shown to beat" in level_sentence(many)
    assert pays_from([zero, one, eight, many]) == 8 and pays_from([zero, one]) is None
    turned, plain = (compared(eight, *pair) for pair in (("full", "probe"), ("probe", "full")))
    assert turned["difference"]["mean"] == pytest.approx(-plain["difference"]["mean"])
    assert turned["word"] == "hurt" and turned["difference"]["low"] < turned["difference"]["high"]


def test_draws_that_differ_more_than_the_methods_name_no_leader():
    rng = np.random.default_rng(0)
    shares = rng.normal(0.6, 0.12, (2, 5)).clip(0, 1)
    (level,) = levels_of({1: {"probe": arm(shares[0], 5, "a"), "full": arm(shares[1], 5, "b")}})
    assert level["rows"][level["best"]]["word"] == "best" and level["together"]
    (two,) = levels_of({8: {"probe": arm([0.9] * 2, 2), "full": arm([0.3] * 2, 2, "c")}})
    assert two["together"] == ["full"]  # two draws tell nothing


def test_the_interval_of_a_score_ends_at_0_and_100():
    """Of two draws that differ widely: 50 points, and more than 50 on both sides by Student's t."""
    made = {"probe": arm([0.1, 0.9], 2, "a"), "full": arm([0.8, 0.0], 2, "b")}
    whole = joint_bootstrap(made["probe"].statistics, None)
    assert whole.low < 0 and whole.high > 1
    splits = {name: table(400, 3) for name in ("train", "validation", "test")}
    found = study_record(config_of(), TASK, splits, {"dataset": "own"}, {}, {8: made})
    (level,) = found["levels"]
    assert level["rows"]["probe"]["ci95"] == [0.0, 1.0]
    assert level["rows"]["full"]["difference"]["high"] > 1  # of a difference it stays
    assert " 0.0 to 100.0 |" in markdown(found)


def study_of(levels):
    """A study of these numbers of labels."""
    return {
        **{
            "levels": levels,
            "dataset": "own_news.csv",
            "model": "bundled/bert",
            "n": {"test": 400},
        },
        **{"classes": ["a", "b", "c", "d"], "seeds": [0, 1], "validation": "none", "floor": 0.25},
        **{"metric": "accuracy", "sentence": sentence(levels, "accuracy", None), "test": "t"},
        **{"versions": {"nlptl": "1"}},
    }


def test_the_terminal_has_a_table_of_80_columns_and_the_file_markdown(tmp_path):
    weak, strong = arm([0.25] * 2, 2, "weak"), arm([0.9] * 2, 2, "strong")
    record = study_of(levels_of({1: {"probe": weak}, 8: {"probe": strong, "full": weak}}))
    record["levels"][0]["rows"]["probe"]["failed"] = 2
    shown = write_few_shot(record, tmp_path)
    assert max(map(len, shown.splitlines())) <= 80
    assert not set("|*\\") & set(shown) and shown.startswith(
        "own_news.csv, bundled/bert: 4 classes"
    )
    assert "\n1 label a class:\n" in shown and "\n8 labels a class:\n" in shown
    assert re.search(r"^probe +[\d.]+ +best$", shown, re.M)  # nothing to be behind
    assert re.search(r"^full +[\d.]+ +\+[\d.]+ \[.* to .*\] +(behind|cannot tell)$", shown, re.M)
    assert "probe: 2 of 2 runs are no better than always one answer" in " ".join(shown.split())
    assert " ".join(shown.split()).count(record["sentence"]) == 1
    assert "|---|---:|" in (tmp_path / "few_shot.md").read_text()


def test_the_first_lines_name_the_model_and_how_each_method_trains(splits, monkeypatch, capsys):
    monkeypatch.setattr(Study, "run", None)
    words = ("--methods", "probe", "nearest-centroid", "lora", "contrastive", "--shots", 1, 8)
    found = (TASK, splits, {"dataset": "own", "notes": []}, [])

    def args(mode, examples, task):
        return FinetuneArgs("bundled/bert", parse_mode(mode), 3e-4, examples / 8)

    with pytest.raises(TypeError):  # the first run
        few_shot(config_of(*words, "--seeds", 2, "--epochs", 2), found, args)
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.startswith("model bundled/bert (bert, 12 blocks, width 128; a demonstration")
    fitted = "probe, nearest-centroid, 8 a class: mode head-only, a convex fit without epochs"
    assert f"train {fitted} lora, 8 a class: mode lora, 2 epochs, rate 0.0003*, batch 16*" in shown
    assert "contrastive, 8 a class: mode full*, 2 epochs, rate 0.0003*, batch 16*" in shown
    assert "runs 8 arms x 2 seeds = 16:" in shown


# ---- the whole
@pytest.mark.slow
def test_the_recipe_writes_table_picture_and_page(
    masked_lm_checkpoint, tmp_path, monkeypatch, capsys
):
    import importlib.util

    file = tmp_path / "data.csv"
    table(240, 7).to_csv(str(file))
    root = Path(__file__).parents[2]
    spec = importlib.util.spec_from_file_location("recipe_few_shot", root / "recipes/few_shot.py")
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    words = [
        *("--model", masked_lm_checkpoint, "--train-file", file, "--shots", 0, 1, 6, "--seeds", 3),
        *("--label-words", "yes=good", "no=bad", "--pairs", 2, "--save", "contrastive"),
        *("--methods", "label-names", "prompt", "probe", "head-only", "contrastive"),
        *("--output-dir", tmp_path / "out"),
    ]
    recipe.main(config_of(*words))
    record = json.loads((tmp_path / "out/few_shot.json").read_text())
    assert [level["shots"] for level in record["levels"]] == [0, 1, 6]
    assert list(record["levels"][1]["rows"]) == [
        "label-names",
        "prompt",
        "probe",
        "head-only",
        "contrastive",
    ]
    spread = record["levels"][0]["rows"]["prompt"]["measured"]["templates"]
    assert len(spread) == 3 and all(0 <= score <= 1 for score in spread.values())
    assert record["sentence"] in " ".join(capsys.readouterr().out.split()) and markdown(record)
    text = (tmp_path / "out/few_shot.html").read_text()
    assert "Which method leads" in text and "http://" not in text.replace("http://www.w3.org", "")
    assert {p.suffix for p in (tmp_path / "out").iterdir()} >= {".md", ".png", ".svg", ".html"}
    saved = json.loads((tmp_path / "out/run/result.json").read_text())
    assert saved["reload_difference"] < 1e-5 and saved["method"] == "contrastive"
    card = (tmp_path / "out/run/README.md").read_text()
    assert "no epoch was chosen" in card and "12 labels: 12 to train on, 0 to choose" in card
    monkeypatch.setattr(FewShot, "__call__", None)  # a finished run is never made again
    monkeypatch.setattr(ZeroShot, "__call__", None)
    recipe.main(config_of(*words))
    again = json.loads((tmp_path / "out/few_shot.json").read_text())
    assert again["sentence"] == record["sentence"]
