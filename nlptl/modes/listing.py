"""Descriptions of all modes, for ``--mode list`` and the README's table."""

import textwrap

from nlptl.errors import UserError
from nlptl.models.families import RATE_WIDTH, RATES
from nlptl.modes.base import parse_mode, peak_rate
from nlptl.modes.definition import Definition, definitions, read_entries

#: The kinds of models that the table has rates for, by a family that people know.
KINDS = {
    "BERT": ("bert", "post-norm"),
    "RoBERTa": ("roberta", "post-norm"),
    "T5": ("t5", "pre-norm"),
}


def describe_modes() -> str:
    """Describe what each mode trains, at which rate and for how long by default, and what can be cached."""
    lines = [
        "What trains (--mode); the head, and whatever the checkpoint lacks, trains in all of them."
    ]
    broken = read_entries()
    for definition in definitions():
        usual = definition.epochs
        about = (
            ("trains", definition.help.replace("`", "")),
            ("rate", _rate_rule(definition)),
            (
                "epochs",
                f"{usual.least}, or as many as {usual.steps:,} steps take, at most {usual.most}",
            ),
            ("cache", _cached(definition)),
        )
        lines += ["", ", ".join(definition.names())]
        for name, text in about:
            lines += textwrap.wrap(
                text, 100, initial_indent=f"  {name + ':':<8}", subsequent_indent=10 * " "
            )
    return "\n".join([*lines, *(f"\nnote: {message}" for message in broken)])


def modes_table() -> str:
    """Write the README's table of nlptl's own modes, in Markdown."""
    families = " / ".join(KINDS)
    lines = [
        f"| `--mode` | what trains | default peak learning rate at width {RATE_WIDTH}: {families} | "
        "frozen blocks can be cached |",
        "|---|---|---|---|",
    ]
    for definition in definitions(builtin=True):
        names = ", ".join(f"`{name}`" for name in definition.names())
        rates = " / ".join(_short(rate) for rate in _rates(definition))
        lines.append(f"| {names} | {definition.help} | {rates} | {_cached(definition)} |")
    return "\n".join(lines)


def _rates(definition: Definition) -> list[float]:
    mode = parse_mode(definition.names("1")[0])
    return [peak_rate(mode, kinds, RATE_WIDTH) for kinds in KINDS.values()]


def _rate_rule(definition: Definition) -> str:
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
    """Say whether the lowest blocks are frozen, so that their output can be kept, or under which names."""
    try:
        frozen = [parse_mode(text).has_frozen_stem for text in definition.names("1")]
    except UserError:  # the mode does not take 1
        return "depends on the number"
    if all(frozen) or not any(frozen):
        return "yes" if all(frozen) else "no"
    return ", ".join(name for name, can in zip(definition.names(), frozen, strict=True) if can)
