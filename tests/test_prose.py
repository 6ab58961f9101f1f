"""The prose of the repository: no word that makes a reader stumble, no docstring that begins as a fragment."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted((ROOT / "nlptl").rglob("*.py"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = [*MODULES, *sorted((ROOT / "recipes").glob("*.py")), *PAGES]

#: Old-fashioned words and turns, whatever their case and wherever a line is broken.
BANNED = (
    "shall",
    "anew",
    r"(?:is|are|was|were|be|been|being|user) told(?! apart)",
    "told (?:of|each|once|below|elsewhere|in|by|to)",
    "dear",
    "dearer",
    "dearest",
    "elders",
    "none that there can be",
    "back to its first day",
    "one's own",
)
#: How a phrase begins that is no sentence, such as "Of the model."
FRAGMENT = re.compile(r"(?:Of|From|To|In|With|For|By|At)\b")

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def banned(text: str) -> list[tuple[int, str]]:
    """Find the banned words of a text, each with its line."""
    words = "|".join(word.replace(" ", r"[\s#]+") for word in BANNED)
    found = re.finditer(rf"\b(?:{words})\b", text, re.IGNORECASE)
    return [(text[: match.start()].count("\n") + 1, match.group()) for match in found]


def public(tree: ast.AST) -> Iterator[Definition]:
    """Yield the public functions, classes and methods of a module; those inside functions are private."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, Definition) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public(node)


def bad_docstrings(source: str) -> list[tuple[int, str]]:
    """Find public definitions whose docstring is missing or begins as a fragment, each with its line."""
    bad = []
    for node in public(ast.parse(source)):
        text = ast.get_docstring(node)
        if not text:
            bad.append((node.lineno, f"{node.name} has no docstring"))
        elif FRAGMENT.match(text):
            bad.append((node.lineno, f"{node.name}: {text.splitlines()[0]}"))
    return bad


def listed(path: Path, found: list[tuple[int, str]]) -> list[str]:
    return [f"{path.relative_to(ROOT)}:{line}: {what}" for line, what in found]


def test_texts_hold_no_banned_word() -> None:
    found = [each for path in TEXTS for each in listed(path, banned(path.read_text("utf-8")))]
    assert not found, "\n".join(found)


def test_public_docstrings_begin_as_sentences() -> None:
    found = [
        each for path in MODULES for each in listed(path, bad_docstrings(path.read_text("utf-8")))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("It shall\nbegin Anew.", [1, 2]),
        ("a task of one's\n    own", [1]),
        ("so the user is\n# told why", [1]),
        ("shallow models, and files told apart by name", []),
    ],
)
def test_banned_words_are_found(text: str, lines: list[int]) -> None:
    assert [line for line, _ in banned(text)] == lines


def test_bad_docstrings_are_found() -> None:
    source = '''
class Entry:
    """One entry."""

    def name(self):
        """Of its folder."""

    def path(self): ...

    def _hidden(self): ...

    def inner(self):
        """Return a function."""

        def given(): ...
'''
    assert bad_docstrings(source) == [(5, "name: Of its folder."), (8, "path has no docstring")]
