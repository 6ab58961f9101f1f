"""CoNLL files with words and tags in lines, and tags in IOB1."""

import pytest
from datasets import ClassLabel, Dataset, Features, List

from nlptl.data.sources import TAGGED_READERS, read_table
from nlptl.data.tags import begun_inside, holds_tags, in_iob2, is_iob1, to_iob2
from nlptl.errors import DataError


def read(path, text):
    path.write_text(text, encoding="utf-8", newline="")
    return read_table(path, "--train-file", TAGGED_READERS)


def test_tabs_or_spaces_separate_and_blank_lines_end_sentences(tmp_path):
    expected = {"tokens": [["Ada", "sings"], ["#", "she"]], "tags": [["B-PER", "O"], ["O", "O"]]}
    tabs = "Ada\tB-PER\r\nsings\tO\r\n\t\r\n\n#\tO\r\nshe\tO"
    assert read(tmp_path / "a.conll", tabs).to_dict() == expected
    spaces = "-DOCSTART- O\n\nAda B-PER\nsings O\n\n# O\nshe O\n\n"
    assert read(tmp_path / "b.txt", spaces).to_dict() == expected
    commented = "# id = 1\nAda\tB-PER\nsings\tO\n\n# id = 2\n#\tO\nshe\tO\n"
    assert read(tmp_path / "c.iob2", commented).to_dict() == expected


def test_fields_between_word_and_tag_have_columns_of_their_own(tmp_path):
    table = read(tmp_path / "a.bio", "Ada NNP I-NP B-PER\nsings VBZ I-VP O\n")
    assert table.column_names == ["tokens", "column_2", "column_3", "tags"]
    assert table[0]["column_2"] == ["NNP", "VBZ"] and table[0]["tags"] == ["B-PER", "O"]


def test_a_first_field_that_counts_the_words_is_left_out(tmp_path):
    expected = {"tokens": [["Ada", "sings"], ["She"]], "tags": [["B-PER", "O"], ["O"]]}
    assert (
        read(tmp_path / "a.conll", "1\tAda\tB-PER\n2\tsings\tO\n\n1\tShe\tO\n").to_dict()
        == expected
    )
    assert read(tmp_path / "b.conll", "0 Ada B-PER\n1 sings O\n\n0 She O\n").to_dict() == expected
    german = "#\tn-tv.de [2005-02-26]\n1\tAda\tO\tB-PER\n2\tsings\tO\tO\n\n#\tx\n1\tShe\tO\tO\n"
    table = read(tmp_path / "c.conll", german)
    assert table.column_names == ["tokens", "column_3", "tags"]
    assert table.select_columns(["tokens", "tags"]).to_dict() == expected
    inserted = "# text = x\n1\tAda\tB-PER\n1-2\tAdas\t_\n1.1\tis\t_\n2\tsings\tO\n\n1\tShe\tO\n"
    assert read(tmp_path / "d.conll", inserted).to_dict() == expected


@pytest.mark.parametrize(
    "text", ["1 CD O\n3 CD O\n", "1 CD O\n\n1 CD O\n", "1 O\n2 O\n", "2 CD O\n3 CD O\n"]
)
def test_other_numbers_are_words(tmp_path, text):
    table = read(tmp_path / "a.conll", text)
    assert table["tokens"][0][0] == text[0]


def test_a_line_with_other_fields_is_named(tmp_path):
    with pytest.raises(DataError, match=r"line 2 has 1 fields, the first has 2, with tabs between"):
        read(tmp_path / "a.conll", "Ada\tB-PER\nsings\n")
    with pytest.raises(DataError, match=r"line 2 has 3 fields.*'sings VBZ O'"):
        read(tmp_path / "b.conll", "Ada B-PER\nsings VBZ O\n")
    with pytest.raises(DataError, match="line 1 has 1 fields"):
        read(tmp_path / "c.conll", "\tO\nAda\tO\n")
    with pytest.raises(DataError, match="has one field; expected a word and its tag on each line"):
        read(tmp_path / "d.conll", "Ada\nsings\n")
    with pytest.raises(DataError, match="the file holds no rows"):
        read(tmp_path / "e.conll", "-DOCSTART- O\n\n")


@pytest.mark.parametrize(
    ("text", "sure"),
    [
        ("Ada B-PER\nsings O\n", True),
        (
            "Ada NNP B-PER\n\nsings VBZ O\nin\n",
            True,
        ),  # the line without a tag is told when it is read
        ("Ada noun\nsings verb\n", True),
        ("# id = 1\nAda\tN\nsings\tV\n", True),
        ("Ada sings.\nI like it.\n", False),
        ("Ada sings.\n\nI hear\n", False),
        ("Ada sings a verb\nand no word more\nof any kind\n", False),
        ("12\tAda sings.\n13\tI hear it.\n", False),
        ("Ada\nsings\n", False),
        ("My blood is O\n", False),
        ("", False),
    ],
)
def test_a_text_file_is_words_with_tags_only_where_that_is_sure(tmp_path, text, sure):
    (tmp_path / "t.txt").write_text(text)
    assert holds_tags(tmp_path / "t.txt", ("noun", "verb")) is sure


def test_tags_in_iob1_are_recognized_and_rewritten():
    iob1 = [["I-PER", "I-PER", "B-PER", "O"], ["I-LOC", "O"]]
    table = Dataset.from_dict({"id": [1, 2], "tags": iob1})
    assert is_iob1(table, "tags")
    iob2 = [["B-PER", "I-PER", "B-PER", "O"], ["B-LOC", "O"]]
    assert in_iob2(table, "tags")["tags"][:] == iob2 == list(map(to_iob2, iob1))
    assert not is_iob1(Dataset.from_dict({"tags": iob2}), "tags")
    for other in ([["O"]], [["NN", "VB"]], [["B-A", "E-A"]], [["I-A", "E-A"]], [["B-A"], ["I-A"]]):
        assert not is_iob1(Dataset.from_dict({"tags": other}), "tags")
    names = Features({"tags": List(ClassLabel(names=["O", "I-X"]))})
    numbered = Dataset.from_dict({"tags": [[1, 0, 1]]}, features=names)
    numbered = numbered.add_column("id", [1])
    assert in_iob2(numbered, "tags")["tags"][:] == [["B-X", "O", "B-X"]]


def test_tags_that_continue_nothing_are_counted():
    assert begun_inside(["B-A", "I-A", "I-B", "I-B", "O", "I-A"]) == 2
    assert begun_inside(["B-A", "O"]) == 0
