"""The report's sections: what each says, and its tables."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from nlptl.data.text import plain
from nlptl.report.render.tables import Section, Table, best_part
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
    """List the report's parts, those without numbers included.

    Args:
        record: The report's record.

    Returns:
        Scores, curves, shift, forgetting, costs; last the upstream curve where there is one.
    """
    found = [_arms(record), _curve(record), _shift(record), _upstream(record), _costs(record)]
    return found + ([_upstream_curve(record)] if record["upstream_curve"] else [])


def _arms(record: Mapping[str, Any]) -> Section:
    metric = plain(record["id"]["metric"])
    gain = "; the gain has its 95 % interval over seeds and examples" if record["gain"] else ""
    test = f" {plain(record['gain']['test'])}" if record["gain"] else ""
    failed = any(arm["failed"] for _, _, arm in arms(record))
    rows = tuple((title, *_spread(arm)) for _, title, arm in arms(record))
    return Section(
        "arms",
        "Scores",
        f"Test {metric} in points, over seeds. The bars are one standard deviation to each side, the "
        f"ticks single seeds{', the crosses failed ones' if failed else ''}{gain}.{test}",
        f"Mean test {metric} of each arm with its seeds, and below it the differences with intervals",
        (
            Table("Each arm", ("arm", "mean ± sd", "median", "range", "seeds"), rows),
            Table(
                "Pretrained against",
                ("against", "difference", "95 % interval", "p"),
                _gains(record),
            ),
            Table("How sure", ("figure", "value"), _sureness(record)),
        ),
    )


def _spread(arm: Mapping[str, Any]) -> tuple[str, ...]:
    if not known(arm["mean"]):
        return (missing(arm["missing"]),)
    failed = f", {len(arm['failed'])} failed" if arm["failed"] else ""
    ends = interval((arm["min"], arm["max"])) if len(arm["seeds"]) > 1 else NONE
    runs = f"{len(arm['seeds'])}{failed}" if arm["seeds"] else NONE
    return score(arm), points(arm["median"]), ends, runs


def _gains(record: Mapping[str, Any]) -> tuple[tuple[str, ...], ...]:
    gain, found = record["gain"], []
    for title, one in (("from scratch", gain), ("bag of words", gain and gain["vs_bow"])):
        if one and known(one["abs"]):
            p = p_value(one["p_two_sided"])
            found.append((title, points(one["abs"], signed=True), interval(one["ci95"]), p))
        else:
            found.append((title, missing("one of the two arms is missing")))
    return tuple(found)


def _sureness(record: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    gain, negative = record["gain"] or {}, record["negative"]
    share, found = gain.get("rel_error_reduction"), gain.get("significant")
    rows = (
        ("least gain that is called one", points(gain.get("threshold"))),
        ("true gain that is called one in 80 % of experiments", points(gain.get("mde"))),
        ("gain is significant", NONE if found is None else "yes" if found else "no"),
        (
            "share of scratch's gap to a perfect score closed",
            NONE if share is None else f"{points(share)} %",
        ),
        ("share of the gain that the probe has already", number(gain.get("probe_share"))),
        ("negative transfer gap, scratch minus pretrained", points(negative["ntg"], signed=True)),
        ("p of harm, one-sided", p_value(negative["p_harm"])),
        (
            "p over all tasks (Holm)",
            p_value(negative["holm_p"]),
        ),
        ("margin that counts as equal", f"±{points(negative['margin'])}"),
    )
    return rows if gain else tuple(row for row in rows if row[1] != NONE)


def _curve(record: Mapping[str, Any]) -> Section:
    curve, found = record["curve"], []
    lead = missing("not measured: --curve does")
    if curve and curve["n"]:
        lead = (
            f"Mean test {plain(record['id']['metric'])} in points by number of training examples; every run "
            f"looks at {number(record['id']['n_validation'], 0)} validation labels besides. "
            f"Pretrained minus scratch is {points(curve['jumpstart'], signed=True)} at the fewest and "
            f"{points(curve['asymptote_gap'], signed=True)} at the most; the areas below the curves differ "
            f"by {points(curve['area_ratio'], signed=True)} %{estimate(record)}."
        )
        rows = tuple(
            (number(n, 0), _mean(pre), _mean(scratch))
            for n, pre, scratch in zip_longest(curve["n"], curve["pre"], curve["scratch"])
        )
        found.append(Table("Curves", ("labels", "pretrained", "from scratch"), rows))
    if record["sample_eff"] and record["sample_eff"]["points"]:
        found.append(_labels(record["sample_eff"]["points"]))
    title = "Mean test score by number of labels, pretrained and from scratch, with single seeds"
    return Section("curve", "Learning curves", lead, title, tuple(found))


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


def _shift(record: Mapping[str, Any]) -> Section:
    shift, parts = record["shift"], record["shift"]["parts"] or []
    lead, found = missing(shift["missing"]), []
    if parts:
        best = best_part(shift)
        lead = (
            f"On {number(shift['texts'], 0)} texts, from the input upwards: how alike the states are "
            "before and after training (CKA, 1 is the same), how far the weights moved, and how well a "
            "linear probe on that part's states does"
            + (
                f"; on validation data {shorten(parts[best], 40)} does best."
                if best is not None
                else "."
            )
        )
        rows = tuple(
            (plain(part), number(cka), percent(change), points(probe))
            for part, cka, change, probe in zip_longest(
                parts,
                *(shift[name] or () for name in ("cka", "rel_weight_change", "probe_curve")),
            )
        )
        columns = ("part", "CKA", "weights moved, %", "probe")
        found.append(Table("Block by block", columns, rows))
    title = "Heat strips over the blocks: CKA, relative weight change, probe score"
    return Section("shift", "What moved inside", lead, title, tuple(found))


def _upstream(record: Mapping[str, Any]) -> Section:
    found = record["upstream"]
    if not known(found["before"]):
        return Section("upstream", "What was forgotten", missing(found["missing"]), "", ())
    tokens = f", {number(found['tokens'], 0)} predicted tokens" if found["tokens"] else ""
    lead = (
        f"The checkpoint's own objective, {plain(found['objective'])} in {plain(found['unit'])}, on "
        f"{number(found['sequences'], 0)} pieces of {plain(found['texts'])}{tokens}. "
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
    table = Table("Before and after", ("figure", "value"), rows)
    return Section("upstream", "What was forgotten", plain(lead), "", (table,))


def _costs(record: Mapping[str, Any]) -> Section:
    total, found = record["cost"], record["compute_eff"]
    whole = (
        ("runs", number(total["runs"], 0)),
        ("of them cached", number(total["cached"], 0)),
        ("compute", si(total["flops"], "FLOP")),
        ("time of training", duration(total["seconds"])),
    )
    tables = [Table("The whole report", ("figure", "value"), whole)]
    lead = "The training that the report rests on; the two arms were not compared by compute."
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
    return (
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


def _upstream_curve(record: Mapping[str, Any]) -> Section:
    found = record["upstream_curve"]
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
