"""Texts of others, where they are shown: in a terminal and in Markdown."""

import pytest

from nlptl.data.text import code, escaped, plain, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[2Jb\nc", "a [2Jb\nc"),
        ("a\rb\x07\x9bc", "a b  c"),
        ("tab\there", "tab\there"),
        ("abc\u202edcba", "abc dcba"),
        ("half \ud83d", "half  "),
        ("Größe, 한국어, 😀", "Größe, 한국어, 😀"),
    ],
)
def test_nothing_steers_the_terminal(text, shown):
    assert printable(text) == shown


def test_a_text_in_markdown_stands_for_itself():
    assert escaped("<img src=x> [a](b) `c` *d*\n# e") == (
        "&lt;img src=x> \\[a\\](b) \\`c\\` \\*d\\* # e"
    )
    assert code("a`b\n# c") == "`a'b # c`"
    assert plain("a\x1b[31m\u202eb") == "a [31mb"
