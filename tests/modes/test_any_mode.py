"""Any text as --mode: a mode, or an error of our own; what is read is told back the same."""

from contextlib import suppress

from hypothesis import example, given
from hypothesis import strategies as st

from nlptl.errors import UserError
from nlptl.modes.base import parse_mode

PARTS = st.sampled_from(
    ["freeze-lower-", "lora-r", "-above-", "top-", "blocks-", "gradual-", "-", "8", "full", ".py:x"]
)
NUMBERS = st.integers(min_value=-3, max_value=10**30).map(str)
WORDS = st.lists(st.one_of(PARTS, NUMBERS, st.text(max_size=6)), max_size=5).map("".join)


@given(st.one_of(WORDS, st.text(max_size=30)), st.integers(1, 40))
@example("freeze-lower-٣", 4)
@example("lora-r\ud800", 4)
@example("top-" + 5000 * "9", 4)
@example("blocks-0-3", 12)
@example("x\0.py:y", 4)
def test_any_text_is_a_mode_or_an_error_of_our_own(text, depth):
    with suppress(UserError):
        mode = parse_mode(text)
        assert parse_mode(mode.name) == mode
        assert mode.frozen_blocks(depth) in range(depth + 1)


@given(st.integers(0, 99), st.integers(1, 40))
def test_lower_and_top_say_the_same_from_either_end(n, depth):
    assert parse_mode(f"freeze-lower-{n}").frozen_blocks(depth) == min(n, depth)
    assert parse_mode(f"top-{n + 1}").frozen_blocks(depth) == max(0, depth - n - 1)
