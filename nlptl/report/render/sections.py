"""The report's sections: what each says, and its tables."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from nlptl.data.text import plain
from nlptl.report.render.tables import Section, best_part
from nlptl.study.render.pages import Table
from nlptl.study.render.words import (
    NONE,
    arms,
    duration,
    estimate,
    interval,
    known,
    labels_needed,
    missing,
    number,
    p_value,
    percent,
    points,
    score,
    shorten,
    si,
    times,
)


def sections(record: Mapping[str, Any]) -> list[Section]:
    """List the parts of the report that have numbers.

    Args:
        record: The report's record.

    Returns:
        Scores, curves, shift, forgetting, costs; last the upstream curve where there is one.
    """
    found = [
        _arms(record),
        _curve(record),
        _shift(record),
        _upstream(record),
        _costs(record),
        _upstream_curve(record),
    ]
    return [section for section in found if section]


def unmeasured(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """List what the report has no numbers for, each with the reason.

    Args:
        record: The report's record.

    Returns:
        Arms first, then sections.
    """
    found = [
        (title, missing(arm["missing"])) for _, title, arm in arms(record) if not known(arm["mean"])
    ]
    if not (record["curve"] and record["curve"]["n"]):
        run = plain(record["id"]["run"] or "RUN")
        found.append(("learning curves", missing(f"not measured: nlptl report {run} --curve does")))
    for name, title in (("shift", "what moved inside"), ("upstream", "what was forgotten")):
        if not _measured(record, name):
            found.append((title, missing(record[name]["missing"])))
    return found


def _measured(record: Mapping[str, Any], name: str) -> bool:
    return bool(record["shift"]["parts"]) if name == "shift" else known(record[name]["before"])


def _arms(record: Mapping[str, Any]) -> Section:
    metric = plain(record["id"]["metric"])
    gain = "; the gain has its 95 % interval over seeds and examples" if record["gain"] else ""
    broken = any(arm["failed"] for _, _, arm in arms(record))
    rows = tuple((title, *_spread(arm)) for _, title, arm in arms(record) if known(arm["mean"]))
    found = [
        Table("All scores", ("model", "mean ± sd", "range", "runs"), rows),
        Table(
            "Pretrained against", ("against", "difference", "95 % interval", "p"), _gains(record)
        ),
        Table("How sure", ("figure", "value"), _sureness(record)),
    ]
    return Section(
        "arms",
        "Scores",
        f"Test {metric} in points.",
        f"Mean test {metric} of each model with its seeds, and below it the differences with intervals",
        tuple(table for table in found if table.rows),
        "The bars are one standard deviation over seeds to each side, the ticks single seeds"
        f"{', the crosses failed ones' if broken else ''}{gain}."
        + (f" {plain(record['gain']['test'])}" if record["gain"] else ""),
    )


def _spread(arm: Mapping[str, Any]) -> tuple[str, ...]:
    if len(arm["seeds"]) < 2:
        return score(arm), "", "1"
    lost = f", {len(arm['failed'])} failed" if arm["failed"] else ""
    ends = interval((arm["min"], arm["max"]))
    return score(arm), ends, f"{len(arm['seeds'])}{lost}"


def _gains(record: Mapping[str, Any]) -> tuple[tuple[str, ...], ...]:
    gain = record["gain"] or {}
    both = (("bag of words", gain.get("vs_bow") or {}), ("from scratch", gain))
    return tuple(
        (title, points(one["abs"], signed=True), interval(one["ci95"]), p_value(one["p_two_sided"]))
        for title, one in both
        if known(one.get("abs"))
    )


def _sureness(record: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    gain, negative = record["gain"] or {}, record["negative"]
    share, harm = gain.get("rel_error_reduction"), negative["p_harm"]
    worse = known(gain.get("abs")) and gain["abs"] < 0
    rows = (
        ("least gain over scratch that is called one", points(gain.get("threshold"))),
        ("gain that four of five such comparisons find", points(gain.get("mde"))),
        ("of scratch's errors, avoided", NONE if share is None else f"{points(share)} %"),
        ("of the gain, in a linear probe already", _percent(gain.get("probe_share"))),
        ("p of harm, one-sided", p_value(harm) if worse else NONE),
        ("p over all tasks (Holm, 1979)", p_value(negative["holm_p"])),
        ("scores this close count as equal", f"±{points(negative['margin'])}" * bool(gain)),
    )
    return tuple(row for row in rows if row[1] not in (NONE, ""))


def _percent(share: float | None) -> str:
    return NONE if share is None or not known(share) else f"{percent(share)} %"


def _curve(record: Mapping[str, Any]) -> Section | None:
    curve, ratios = record["curve"], record["sample_eff"]
    if not curve or not curve["n"]:
        return None
    lead = (
        f"Mean test {plain(record['id']['metric'])} in points by number of training examples. Pretrained "
        f"minus from scratch is {points(curve['jumpstart'], signed=True)} at the fewest and "
        f"{points(curve['asymptote_gap'], signed=True)} at the most{estimate(record)}."
    )
    method = (
        f"Every run looks at {number(record['id']['n_validation'], 0)} validation labels besides. The areas "
        f"below the curves differ by {points(curve['area_ratio'], signed=True)} %."
    )
    rows = tuple(
        (number(n, 0), _mean(pre), _mean(scratch))
        for n, pre, scratch in zip_longest(curve["n"], curve["pre"], curve["scratch"])
    )
    found = [Table("Curves", ("labels", "pretrained", "from scratch"), rows)]
    if ratios and ratios["points"]:
        found.append(_labels(ratios["points"]))
    title = "Mean test score by number of labels, pretrained and from scratch, with single seeds"
    return Section("curve", "Learning curves", lead, title, tuple(found), method)


def _mean(scores: Sequence[float] | None) -> str:
    import numpy as np

    held = [s for s in scores or () if known(s)]
    spread = f" ± {points(float(np.std(held, ddof=1)))}" if len(held) > 1 else ""
    return points(float(np.mean(held))) + spread if held else NONE


def _labels(found: Sequence[Mapping[str, Any]]) -> Table:
    most = number(max(point["n"] for point in found), 0)
    rows = tuple(
        (
            number(point["n"], 0),
            points(point["target_score"]),
            labels_needed(point, f">{most}"),
            times(point["label_multiplier"], point["censored"], point["at_most"]),
            interval(point["ci95"], lambda value: number(value, 1)),
        )
        for point in found
    )
    columns = ("pretrained with", "score", "scratch needs", "ratio", "95 % interval")
    return Table("Labels for the same score", columns, rows)


def _shift(record: Mapping[str, Any]) -> Section | None:
    shift, parts = record["shift"], record["shift"]["parts"] or []
    if not parts:
        return None
    best = best_part(shift)
    lead = (
        "From the input upwards: how alike the states are before and after training (CKA), how far the "
        "weights moved, and how well a linear probe on that part's states does"
        + (f"; {shorten(parts[best], 40)} does best." if best is not None else ".")
    )
    rows = tuple(
        (plain(part), number(cka), percent(change), points(probe))
        for part, cka, change, probe in zip_longest(
            parts,
            *(shift[name] or () for name in ("cka", "rel_weight_change", "probe_curve")),
        )
    )
    columns = ("part", "CKA", "weights moved, %", "probe")
    table = Table("Block by block", columns, rows, folded=True)
    title = "Heat strips over the blocks: CKA, relative weight change, probe score"
    method = (
        f"Measured on {number(shift['texts'], 0)} texts. The best probe is that on validation data."
    )
    return Section("shift", "What moved inside", lead, title, (table,), method, half=True)


def _upstream(record: Mapping[str, Any]) -> Section | None:
    found = record["upstream"]
    if not known(found["before"]):
        return None
    lead = (
        f"How well the model still does what it was pretrained for: {plain(found['objective'])}, in "
        f"{plain(found['unit'])}, on text that was not trained on."
    )
    tokens = f", {number(found['tokens'], 0)} predicted tokens" if found["tokens"] else ""
    method = (
        f"Measured on {number(found['sequences'], 0)} pieces of {plain(found['texts'])}{tokens}. "
        f"{plain(found['contamination_note'] or '')}"
    )
    free = found["recoverable"]
    rows = (
        ("before", number(found["before"], 3)),
        ("after", number(found["after"], 3)),
        ("forgotten (more is worse)", number(found["forgetting"], 3, signed=True)),
        ("95 % interval", interval(found["ci95"], lambda value: number(value, 3))),
        ("with the adapters off as before", NONE if free is None else "yes" if free else "no"),
        ("before, its head refitted to these texts", number(found["head_refit_before"], 3)),
        ("after, its head refitted to these texts", number(found["head_refit_after"], 3)),
    )
    kept = tuple(row for row in rows if row[1] != NONE)
    table = Table("Before and after", ("figure", "value"), kept)
    return Section("upstream", "What was forgotten", lead, "", (table,), plain(method), half=True)


def _costs(record: Mapping[str, Any]) -> Section:
    total, found = record["cost"], record["compute_eff"]
    whole = (
        ("runs", number(total["runs"], 0)),
        ("of them found again", number(total["cached"], 0)),
        ("compute", si(total["flops"], "FLOP")),
        ("time of training", duration(total["seconds"])),
    )
    tables = [Table("The whole report", ("figure", "value"), whole)]
    lead = "The training that the report rests on; the two models were not compared by compute."
    if found:
        target = f"a score of {points(found['target_score'])}"
        lead = f"What it takes to reach {target}, and all training behind the report{estimate(record)}."
        tables.insert(0, Table(f"To reach {target}", ("figure", "value"), _compute(found)))
    title = (
        "Bars of the compute to reach the same score and of the time, pretrained and from scratch"
    )
    return Section("costs", "What it cost", lead, title, tuple(tables))


def _compute(found: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    never = found["censored"] and not known(found["flops_scratch_to_match"])
    wall = found["wall_s"] or {}
    scratch = "not reached" if never else si(found["flops_scratch_to_match"], "FLOP")
    memory = None if found["peak_mem_mb"] is None else 1e6 * found["peak_mem_mb"]
    rows = (
        ("compute, pretrained", si(found["flops_pre"], "FLOP")),
        ("compute, from scratch", scratch),
        ("ratio", times(found["ratio"], found["censored"])),
        ("training time, pretrained", duration(wall.get("pre"))),
        ("training time, from scratch", duration(wall.get("scratch"))),
        ("most memory", si(memory, "B")),
        ("trained parameters", number(found["trainable_params"], 0)),
        ("all parameters", number(found["total_params"], 0)),
        ("cached states", si(found["cache_bytes"], "B")),
        ("pretraining itself, not counted", si(found["upstream_flops"], "FLOP")),
    )
    return tuple(row for row in rows if row[1] != NONE)


def _upstream_curve(record: Mapping[str, Any]) -> Section | None:
    found = record["upstream_curve"]
    if not found:
        return None
    rows = tuple(
        (
            plain(one["checkpoint"]),
            number(one["upstream_loss"], 3),
            points(one["downstream_mean"])
            + (f" ± {points(one['sd'])}" if known(one["sd"]) else ""),
        )
        for one in found["points"]
    )
    lead = (
        f"Score by upstream loss: {number(found['slope_points_per_nat'], 1, signed=True)} points for one "
        f"nat less; rank correlation {number(found['spearman'])}."
    )
    table = Table("Checkpoints", ("checkpoint", "upstream loss", "downstream"), rows)
    return Section("upstream_curve", "Downstream against upstream", lead, "", (table,))
