"""What all pages of results share: one file each, no script, no network; data is shown as text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from nlptl.study.render.glossary import TERMS, Term, find_terms

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
#: A flag of the command line, or a mode; a line must not end at one of its hyphens.
HYPHENATED = re.compile(r"--[a-z][a-z-]*|\b(?:head-only|freeze-lower-\d+|lora-[a-z0-9-]+)")
#: What a line must not be broken in.
JOINED = {" ± ": "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}", " %": "\N{NO-BREAK SPACE}%"}
TAG = re.compile(r"(<[^>]*>)")


@dataclass(frozen=True)
class Answer:
    """An answer to one question.

    Attributes:
        question: The question.
        word: The answer in a few words.
        sentence: The answer with its numbers.
        sign: A sign that says the same as the colour; nothing where there is nothing to compare.
        tone: ``good``, ``bad`` or ``open``.
    """

    question: str
    word: str
    sentence: str
    sign: str = ""
    tone: str = "open"


@dataclass(frozen=True)
class Table:
    """Cells as text.

    Attributes:
        caption: What it holds.
        columns: Names; the first column names the row.
        rows: A cell each; a row that is too short says in its last cell why nothing follows.
        numbers: Whether the other columns hold numbers, which stand to the right.
        folded: Whether the page shows it only when asked: its picture holds the same numbers.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: bool = True
    folded: bool = False


def write_page(template: str, folder: Path, **values: Any) -> str:
    """Fill a template; the glossary at the end lists the terms that the page has.

    Args:
        template: Name of the template's file. It can include ``style.css``, ``parts.html`` and
            ``glossary.html`` of this room.
        folder: Where the template is.
        values: What the template takes.

    Returns:
        The file's text.
    """
    return _environment(folder).get_template(template).render(values, used=set(), terms=TERMS)


@cache
def _environment(folder: Path) -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context

    environment = Environment(
        loader=FileSystemLoader([folder, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["unbroken"] = unbroken
    environment.filters["explained"] = pass_context(
        lambda page, text: explained(text, page["used"])
    )
    return environment


def unbroken(text: object) -> Markup:
    """Escape a text for HTML, and keep flags, modes, intervals and means with their errors on one line.

    Args:
        text: From the record.
    """
    from markupsafe import Markup, escape

    kept = HYPHENATED.sub(r'<span class="unbroken">\g<0></span>', str(escape(text)))
    for apart, together in JOINED.items():
        kept = kept.replace(apart, together)
    return Markup(kept)  # noqa: S704  escaped above


def explained(text: object, used: set[Term] | None = None) -> Markup:
    """Escape a text as :func:`unbroken` does, and link each of its terms to the glossary.

    A term has its meaning as a tooltip, and is linked where the text has it first.

    Args:
        text: From the record.
        used: The terms that were found are added.
    """
    from markupsafe import Markup, escape

    parts = TAG.split(str(unbroken(text)))
    seen: set[Term] = set()
    for place in range(0, len(parts), 2):  # the others are tags
        for match, term in sorted(find_terms(parts[place]), key=lambda f: -f[0].start()):
            if term in seen:
                continue
            seen.add(term)
            link = f'<a class="term" href="#{term.anchor}" title="{escape(term.meaning)}">{match[0]}</a>'
            parts[place] = parts[place][: match.start()] + link + parts[place][match.end() :]
    if used is not None:
        used |= seen
    return Markup("".join(parts))  # noqa: S704  escaped above


@cache
def _registered() -> None:
    for prefix, space in (("", SVG), ("xlink", XLINK)):
        ElementTree.register_namespace(prefix, space)


def inline(svg: str, name: str) -> Markup:
    """Turn an SVG file into an element of a page: ids of its own, no size, hidden style or metadata.

    Args:
        svg: From :func:`nlptl.study.render.style.as_svg`.
        name: Begins its ids.
    """
    from markupsafe import Markup

    _registered()
    root = ElementTree.fromstring(svg.encode())  # noqa: S314  our own drawing
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{SVG}}}metadata", f"{{{SVG}}}style"):
                parent.remove(child)
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "id":
                element.set(key, f"{name}-{value}")
            elif key == f"{{{XLINK}}}href":
                element.set(key, value.replace("#", f"#{name}-", 1))
            else:
                element.set(key, value.replace("url(#", f"url(#{name}-"))
    for size in ("width", "height"):
        root.attrib.pop(size, None)
    root.set("aria-hidden", "true")  # the figure around it says what it shows
    return Markup(ElementTree.tostring(root, encoding="unicode"))  # noqa: S704  our own drawing
