"""The report in words: a summary for the terminal, and Markdown."""

import re
import textwrap
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from nlptl.data.text import escaped, plain
from nlptl.errors import many
from nlptl.report.render.answers import beside, commands, data_line, pretraining, worth
from nlptl.report.render.sections import sections, unmeasured
from nlptl.report.render.tables import Section, evidence
from nlptl.study.render.pages import Table
from nlptl.study.render.words import (
    NONE,
    arms,
    duration,
    estimate,
    known,
    labels_needed,
    missing,
    number,
    score,
    shorten,
    si,
    times,
)

#: Characters of a terminal line, and of the label before it.
WIDTH, LABEL = 80, 12
#: Characters of a word, such as a path, that the summary shows.
LONGEST = 40
#: What would make a list, a quotation or a heading of a line that begins with it.
OPENERS = re.compile(r"^(\d*)([-+>#=.)])")


def summary(record: Mapping[str, Any]) -> str:
    """Sum up the report for the terminal: at most 21 lines of at most 80 characters.

    Args:
        record: The report's record.

    Returns:
        Lines without a final line break.
    """
    first, second = worth(record), pretraining(record)
    run, typed = plain(record["id"]["run"] or "."), commands(record)
    lines = _item("score", f"{first.word} {beside(record)}", most=3)
    lines += _item("pretraining", f"{second.word}. {second.sentence}", most=6)
    lines += _item("others", others(record), most=2)
    if record["sample_eff"] and known(record["sample_eff"]["n"]):
        lines += _item("labels", labels(record), most=2)
    if known(record["upstream"]["before"]):
        lines += _item("forgetting", forgetting(record), most=2)
    lines += _item("cost", cost(record))
    if record["negative"]["advice"]:
        lines += _item("advice", plain(record["negative"]["advice"]), most=3)
    if typed and LABEL + len(typed[0][1]) <= WIDTH:  # a command is shown whole or not at all
        lines.append("next".ljust(LABEL) + typed[0][1])
    count = len(record["warnings"])
    warned = f" ({many(count, 'warning')} there)" if count else ""
    path = shorten(f"{run}/report.html", WIDTH - LABEL - len(warned))
    lines.append("report".ljust(LABEL) + path + warned)
    return "\n".join(lines)


def _item(label: str, text: str, *, most: int = 1) -> list[str]:
    return textwrap.wrap(
        " ".join(shorten(word, LONGEST) for word in text.split()),
        WIDTH,
        initial_indent=label.ljust(LABEL),
        subsequent_indent=" " * LABEL,
        max_lines=most,
        placeholder=" …",
        break_on_hyphens=False,
    ) or [label.ljust(LABEL) + NONE]


def others(record: Mapping[str, Any]) -> str:
    """List the scores that stand in no other line of the summary.

    Args:
        record: The report's record.

    Returns:
        Parts joined by semicolons.
    """
    told = ("pre", "scratch", "bow", "majority")
    rest = [
        f"{title} {score(arm)}"
        for name, title, arm in arms(record)
        if name not in told and known(arm["mean"])
    ]
    return "; ".join(rest) or NONE


def labels(record: Mapping[str, Any]) -> str:
    """Say how many labels training from scratch takes for the same score.

    Args:
        record: The report's record.

    Returns:
        One sentence without a full stop; a lower bound where scratch never gets there.
    """
    found = record["sample_eff"]
    if not found or not known(found["n"]):
        return missing()
    ends = found["ci95"]
    spread = f" [{number(ends[0], 1)}, {number(ends[1], 1)}]" if ends else ""
    ratio = times(found["label_multiplier"], found["censored"], found["at_most"]) + spread
    if found["censored"]:
        says = "from scratch does not reach the same score"
    else:
        says = f"from scratch takes {labels_needed(found, '')} labels for the same score"
    return f"at n={number(found['n'], 0)}, {says} ({ratio}){estimate(record)}"


def forgetting(record: Mapping[str, Any]) -> str:
    """Say what the body lost of its pretraining objective.

    Args:
        record: The report's record.

    Returns:
        One sentence without a full stop; more forgetting is worse.
    """
    found = record["upstream"]
    if not known(found["before"]):
        return missing(found["missing"])
    ends = found["ci95"]
    spread = f" [{number(ends[0])}, {number(ends[1])}]" if ends else ""
    lost = number(found["forgetting"], signed=True) + spread
    pair = f"{number(found['before'])} -> {number(found['after'])}"
    return f"{plain(found['objective'])}, {plain(found['unit'])}: {pair}, lost {lost}"


def cost(record: Mapping[str, Any]) -> str:
    """Add up the training that the report rests on.

    Args:
        record: The report's record.

    Returns:
        One sentence without a full stop.
    """
    found = record["cost"]
    cached = f" ({number(found['cached'], 0)} cached)" if found["cached"] else ""
    runs = f"{number(found['runs'], 0)} runs{cached}"
    return f"{runs}, {si(found['flops'], 'FLOP')}, {duration(found['seconds'])} of training"


def markdown(record: Mapping[str, Any], pictures: Mapping[str, str]) -> str:
    """Write the report as GitHub's Markdown.

    Args:
        record: The report's record.
        pictures: Section name to a picture's path, relative to the file.

    Returns:
        The file's text.
    """
    found, ident, shown = record["negative"], record["id"], sections(record)
    title = f"{ident['upstream']} on {ident['dataset']}, {ident['mode']}"
    first, second = worth(record), pretraining(record)
    parts = [
        f"# Transfer report: {escaped(title)}",
        _line(data_line(record)) + ".",
        f"**{escaped(first.word)}.** {escaped(first.sentence)}",
        f"**Pretraining: {escaped(second.word.lower())}.** {escaped(second.sentence)}",
    ]
    if found["advice"]:
        parts.append(f"**Advice:** {escaped(found['advice'])}")
    lines = [f"    {plain(line)}  # {purpose}" for purpose, line in commands(record)]
    if lines:
        parts.append("\n".join(lines))
    for section in shown:
        parts += _section(section, pictures)
    missed = [f"- {escaped(what)} {escaped(why)}" for what, why in unmeasured(record)]
    if missed:
        parts += ["## Not measured", "\n".join(missed)]
    parts += ["## Warnings", "\n".join(f"- {_line(w)}" for w in record["warnings"]) or "None."]
    parts += ["## How it was measured"]
    parts += [f"{s.title}: {escaped(s.method)}" for s in shown if s.method]
    parts += ["## Evidence", *(_table(table) for table in evidence(record))]
    return "\n\n".join(parts) + "\n"


def _section(section: Section, pictures: Mapping[str, str]) -> list[str]:
    found = [f"## {section.title}", _line(section.lead)]
    if section.name in pictures:
        found.append(f"![{escaped(section.picture)}]({quote(pictures[section.name])})")
    return found + [_table(table) for table in section.tables]


def _table(table: Table) -> str:
    width = len(table.columns)
    aligned = ["---", *["---:" if table.numbers else "---"] * (width - 1)]
    head = [_row(table.columns, width), f"| {' | '.join(aligned)} |"]
    rows = [_row(row, width) for row in table.rows]
    return f"**{escaped(table.caption)}**\n\n" + "\n".join(head + rows)


def _row(cells: tuple[str, ...], width: int) -> str:
    filled = [*cells, *[""] * (width - len(cells))]
    return f"| {' | '.join(escaped(cell) for cell in filled)} |"


def _line(text: object) -> str:
    return OPENERS.sub(r"\1\\\2", escaped(text))
