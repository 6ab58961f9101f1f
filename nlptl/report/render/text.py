"""The report in words: a summary for the terminal, and Markdown."""

import re
import textwrap
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from nlptl.data.text import escaped, plain
from nlptl.report.render.sections import sections
from nlptl.report.render.tables import Section, Table, evidence
from nlptl.study.render.words import (
    NONE,
    arms,
    duration,
    estimate,
    known,
    labels_needed,
    missing,
    number,
    p_phrase,
    points,
    score,
    shorten,
    si,
    times,
    verdict,
)

#: Characters of a terminal line, and of the label before it.
WIDTH, LABEL = 100, 12
#: Characters of a word, such as a path, that the summary shows.
LONGEST = 40
#: What would make a list, a quotation or a heading of a line that begins with it.
OPENERS = re.compile(r"^(\d*)([-+>#=.)])")


def summary(record: Mapping[str, Any]) -> str:
    """Sum up the report for the terminal: at most 15 lines of at most 100 characters.

    Args:
        record: The report's record.

    Returns:
        Lines without a final line break.
    """
    found, run = record["negative"], plain(record["id"]["run"] or ".")
    lines = _item("verdict", f"{verdict(record)}. {plain(found['sentence'] or '')}", most=3)
    lines += _item("scores", headline(record), most=3)
    lines += _item("other arms", others(record), most=2)
    lines += _item("labels", labels(record), most=2)
    lines += _item("forgetting", forgetting(record))
    lines += _item("cost", cost(record))
    if found["advice"]:
        lines += _item("advice", plain(found["advice"]), most=2)
    count = len(record["warnings"])
    warned = f" ({count} warning{'s' * (count != 1)} there)" if count else ""
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


def headline(record: Mapping[str, Any]) -> str:
    """Put the comparison in one sentence: what, on what, both scores, gain, what was forgotten.

    Args:
        record: The report's record.

    Returns:
        Parts joined by semicolons.
    """
    ident, gain, upstream = record["id"], record["gain"], record["upstream"]
    pre, scratch = (record["downstream"][name] for name in ("pre", "scratch"))
    what = f"{shorten(ident['dataset'], 40)}, {shorten(ident['mode'], 30)}"
    labels = f"{number(ident['n_train'], 0)}+{number(ident['n_validation'], 0)}"
    said = [
        f"{what}, n={labels}: {plain(ident['metric'])} {score(pre)}",
        f"scratch {score(scratch)}",
        f"gain {gained(record)}",
    ]
    if gain and known(gain["probe_share"]):
        said.append(f"probe share {number(gain['probe_share'])}")
    if known(upstream["before"]):
        name = "NLL" if plain(upstream["unit"]).startswith("nats") else "score"
        ends = f"{number(upstream['before'])} -> {number(upstream['after'])}"
        said.append(f"upstream {name} {ends} ({number(upstream['forgetting'], signed=True)})")
    return "; ".join(said)


def gained(record: Mapping[str, Any]) -> str:
    """Write the gain with its interval, its test, and what such a comparison can find.

    Args:
        record: The report's record.

    Returns:
        Such as ``+7.2 [3.1, 11.3], p=0.0011 (MDE 5.5)``.
    """
    gain = record["gain"]
    if not gain or not known(gain["abs"]):
        return NONE
    ends = f" [{points(gain['ci95'][0])}, {points(gain['ci95'][1])}]" if gain["ci95"] else ""
    least = f" (MDE {points(gain['mde'])})" if known(gain["mde"]) else ""
    tested = p_phrase(gain["p_two_sided"])
    return f"{points(gain['abs'], signed=True)}{ends}, {tested}{least}"


def others(record: Mapping[str, Any]) -> str:
    """List the scores of the arms that the gain does not compare.

    Args:
        record: The report's record.

    Returns:
        Parts joined by semicolons.
    """
    rest = [(title, arm) for name, title, arm in arms(record) if name not in ("pre", "scratch")]
    return "; ".join(f"{title} {score(arm)}" for title, arm in rest) or NONE


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
    found, ident = record["negative"], record["id"]
    title = f"{ident['upstream']} on {ident['dataset']}, {ident['mode']}"
    parts = [
        f"# Transfer report: {escaped(title)}",
        f"**Verdict: {escaped(verdict(record))}.** {escaped(found['sentence'] or '')}",
        _line(headline(record)) + ".",
    ]
    if found["advice"]:
        parts.append(f"**Advice:** {escaped(found['advice'])}")
    for section in sections(record):
        parts += _section(section, pictures)
    parts += ["## Warnings", "\n".join(f"- {_line(w)}" for w in record["warnings"]) or "None."]
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
