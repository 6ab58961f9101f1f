"""Descriptions of all modes, for ``--mode list`` and the table of docs/modes.md."""

import textwrap

from nlptl.errors import UserError
from nlptl.models.families import RATE_WIDTH, RATES
from nlptl.modes.base import FITTED_EPOCHS, SOME, parse_mode
from nlptl.modes.definition import Definition, definitions, read_entries

#: Characters of a line.
WIDTH = 80


def describe_modes() -> str:
    """Describe what each mode trains and when, its default rate and epochs, and what can be cached."""
    lines = [
        "What trains (--mode); the head, and whatever the checkpoint lacks, trains in all",
        "but as-is.",
    ]
    broken = read_entries()
    for definition in definitions():
        about = (
            ("trains", definition.help.replace("`", "")),
            ("when", definition.when),
            ("rate", _rate_rule(definition)),
            ("epochs", _epochs(definition)),
            ("cache", _cached(definition)),
        )
        lines += ["", definition.form]
        for name, text in about if definition.when else (about[0], *about[2:]):
            lines += textwrap.wrap(
                text, WIDTH, initial_indent=f"  {name + ':':<8}", subsequent_indent=10 * " "
            )
    return "\n".join([*lines, *(f"\nnote: {message}" for message in broken)])


def modes_table() -> str:
    """Write the table of nlptl's own modes for docs/modes.md, in Markdown: which mode when."""
    lines = ["| `--mode` | what trains | when to take it |", "|---|---|---|"]
    for about in definitions(builtin=True):
        form = about.form.replace("|", "\\|")  # a bar would end the cell
        lines.append(f"| `{form}` | {about.help} | {about.when} |")
    return "\n".join(lines)


def _epochs(definition: Definition) -> str:
    usual = definition.epochs
    if not usual.most:
        return "none"
    rule = f"{usual.least}, or as many as {usual.steps:,} steps take, at most {usual.most}"
    if not definition.convex_start:
        return rule
    if parse_mode(definition.names("2")[0]).trains_blocks:
        return f"{rule}; {FITTED_EPOCHS:.0f} at most if the head starts from a fit"
    return f"none if the head is found by a fit; else {rule}"


def _rate_rule(definition: Definition) -> str:
    if definition.untrained:
        return "none"
    stages = definition.staged and parse_mode(definition.names("1")[0]).stages(SOME)
    if stages and stages[-1].rate is None:
        return "that of its last stage; each other stage has its own mode's"
    if definition.peak is not None:
        rule = f"{_short(definition.peak)} for every model"
    else:
        each = [f"{name} {_short(rate)}" for name, rate in RATES.items()]
        own = [f"{name} {factor:.3g}" for name, factor in (definition.rates or {}).items()]
        more = f" ({', '.join(own)})" if own else ""
        times = "" if definition.rate == 1 and not own else f"{definition.rate:.3g}{more} times "
        rule = f"{times}the usual rate ({', '.join(each)})"
    return f"{rule}, times {RATE_WIDTH} / width"


def _short(rate: float) -> str:
    """Write a rate as ``1.5e-4``, without zeros that mean nothing."""
    digits, exponent = f"{rate:.1e}".split("e")
    return f"{digits.removesuffix('.0')}e{int(exponent)}"


def _cached(definition: Definition) -> str:
    """Say how many of the lowest blocks are frozen for the whole run, so that their output can be kept."""
    if definition.staged:
        return "what a stage freezes, in that stage"
    try:
        depths = {text: parse_mode(text).frozen_blocks(SOME) for text in definition.names("2")}
    except UserError:  # the mode does not take 2
        return "depends on the number"
    if set(depths.values()) == {SOME}:
        return "all blocks"
    some = [
        f"{text} the lowest {count} of {SOME} blocks" for text, count in depths.items() if count
    ]
    return ", ".join(some) or "no block"
