"""The table and the picture of a study: each first stage beside the checkpoint as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nlptl.data.text import escaped, plain
from nlptl.errors import many
from nlptl.methods.self_taught.options import NONE
from nlptl.study.judging import HELPED, HURT
from nlptl.study.render.comparison_text import versions_line
from nlptl.study.render.study_page import Part
from nlptl.study.render.study_text import study_text
from nlptl.study.render.style import GREY, STYLE, blank, label
from nlptl.study.render.tables import TONES, between, counted, markdown_table, more, study_table
from nlptl.study.render.words import NONE as NOTHING
from nlptl.study.render.words import duration, number, p_value, points

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from nlptl.study.render.pages import Table

#: Columns of the table.
COLUMNS = (
    *("", "score", "against none", "verdict", "p (Holm)", "95 % of the score"),
    *("against shuffled words", "which is", "loss of the first stage", "seconds"),
)
#: Columns that the terminal shows.
SHOWN = ("score", "against none", "verdict")
#: Words of the second comparison, in which nothing helps or hurts.
THAN = {HELPED: "more", HURT: "less"}


def than(pair: Mapping[str, Any]) -> str:
    """Say in a word what an arm is beside another: more, less, alike or cannot tell.

    Args:
        pair: A record of the second comparison.
    """
    word: str = pair["word"]
    return THAN.get(word) or word


def cells(name: str, one: Mapping[str, Any]) -> list[str]:
    """Write the cells of an arm's row.

    Args:
        name: Name of the arm.
        one: Its row.
    """
    before, after = one["stage_loss"]
    reading = one["reading"]
    return [
        name,
        points(one["mean"]),
        more(one["difference"]),
        one.get("word") or "bound",
        p_value(one["p"]) if "p" in one else NOTHING,
        between(one["ci95"][0], one["ci95"][1]),
        more(reading["difference"]) if reading else NOTHING,
        than(reading) if reading else NOTHING,
        NOTHING if before is None else f"{number(before, 3)} to {number(after, 3)}",
        duration(one["seconds"]),
    ]


def notes(record: Mapping[str, Any]) -> list[str]:
    """List what is to be read below the table.

    Args:
        record: From :func:`nlptl.methods.self_taught.self_taught.self_taught`.
    """
    said, floor = [], record["floors"]
    words = f", a bag of words {points(floor['bag_of_words'])}" if floor["bag_of_words"] else ""
    if floor["majority"] is not None:
        said.append(
            f"Without a pretrained model: always one answer {points(floor['majority'])}{words}."
        )
    for kind, one in record["texts"].items():
        left = f"; {one['left_out']} left out" if one["left_out"] else ""
        said.append(
            f"{kind}: {', '.join(one['names'])}, {one['texts']} texts, {one['words']} words{left}."
        )
    for pair in record["compared"]:
        if pair["against"].endswith("other"):
            said.append(
                f"{pair['arm']} against {pair['against']}: {more(pair['difference'])}, "
                f"{than(pair)}."
            )
    said.append(
        "Loss of the first stage: on a tenth of its texts, before and after; nats a hidden token or a text. "
        "It can be compared within a row only."
    )
    return [*said, *record["warnings"]]


def markdown(record: Mapping[str, Any]) -> str:
    """Write the study as Markdown: the sentence, the table, the notes.

    Args:
        record: From :func:`nlptl.methods.self_taught.self_taught.self_taught`.
    """
    lines = [
        f"**{escaped(record['sentence'])}**",
        "",
        escaped(about(record)),
        "",
        *markdown_table(arms_table(record)),
        "",
        *(f"- {escaped(note)}" for note in notes(record)),
        "",
        record["test"],
        "",
        versions_line(record),
    ]
    return "\n".join(lines) + "\n"


def text(record: Mapping[str, Any]) -> str:
    """Write the study for the terminal: the table, and the sentence.

    Args:
        record: From :func:`nlptl.methods.self_taught.self_taught.self_taught`.
    """
    return study_text(
        record, about(record), [Part("", arms_table(record), record["warnings"])], SHOWN
    )


def about(record: Mapping[str, Any]) -> str:
    """Say in a line what was studied."""
    n = record["n"]
    return (
        f"{n['train']} + {n['validation']} labels, {n['test']} test examples; "
        f"{many(record['settings']['first_steps'], 'step')} of each first stage; {record['model']}, "
        f"{record['mode']}, {counted(record['seeds'])}; {record['metric']} in points."
    )


def arms_table(record: Mapping[str, Any]) -> Table:
    """Return the table of the arms."""
    rows = [cells(plain(name), one) for name, one in record["rows"].items()]
    return study_table(f"{record['metric']}, in points", COLUMNS, rows)


def figure(record: Mapping[str, Any]) -> Figure:
    """Draw each arm's score with the interval of its difference to the checkpoint as it is.

    Args:
        record: From :func:`nlptl.methods.self_taught.self_taught.self_taught`.
    """
    from matplotlib import rc_context

    rows = record["rows"]
    base = 100 * rows[NONE]["mean"]
    with rc_context(STYLE):
        made = blank(0.42 * len(rows) + 1.4)
        axes = made.subplots()
        axes.axvline(base, color=GREY, linewidth=1)
        for place, one in enumerate(rows.values()):
            colour, marker = TONES.get(one.get("word") or "bound", ("#000000", "D"))
            if one["difference"]:
                ends = [base + 100 * one["difference"][end] for end in ("low", "high")]
                axes.plot(ends, [place, place], color=colour, linewidth=2)
            axes.plot(
                100 * one["mean"], place, marker, color=colour, markersize=8, gid=f"arm-{place}"
            )
        labels = [f"{label(name, 24)}\n{one.get('word') or 'bound'}" for name, one in rows.items()]
        axes.set_yticks(range(len(rows)), labels)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlabel(
            f"{label(record['metric'], 24)}, points;\nbars: 95 % of the difference to none"
        )
    return made
