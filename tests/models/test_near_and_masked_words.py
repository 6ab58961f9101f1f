"""Near words among vectors, and words that a masked language model puts in."""

import numpy as np
import pytest
import torch
from tiny import sentences
from transformers import AutoModelForMaskedLM, AutoTokenizer

from nlptl.data.augment.words import join_words, split_words, tagged_words
from nlptl.errors import ConfigError, ModelError
from nlptl.models import near_words as home
from nlptl.models.masked_words import CANDIDATES, MaskedWords, masked_words
from nlptl.models.near_words import near_words, nearest
from nlptl.models.tokenizer import word_tokens


def rngs(count, seed=0):
    return [np.random.default_rng([seed, number]) for number in range(count)]


def test_the_nearest_vectors_count_once_their_mean_is_away():
    known = {0: "Good", 1: "great", 2: "kettle", 3: "pan", 4: "the", 5: "ox"}
    table = np.asarray([[9.0, 1], [9, 1.2], [9, -1], [9, -1.1], [9, 1.1], [9, 1]])
    found = nearest(table, known, ["GOOD", "pan", "the", "ox", "unknown"])
    assert found["good"][0] == "great" and found["pan"][0] == "kettle"
    assert set(found) == {"good", "pan"}  # no function words, none of two letters
    assert set(found["good"]) == {"great", "kettle", "pan"}


def test_words_are_found_in_each_kind_of_vocabulary(checkpoints, family):
    tokenizer = AutoTokenizer.from_pretrained(checkpoints[family])
    words = word_tokens(tokenizer)
    assert "film" in words.values() or family == "t5"  # whose tiny vocabulary spells it
    assert words and all(word.isalpha() for word in words.values())
    for number, word in words.items():
        assert (
            tokenizer.decode([number]).strip() == word and number not in tokenizer.all_special_ids
        )


def test_a_vocabulary_without_words_is_refused(checkpoints, monkeypatch):
    monkeypatch.setattr(home, "WORDS", 10**6)
    with pytest.raises(
        ConfigError, match="whole words; expected 1000000 or more .*Take typos, or mlm"
    ):
        near_words(str(checkpoints["bert"]), ["film"])
    monkeypatch.setattr(home, "WORDS", 10)
    found = near_words(str(checkpoints["bert"]), ["Film", "kettle"])
    assert found and set(found) <= {"film", "kettle"}


@pytest.fixture(scope="module")
def model(masked_lm_checkpoint):
    return MaskedWords(str(masked_lm_checkpoint))


def test_masked_words_are_other_words_at_their_places(model):
    texts = [split_words(text)[0] for text in [*sentences(6, 5), "film", "??", "Zzxqv 1990"]]
    made = model(texts, 0.3, rngs(len(texts)))
    for old, new in zip(texts[:6], made, strict=False):
        changed = [(a, b) for a, b in zip(old, new, strict=True) if a != b]
        assert len(changed) == max(1, int(0.3 * len(old)))
        assert all(b.text.lower() in model.words.values() for _, b in changed)
        assert all((a.before, a.after) == (b.before, b.after) for a, b in changed)
    assert made[6] != texts[6] and made[7] == [] and made[8] == texts[8]
    assert model(texts, 0.0, rngs(len(texts))) == texts
    again = model(texts, 0.3, rngs(len(texts)))
    assert again == made and model(texts, 0.3, rngs(len(texts), 1)) != made


def test_the_draws_of_a_text_do_not_depend_on_the_others(model):
    texts = [split_words(text)[0] for text in sentences(40, 7)]
    whole = model(texts, 0.2, rngs(40))
    assert model(texts[:3], 0.2, rngs(3)) == whole[:3]


def test_each_word_is_one_of_the_most_probable_of_its_place(model, masked_lm_checkpoint):
    """By transformers alone: hide the word, and look at the order of the others."""
    words = split_words("the film was good but the plot was dull")[0]
    plain = AutoModelForMaskedLM.from_pretrained(masked_lm_checkpoint).eval()
    tokenizer = AutoTokenizer.from_pretrained(masked_lm_checkpoint)
    counts = np.zeros(9)
    for seed in range(40):
        (made,) = model([words], 0.12, rngs(1, seed))
        (place,) = [n for n, (a, b) in enumerate(zip(words, made, strict=True)) if a != b]
        counts[place] += 1
        hidden = [word.text for word in words]
        true = tokenizer.convert_tokens_to_ids(hidden[place])
        hidden[place] = tokenizer.mask_token
        inputs = tokenizer(" ".join(hidden), return_tensors="pt")
        with torch.no_grad():
            logits = plain(**inputs).logits[0][inputs["input_ids"][0] == tokenizer.mask_token_id][0]
        order = [
            i for i in logits.argsort(descending=True).tolist() if i in model.words and i != true
        ]
        assert tokenizer.convert_tokens_to_ids(made[place].text) in order[:CANDIDATES]
    assert (counts > 0).sum() >= 7


def test_long_texts_keep_what_the_model_does_not_read(model):
    words = tagged_words(["film"] * 200, list(range(200)))
    (made,) = model([words], 1.0, rngs(1))
    assert [word.tag for word in made] == list(range(200))
    changed = [word.text != "film" for word in made]
    assert all(changed[:62]) and not any(changed[62:])  # 64 positions, 2 of them special


def test_a_checkpoint_without_a_head_takes_the_bundled_one(
    checkpoints, masked_lm_checkpoint, family
):
    assert masked_words(str(masked_lm_checkpoint)).name == str(masked_lm_checkpoint)
    with pytest.raises(ModelError):
        MaskedWords(str(checkpoints[family]))
    found = masked_words(str(checkpoints[family]))
    (made,) = found([split_words("A really good film.")[0]], 0.5, rngs(1))
    assert found.name == "bundled/bert" and join_words(made) != "A really good film."
