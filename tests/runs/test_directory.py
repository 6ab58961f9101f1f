"""An output directory: whose files are in it, and whether they may be overwritten."""

import pytest

from nlptl.errors import ConfigError
from nlptl.runs.directory import OWN_OR_RUN_FILES, RUN_FILES, check_free, reserve


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("name", OWN_OR_RUN_FILES)
def test_files_that_a_run_would_overwrite_are_refused(tmp_path, name, resume):
    (tmp_path / name).write_text("MINE")
    with pytest.raises(ConfigError, match=f"would overwrite .{name}., and no config.yaml"):
        check_free(tmp_path, resume=resume)
    assert (tmp_path / name).read_text() == "MINE"


@pytest.mark.parametrize("name", RUN_FILES)
def test_what_a_run_left_is_refused_and_resumed_only_by_its_configuration(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(ConfigError, match="holds another run"):
        check_free(tmp_path, resume=False)
    reserve(tmp_path / "run", "seed: 0\n")
    (tmp_path / "run/README.md").write_text("the run's")
    check_free(tmp_path / "run", resume=True)
    (tmp_path / "run/config.yaml").unlink()
    with pytest.raises(ConfigError, match="README.md"):
        check_free(tmp_path / "run", resume=True)


def test_a_link_that_leads_nowhere_is_a_file_too(tmp_path):
    (tmp_path / "README.md").symlink_to(tmp_path / "away")
    with pytest.raises(ConfigError, match="README.md"):
        check_free(tmp_path, resume=False)


def test_a_folder_with_other_files_is_free(tmp_path):
    for name in ("train.csv", "notes.md", "events.out", ".git"):
        (tmp_path / name).write_text("mine")
    check_free(tmp_path, resume=False)
    check_free(tmp_path / "new/run", resume=True)
