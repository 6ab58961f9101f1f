"""Zero-shot: the prompt's words, weighed against the prompt without a text; long texts lose their end only."""

import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

from nlptl.errors import ModelError
from nlptl.models.loading import BUNDLED
from nlptl.report.zero_shot import prompt_words, zero_shot
from nlptl.train.setup import new_accelerator

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
