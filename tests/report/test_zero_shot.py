"""Zero-shot: the prompt's words, weighed against the prompt without a text; long texts lose their end only."""

import pytest
import torch
from datasets import Dataset
from scipy.stats import spearmanr
from sentence_transformers import SentenceTransformer
from tiny import sentence_encoder
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer

from nlptl.errors import ModelError
from nlptl.models.loading import BUNDLED, load_with_head
from nlptl.modes.base import parse_mode
from nlptl.report.simple_arms import simple_arms
from nlptl.report.untouched import untouched_states
from nlptl.report.zero_shot import pair_similarities, prompt_words, zero_shot
from nlptl.tasks.classification import TextClassification
from nlptl.tasks.regression import Regression
from nlptl.train.setup import FinetuneArgs, new_accelerator

LABELS = ["negative", "positive"]
TEXTS = ["A wonderful film.", "Broken on arrival, a waste of money.", "It has buttons."]


def test_the_classes_are_those_of_plain_transformers():
    """Log-probability of " great" and " terrible" at the mask, minus that of the bare prompt."""
    path = BUNDLED / "bert"
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForMaskedLM.from_pretrained(path, dtype=torch.float32).eval()
    words = tokenizer.convert_tokens_to_ids(["terrible", "great"])

    def shares(text):
        given = tokenizer(f"{text} It was [MASK].".strip(), return_tensors="pt")
        with torch.no_grad():
            logits = model(**given).logits[given["input_ids"] == tokenizer.mask_token_id]
        return logits[0, words].log_softmax(-1)

    expected = [LABELS[int((shares(text) - shares("")).argmax())] for text in TEXTS]
    found = zero_shot("bundled/bert", TEXTS, LABELS, accelerator=new_accelerator())
    assert found == expected and len(set(found)) == 2


def test_a_text_cut_inside_a_letter_of_several_bytes():
    """Read back as text and tokenized again, such a text was longer than what the model takes."""
    texts = ["ab" * shift + "鱻龘" * 200 for shift in range(4)]
    found = zero_shot("bundled/roberta", texts, LABELS, accelerator=new_accelerator())
    assert len(found) == 4 and set(found) <= set(LABELS)


def test_classes_without_a_word_of_their_own():
    tokenizer = AutoTokenizer.from_pretrained(BUNDLED / "bert")
    assert tokenizer.convert_ids_to_tokens(prompt_words(LABELS, tokenizer)) == ["terrible", "great"]
    with pytest.raises(ModelError, match="the class '3 stars' has no word of one token"):
        prompt_words(["3 stars", "positive"], tokenizer)
    with pytest.raises(ModelError, match="have the same word"):
        prompt_words(["pos", "positive"], tokenizer)


def test_pairs_are_compared_by_the_cosine_of_their_mean_states(checkpoints, monkeypatch):
    """MiniLM's, on the 9,927 pairs of SICK, has Spearman's correlation 0.7758 with their relatedness."""
    monkeypatch.setattr("nlptl.report.zero_shot.TOGETHER", 2)  # in several parts
    name = str(checkpoints["bert"])
    pairs = [("a film", "the book"), ("was good", "was good"), ("a", "plot")]
    tokenizer = AutoTokenizer.from_pretrained(name)
    model = AutoModel.from_pretrained(name).eval()

    def state(text):
        with torch.no_grad():
            return model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0)

    expected = [float(torch.cosine_similarity(state(a), state(b), 0)) for a, b in pairs]
    body = load_with_head(name, auto_class=AutoModel, head={})
    given = ([a for a, _ in pairs], [b for _, b in pairs])
    found = pair_similarities(body.model, body.tokenizer, *given, accelerator=new_accelerator())
    assert found == pytest.approx(expected, abs=1e-5) and found[1] == pytest.approx(1)


def test_a_report_on_pairs_with_a_number_has_a_row_for_their_cosine(checkpoints):
    rows = {"a": ["a film", "the book", "was good"], "b": ["a film", "was dull", "very bad"]}
    table = Dataset.from_dict({**rows, "label": [5.0, 2.0, 1.0]})
    task = Regression(inputs=("a", "b"))
    args = FinetuneArgs(str(checkpoints["bert"]), parse_mode("head-only"), 1e-3, 1.0)
    splits, accelerator = dict.fromkeys(("train", "validation", "test"), table), new_accelerator()
    untouched = untouched_states(task, splits, args, accelerator)
    given = (task, splits, args, untouched)
    found = simple_arms(*given, seeds=[0], accelerator=accelerator)
    body = (untouched.model, untouched.tokenizer)
    cosines = pair_similarities(*body, rows["a"], rows["b"], accelerator=accelerator)
    expected = spearmanr(table["label"], cosines).statistic
    assert found["zero_shot"]["arm"]["mean"] == pytest.approx(expected)
    assert found["majority"]["arm"]["mean"] == 0 and found["probe"]["arm"]["missing"]


def test_a_sentence_encoders_report_compares_texts_with_the_names_of_classes(checkpoints, tmp_path):
    """As ``SentenceTransformer.encode`` does: it has no masked-LM head that a prompt could ask."""
    encoder = sentence_encoder(tmp_path / "encoder", checkpoints["bert"])
    labels = ("plot", "was dull", "book")
    texts = ["the plot was good", "very dull", "a good book", "the book was dull", "a plot"]
    gold = [labels[number % 3] for number in range(len(texts))]
    table = Dataset.from_dict({"text": texts, "label": gold})
    args = FinetuneArgs(str(encoder), parse_mode("head-only"), 1e-3, 1.0)
    splits, accelerator = dict.fromkeys(("train", "validation", "test"), table), new_accelerator()
    task = TextClassification(labels)
    given = (task, splits, args, untouched_states(task, splits, args, accelerator))
    found = simple_arms(*given, seeds=[0], accelerator=accelerator)["zero_shot"]
    other = SentenceTransformer(str(encoder), device="cpu")
    cosines = other.similarity(other.encode(texts), other.encode(list(labels)))
    expected = [labels[int(best)] for best in cosines.argmax(1)]
    assert len(set(expected)) > 1 and expected != gold
    right = [one == two for one, two in zip(expected, gold, strict=True)]
    assert found["arm"]["mean"] == pytest.approx(sum(right) / len(right))
    assert found["statistics"][:, 0].tolist() == right
