"""The transfer report: was the pretraining worth it, and how sure is that?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from nlptl.data.encoding import quiet_datasets, tokenizer_hash
from nlptl.models.adapters import is_lora, merge_adapter, save_adapter
from nlptl.models.layer_map import depth
from nlptl.models.loading import load_config, load_tokenizer, quiet_transformers
from nlptl.pretrain.held_out import pretraining_flops
from nlptl.pretrain.upstream_entry import upstream_entry
from nlptl.report import parts
from nlptl.report.body import body_changes
from nlptl.report.few_labels import learning_curves
from nlptl.report.simple_arms import WORDED, simple_arms
from nlptl.report.untouched import PROBED, untouched_states
from nlptl.runs.versions import versions
from nlptl.stats.bootstrap import joint_bootstrap
from nlptl.stats.verdict import (
    MARGIN,
    NOTHING_LEARNED,
    advice,
    first_learn,
    sentence,
    verdict,
)
from nlptl.study.arms import Arm, Runner, run_arm, scratch_arm, scratch_settings
from nlptl.study.outcomes import Outcome, combine_of
from nlptl.tasks.base import Task
from nlptl.train.run import Run
from nlptl.train.setup import FinetuneArgs, new_accelerator
from nlptl.train.stem_cache.store import free_states
from nlptl.train.terminal import muted, say

Tier = Literal["quick", "standard", "full"]
#: Seeds of each tier, and pieces of upstream text.
SEEDS = {"quick": 3, "standard": 6, "full": 10}
PIECES = {"quick": 500, "standard": 2000, "full": 2000}
#: Rates that scratch tries, times full's default, the default first, and so many times the epochs.
RATES = {"quick": (1.0,), "standard": (1.0, 3.0), "full": (1.0, 0.3, 3.0, 10.0)}
LONGER = {"quick": 1.0, "standard": 1.5, "full": 3.0}
#: Of report.json; another number is another form.
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class TransferReport:
    """A finished report.

    Attributes:
        record: What ``report.json`` holds; ``report.schema.json`` beside this file explains every key.
    """

    record: Mapping[str, Any]

    @property
    def verdict(self) -> str:
        """``positive``, ``neutral``, ``negative``, ``negative (material)`` or ``inconclusive``."""
        return self.record["negative"]["verdict"]

    def summary(self) -> str:
        """At most 15 lines for the terminal."""
        from nlptl.report.render.text import summary

        return summary(self.record)

    def save(self, directory: Path) -> list[Path]:
        """Write ``report.json``, ``report.md``, ``report.html`` and the pictures.

        Args:
            directory: Where they go.

        Returns:
            The files.
        """
        from nlptl.report.render.files import write_report

        return write_report(self.record, directory)


def score_transfer(
    task: Task,
    splits: Mapping[str, Any],
    settings: FinetuneArgs,
    *,
    tier: Tier = "standard",
    curve: bool = False,
    adapted: Any = None,
    known: Sequence[Outcome] = (),
    adapter: Path | None = None,
    upstream_texts: Sequence[str] | None = None,
    dataset: str = "the data",
    run: str | None = None,
    notes: Sequence[str] = (),
    keep: bool = True,
) -> TransferReport:
    """Compare fine-tuning a checkpoint with the same model without pretraining, and say how sure that is.

    The arms share splits, head and, seed by seed, the order of the data: the requested mode; scratch
    (random weights, all trained, the best of its own rates, more epochs); a linear probe on the frozen
    body, and on random ones; zero-shot; a bag of words; always one answer. Runs of the arms are kept on
    disk and never made twice: scratch's serve every checkpoint of that architecture.

    Args:
        task: What the examples mean.
        splits: ``train``, ``validation`` and ``test``.
        settings: The mode and its settings; the first seed is theirs.
        tier: ``quick`` (3 seeds), ``standard`` (6) or ``full`` (10).
        curve: Also at smaller training sets, down to 16 examples a class.
        adapted: The first seed's trained model, below peft's wrapper; None takes that of a run made here,
            or leaves forgetting and shift out if the first seed's run is known.
        known: Finished runs with these settings.
        adapter: Folder of the first seed's LoRA adapter.
        upstream_texts: Held-out text of the kind that the checkpoint was pretrained on; None takes what
            comes with nlptl.
        dataset: What to call the data.
        run: The run's directory, for the record.
        notes: More warnings for the record.
        keep: Whether runs are kept on disk.

    Returns:
        The report; what could not be measured stands in it with its reason.
    """
    accelerator = new_accelerator()
    seeds = range(settings.seed, settings.seed + max(SEEDS[tier], len(known)))
    groups = task.groups(splits["test"])
    runner = Runner(task, splits, keep=keep)
    finished = {cell.seed: cell for cell in known}
    with TemporaryDirectory() as folder:
        if adapted is None and settings.seed not in finished:
            say(
                f"{settings.mode.name}, seed {settings.seed}: trained here, to see what became of the body"
            )
            cell, adapted = _train(runner, settings, Path(folder))
            finished[settings.seed] = cell
            adapter = Path(folder) if settings.mode.is_adapter else None
        pre = run_arm(
            runner,
            settings,
            seeds=seeds,
            rates=[settings.learning_rate],
            known=finished,
            title=f"{settings.mode.name}",
        )
        longer, rates = scratch_settings(
            settings, RATES[tier], LONGER[tier], examples=len(splits["train"])
        )
        scratch = scratch_arm(runner, longer, seeds=seeds, rates=rates, title="from scratch")
        free_states()
        say("probes, bag of words, zero-shot, forgetting, shift")
        with muted(), quiet_datasets():
            untouched = untouched_states(task, splits, settings, accelerator)
            simple = simple_arms(
                task, splits, settings, untouched, seeds=seeds, accelerator=accelerator
            )
            body = body_changes(
                task, splits, settings, untouched, adapted=adapted, accelerator=accelerator
            )
            upstream = upstream_entry(
                settings.model,
                adapted,
                upstream_texts,
                accelerator,
                PIECES[tier],
                adapter=(task, adapter) if adapter else None,
                refit=True,
            )
    floor, combine = simple["majority"]["arm"]["mean"], combine_of(task)
    downstream = {
        "pre": parts.arm_entry(
            pre.scores,
            seeds=seeds,
            floor=floor,
            tuned=parts.tuned(pre),
            predictions_path="predictions.jsonl" if run else None,
        ),
        "scratch": parts.arm_entry(
            scratch.scores, seeds=seeds, floor=floor, tuned=parts.tuned(scratch)
        ),
        **{name: entry["arm"] for name, entry in simple.items()},
    }
    gain = joint_bootstrap(pre.statistics, scratch.statistics, combine=combine, groups=groups)
    words = simple["bow"]["statistics"]
    record: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "id": _identity(runner, settings, tier, seeds, dataset, run),
        "downstream": downstream,
        "gain": parts.gain_entry(
            gain,
            scratch=downstream["scratch"]["mean"],
            probe=downstream["probe"]["mean"],
            words=None
            if words is None
            else parts.against(pre.statistics, words, combine=combine, groups=groups),
        ),
        "curve": None,
        "sample_eff": None,
        "compute_eff": parts.compute_entry(
            pre.outcomes, scratch.outcomes, upstream=pretraining_flops(settings.model)
        ),
        "upstream": upstream,
        "upstream_curve": None,
        "shift": body,
    }
    arms = [pre, scratch]
    if curve:
        record["curve"], record["sample_eff"], more = learning_curves(runner, pre, scratch)
        arms += more
    failed = all(len(downstream[name]["failed"]) == len(seeds) for name in ("pre", "scratch"))
    word = "inconclusive" if failed else verdict(gain, seeds=len(seeds))
    record["negative"] = {
        "verdict": word,
        "ntg": -gain.mean,
        "p_harm": _p_harm(gain),
        "margin": MARGIN,
        "holm_p": None,
        "provisional": len(seeds) < SEEDS["standard"],
        "sentence": NOTHING_LEARNED if failed else sentence(word, gain, record["id"]),
        "advice": first_learn(downstream["probe"]["mean"], floor)
        if failed
        else advice(word, record),
    }
    record["cost"] = _cost(arms, len(known))
    record["warnings"] = [*notes, *_warnings(record, downstream)]
    free_states()
    return TransferReport(record)


def _train(runner: Runner, settings: FinetuneArgs, folder: Path) -> tuple[Outcome, Any]:
    """The first seed's outcome and its model; of LoRA the adapter goes into a folder before it is merged."""
    runs: list[Run] = []
    cell = runner.run(settings, made=runs.append)
    model = runs[0].model
    if is_lora(model):
        with quiet_transformers():
            save_adapter(model, folder)
    return cell, merge_adapter(model).cpu()  # the other runs need the GPU


def _identity(
    runner: Runner,
    settings: FinetuneArgs,
    tier: str,
    seeds: range,
    dataset: str,
    run: str | None,
) -> dict[str, Any]:
    config = load_config(settings.model)
    blocks = sum(depth(config))
    mode = settings.mode
    return {
        "upstream": settings.model,
        "weights_sha256": runner.checkpoint_hash(settings.model),
        "family": config.model_type,
        "task": runner.task.name,
        "metric": runner.task.selection,
        "mode": mode.name,
        "trains": mode.trains,
        "frozen_blocks": mode.frozen_blocks(blocks),
        "blocks": blocks,
        "dataset": dataset,
        **{f"n_{name}": len(runner.splits[name]) for name in ("train", "validation", "test")},
        "tokenizer_sha256": tokenizer_hash(load_tokenizer(settings.model)),
        "splits_sha256": runner.data,
        "tier": tier,
        "seeds": list(seeds),
        "versions": versions(),
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "run": run,
    }


def _p_harm(gain: Any) -> float:
    """One-sided: P(gain >= 0 by chance), small where pretraining harmed."""
    return gain.p / 2 if gain.mean < 0 else 1 - gain.p / 2


def _cost(arms: Sequence[Arm], known: int) -> dict[str, Any]:
    made = [cell for arm in arms for cell in (*arm.outcomes, *arm.searched)]
    kept = sum(arm.kept for arm in arms)
    return {
        "runs": len(made),
        "flops": sum(cell.flops for cell in made),
        "seconds": sum(cell.seconds for cell in made),
        "cached": kept + known,
    }


def _warnings(record: Mapping[str, Any], downstream: Mapping[str, Any]) -> list[str]:
    found = []
    about, upstream = record["id"], record["upstream"]
    if record["negative"]["provisional"]:
        found.append(
            f"{len(about['seeds'])} seeds: the verdict is provisional; --report standard takes six."
        )
    tuned = downstream["scratch"]["tuned"]
    if len(tuned["tried"]) == 1:
        found.append(
            "Scratch had one rate, full's default, and no more epochs than the run; --report standard gives "
            "it two rates and half as many epochs again."
        )
    elif tuned["learning_rate"] >= max(map(float, tuned["tried"])):
        found.append(
            f"Scratch did best at the highest rate that it tried, {tuned['learning_rate']:.2g}: a higher one "
            "may serve it better"
            + (
                "."
                if about["tier"] == "full"
                else "; --report full tries up to ten times the default."
            )
        )
    sampled = [("bow", "The bag of words was", WORDED), ("probe", "The probes were", PROBED)]
    found += [
        f"{what} fitted on {most:,} of the {about['n_train']:,} training texts, drawn by class."
        for name, what, most in sampled
        if about["n_train"] > most and not downstream[name]["missing"]
    ]
    if about["n_test"] < 200:
        found.append(f"{about['n_test']} test examples tell only large differences.")
    if not upstream["missing"] and upstream["sequences"] < 2000:
        found.append(
            f"Forgetting is measured on {upstream['sequences']} pieces of text; 2,000 or more give a "
            "narrower interval."
        )
    for name in ("pre", "scratch"):
        if downstream[name]["failed"]:
            found.append(f"Failed runs of the arm {name}, seeds {downstream[name]['failed']}.")
    return found
