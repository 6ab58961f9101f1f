"""``nlptl run``: recipes by name, in one process or in several, and what nlptl lists about itself."""

import json
import os
import re
import shutil
import sys

import pytest
from launching import ROOT, command

from nlptl.cli import doctor, listing
from nlptl.cli.help import as_typed
from nlptl.cli.run import launch, overview, recipes, run, split_processes
from nlptl.errors import ConfigError
from nlptl.modes.listing import describe_modes


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


def test_every_recipe_of_the_checkout_has_a_name():
    assert set(recipes()) == {path.stem for path in (ROOT / "recipes").glob("*.py")}
    for name in recipes():
        assert re.search(rf"^  {name.replace('_', '-')} +\w+", overview(), re.M)


@pytest.mark.parametrize("typed", ["few-shot", "few_shot"])
def test_a_recipe_is_found_with_hyphens_and_underscores(typed, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["nlptl"])
    with pytest.raises(SystemExit):
        run([typed, "--help"])
    assert "usage: nlptl run few-shot [flags]" in capsys.readouterr().out
    with pytest.raises(ConfigError, match=r"Did you mean 'few-shot'\?"):
        run(["few-shots"])


def test_the_recipes_of_the_wheel_are_found_without_a_checkout(tmp_path, monkeypatch):
    from nlptl.cli import run as running

    package = tmp_path / "nlptl"
    shutil.copytree(ROOT / "recipes", package / "recipes")
    monkeypatch.setattr(running, "PACKAGE", package)
    assert recipes()["qa"] == package / "recipes" / "qa.py"


@pytest.mark.parametrize(
    ("words", "rest", "processes"),
    [
        (["--mode", "full"], ["--mode", "full"], 1),
        (["--processes", "2", "--mode", "full"], ["--mode", "full"], 2),
        (["--mode", "full", "--processes=3"], ["--mode", "full"], 3),
    ],
)
def test_the_number_of_processes_is_taken_out(words, rest, processes):
    assert split_processes(words) == (rest, processes)


@pytest.mark.parametrize("words", [["--processes"], ["--processes=0"], ["--processes", "two"]])
def test_a_number_of_processes_that_is_none_is_refused(words):
    with pytest.raises(ConfigError, match="expected a number above 0"):
        split_processes(words)


def test_two_launchers_are_refused(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(ConfigError, match="has started this process already"):
        split_processes(["--processes", "2"])


def test_a_misspelt_recipe_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match="Did you mean 'sentiment'"):
        run(["sentment"])


def test_several_processes_form_a_group_and_their_exit_code_is_kept(tmp_path):
    """A recipe of four lines says who it is; one of its processes ends with exit code 2."""
    recipe = tmp_path / "recipe.py"
    recipe.write_text(
        "import json, os, pathlib, sys\n"
        "about = {n: os.environ[n] for n in ('RANK', 'WORLD_SIZE', 'OMP_NUM_THREADS')}\n"
        "pathlib.Path(sys.argv[1], about['RANK']).write_text(json.dumps(about))\n"
        "sys.exit(2 * (sys.argv[2] == 'wrong' and about['RANK'] == '1'))\n"
    )
    assert launch(recipe, [str(tmp_path), "right"], 2) == 0
    found = [json.loads((tmp_path / rank).read_text()) for rank in "01"]
    assert [each["RANK"] for each in found] == ["0", "1"]
    assert {each["WORLD_SIZE"] for each in found} == {"2"}
    assert launch(recipe, [str(tmp_path), "wrong"], 2) == 2


def test_run_takes_the_recipe_s_own_flags():
    done = command("-m", "nlptl", "run", "sentiment", "--help")
    assert done.returncode == 0 and "--mode" in done.stdout
    assert done.stdout.startswith("usage: nlptl run sentiment [flags]")
    wrong = command("-m", "nlptl", "run", "sentiment", "--mode", "ful")
    assert wrong.returncode == 2 and "Did you mean 'full'" in wrong.stderr


def test_models_and_tasks_are_listed():
    for name in ("bundled/bert", "bundled/roberta", "bundled/t5"):
        assert name in listing.describe_models()
    assert "text-classification" in listing.describe_tasks()


def test_listings_have_no_marks_of_docstrings_and_80_columns(monkeypatch):
    monkeypatch.setattr(doctor, "SECONDS", 0.0)
    tasks = listing.describe_tasks()
    assert "`" not in tasks and "fields" in tasks
    for shown in (tasks, listing.describe_models(), describe_modes(), doctor.examine()):
        long = [line for line in shown.splitlines() if len(line) > 80]
        assert all(" " not in line.strip()[14:].strip() for line in long)  # a path stays whole


def test_the_doctor_counts_in_words_that_agree(monkeypatch):
    monkeypatch.setattr(doctor, "SECONDS", 0.0)
    monkeypatch.setattr("nlptl.train.machine.cores", lambda: 1)
    monkeypatch.setattr("torch.get_num_threads", lambda: 1)
    assert "1 core, 1 thread in use" in doctor.examine()
    monkeypatch.setattr("nlptl.train.machine.cores", lambda: 2)
    assert "2 cores, 1 thread in use" in doctor.examine()
    assert "Of 2 cores only 1 is used: OMP_NUM_THREADS=" in doctor.examine()


def test_the_doctor_names_what_cannot_be_written(monkeypatch):
    monkeypatch.setattr(doctor, "SECONDS", 0.0)
    monkeypatch.setattr(os, "access", lambda place, how: False)
    found = doctor.examine()
    assert "cannot be written: set NLPTL_CACHE to a folder that can" in " ".join(found.split())
    assert re.search(r"^products +\d+ GFLOP/s", found, re.M) and "torch" in found


def test_the_folder_above_a_missing_one_is_found(tmp_path):
    assert doctor.existing(tmp_path / "no" / "such") == tmp_path


def test_the_name_of_the_recipe_comes_first():
    with pytest.raises(
        ConfigError, match="expected the name of a recipe first, as in nlptl run sen"
    ):
        run(["--processes", "2"])


def test_help_shows_the_commands_that_its_reader_can_type():
    text = "accelerate launch recipes/qa.py --mode full\npython recipes/upstream_curve.py"
    typed = "nlptl run qa --mode full\nnlptl run upstream-curve"
    assert as_typed(text, "nlptl run qa [flags]") == typed
    assert as_typed(text, "python recipes/qa.py [flags]") == text
