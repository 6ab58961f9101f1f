"""Any value in YAML and any word on the command line: read as its flag's type, or an error of our own."""

import dataclasses
import tempfile
from contextlib import suppress
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from nlptl.cli.config import QAConfig, SentimentConfig, load_yaml, to_yaml
from nlptl.cli.values import check_numbers, check_words, declared_types, from_yaml
from nlptl.errors import UserError

TYPES = declared_types(SentimentConfig)
VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.dates()
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=2)
    ),
    max_leaves=4,
)


@given(st.sampled_from(sorted(TYPES)), VALUES)
@example("learning_rate", 10**400)
@example("epochs", "1e999")
@example("text_column", ["a", None])
def test_any_value_is_read_as_its_type_or_refused(name, value):
    with suppress(ValueError):
        found = from_yaml(value, TYPES[name])
        written = list(found) if isinstance(found, tuple) else _plain(found)
        assert repr(from_yaml(written, TYPES[name])) == repr(found)  # nan too
        with suppress(UserError):
            check_numbers(dataclasses.replace(SentimentConfig(), **{name: found}))


def _plain(value):
    return str(value) if isinstance(value, Path) else value


@given(
    st.lists(st.one_of(st.sampled_from([f"--{n}" for n in TYPES]), st.text(max_size=8)), max_size=5)
)
@example(["--epochs", "٣"])
@example(["--text-column", "\ud800"])
@example(["--=", "x"])
def test_any_words_are_flags_or_an_error_of_our_own(words):
    with suppress(UserError):
        check_words(SentimentConfig, words)


@given(st.one_of(st.text(max_size=60), VALUES.map(lambda value: f"epochs: {value!r}\n")))
@example("epochs: &a [*a]")
@example("? [a]\n: 1")
@example("- 1")
@example("epochs: 2024-13-45")
def test_any_file_is_a_configuration_or_an_error_of_our_own(text):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c.yaml"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        with suppress(UserError):
            load_yaml(SentimentConfig, path)


@given(st.sampled_from([SentimentConfig, QAConfig]), st.data())
def test_a_configuration_is_taken_back_as_it_was_written(cls, data):
    texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
    kinds = {int: st.integers(1, 9), float: st.floats(1e-9, 1e9), str: texts, bool: st.booleans()}
    given_ = {n: data.draw(kinds[t], n) for n, t in declared_types(cls).items() if t in kinds}
    config = cls(**given_)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c.yaml"
        path.write_text(to_yaml(config), "utf-8")
        assert cls(**load_yaml(cls, path)) == config
