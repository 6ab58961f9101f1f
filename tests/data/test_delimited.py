"""csv and tsv as people write them: read as they are meant, or refused with what is wrong; never half."""

import pytest

from nlptl.data.sources import read_table


@pytest.fixture
def read(tmp_path):
    def rows(content, name="t.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_table(path, "--train-file").to_dict()

    return rows


FILM = {"text": ["a film, fine", "a book"], "label": ["good", "bad"]}


@pytest.mark.parametrize(
    "content",
    [
        'text,label\n"a film, fine",good\na book,bad\n',
        '\ufefftext,label\r\n"a film, fine",good\r\na book,bad\r\n',
        '"text","label"\r"a film, fine","good"\r"a book","bad"\r',
        "text;label\na film, fine;good\na book;bad\n",
        'sep=;\ntext;label\n"a film, fine";good\na book;bad\n',
        "text\tlabel\na film, fine\tgood\na book\tbad\n",
        "text|label\n\na film, fine|good\n\na book|bad",
        'text, label\n"a film, fine", good\na book, bad\n',
        'text,label\n0,"a film, fine",good\n1,a book,bad\n',
    ],
)
def test_the_usual_ways_to_write_a_table(read, content):
    assert read(content) == FILM


def test_values_stay_as_they_are_written(read):
    table = read("text,label,n\nNA,007,1.50\nnull,True,\n nan ,1e3,-1\n")
    assert table == {
        "text": ["NA", "null", " nan "],
        "label": ["007", "True", "1e3"],
        "n": ["1.50", "", "-1"],
    }


def test_a_column_of_row_numbers_with_and_without_a_name(read):
    assert read(",text,label\n0,a,x\n1,b,y\n") == {
        "Unnamed: 0": ["0", "1"],
        "text": ["a", "b"],
        "label": ["x", "y"],
    }
    assert read("text,label\n1,a,x\n2,b,y\n")["text"] == ["a", "b"]


def test_rows_of_another_length_are_refused_with_the_numbers(refused):
    message = refused("text,label\nnice, really,good\nbad, really,bad\n")
    assert "line 2 has 3 fields, the header has 2 (text, label); so it is in 2 of 2 rows" in message
    assert 'Put quotation marks around texts that hold a comma: "one, two".' in message
    assert "line 3 has 1 field, the header has 2" in refused("text,label\na,x\nb\n")
    assert "line 4 has 3 fields" in refused('text,label\n"a\nb",x\nc,d,y\n')
    assert "line 2 has 2 fields, the header has 1" in refused("text\nfine, I think\n")
    assert "line 4 has 3 fields" in refused("text,label\n0,a,x\n5,b,y\n").replace(
        "line 2", "line 4"
    )
    # Texts that begin with a number are no row numbers.
    assert "2 of 2 rows" in refused("text,label\n10,000 people,x\n20,000 people,y\n")


def test_lines_above_the_header_are_named(read, refused):
    rows = "id,text,label\n1,a,x\n2,b,y\n"
    for above, line in (
        ("# exported 2024\n", 2),
        ("Survey results,\n", 2),
        ("Survey; results\n", 2),
        ("Survey results\n\nby Ada, 2024\n", 4),
    ):
        message = refused(above + rows)
        assert f"The header seems to be line {line} (id, text, label)" in message
        assert "have 3 fields: if it is, remove the lines above it. Else: Put quotation" in message
    assert "to be line 2 (id, text, label)" in refused(
        "# 2024\n" + rows.replace(",", "\t"), "t.tsv"
    )
    message = refused("Survey results,,\n" + rows)
    assert (
        "the first line has the name 'Survey results' and no other one. The header seems" in message
    )
    assert "line 2 (id, text, label). Remove the lines above it." in message
    assert read("text,,\na,,\nb,,\n")["text"] == ["a", "b"]
    for plain in ("text,label\na,x\nb\nc,y\n", "text,label\nb\na,x\nc,y\n"):
        assert "The header seems" not in refused(plain)


def test_another_separator_than_the_headers_is_named(refused):
    message = refused("text (a, b);label\nfine;x\npoor;y\n")
    assert "Fields seem to be separated by a semicolon; save the file with a comma." in message
    message = refused("text;label|mark\na;b|c\n")
    assert "the header has a semicolon and a vertical bar, and it is unclear which" in message


def test_quotation_marks_that_do_not_match_are_refused_with_their_line(refused):
    for wrong in ('"open,x', '"He said \\"no\\"",x', '"a" b,x', '"open,x\n"b",y'):
        message = refused(f"text,label\nfine,x\n{wrong}\n")
        assert "the quotation marks do not match in the record that begins in line 3" in message


def test_a_mark_inside_a_field_is_a_character(read):
    assert read('text,label\n5" nails,x\nso "so",y\n')["text"] == ['5" nails', 'so "so"']


def test_the_header_twice_or_again_among_the_rows_is_refused(refused):
    assert "has the column text more than once" in refused("text,text,label\na,b,c\n")
    message = refused("text,label\na,x\ntext,label\nb,y\n")
    assert "line 3 is the header once more. Were two files joined?" in message


LONE = 'text\tlabel\n"tis fine\tgood\nthe "so" bad\tbad\n" no\tbad\n'
PANDAS = 'text\tlabel\n"He said ""no"""\tbad\nplain\tgood\n'
LINES = 'text\tlabel\n"one\ntwo"\tbad\n"a\tb"\tgood\n'


def test_tabs_with_and_without_quoting(read, refused):
    assert read(LONE, "t.tsv")["text"] == ['"tis fine', 'the "so" bad', '" no']
    assert read(PANDAS, "t.tsv")["text"] == ['He said "no"', "plain"]
    assert read(LINES, "t.tsv")["text"] == ["one\ntwo", "a\tb"]
    assert read('text\tlabel\n"yes" or "no"\tbad\n', "t.tsv")["text"] == ['"yes" or "no"']
    assert read("text,label\na,x\n", "t.tsv")["text"] == ["a"]
    assert read("text\tlabel\na\tx\n", "T.TSV")["text"] == ["a"]
    assert "was read without quoting" in refused('text\tlabel\n"a\tb\tc\td\n', "t.tsv")
    both = 'text\tlabel\n"x\tq\nz"\tgood\n'
    assert "can be read with quoting and without" in refused(both, "t.tsv")


def test_other_encodings_and_other_files_are_named_with_the_remedy(refused):
    text = "text,label\nune scène,x\n"
    message = refused(text.encode("cp1252"))
    assert "found another byte (0xe8) in line 2 (byte 17)" in message
    assert 'Save it as UTF-8 (Excel: "CSV UTF-8").' in message
    assert "expected UTF-8, found UTF-16" in refused(text.encode("utf-16"))
    assert "found UTF-32" in refused(text.encode("utf-32"))
    assert "a zero byte in line 1 (byte 1)" in refused(text.encode("utf-16-le"))
    assert "found another byte (0xc3) in line 3" in refused(b"text,label\nab,x\n\xc3")
    # Across the edge of two blocks, and far into the file.
    long = "text,label\n" + "a" * (2**20 - 12)
    assert "(0xc3) in line 2 (byte 1048575)" in refused(long.encode() + b"\xc3(,x\n")
    assert "a zip archive or an Excel workbook. Unpack it" in refused(b"PK\x03\x04" + text.encode())
    assert "packed by gzip" in refused(b"\x1f\x8b" + text.encode())
    assert "a pointer of git-lfs" in refused("version https://git-lfs.github.com/spec/v1\noid x\n")
    assert "a web page. Download the raw file." in refused("\n<!DOCTYPE html><html></html>")
    assert "no parquet table" in refused(text, "t.parquet")
    assert "Rename it to .parquet" in refused(b"PAR1....PAR1")


def test_a_character_on_the_edge_of_two_blocks_is_read(read):
    long = "a" * (2**20 - 12) + "é"
    assert read(f"text,label\n{long},x\n")["text"] == [long]
