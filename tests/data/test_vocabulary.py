import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgraph.data.vocabulary import Vocabulary

COLUMNS = {
    "list": ["b", "a", "c"], "tuple": ("b", "a", "c"), "numpy": np.array(["b", "a", "c"]),
    "numpy objects": np.array(["b", "a", "c"], dtype=object), "pandas": pd.Series(["b", "a", "c"]),
    "pandas category": pd.Series(["b", "a", "c"], dtype="category"), "polars": pl.Series(["b", "a", "c"]),
    "arrow": pa.array(["b", "a", "c"]), "arrow large": pa.array(["b", "a", "c"], pa.large_string()),
    "arrow view": pa.array(["b", "a", "c"], pa.string_view()),
    "dictionary": pa.array(["b", "a", "c"]).dictionary_encode(),
    "chunked": pa.chunked_array([["b"], ["a", "c"]]), "one chunk": pa.chunked_array([["b", "a", "c"]]),
}


@pytest.mark.parametrize("column", COLUMNS.values(), ids=COLUMNS)
def test_the_number_of_an_id_is_its_position(column):
    vocabulary = Vocabulary(column)
    assert vocabulary.ids.to_pylist() == ["b", "a", "c"]
    assert vocabulary.numbers(["c", "b", "c"]).tolist() == [2, 0, 2]
    assert vocabulary.names(np.array([[2], [0]])) == ["c", "b"]
    assert vocabulary.find(column).tolist() == [0, 1, 2]


@pytest.mark.parametrize("column", [[30, 7], np.array([30, 7], dtype=np.uint8), pa.array([30, 7], pa.int16()),
                                    [30, "7"], [np.int64(30), "7"], pd.Series([30, 7], dtype="Int64")])
def test_integers_become_their_decimal_string(column):
    assert Vocabulary(column).ids.to_pylist() == ["30", "7"]
    assert 7 in Vocabulary(column)
    assert Vocabulary(column).numbers([7]).tolist() == Vocabulary(column).numbers(["7"]).tolist() == [1]


def test_integers_of_any_size():
    assert Vocabulary([2**63, 2**70]).ids.to_pylist() == [str(2**63), str(2**70)]


def test_find_says_minus_one_and_numbers_refuses():
    vocabulary = Vocabulary(["a", "b"], what="user")
    assert vocabulary.find(["b", "x", "a"]).tolist() == [1, -1, 0]
    with pytest.raises(KeyError, match=r"2 unknown user ids, e.g. \['x', 'y'\]; known are 2 ids such as \['a', 'b'\]"):
        vocabulary.numbers(["x", "a", "y"])


def test_nothing_is_an_ordinary_case():
    empty = Vocabulary([])
    assert len(empty) == 0
    assert empty.find(["a"]).tolist() == [-1]
    assert Vocabulary(["a"]).numbers([]).tolist() == []
    assert Vocabulary(["a"]).names([]) == []
    assert len(Vocabulary(pa.chunked_array([], pa.string()))) == 0


@pytest.mark.parametrize("ids", [["a", None], [1, None], ["a", 1, None], pd.Series(["a", np.nan]),
                                 pd.Series([1, np.nan]), ["a", pd.NA], ["a", 1, float("nan")],
                                 pl.Series(["a", None])], ids=str)
def test_refuses_nulls(ids):
    with pytest.raises(ValueError, match=r"1 of [23] user ids are null; drop these rows or give them an id"):
        Vocabulary(ids, what="user")


@pytest.mark.parametrize(("ids", "kind"), [([1.0, 2.0], "double"), (np.array([1.0]), "double"), ([b"a"], "binary"),
                                           ([True], "bool"), (["a", 1.5], "1.5"), (["a", True], "True"),
                                           (pa.array([1], pa.date32()), "date32")])
def test_refuses_what_is_neither_string_nor_integer(ids, kind):
    with pytest.raises(TypeError, match=f"item ids must be strings or integers, got {kind}"):
        Vocabulary(ids)


def test_refuses_empty_strings_and_a_single_string():
    with pytest.raises(ValueError, match="some item ids are the empty string"):
        Vocabulary(["a", ""])
    with pytest.raises(TypeError, match="got the single string 'abc'; put it in a list"):
        Vocabulary("abc")


@pytest.mark.parametrize("ids", [["a", "b", "a", "a"], ["1", 1, "b"]])
def test_refuses_duplicates(ids):
    with pytest.raises(ValueError, match=r"1 user ids are given more than once, e.g. .*drop or merge the duplicates"):
        Vocabulary(ids, what="user")


def test_takes_rows_in_the_order_given():
    taken = Vocabulary(["a", "b", "c"], what="user").take(np.array([2, 0]))
    assert taken.ids.to_pylist() == ["c", "a"]
    assert taken.what == "user"
    with pytest.raises(ValueError, match="more than once"):
        taken.take(np.array([0, 0]))


@pytest.mark.parametrize("number", [-1, 2])
def test_a_number_without_an_id_is_an_error(number):
    with pytest.raises(IndexError):
        Vocabulary(["a", "b"]).names([number])


def test_equality_is_that_of_ids_and_order_and_agrees_with_the_hash():
    assert Vocabulary(["1", "2"]) == Vocabulary([1, 2])
    assert Vocabulary(["1", "2"]) != Vocabulary(["2", "1"])
    assert Vocabulary(["1"]) != ["1"]
    assert hash(Vocabulary(["1"], what="user")) == hash(Vocabulary([1], what="item"))
    assert len({Vocabulary(["1"], what="user"), Vocabulary([1], what="item")}) == 1
    assert repr(Vocabulary(["1"], what="user")) == "Vocabulary(1 user ids)"


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(min_size=1).filter(lambda s: s.isprintable()), unique=True), st.randoms())
def test_names_and_numbers_are_inverse(ids, random):
    vocabulary, some = Vocabulary(ids), random.choices(ids, k=5) if ids else []
    assert vocabulary.names(vocabulary.numbers(some)) == some
    assert all(id_ in vocabulary for id_ in some)
    assert "\n" not in vocabulary
