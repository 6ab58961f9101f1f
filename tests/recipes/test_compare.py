"""recipes/compare.py and recipes/upstream_curve.py: what they write, and that nothing is run twice."""

import json

import numpy as np
import pytest
from launching import run_in_process
from scipy import stats

from nlptl.cli.compare import Way, arm_name
from nlptl.cli.config import SentimentConfig, UpstreamCurveConfig, load_yaml, to_yaml, with_task
from nlptl.cli.upstream_curve import checkpoints
from nlptl.errors import ConfigError, UserError
from nlptl.stats.bootstrap import Difference
from nlptl.study.comparison import Pair, recommend
from nlptl.study.upstream_curve import upstream_slope


def flags(checkpoint, reviews, directory, *more):
    return [
        *("--model", checkpoint, "--train-file", reviews, "--output-dir", directory),
        *("--epochs", 1, "--batch-size", 12, *more),
    ]


def test_compare_writes_table_picture_and_advice(
    masked_lm_checkpoint, reviews, tmp_path, capsys, monkeypatch
):
    given = flags(masked_lm_checkpoint, reviews, tmp_path / "out", "--seeds", 2, "--head", "random")
    modes = ("--mode", "head-only", "freeze-lower-2", "lora")
    run_in_process("compare", *given, *modes)
    kinds = {".html", ".json", ".md", ".png", ".svg", ".yaml"}
    assert {p.suffix for p in (tmp_path / "out").iterdir()} == kinds
    found = json.loads((tmp_path / "out/compare.json").read_text())
    assert list(found["rows"]) == ["head-only", "freeze-lower-2", "lora"]
    assert len(found["pairs"]) == 3 and found["take"] is None  # two seeds show nothing
    assert found["dataset"] == str(reviews)
    rows = found["rows"]
    assert rows["head-only"]["forgetting"] == 0 and rows["lora"]["forgetting"] != 0
    assert rows["head-only"]["flops"] < rows["freeze-lower-2"]["flops"] < rows["lora"]["flops"]
    for row in rows.values():
        assert row["mean"] == pytest.approx(np.mean(row["scores"])) and len(row["scores"]) == 2
    said = capsys.readouterr().out
    assert found["sentence"] in " ".join(said.split()) and "|---" not in said
    assert "No test says which</h1>" in (tmp_path / "out/compare.html").read_text()
    monkeypatch.setattr("nlptl.train.finetune.finetune", None)  # a finished run is never made again
    run_in_process("compare", *given, *modes)
    again = json.loads((tmp_path / "out/compare.json").read_text())
    assert again == found
    page = (tmp_path / "out/compare.md").read_text()
    for part in ("bootstrap over both (Sellam et al., 2022", "(Holm, 1979)", "Seeds: 0, 1."):
        assert part in page
    assert f"Made with python {found['versions']['python']}, nlptl " in page
    run_in_process("compare", "--config", tmp_path / "out/config.yaml", "--resume")  # the same
    assert json.loads((tmp_path / "out/compare.json").read_text()) == found
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").iterdir()}
    with pytest.raises(UserError) as caught:
        run_in_process("compare", *given, "--mode", "head-only", "--upstream-text", reviews)
    for part in (
        "holds a run that began with other flags",
        "--mode was",
        "--upstream-text was None",
    ):
        assert part in str(caught.value)
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "out").iterdir()}


@pytest.mark.slow
def test_parallel_processes_give_the_same(masked_lm_checkpoint, reviews, tmp_path, monkeypatch):
    from nlptl.study import outcomes

    given = flags(
        masked_lm_checkpoint, reviews, tmp_path / "out", "--seeds", 2, "--mode", "head-only"
    )
    for name, more in (("one", []), ("two", ["--parallel", 2])):
        monkeypatch.setenv("NLPTL_CACHE", str(tmp_path / name))
        run_in_process("compare", *given, *more)
        kept = [json.loads(p.read_text()) for p in sorted(outcomes.folder().glob("*.json"))]
        assert len(kept) == 2
        if name == "one":
            first = kept
    assert [one["statistics"] for one in kept] == [one["statistics"] for one in first]


def test_all_mistakes_at_once(masked_lm_checkpoint, reviews, tmp_path):
    given = flags(masked_lm_checkpoint, reviews, tmp_path / "out")
    with pytest.raises(UserError) as caught:
        run_in_process(
            *("compare", *given, "--model", "bundled/nope", masked_lm_checkpoint),
            *("--mode", "head-onyl", "freeze-lower-9", "--parallel", 0, "--method", "finetun"),
        )
    message = str(caught.value)
    assert message.count("--model bundled/nope: there is no such bundled checkpoint") == 1
    assert "Did you mean 'head-only'" in message
    assert "has 3 blocks" in message
    assert "--parallel is 0" in message
    assert "--method finetun: there is no such method. Did you mean 'finetune'?" in message
    assert not (tmp_path / "out").exists()


def test_another_recipes_run_is_not_written_over(masked_lm_checkpoint, reviews, tmp_path):
    one = ("--mode", "head-only")
    for name in ("run", "old"):
        (tmp_path / name).mkdir()
    (tmp_path / "run/config.yaml").write_text(to_yaml(SentimentConfig()))
    with pytest.raises(ConfigError, match="holds a run of another recipe or version"):
        run_in_process("compare", *flags(masked_lm_checkpoint, reviews, tmp_path / "run", *one))
    (tmp_path / "old/compare.json").write_text("{}")  # of a version that kept no config.yaml
    with pytest.raises(ConfigError, match=r"holds another run \(compare.json\)"):
        run_in_process("compare", *flags(masked_lm_checkpoint, reviews, tmp_path / "old", *one))
    (tmp_path / "afile").write_text("")
    with pytest.raises(ConfigError, match="is a file; expected a directory"):
        run_in_process("compare", *flags(masked_lm_checkpoint, reviews, tmp_path / "afile", *one))


def test_flags_that_would_do_nothing_are_no_flags(tmp_path):
    for recipe in ("compare", "upstream_curve"):
        with pytest.raises(UserError, match="--tracker: there is no such flag"):
            run_in_process(recipe, "--tracker", "tensorboard", "--output-dir", tmp_path / "out")


def test_arms_are_named_by_what_they_differ_in():
    ways = [Way("a", "full"), Way("b", "full"), Way("b", "lora")]
    assert [arm_name(way, ways) for way in ways] == ["a full", "b full", "b lora"]
    ways = [Way("a", "full"), Way("a", "full", "twice")]
    assert [arm_name(way, ways) for way in ways] == ["full finetune", "full twice"]
    assert arm_name(ways[0], ways[:1]) == "full"
    files = [Way("a", "full", "one.py:half"), Way("a", "full", "two.py:half")]
    assert arm_name(files[0], [files[0], ways[0]]) == "full half"
    assert arm_name(files[0], files) == "full one.py:half"


def rows(**values):
    return {name: {"mean": mean, "flops": flops} for name, (mean, flops) in values.items()}


def pair(first, second, mean, se, p, equal_p=1.0, seeds=6):
    half = stats.t.ppf(0.975, 50) * se
    found = Difference(mean, mean - half, mean + half, p, se, 50.0)
    return Pair(first, second, found, p, equal_p, seeds, tests=3)


def test_take_is_said_where_a_test_says_so():
    given = rows(head=(0.6, 1.0), freeze=(0.79, 3.0), full=(0.8, 10.0))
    worse = [pair("head", "freeze", -0.19, 0.01, 0.001), pair("head", "full", -0.2, 0.01, 0.001)]
    better = [*worse, pair("freeze", "full", -0.05, 0.01, 0.001)]
    assert recommend(given, better) == (
        "full",
        "Take full, because it is reliably better than all the others.",
    )
    equal = [*worse, pair("freeze", "full", -0.001, 0.001, 0.3, 0.01)]
    assert recommend(given, equal) == (
        "freeze",
        "Take freeze, because it is equal to full within half a point, and its training takes 30% of the "
        "operations of the most expensive.",
    )
    cheap = rows(one=(0.6, 1.0), two=(0.61, 2.0), three=(0.62, 0.5))
    three = [
        pair("one", "two", -0.01, 0.02, 0.6),
        pair("one", "three", -0.02, 0.001, 0.001),
        pair("two", "three", -0.01, 0.001, 0.9, 0.01),
    ]
    take, why = recommend(cheap, three)
    assert take == "three" and "it is equal to two within half a point" in why


def test_where_no_test_says_which_none_is_taken():
    given = rows(head=(0.6, 1.0), freeze=(0.79, 3.0), full=(0.8, 10.0))
    worse = [pair("head", "freeze", -0.19, 0.01, 0.001), pair("head", "full", -0.2, 0.01, 0.001)]
    take, why = recommend(given, [*worse, pair("freeze", "full", -0.01, 0.01, 0.3)])
    assert take is None and why.startswith(
        "No test says which one to take: 2 of 3 are not shown to be worse than another. The cheapest of them "
        "is freeze: its training takes 30% of the operations of the most expensive. full scores 1.0 points "
        "more, and differences below "
    )
    small = [*worse, pair("freeze", "full", -0.025, 0.01, 0.02)]  # significant, below the threshold
    assert recommend(given, small)[0] is None
    far = rows(head=(0.6, 1.0), freeze=(0.79, 3.0), full=(0.82, 10.0))
    many = [*worse, pair("freeze", "full", -0.03, 0.01, 0.1)]  # enough alone, not among many
    assert "full scores 3.0 points more, p 0.1, corrected" in recommend(far, many)[1]
    same = rows(one=(0.6, 1.0), two=(0.61, 1.0))
    take, why = recommend(same, [pair("one", "two", -0.01, 0.02, 0.6)])
    assert (
        take is None
        and "The cheapest of them is two" in why
        and "one scores 1.0 points less" in why
    )
    two = [pair("one", "two", -0.2, 0.001, 0.0001, 0.0001, seeds=2)]
    assert two[0].better is None and not two[0].equal
    why = recommend(rows(one=(0.6, 1.0), two=(0.8, 2.0)), two)[1]
    assert "two scores 20.0 points more, which fewer than three seeds cannot show" in why
    assert recommend(rows(one=(0.6, 1.0)), []) == (
        None,
        "Only one was run: there is nothing to compare it with.",
    )


def test_the_slope_by_hand():
    """Two points of score for half a nat: four points a nat; scipy's least squares agrees."""
    losses, means = [4.0, 3.5, 3.0, 2.5], [0.6, 0.62, 0.64, 0.66]
    found = upstream_slope(losses, np.tile(np.reshape(means, (4, 1, 1, 1)), (1, 2, 5, 1)))
    assert found["slope_points_per_nat"] == pytest.approx(4)
    assert found["slope_ci95"] == pytest.approx([4, 4])
    assert found["spearman"] == pytest.approx(1)
    noisy = np.reshape([score + 0.01 * (-1) ** i for i, score in enumerate(means)], (4, 1, 1, 1))
    found = upstream_slope(losses, noisy)
    expected = stats.linregress(losses, noisy[:, 0, 0, 0])
    assert found["slope_points_per_nat"] == pytest.approx(-100 * expected.slope)
    assert found["slope_ci95"] is None


def test_the_slopes_interval_is_that_of_one_slope_a_seed():
    """Examples that all score alike leave seeds: Student's interval of the three seeds' own slopes."""
    losses = [4.0, 3.5, 3.0, 2.5]
    scores = np.random.default_rng(0).normal(0.6, 0.05, (4, 3, 1, 1))
    each = [-100 * stats.linregress(losses, scores[:, seed, 0, 0]).slope for seed in range(3)]
    found = upstream_slope(losses, np.tile(scores, (1, 1, 7, 1)))
    expected = stats.t.interval(0.95, 2, np.mean(each), stats.sem(each))
    assert found["slope_ci95"] == pytest.approx(expected)
    level = upstream_slope([3.0] * 4, scores)
    assert level["slope_points_per_nat"] == 0 and level["spearman"] is None


def test_without_checkpoints_the_command_that_makes_them_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        run_in_process("upstream_curve")
    assert "found 0 checkpoints in runs/pretrain/models (none); expected 4" in str(caught.value)
    assert "nlptl run pretrain --keep 5 makes them, in runs/pretrain." in str(caught.value)


@pytest.mark.slow
def test_downstream_against_upstream_runs_on_a_pretraining_run(tmp_path, reviews):
    corpus = tmp_path / "texts.txt"
    corpus.write_text(
        "\n".join(line.split(",")[0] for line in reviews.read_text().splitlines()[1:])
    )
    run_in_process(
        *("pretrain", "--corpus", corpus, "--output-dir", tmp_path / "pre", "--depth", 2),
        *("--width", 32, "--vocab-size", 150, "--positions", 64, "--max-length", 32),
        *("--batch-size", 8, "--steps", 12, "--keep", 3, "--held-out", 10),
    )
    run_in_process(
        *("upstream_curve", "--model", tmp_path / "pre", "--train-file", reviews, "--epochs", 1),
        *("--seeds", 2, "--output-dir", tmp_path / "out", "--upstream-text", corpus),
    )
    found = json.loads((tmp_path / "out/upstream_curve.json").read_text())
    assert len(found["points"]) == 4  # the start, and steps 1, 3 and 12
    assert found["points"][0]["upstream_loss"] > found["points"][-1]["upstream_loss"]
    assert found["spearman"] is None or -1 <= found["spearman"] <= 1
    assert (tmp_path / "out/upstream_curve.png").stat().st_size > 1000
    page = (tmp_path / "out/upstream_curve.md").read_text()
    assert "least squares" in page and f"nlptl {found['versions']['nlptl']}" in page
    saved = load_yaml(with_task(UpstreamCurveConfig, "sentiment"), tmp_path / "out/config.yaml")
    assert saved["model"] == (str(tmp_path / "pre"),)
    with pytest.raises(ConfigError, match="--seeds was 2, is 3"):
        run_in_process(
            "upstream_curve",
            "--config",
            tmp_path / "out/config.yaml",
            "--seeds",
            3,
            "--parallel",
            2,
        )
    assert checkpoints([str(tmp_path / "pre")])[0].endswith("step-0000000")
    with pytest.raises(ConfigError, match="found 1 checkpoint .* expected 4 or more"):
        run_in_process("upstream_curve", "--model", tmp_path / "pre/model", "--train-file", reviews)
