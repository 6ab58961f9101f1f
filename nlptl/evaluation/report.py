"""The transfer report: was the pretraining worth it, and how sure is that?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np

from nlptl.cache.prefix_cache import forget
from nlptl.data.encoding import quiet_datasets, tokenizer_hash
from nlptl.data.sampling import subset
from nlptl.engine.setup import new_accelerator
from nlptl.errors import ModelError
from nlptl.evaluation import parts
from nlptl.evaluation.arms import Arm, Runner, run_arm, scratch_arm
from nlptl.evaluation.baselines import bag_of_words
from nlptl.evaluation.body import body_changes, text_classes, upstream_entry
from nlptl.evaluation.cells import Cell
from nlptl.evaluation.curves import curve_sizes, curve_summary, sample_efficiency
from nlptl.evaluation.probe import fit_probe, pooled_states
from nlptl.evaluation.statistics import joint_bootstrap
from nlptl.evaluation.verdict import MARGIN, advice, sentence, verdict
from nlptl.evaluation.zero_shot import zero_shot
from nlptl.finetuning import Settings, default_epochs
from nlptl.models.architecture import save_untrained
from nlptl.models.layer_map import depth
from nlptl.models.loading import load_config, load_tokenizer
from nlptl.modes import default_learning_rate, parse_mode
from nlptl.tasks.base import Task
from nlptl.terminal import muted, say
from nlptl.versions import versions

Tier = Literal["quick", "standard", "full"]
#: Seeds of each tier, and pieces of upstream text.
SEEDS = {"quick": 3, "standard": 6, "full": 10}
PIECES = {"quick": 500, "standard": 2000, "full": 2000}
#: Rates that scratch tries, times full's default, the default first, and so many times the epochs.
RATES = {"quick": (1.0,), "standard": (1.0, 3.0), "full": (1.0, 0.3, 3.0, 10.0)}
LONGER = {"quick": 1.0, "standard": 1.5, "full": 3.0}
#: Training texts of a probe and a bag of words at most.
PROBED = 10_000
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
        from nlptl.evaluation.render.text import summary

        return summary(self.record)

    def save(self, directory: Path) -> list[Path]:
        """Write ``report.json``, ``report.md``, ``report.html`` and the pictures.

        Args:
            directory: Where they go.

        Returns:
            The files.
        """
        from nlptl.evaluation.render.files import write_report

        return write_report(self.record, directory)


def score_transfer(
    task: Task,
    splits: Mapping[str, Any],
    settings: Settings,
    *,
    tier: Tier = "standard",
    curve: bool = False,
    adapted: Any = None,
    known: Sequence[Cell] = (),
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
        adapted: The first seed's trained model, below peft's wrapper; without it forgetting and shift are
            left out.
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
    pre = run_arm(
        runner,
        settings,
        seeds=seeds,
        rates=[settings.learning_rate],
        known={cell.seed: cell for cell in known},
        title=f"{settings.mode.name}",
    )
    longer, rates = scratch_settings(settings, RATES[tier], LONGER[tier])
    scratch = scratch_arm(runner, longer, seeds=seeds, rates=rates, title="from scratch")
    forget()
    simple = _simple_arms(task, splits, settings, seeds, accelerator)
    floor = float(np.mean(simple["majority"]["each"]))
    with muted(), quiet_datasets():
        body = body_changes(task, splits, settings, adapted, accelerator)
        upstream = upstream_entry(
            settings.model,
            adapted,
            upstream_texts,
            accelerator,
            PIECES[tier],
            adapter=(task, adapter) if adapter else None,
            refit=True,
        )
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
    gain = joint_bootstrap(pre.scores, scratch.scores, groups=groups)
    words = simple["bow"]["each"]
    record: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "id": _identity(runner, settings, tier, seeds, dataset, run),
        "downstream": downstream,
        "gain": parts.gain_entry(
            gain,
            scratch=downstream["scratch"]["mean"],
            probe=downstream["probe"]["mean"],
            words=None if words is None else parts.against(pre.scores, words, groups),
        ),
        "curve": None,
        "sample_eff": None,
        "compute_eff": parts.compute_entry(pre.cells, scratch.cells),
        "upstream": upstream,
        "upstream_curve": None,
        "shift": body,
    }
    arms = [pre, scratch]
    if curve:
        record["curve"], record["sample_eff"], more = _curve(runner, settings, pre, scratch)
        arms += more
    word = verdict(gain, seeds=len(seeds))
    record["negative"] = {
        "verdict": word,
        "ntg": -gain.mean,
        "p_harm": _p_harm(gain),
        "margin": MARGIN,
        "holm_p": None,
        "provisional": len(seeds) < SEEDS["standard"],
        "sentence": sentence(word, gain, record["id"]),
        "advice": advice(word, record),
    }
    record["cost"] = _cost(arms, len(known))
    record["warnings"] = [*notes, *_warnings(record, downstream)]
    forget()
    return TransferReport(record)


def scratch_settings(
    settings: Settings, factors: Sequence[float], longer: float
) -> tuple[Settings, list[float]]:
    """Settings of the same model without pretraining: all trains, for longer, at rates of its own.

    It never stops early: twelve blocks stay at the floor for a third of their epochs and more, and with
    patience the runs ended there, so that any checkpoint seemed to help.

    Args:
        settings: Of the pretrained arm.
        factors: Rates to try, times the default of ``full``.
        longer: Times the epochs.
    """
    config = load_config(settings.model)
    full = parse_mode("full")
    rate = default_learning_rate(full, config.model_type, config.hidden_size)
    epochs = float(round(longer * settings.epochs))
    own = replace(
        settings,
        mode=full,
        epochs=epochs,
        patience=None,
        learning_rate=rate,
    )
    return own, [float(f"{factor * rate:.3g}") for factor in factors]


def _simple_arms(
    task: Task, splits: Mapping[str, Any], settings: Settings, seeds: range, accelerator: Any
) -> dict[str, dict[str, Any]]:
    """The arms that train no block: entry, and score of each example where there is one row."""
    constant = np.asarray(task.constant_scores(splits["train"], splits["test"]))
    found = {"majority": {"arm": parts.arm_entry(constant[None]), "each": constant}}
    if task.classes(splits["test"]) is None:
        why = "its examples have no classes to separate linearly"
        for name in ("probe", "random_probe", "zero_shot", "bow"):
            found[name] = {"arm": parts.missing(f"{task.name}: {why}"), "each": None}
        return found
    data = {name: text_classes(task, table, PROBED) for name, table in splits.items()}
    gold = np.asarray(task.classes(splits["test"]))
    texts = task.texts(splits["test"])

    def row(predictions: Sequence[str]) -> dict[str, Any]:
        each = (np.asarray(predictions) == gold).astype(float)
        return {"arm": parts.arm_entry(each[None]), "each": each}

    def probe(name: str) -> np.ndarray:
        pairs = []
        for split in ("train", "validation", "test"):
            given = (texts, gold.tolist()) if split == "test" else data[split]
            states = pooled_states(
                name, given[0], accelerator=accelerator, max_length=settings.max_length
            )
            pairs.append((states[:, -1], given[1]))
        return (fit_probe(*pairs).predictions == gold).astype(float)

    say("probes, bag of words, zero-shot")
    with TemporaryDirectory() as folder:
        made = []
        for seed in seeds:
            twin = Path(folder) / str(seed)
            save_untrained(settings.model, twin, seed=seed)
            made.append(probe(str(twin)))
    own = probe(settings.model)
    found["probe"] = {"arm": parts.arm_entry(own[None]), "each": own}
    found["random_probe"] = {
        "arm": parts.arm_entry(np.asarray(made), seeds=seeds),
        "each": None,
    }
    try:
        found["bow"] = row(bag_of_words(data["train"], data["validation"], texts))
    except ValueError as error:
        found["bow"] = {"arm": parts.missing(str(error)), "each": None}
    try:
        labels = list(task.head["id2label"].values())
        found["zero_shot"] = row(zero_shot(settings.model, texts, labels, accelerator=accelerator))
    except ModelError as error:
        found["zero_shot"] = {"arm": parts.missing(str(error)), "each": None}
    return found


def _curve(
    runner: Runner, settings: Settings, pre: Arm, scratch: Arm
) -> tuple[dict[str, Any], dict[str, Any], list[Arm]]:
    """Both arms at smaller training sets, each within the next; rates as chosen on the whole set."""
    task, splits = runner.task, runner.splits
    seeds = [cell.seed for cell in pre.cells]
    classes = task.classes(splits["train"])
    strata = classes or [""] * len(splits["train"])
    sizes = curve_sizes(len(strata), len(set(strata)))
    arms: list[tuple[Arm, Arm]] = []
    for size in sizes[:-1]:
        train = subset(splits["train"], strata, size, settings.seed)
        few = Runner(task, {**splits, "train": train}, keep=runner.keep)
        # As many updates as on the whole set, at most as many epochs as a set of this size usually gets.
        usual = default_epochs(settings.mode, size, settings.batch_size)
        same = settings.epochs * len(strata) / size
        own = replace(settings, epochs=max(settings.epochs, min(usual, same)))
        share = scratch.settings.epochs / pre.settings.epochs
        longer, _ = scratch_settings(own, (1.0,), share)
        rate = scratch.settings.learning_rate
        arms.append(
            (
                run_arm(
                    few,
                    own,
                    seeds=seeds,
                    rates=[own.learning_rate],
                    title=f"{settings.mode.name}, {size} examples",
                ),
                scratch_arm(
                    few,
                    longer,
                    seeds=seeds,
                    rates=[rate],
                    title=f"from scratch, {size} examples",
                ),
            )
        )
    both = [*arms, (pre, scratch)]
    one, two = (np.asarray([pair[i].scores.mean(1) for pair in both]) for i in (0, 1))
    more = [arm for pair in arms for arm in pair]
    return curve_summary(sizes, one, two), sample_efficiency(sizes, one, two), more


def _identity(
    runner: Runner,
    settings: Settings,
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
        "frozen_blocks": blocks if mode.kind == "head-only" else mode.blocks,
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
    made = [cell for arm in arms for cell in (*arm.cells, *arm.searched)]
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
    if len(downstream["scratch"]["tuned"]["tried"]) == 1:
        found.append(
            "Scratch had one rate, full's default, and no more epochs than the run; --report standard gives "
            "it two rates and half as many epochs again."
        )
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
