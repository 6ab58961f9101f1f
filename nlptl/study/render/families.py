"""The matrix of architectures and modes in words: lines for a terminal, a page in Markdown."""

from collections import Counter
from collections.abc import Sequence

from nlptl.study.families import MODES, Family

#: Signs of a cell in the page.
GOOD, BAD, REFUSED, NOTHING = "ok", "**x**", "refused", "-"
PAGE = """# Architectures

Which architectures of transformers nlptl can freeze, cache and adapt, and how that is known. For each
architecture and head there is a tiny model with random weights (width 32, four blocks a stack). Under each
mode it is trained for three updates by the code that trains every run, and then looked at from outside:

- the parameters that train are those that the mode names, and each of them gets a gradient (but for those that
  no text reaches, such as the tower for pictures beside a text model);
- frozen tensors keep every bit, at a rate and a weight decay that move all others;
- in training mode, the states at the border are the same in two passes, and ask for no gradient;
- started from cached states, with all weights of the blocks below set to NaN, the logits are the same;
- saved and reopened by plain transformers, the logits are the same (adapters merged).

`freeze-all` is `freeze-lower-N` with N the number of blocks. Made by `{command}`, with {versions}.

{summary}

## Matrix

*stacks*: blocks of the encoder + of the decoder. *reads*: the position whose last state the head reads,
measured by gradient. *refused*: nlptl refuses the mode, with a reason (above). **x**: something is not as it
should be (above).
"""


def line(family: Family) -> str:
    """Describe one architecture in a line for the terminal."""
    if family.missing or family.refused:
        state = "not built" if family.missing else "refused"
    else:
        state = f"{'+'.join(map(str, family.stacks))} blocks"
        state += ", no border inside" if family.partial else ""
        good = [mode for mode, cell in family.cells.items() if not (cell.faults or cell.refused)]
        state += f", {len(good)} of {len(family.cells)} modes"
    return f"{family.head}: {family.kind}: {state} ({family.seconds:.1f} s)"


def summary(families: Sequence[Family]) -> str:
    """Count what was found, for each head; then each refusal and fault with its reason."""
    return "\n".join([_counts(families), "", *_cells(families), "", *_reasons(families)]).rstrip()


def _counts(families: Sequence[Family]) -> str:
    rows = [
        "| head | architectures | mapped and verified | no border inside | refused | not built here |",
        "|---|---|---|---|---|---|",
    ]
    for head in dict.fromkeys(family.head for family in families):
        own = [family for family in families if family.head == head]
        rows.append(
            f"| {head} | {len(own)} | {sum(f.verified for f in own)} | "
            f"{sum(f.mapped and not f.verified for f in own)} | {sum(bool(f.refused) for f in own)} | "
            f"{sum(bool(f.missing) for f in own)} |"
        )
    return "\n".join(rows)


def _cells(families: Sequence[Family]) -> list[str]:
    """Count the cells under each mode, for each head: fine, of those that nlptl takes; and cached ones."""
    rows = [
        "| head | " + " | ".join(MODES) + " | fed with cached states |",
        "|---" * (len(MODES) + 2) + "|",
    ]
    for head in dict.fromkeys(family.head for family in families):
        own = [cell for f in families if f.head == head for cell in f.cells.values()]
        taken = Counter(cell.mode for cell in own if not cell.refused)
        good = Counter(cell.mode for cell in own if not cell.refused and not cell.faults)
        cached = [cell.cached for cell in own if cell.cached or cell.uncached]
        rows.append(
            f"| {head} | "
            + " | ".join(f"{good[mode]} of {taken[mode]}" for mode in MODES)
            + f" | {sum(cached)} of {len(cached)} |"
        )
    return rows


def _reasons(families: Sequence[Family]) -> list[str]:
    """List what was refused, what failed and what could not be built; one line where heads agree."""
    heads: dict[tuple[str, str, str], list[str]] = {}
    for family in families:
        for title, reason in _of(family):
            heads.setdefault((title, family.kind, reason), []).append(family.head)
    lines = []
    for title in dict.fromkeys(title for title, _, _ in heads):
        lines += [f"{title}:", ""]
        for (own, kind, reason), where in heads.items():
            if own == title:
                lines.append(f"- {kind} ({', '.join(where)}): {reason}")
        lines.append("")
    return lines


def _of(family: Family) -> list[tuple[str, str]]:
    """List an architecture's reasons, each under its title."""
    found = []
    if family.missing:
        found.append(("Not built here", family.missing))
    if family.refused:
        found.append(("Refused", family.refused))
    if family.partial:
        found.append(("No border between blocks can be frozen", family.partial))
    by_reason: dict[str, list[str]] = {}
    for cell in family.cells.values():
        if cell.refused and not family.partial:
            by_reason.setdefault(cell.refused, []).append(cell.mode)
    found += [("A mode is refused", f"{', '.join(modes)}: {r}") for r, modes in by_reason.items()]
    again: dict[str, list[str]] = {}
    for cell in family.cells.values():
        if cell.uncached:
            again.setdefault(cell.uncached, []).append(cell.mode)
    title = "Frozen blocks are computed in each epoch, because cached states do not serve"
    found += [(title, f"{', '.join(modes)}: {reason}") for reason, modes in again.items()]
    faults: dict[str, list[str]] = {}
    for mode, each in family.faults.items():
        for fault in each:
            faults.setdefault(fault, []).append(mode)
    found += [("Not as it should be", f"{', '.join(modes)}: {f}") for f, modes in faults.items()]
    return found


def page(families: Sequence[Family], versions: str, command: str) -> str:
    """Write the whole matrix as a page in Markdown.

    Args:
        families: What was found.
        versions: Versions that it was found with.
        command: The command that found it.
    """
    parts = [PAGE.format(command=command, versions=versions, summary=summary(families))]
    for head in dict.fromkeys(family.head for family in families):
        parts += [f"### {head.capitalize()}", "", *_table(families, head), ""]
    return "\n".join(parts).rstrip() + "\n"


def _table(families: Sequence[Family], head: str) -> list[str]:
    rows = [
        "| architecture | stacks | norm | reads | table of positions | adapters in | "
        + " | ".join(MODES)
        + " | cached |",
        "|---" * (len(MODES) + 7) + "|",
    ]
    for family in sorted((f for f in families if f.head == head), key=lambda f: f.kind):
        cells = [_sign(family, mode) for mode in MODES]
        known = [cell.cached for cell in family.cells.values() if cell.cached or cell.uncached]
        cached = NOTHING if not known else GOOD if all(known) else "in part" if any(known) else "no"
        about = [NOTHING] * 5
        if family.mapped:
            stacks = "+".join(map(str, family.stacks)) + (" (shared)" if family.partial else "")
            norm = "pre" if family.pre_norm else "post"
            rows_of_table = NOTHING if family.positions is None else str(family.positions)
            targets = ", ".join(f"`{name}`" for name in family.targets) or NOTHING
            about = [stacks, norm, family.pooled or NOTHING, rows_of_table, targets]
        elif family.missing:
            about[0] = "not built"
        else:
            about[0] = REFUSED
        rows.append("| " + " | ".join([family.kind, *about, *cells, cached]) + " |")
    return rows


def _sign(family: Family, mode: str) -> str:
    cell = family.cells.get(mode)
    if cell is None:
        return NOTHING
    return REFUSED if cell.refused else BAD if cell.faults else GOOD
