"""Changed copies of texts, word by word: operations on worked examples, and on whatever text there is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlptl.data.augment.eda import OPERATIONS, delete, eda, insert, replace, swap
from nlptl.data.augment.typos import LETTERS, NEIGHBOURS, typos, with_slip
from nlptl.data.augment.words import (
    Word,
    how_many,
    in_case_of,
    join_words,
    some_of,
    split_words,
    tagged_words,
)

ANY_TEXT = st.text(max_size=60) | st.lists(
    st.sampled_from(["good", "Film", "“so,", "--", "…", "a.b", "\n", "  ", "हिन्दी", "東京", "🙂"])
).map(" ".join)
NEAR = {"good": ("great",), "film": ("movie", "flick"), "london": ("paris",)}


def near(word):
    return NEAR.get(word.lower(), ())


def rng(seed=0):
    return np.random.default_rng(seed)


def words_of(text):
    return split_words(text)[0]


def texts_of(words):
    return [word.text for word in words]


def test_a_text_is_cut_into_words_without_the_punctuation_around_them():
    words, rest = split_words('A "really good" film, isn\'t it ?  ')
    assert texts_of(words) == ["A", "really", "good", "film", "isn't", "it"]
    assert words[1] == Word("really", ' "', "") and words[2] == Word("good", " ", '"')
    assert rest == " ?  "
    assert texts_of(words_of("हिन्दी अच्छी है।")) == ["हिन्दी", "अच्छी", "है"]


@given(ANY_TEXT)
def test_any_text_is_put_together_again_as_it_was(text):
    assert join_words(*split_words(text)) == text


@given(ANY_TEXT, st.floats(0, 1), st.integers(0, 5))
def test_whatever_is_changed_the_same_seed_gives_the_same_and_alpha_0_nothing(text, alpha, seed):
    words, rest = split_words(text)
    for change in (
        lambda a: eda(words, a, rng=rng(seed), near=near),
        lambda a: typos(words, a, rng=rng(seed)),
    ):
        made = change(alpha)
        assert made == change(alpha)
        assert bool(made) == bool(words)
        assert join_words(change(0.0), rest) == text


def test_the_number_of_words_is_a_share_and_at_least_one():
    assert [how_many(0.1, n) for n in (0, 1, 19, 20, 39)] == [0, 1, 1, 2, 3]
    assert how_many(0.0, 50) == 0
    assert some_of([3, 5], 9, rng()) == [3, 5] and len(some_of(range(9), 4, rng())) == 4


def test_words_are_replaced_by_near_words_in_their_case_and_no_others():
    words = words_of("Good FILM, it was never good.")
    made = replace(words, 1.0, rng(), near)
    assert texts_of(made)[2:5] == ["it", "was", "never"]
    assert (
        made[0].text == "Great" and made[1].text in ("MOVIE", "FLICK") and made[5].text == "great"
    )
    assert join_words(made, "").endswith("great.")
    assert sum(a != b for a, b in zip(words, replace(words, 0.4, rng(), near), strict=True)) == 2
    assert in_case_of("movie", "I") == "Movie" and in_case_of("movie", "a") == "movie"


def test_near_words_of_random_words_are_put_in():
    words = words_of("a good plot, but dull")
    made = insert(words, 0.4, rng(3), near)
    assert sorted(texts_of(made)) == sorted([*texts_of(words), "great", "great"])
    assert [word for word in made if word.text != "great"][-1].text == "dull"
    assert join_words(made).count("  ") == 0 and join_words(made).count(",") == 1
    assert insert(words_of("dull and slow"), 0.5, rng(), near) == words_of("dull and slow")


def test_two_words_change_places_and_the_punctuation_stays():
    words = words_of("one, two three!")
    made = swap(words, 0.34, rng(1), near)
    assert sorted(texts_of(made)) == sorted(texts_of(words)) and made != words
    assert [(w.before, w.after) for w in made] == [(w.before, w.after) for w in words]
    assert swap(words_of("same same"), 1.0, rng(), near) == words_of("same same")


def test_words_are_left_out_with_the_probability_that_is_asked_for():
    words = words_of(" ".join(f"w{n}" for n in range(4000)))
    left = len(delete(words, 0.1, rng(), near))
    assert abs(left - 3600) < 3 * (4000 * 0.09) ** 0.5
    assert len(delete(words_of("some few words"), 1.0, rng(), near)) == 1
    assert join_words(delete(words_of("some few words"), 1.0, rng(2), near))[0] != " "


def test_all_four_operations_come_about_equally_often():
    words = words_of("a good film with a long plot in london , I think , and so on")
    kinds = []
    for seed in range(400):
        made = texts_of(eda(words, 0.2, rng=rng(seed), near=near))
        same = sorted(made) == sorted(texts_of(words))
        kinds.append("swap" if same and made != texts_of(words) else len(made) - len(words))
    inserted = sum(kind != "swap" and kind > 0 for kind in kinds)
    assert len(OPERATIONS) == 4 and 60 < kinds.count("swap") < 140 and 60 < inserted < 140


TAGS = ["O", "B-PER", "I-PER", "I-PER", "O", "O", "B-LOC", "B-LOC", "O"]
SENTENCE = tagged_words(
    ["so", "Anna", "Maria", "Film", "saw", "good", "London", "film", "yesterday"], TAGS
)


def is_sound(tags):
    """Whether no I- comes without its own kind before it (Ramshaw & Marcus, 1995)."""
    return all(
        not tag.startswith("I-") or (n and tags[n - 1][2:] == tag[2:]) for n, tag in enumerate(tags)
    )


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_tag_goes_along_with_its_word(operation):
    changed, lengths = 0, set()
    for seed in range(200):
        made = operation(SENTENCE, 0.5, rng(seed), near)
        changed += made != SENTENCE
        lengths.add(len(made))
        assert is_sound([word.tag for word in made])
        for word in made:  # near words keep the tag of the word whose place they take
            if word.text in texts_of(SENTENCE) and operation is not replace:
                own = [w.tag for w in SENTENCE if w.text == word.text]
                assert operation is insert or word.tag in own
    assert changed > 50
    assert (
        len(lengths) > 1 if operation is delete else lengths == {13 if operation is insert else 9}
    )


def test_a_slip_is_one_of_four_and_keeps_both_ends():
    slips = {with_slip("film", rng(seed)) for seed in range(300)}
    assert {"flim", "flm", "fim", "fiilm", "fillm"} <= slips
    assert slips - {"flim", "flm", "fim", "fiilm", "fillm"} == {
        *(f"f{hit}lm" for hit in NEIGHBOURS["i"]),
        *(f"fi{hit}m" for hit in NEIGHBOURS["l"]),
    }
    assert set(NEIGHBOURS["s"]) == set("adwezx") and set(NEIGHBOURS["p"]) == set("ol")
    assert all(
        word[0] == "д" and word[-1] == "м"
        for word in (with_slip("дом" * 2, rng(s)) for s in range(50))
    )


def test_short_words_have_no_slips():
    words = words_of("it is not so bad, Anna")
    made = typos(words, 1.0, rng=rng())
    assert LETTERS == 4 and texts_of(made)[:5] == texts_of(words)[:5] and made[5] != words[5]
    assert typos(words_of("to be or no"), 1.0, rng=rng()) == words_of("to be or no")
