"""Files for nlptl predict: read as training files are; nothing is left behind by one that is refused."""

import json

import pytest

from nlptl.cli import main
from nlptl.errors import DataError


def test_texts_a_line_with_and_without_a_byte_order_mark(tmp_path):
    path = tmp_path / "t[1].TXT"
    (tmp_path / "t1.TXT").write_text("wrong")
    path.write_bytes("\ufeffune scène\r\n\n b \n".encode())
    assert list(main._rows(path, {"text": None})) == ["une scène", "b"]


@pytest.mark.parametrize("name", ["t.txt", "t.csv", "t.jsonl"])
def test_other_bytes_are_refused_before_anything_is_written(tmp_path, name):
    (tmp_path / name).write_bytes(b'text\n{"text": "a"}\nune sc\xe8ne\n')
    with pytest.raises(DataError, match=r"found another byte \(0xe8\) in line 3.*Save it as UTF-8"):
        main._rows(tmp_path / name, {"text": None})
    (tmp_path / "t.txt").write_bytes("a".encode("utf-16"))
    with pytest.raises(DataError, match="expected UTF-8, found UTF-16"):
        main._rows(tmp_path / "t.txt", {"text": None})


def test_a_list_under_data_is_a_table_for_texts(tmp_path):
    rows = [{"text": "a", "id": 1}, {"text": "b", "id": 2}]
    (tmp_path / "t.json").write_text(json.dumps({"data": rows}))
    assert main._rows(tmp_path / "t.json", {"text": None}).to_list() == [
        {"text": "a"},
        {"text": "b"},
    ]


def test_an_output_without_a_record_does_not_block_the_next_try(tmp_path):
    def failing(*records):
        yield from records
        raise DataError("a text is wrong")

    for records, left in (((), False), (({"prediction": "x"},), True)):
        with pytest.raises(DataError, match="a text is wrong"):
            main._write(failing(*records), tmp_path / "out.jsonl", 2)
        assert (tmp_path / "out.jsonl").exists() is left
