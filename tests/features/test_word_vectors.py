import gzip
import json
import pickle
import threading

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from mmgraph.features import word_vectors
from mmgraph.features.encoder import Encoder, Unreadable
from mmgraph.features.word_vectors import CURLY, WordVectors, read_vectors

LINES = "red 1 0 0\ngreen 0 2 0\ndon't 0 0 3\nwon 5 5 5\nit's 1 1 1\n. . 7 8 9\n"


def written(folder, text, name="vectors.txt"):
    file = folder / name
    data = text if isinstance(text, bytes) else text.encode()
    file.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return file


def test_keeps_the_protocol(tmp_path):
    encoder = WordVectors(written(tmp_path, LINES))
    assert isinstance(encoder, Encoder)
    assert encoder.modality == "text"
    assert encoder.fit([]) is encoder
    x = encoder.encode([encoder.decode(b"red")])
    assert x.dtype == torch.float32
    assert encoder.encode([]).shape == (0, 3)
    assert pickle.loads(pickle.dumps(encoder)).encode(["red"]).equal(x)


def test_mean_of_the_known_words_by_hand(tmp_path):
    encoder = WordVectors(written(tmp_path, LINES))
    texts = ["red, Green!", "red red green", "unknown red", "nothing known here", "", "Don't", f"DON{CURLY}T",
             "won't", "'red'", "red_green"]
    expected = [[.5, 1, 0], [2 / 3, 2 / 3, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 3], [0, 0, 3], [5, 5, 5],
                [1, 0, 0], [0, 0, 0]]
    assert np.allclose(encoder.encode(texts), expected)


def test_capitals_count_where_they_are_asked_for(tmp_path):
    file = written(tmp_path, "Paris 1 0\nparis 0 1\n")
    assert WordVectors(file).encode(["Paris"]).tolist() == [[0, 1]]
    assert WordVectors(file, lower=False).encode(["Paris", "PARIS"]).tolist() == [[1, 0], [0, 0]]


@pytest.mark.parametrize("name", ["vectors.txt", "vectors.txt.gz", "vectors.vec"])
@pytest.mark.parametrize("text", [LINES, "6 3\n" + LINES, ("6 3\n" + LINES).replace("\n", " \n"),
                                  LINES.replace("\n", "\r\n"), LINES.rstrip("\n")])
def test_formats_agree(tmp_path, text, name):
    found = read_vectors(written(tmp_path, text, name))
    assert list(found.number) == ["red", "green", "don't", "won", "it's", ". ."]
    assert found.vectors.tolist() == [[1, 0, 0], [0, 2, 0], [0, 0, 3], [5, 5, 5], [1, 1, 1], [7, 8, 9]]
    assert found.vectors.dtype == np.float32


def test_words_with_spaces_even_in_the_first_line(tmp_path):
    found = read_vectors(written(tmp_path, ". . . 1 2\nat home 3 4\nat 5 6\n12 7 8\n1 2 9 10\n"))
    assert list(found.number) == [". . .", "at home", "at", "12", "1 2"]
    assert found.vectors[4].tolist() == [9, 10]


def test_of_a_word_that_comes_twice_the_first_is_taken(tmp_path):
    found = read_vectors(written(tmp_path, "3 1\na 1\na 2\nb 3\n"))
    assert found.number == {"a": 0, "b": 1}
    assert found.vectors.tolist() == [[1], [3]]


@pytest.mark.parametrize(("text", "message"), [
    ("a 1 2\nb 1\n", r"line 2: expected a word and 2 numbers, got b'b 1'"),
    ("a 1 2\nb 1 x\n", "line 2: expected a word and 2 numbers"),
    ("a 1 2\n\nb 1 2\n", "line 2: expected a word and 2 numbers, got b''"),
    ("2 2\na 1 2\n 1 2\n", "line 3: expected a word"),
    ("2 2\na 1 2\nb 1 nan\n", "line 3: the vector of 'b' holds a value that is no finite"),
    ("2 2\na 1 2\nb 1 1e39\n", "line 3: the vector of 'b'"),
    ("a 1 2\nb inf 2\n", "line 2: the vector of 'b'"),
    (b"a 1 2\n\xff 1 2\n", "line 2: expected a word and 2 numbers"),
    ("a\n", "line 1: expected a word and some numbers"),
    ("3 2\na 1 2\nb 3 4\n", "holds 2 words, but its first line says 3"),
    ("1 2\na 1 2\nb 3 4\n", "holds 2 words, but its first line says 1"),
    ("5 0\na\n", "line 2: expected a word and some"), ("5 2\n", "holds 0 words"), ("", "holds 0 words")])
def test_damaged_files_are_refused_with_the_line(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        WordVectors(written(tmp_path, text)).encode(["a"])


def test_a_truncated_archive_is_refused(tmp_path):
    whole = written(tmp_path, LINES * 50, "v.gz").read_bytes()
    (tmp_path / "v.gz").write_bytes(whole[:-12])
    with pytest.raises(ValueError, match=r"v\.gz is damaged .* fetch it again"):
        WordVectors(tmp_path / "v.gz").encode(["a"])


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        WordVectors(tmp_path / "none.txt")


def test_settings_name_the_content_and_not_the_place(tmp_path):
    first, second = (WordVectors(written(tmp_path, LINES, name)) for name in ("a.txt", "b.txt"))
    assert first.settings() == second.settings()
    assert set(json.loads(json.dumps(first.settings()))) == {"lower", "words", "weights"}
    assert first.name == str(tmp_path / "a.txt")
    assert WordVectors(written(tmp_path, LINES + "new 1 2 3\n", "b.txt")).settings() != first.settings()
    assert WordVectors(tmp_path / "a.txt", lower=False).settings() != first.settings()


def test_the_file_is_read_at_the_first_encode_and_once(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(word_vectors, "read_vectors", lambda file: calls.append(1) or read_vectors(file))
    encoder = WordVectors(written(tmp_path, LINES))
    encoder.settings()
    encoder.decode("red")
    assert not calls
    threads = [threading.Thread(target=encoder.encode, args=(["red"],)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1


def test_what_is_no_text(tmp_path):
    with pytest.raises(Unreadable, match="not UTF-8"):
        WordVectors(written(tmp_path, LINES)).decode(b"\xff")


@given(st.lists(st.lists(st.sampled_from(["red", "green", "won", "blue", "."]), max_size=6), max_size=6))
@hypothesis_settings(max_examples=50, deadline=None)
def test_a_row_depends_on_its_own_words_only_and_not_on_their_order(tmp_path_factory, texts):
    file = tmp_path_factory.getbasetemp() / "property.txt"
    file.write_text(LINES)
    encoder = WordVectors(file)
    together = encoder.encode([" ".join(text) for text in texts])
    for row, text in zip(together, texts, strict=True):
        assert torch.allclose(row, encoder.encode([" ".join(sorted(text))])[0], atol=1e-6)
