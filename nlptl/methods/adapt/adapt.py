"""The study: for each pair of domains its methods between the bounds, over seeds, none run twice."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nlptl.data.progress import quiet_datasets
from nlptl.errors import ConfigError, Problems, listed, suggest
from nlptl.methods.adapt.domains import (
    Domain,
    documents_of,
    pair_splits,
    pairs,
    seen_by,
    target_texts,
)
from nlptl.methods.adapt.method import Adapt, distance_before
from nlptl.methods.adapt.options import (
    ALIGNED,
    BOTH,
    BOUNDS,
    FEW,
    LABELLED,
    MASKED,
    METHODS,
    REFITTED,
    SOURCE,
    TARGET,
    WEIGHTS,
)
from nlptl.methods.adapt.verdict import pair_record
from nlptl.modes.base import SOME, Mode, parse_mode
from nlptl.study.arms import ArmSpec
from nlptl.study.keeping import save_model
from nlptl.study.outcomes import Outcome
from nlptl.study.study import Study
from nlptl.study.unread import FORGETTING, check_read
from nlptl.tasks.base import Task
from nlptl.train.header import runs_row, way_rows
from nlptl.train.setup import FinetuneArgs, new_accelerator
from nlptl.train.stem_cache.store import free_states
from nlptl.train.terminal import Block, muted, say

#: Function from a number of training examples and a task to arguments with every default filled in.
Args = Callable[[int, Task], FinetuneArgs]


def arm_names(config: Any) -> list[str]:
    """List the arms in the order of the table: the lower bound, the methods, the upper bounds."""
    asked = list(dict.fromkeys(config.methods))
    few = [FEW, BOTH] if config.target_labels else []
    own = [name for name in asked if name not in BOUNDS]
    upper = [name for name in asked if name in BOUNDS and name not in (SOURCE, FEW, BOTH)]
    return list(dict.fromkeys([SOURCE, *few, *own, TARGET, *upper]))


#: Flags that some methods read alone.
READERS = {
    **dict.fromkeys(("weights", "select"), ALIGNED),
    **{"shrinkage": ("coral",), "threshold": ("self-training",), "rounds": ("self-training",)},
    **{"mix": ("udalm",), "lm_epochs": ("dapt", "tapt"), FORGETTING: ()},
}


def weights_of(config: Any, name: str) -> list[float]:
    """List the weights that a method's term may have."""
    return [float(word) for word in config.weights] or [WEIGHTS[name]] if name in ALIGNED else [1.0]


def check_methods(config: Any) -> None:
    """Make sure that every method exists and can be had of this checkpoint under this mode.

    Raises:
        UserError: With all that cannot.
    """
    problems = Problems()
    known = (*BOUNDS, *METHODS)
    for name in config.methods:
        if name not in known:
            problems.add(
                f"--methods {name}: there is no such method.{suggest(name, known)} There are: {listed(known)}."
            )
        elif name in LABELLED and not config.target_labels:
            problems.add(
                f"--methods {name} needs labels of the target: give --target-labels N, or leave it out."
            )
    for word in config.weights:
        try:
            good = 0 <= float(word) < float("inf")
        except ValueError:
            good = False
        if not good:
            problems.add(f"--weights {word}: expected numbers of 0 or more.")
    for name in ("train_file", "validation_file", "test_file"):
        if getattr(config, name, None) is not None:
            flag = f"--{name.replace('_', '-')}"
            problems.add(f"{flag} says nothing of domains: give --source and --target instead.")
    if config.save is not None and (config.all_pairs or config.save not in arm_names(config)):
        problems.add(
            f"--save {config.save}: expected one of the arms ({listed(arm_names(config))}), and one pair "
            "of domains."
        )
    if config.augment and (own := [name for name in config.methods if name in REFITTED]):
        problems.add(
            f"--augment {config.augment}: {listed(own)} fit the head on states of the texts as they are. "
            "Leave the flag or the method out."
        )
    problems.run(check_read, config, READERS, config.methods)
    problems.run(check_mode, config)
    for name in config.target_text:
        problems.run(documents_of, name)
    if lacking := [name for name in config.methods if name in MASKED]:
        from nlptl.pretrain.further import check_masked

        instead = f"Leave the method{'s' * (len(lacking) > 1)} out"
        problems.run(check_masked, config.model, f"--methods {listed(lacking)}", instead)
    problems.raise_if_any()


def check_mode(config: Any) -> None:
    """Make sure that a mode trains what each method acts on.

    Raises:
        ConfigError: If no block trains for a method that acts on blocks.
    """
    mode: Mode = parse_mode(config.mode)
    stages = [stage.mode for stage in mode.stages(SOME)] or [mode]
    acting = [name for name in config.methods if name in (*ALIGNED, "udalm")]
    if acting and not any(stage.trains_blocks for stage in stages):
        raise ConfigError(
            f"--mode {config.mode}: {listed(acting)} {'change' if acting[1:] else 'changes'} the states of "
            "the blocks, and none trains. "
            "Take a mode "
            "that trains some, such as full or freeze-lower-4; easyadapt, coral and importance-weighting "
            "need none."
        )


def adapt(config: Any, domains: Mapping[str, Domain], args: Args) -> dict[str, Any]:
    """Run every method on every pair of domains, and compare each with ``source-only``.

    Args:
        config: Flags of the study.
        domains: From :func:`nlptl.methods.adapt.domains.read_domains`.
        args: Arguments by number of training examples.

    Returns:
        What ``adapt.json`` holds.
    """
    from nlptl.methods.adapt.verdict import study_record

    every = pairs(config)
    records, tables = [], []
    for number, (sources, target) in enumerate(every, 1):
        own = [domains[name] for name in sources]
        name = f"{' and '.join(one.name for one in own)} to {domains[target].name}"
        if len(every) > 1:
            say(f"pair {number} of {len(every)}: {name}")
        texts = target_texts(config, target, domains[target].task)
        with quiet_datasets():
            splits = pair_splits(own, domains[target], texts)
        record, arms = run_pair(config, own[0].task, splits, args)
        records.append({"pair": name, "target": domains[target].name, **record})
        tables.append(arms)
    return study_record(config, domains, records, tables)


def run_pair(
    config: Any, task: Task, splits: Mapping[str, Any], args: Args
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run the arms of one pair.

    Returns:
        The pair's record, and its arms.
    """
    seeds = range(config.seed, config.seed + config.seeds)
    study = Study(task, splits, {}, seeds)
    specs = {name: arm_spec(config, task, splits, args, name) for name in arm_names(config)}
    say(Block(rows_of(config, specs, splits)))
    tried: dict[str, dict[float, float]] = {}
    for name, spec in specs.items():
        weights = weights_of(config, name)
        if len(weights) > 1:
            study.arms[name], tried[name] = choose_weight(study, spec, weights, config.select)
        else:
            plain: Any = spec.method
            study.arms[name] = replace(spec, method=replace(plain, weight=weights[0]))
    with quiet_datasets():
        arms = study.run(parallel=config.parallel)
    if config.save is not None:
        save_model(study, config.save, config.output_dir / "run")
    with muted():
        before = distance_before(task, splits, study.arms[SOURCE].args, new_accelerator())
    free_states()
    return {"distance_before": before, "tried": tried, **pair_record(study, arms)}, arms


def rows_of(
    config: Any, specs: Mapping[str, ArmSpec], splits: Mapping[str, Any]
) -> list[tuple[str, str]]:
    """Return the first lines of a pair: checkpoint, data, training, and the runs, with those before them.

    Args:
        config: Flags of the study.
        specs: The arms.
        splits: From :func:`nlptl.methods.adapt.domains.pair_splits`.
    """
    n = {key: f"{len(table):,}" for key, table in splits.items()}
    data = (
        f"{n['train']} + {n['validation']} labels of the source, {n['target']} texts of the target"
    )
    drawn = []
    if most := config.max_train_examples:
        drawn = [("", f"each seed draws {most:,} labels, to train on and to choose by")]
    bounds = f"at most {n['target_train']} + {n['target_validation']} of its labels, for the bounds"
    model, *training = way_rows(specs[SOURCE].args, config)
    rows = [model, ("data", f"{data}, {n['test']} test examples"), ("", bounds), *drawn, *training]
    weights = {name: len(weights_of(config, name)) for name in specs}
    if tried := {name: count for name, count in weights.items() if count > 1}:
        each = ", ".join(f"{count} of {name}" for name, count in tried.items())
        chosen = f"the one that is chosen counts among the {len(specs) * config.seeds} below"
        first = f"{sum(tried.values())} runs with seed {config.seed} before all others"
        rows.append(("weights", f"{each}: {first}; {chosen}"))
    return [*rows, runs_row(list(specs), config.seeds)]


def arm_spec(config: Any, task: Task, splits: Mapping[str, Any], args: Args, name: str) -> ArmSpec:
    """Specify an arm: what it sees, how it trains, and for how long."""
    view = seen_by(name, config)
    examples = len(view(task, splits, config.seed)["train"])
    given = ("shrinkage", "threshold", "rounds", "mix", "lm_epochs")
    method = Adapt(name, **{key: getattr(config, key) for key in given})
    return ArmSpec(args(examples, task), method, view=view)


def choose_weight(
    study: Study, spec: ArmSpec, weights: Sequence[float], select: str
) -> tuple[ArmSpec, dict[float, float]]:
    """Choose a term's weight by the first seed's runs, without a label of the target.

    Args:
        study: The study, which keeps these runs.
        spec: The arm.
        weights: Weights to try, the usual one first; among equals the first is taken.
        select: ``source`` or ``reverse`` validation.

    Returns:
        The arm with its weight, and each weight's validation score.
    """
    found: dict[float, Outcome] = {}
    for weight in weights:
        own: Any = replace(spec.method, weight=weight)  # type: ignore[type-var]
        found[weight] = study.run_one(replace(spec, method=own), study.seeds[0])
        say(
            f"{own.name}, weight {weight:g}: {select} validation {validated(found[weight], select):.4f}"
        )
    scores = {weight: validated(outcome, select) for weight, outcome in found.items()}
    best = max(scores, key=lambda weight: scores[weight])
    return replace(spec, method=replace(spec.method, weight=best)), scores  # type: ignore[type-var]


def validated(outcome: Outcome, select: str) -> float:
    """Return a run's validation score without labels of the target; 0 for a run that diverged."""
    key = "reverse" if select == "reverse" else "source_validation"
    return float(outcome.measured.get(key) or 0.0)


def write_adaptation(record: Mapping[str, Any], directory: Path) -> str:
    """Write ``adapt.json``, ``.md``, ``.html`` and the picture.

    Args:
        record: From :func:`adapt`.
        directory: Made if it is not there.

    Returns:
        The tables and the sentence, for the terminal.
    """
    from nlptl.methods.adapt.page import page
    from nlptl.methods.adapt.render import figure, markdown, text
    from nlptl.study.render.study_page import write_study

    alt = "each method between its bounds"
    write_study(record, "adapt", (markdown(record), figure(record), alt), page, directory)
    return text(record)
