"""The README's commands and promises hold: paths exist, flags parse, figures of the tables agree."""

import re
import shlex
from pathlib import Path

import pytest

from nlptl.cli.config import (
    CompareConfig,
    GridConfig,
    PretrainConfig,
    QAConfig,
    SentimentConfig,
    TaskConfig,
    UpstreamCurveConfig,
    parse_args,
    with_options,
)
from nlptl.methods.adapt.options import AdaptOptions
from nlptl.modes.listing import modes_table

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
KINDS = {
    "sentiment": SentimentConfig,
    "qa": QAConfig,
    "pretrain": PretrainConfig,
    "compare": CompareConfig,
    "upstream_curve": UpstreamCurveConfig,
    "adapt": with_options(GridConfig, AdaptOptions),
}


def commands():
    text = "\n".join(re.findall(r"```bash\n(.*?)```", README, re.S)).replace("\\\n", " ")
    return re.findall(r"recipes/(\w+)\.py([^\n#…]*)", text)


def test_every_recipe_line_of_the_readme_parses(monkeypatch):
    monkeypatch.chdir(ROOT / "tests/tasks/own")  # the tasks that it shows
    found = commands()
    assert {"adapt", *(recipe for recipe, _ in found)} == set(KINDS) and len(found) >= 6
    for recipe, words in found:
        parse_args(KINDS[recipe], shlex.split(words))
    (words,) = re.findall(
        r"nlptl train(.*?[^\\])\n", README[README.index("```bash\nnlptl train") :], re.S
    )[:1]
    config = parse_args(TaskConfig, shlex.split(words.replace("\\\n", " ")))
    assert config.column == ("first=premise", "second=claim", "score=mark")


@pytest.mark.parametrize("name", ["main", "tests"])
def test_the_two_commands_are_complete(name):
    (command,) = re.findall(rf"<!-- command: {name} -->\n```bash\n(.*)\n```", README)
    assert command.startswith("python3 -m venv .venv && .venv/bin/pip install")
    assert "-c constraints.txt" in command
    assert (ROOT / "constraints.txt").exists()


def test_links_lead_somewhere():
    files = [*ROOT.glob("*.md"), *ROOT.glob("*/README.md"), *ROOT.glob("nlptl/bundled/*/README.md")]
    assert len(files) >= 6
    links = [
        (f, link) for f in files for link in re.findall(r"\]\((?!http)([^)#]+)\)", f.read_text())
    ]
    assert links
    assert not [(f, link) for f, link in links if not (f.parent / link).exists()]


def test_the_table_of_modes_is_the_registrys():
    (stated,) = re.findall(r"^\| `--mode` \| what trains .*\n(?:\|.*\n)+", README, re.M)
    assert stated.strip() == modes_table()


def test_recipes_are_straight_lines_of_at_most_60_lines():
    recipes = sorted((ROOT / "recipes").glob("*.py"))
    assert {path.stem for path in recipes} == set(KINDS)
    for path in recipes:
        text = path.read_text()
        assert len(text.splitlines()) <= 60, path
        assert not re.search(r"^\s+(elif|else|while|class) ", text, re.M), path


def test_configurations_of_recipes_load(tmp_path):
    from nlptl.cli.config import load_yaml, to_yaml

    paths = sorted((ROOT / "recipes/configs").glob("*.yaml"))
    assert len(paths) >= 3
    for path in paths:
        recipe = path.stem.split("_")[0]
        config = KINDS[recipe](**load_yaml(KINDS[recipe], path))
        (tmp_path / "again.yaml").write_text(to_yaml(config))
        assert KINDS[recipe](**load_yaml(KINDS[recipe], tmp_path / "again.yaml")) == config
