"""Marks of words add up to what the text changes, for every family; whatever cannot be marked is refused."""

import json
import sys
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from nlptl.cli.check import check_explain
from nlptl.errors import ConfigError, ModelError, UserError
from nlptl.runs.explaining import (
    check_explained,
    check_installed,
    explain,
    explain_mistakes,
    explained,
)
from nlptl.runs.predictor import load_predictor
from nlptl.tasks import get_task

NAMES = {"id2label": {0: "bad", 1: "good"}, "label2id": {"bad": 0, "good": 1}}


@pytest.fixture(scope="module")
def predictors(checkpoints, tmp_path_factory):
    made = {}
    for family, checkpoint in checkpoints.items():
        path = tmp_path_factory.mktemp(f"explained_{family}")
        torch.manual_seed(1)
        model = AutoModelForSequenceClassification.from_pretrained(checkpoint, **NAMES)
        with torch.no_grad():
            for (
                name,
                parameter,
            ) in model.named_parameters():  # fresh models say the same of every text
                if name.startswith(("classifier", "classification_head")):
                    parameter.mul_(20)
                elif family != "t5" and "Norm" not in name:
                    parameter.mul_(6)
        model.save_pretrained(path)
        AutoTokenizer.from_pretrained(checkpoint).save_pretrained(path)
        made[family] = load_predictor(path)
    return made


def test_marks_add_up_to_the_change_that_the_model_makes(predictors, family):
    """The change is computed from token ids here, without any replaced embedding."""
    predictor, text = predictors[family], "the film was very good"
    found = explain(predictor, text)
    tokenizer, model = predictor.tokenizer, predictor.model
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    frame = torch.isin(ids, torch.tensor(tokenizer.all_special_ids))
    padded = torch.where(frame, ids, torch.full_like(ids, tokenizer.pad_token_id))
    assert found.answer == predictor(text)["prediction"]
    place = predictor.task.labels.index(found.answer)
    with torch.no_grad():
        if family == "roberta":  # whose positions depend on where padding is
            places = torch.arange(ids.shape[1])[None] + tokenizer.pad_token_id + 1
            logits = [model(x, position_ids=places).logits for x in (ids, padded)]
        else:
            mask = torch.ones_like(ids)
            logits = [model(x, attention_mask=mask).logits for x in (ids, padded)]
    shares = [out.log_softmax(-1)[0, place] for out in logits]
    change = float(shares[0] - shares[1])
    assert found.change == pytest.approx(change, abs=1e-4) and abs(change) > 1e-3
    total = sum(word["weight"] for word in found.words)
    assert abs(total - change) <= found.completeness_error + 1e-5
    assert found.completeness_error <= 0.05 * abs(change)
    assert [text[w["start"] : w["end"]].strip() for w in found.words] == text.split()
    assert [w["word"] for w in found.words] == text.split()


def test_explanations_stand_beside_their_predictions(predictors):
    predictor, texts = predictors["bert"], ["a good film", "it broke again"]
    found = list(explained(predictor, texts, predictor.stream(texts)))
    assert [one["prediction"] for one in found] == [one["prediction"] for one in predictor(texts)]
    assert [[w["word"] for w in one["words"]] for one in found] == [t.split() for t in texts]
    assert all(one["explained"] == one["prediction"] for one in found)


def test_a_literal_special_token_leaves_tokens_without_a_place(predictors):
    found = explain(predictors["t5"], "a </s> film")
    assert found.words and "start" not in found.words[0]


def test_tasks_without_one_answer_are_refused():
    for about in (
        {"split_into_words": True, "pooled": False},
        {"split_into_words": False, "pooled": False},
    ):
        task = SimpleNamespace(name="tags", **about)
        with pytest.raises(ModelError, match="--explain: the task tags gives no single answer"):
            check_explained(task)


def test_without_captum_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "captum", None)
    with pytest.raises(ConfigError, match=r"pip install 'nlptl\[explain\]'"):
        check_installed()


def test_a_run_that_cannot_be_explained_is_refused_before_it_starts(monkeypatch):
    check_explain(get_task("regression"))
    with pytest.raises(UserError, match="the task question-answering gives no single answer"):
        check_explain(get_task("question-answering"))
    monkeypatch.setitem(sys.modules, "captum", None)
    with pytest.raises(UserError, match=r"nlptl\[explain\](.|\n)*token-classification gives no"):
        check_explain(get_task("token-classification"))


def test_the_mistakes_of_a_run_are_explained_with_their_rows(predictors, tmp_path):
    said = [("good film", "good"), ("bad film", "good"), ("a film", "good")]
    predictor = predictors["bert"]
    lines, answers = [], [predictor(text)["prediction"] for text, _ in said]
    for row, ((text, _), answer) in enumerate(zip(said, answers, strict=True)):
        gold = answer if row == 1 else {"good": "bad", "bad": "good"}[answer]
        scores = {answer: 0.6 + row / 10}
        lines.append(
            {"row": row + 40, "id": row, "text": text}
            | {"prediction": answer, "gold": gold, "scores": scores}
        )
    home = tmp_path / "run"
    predictor.model.save_pretrained(home / "model")
    predictor.tokenizer.save_pretrained(home / "model")
    record = {
        "task": "text-classification",
        "task_settings": {"labels": ["bad", "good"]},
        "model": "tiny",
        "mode": "full",
        "seed": 0,
        "fields": ["text"],
        "n": {"test": 3},
        "metrics": {"accuracy": 1 / 3},
    }
    (home / "result.json").write_text(json.dumps(record))
    (home / "predictions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert explain_mistakes(home).startswith("explained 2 mistakes in errors.html")
    found = [json.loads(line) for line in (home / "explained.jsonl").open()]
    assert [one["row"] for one in found] == [42, 40]  # the surest first; row 41 is right
    assert found[0]["words"] == explain(predictor, "a film").record()["words"]
    assert (home / "errors.html").read_text().count('<span class="word" title=') == 4
