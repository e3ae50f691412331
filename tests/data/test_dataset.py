from dataclasses import replace

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgraph.data.dataset import Dataset
from mmgraph.data.raw import Precomputed, Raw

ROWS = {"who": ["u9", "u10", "u9", "u2"], "what": [30, 4, 4, 100], "when": [5, 6, 7, 8], "stars": [1.0, 2.0, 3.0, 4.5]}
CONTENT = {"what": [100, 30, 7], "text": ["hundred", None, "seven"], "image": [None, "30.jpg", None],
           "genre": [["a", "b"], None, []]}
FRAMES = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.table}


def of(users, items, content=None, **optional):
    return Dataset.from_frames(pa.table({"user": users, "item": items, **optional}), content,
                               **{name: name for name in optional})


def pairs(data):
    """The interactions by id, in the order of the rows."""
    return list(zip(data.users.names(data.user), data.items.names(data.item), strict=True))


@pytest.fixture(params=FRAMES.values(), ids=FRAMES)
def films(request):
    return Dataset.from_frames(request.param(ROWS), request.param(CONTENT), user="who", item="what", time="when",
                               weight="stars")


def test_any_frame_gives_the_same_data_set(films):
    assert films.users.ids.to_pylist() == ["u10", "u2", "u9"]
    assert films.items.ids.to_pylist() == ["4", "7", "30", "100"]
    assert films.interactions.to_pydict() == {"user": [0, 1, 2, 2], "item": [0, 3, 0, 2], "time": [6, 8, 7, 5],
                                              "weight": [2.0, 4.5, 3.0, 1.0]}
    assert films.item_content.to_pydict() == {
        "text": [None, "seven", None, "hundred"], "image": [None, None, "30.jpg", None],
        "genre": [None, [], None, ["a", "b"]]}
    assert films.user_content.num_rows == 3
    assert films.user_content.column_names == []
    again = Dataset.from_frames(pa.table(ROWS), pa.table(CONTENT), user="who", item="what")
    assert films.fingerprint == again.fingerprint
    assert len(films) == 4
    assert repr(films) == "Dataset(3 users, 4 items, 4 interactions; content: text, image, genre)"


def test_types_do_not_depend_on_the_frame(films):
    assert films.interactions.schema.types == [pa.int64(), pa.int64(), pa.int64(), pa.float64()]
    assert films.user.dtype == films.item.dtype == np.int64
    assert not films.user.flags.writeable


def test_polars_strings_lists_bytes_and_categories_can_be_taken():
    content = pl.DataFrame({
        "item": [9, 8], "text": ["a", None], "image": [b"1", None], "tags": [["x"], None],
        "pair": pl.Series([["a", "b"], ["c", "d"]], dtype=pl.Array(pl.String, 2)),
        "genre": pl.Series(["g", "h"], dtype=pl.Categorical), "kind": pl.Series(["k", "l"], dtype=pl.Enum(["l", "k"])),
        "topics": pl.Series([["t"], []], dtype=pl.List(pl.Categorical))})
    rated = pl.DataFrame({"user": pl.Series(["u"], dtype=pl.Categorical), "item": [9]})
    assert Dataset.from_frames(rated, content).k_core(1).item_content.to_pylist() == [
        {"text": "a", "image": b"1", "tags": ["x"], "pair": ["a", "b"], "genre": "g", "kind": "k", "topics": ["t"]}]


def test_numeric_ids_are_ordered_by_value_and_before_the_others():
    data = of([1, 1, 1, 1, 1, 1], ["10", "b", "9", "010", "-1", "٣"])
    assert data.items.ids.to_pylist() == ["9", "010", "10", "-1", "b", "٣"]


def test_pandas_index_is_no_content():
    content = pd.DataFrame({"item": [5, 6], "text": ["five", "six"]}, index=[7, 8])
    data = Dataset.from_frames(pd.DataFrame({"user": [1], "item": [6]}, index=["x"]), content)
    assert data.item_content.to_pydict() == {"text": ["five", "six"]}


def test_users_with_content_and_without_interactions_are_there():
    data = Dataset.from_frames(pa.table({"user": [2], "item": [1]}), None, pa.table({"user": [3, 1], "age": [33, 11]}))
    assert data.users.ids.to_pylist() == ["1", "2", "3"]
    assert data.user_content.to_pydict() == {"age": [11, None, 33]}
    assert (data.item_content.num_rows, data.item_content.num_columns) == (1, 0)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(5, 14), st.integers(8, 12), st.integers(0, 3)), min_size=1, max_size=40,
                unique=True), st.randoms())
def test_shuffled_and_repeated_rows_give_one_data_set_sorted_by_number(rows, random):
    def made(rows, content):
        users, items, time = zip(*rows, strict=True)
        weight = [u + i / 100 + t * 1000 for u, i, t in rows]  # moves with its row
        return of(users, items, pa.Table.from_pylist(content), time=time, weight=weight)

    content = [{"item": i, "text": str(i)} for i in range(8, 13)]
    data, again = made(rows, content), made(random.sample(rows, len(rows)), random.sample(content, 5))
    first = {(u, i): min(t for *pair, t in rows if pair == [u, i]) for u, i, _ in rows}
    assert pairs(again) == [(str(u), str(i)) for u, i in sorted(first)]  # 9 before 10: by number, not by text
    assert again.interactions["time"].to_pylist() == [first[pair] for pair in sorted(first)]
    assert again.interactions["weight"].to_pylist() == [u + i / 100 + first[u, i] * 1000 for u, i in sorted(first)]
    assert (np.diff(again.user * len(again.items) + again.item) > 0).all()
    assert again.interactions == data.interactions
    assert again.users == data.users
    assert again.fingerprint == data.fingerprint
    assert again.item_content["text"].to_pylist() == again.items.ids.to_pylist() == [str(i) for i in range(8, 13)]


def test_the_fingerprint_is_of_the_set_of_interactions_however_a_table_holds_them(films):
    assert replace(films, interactions=films.interactions.take([3, 1, 0, 2])).fingerprint == films.fingerprint
    assert replace(films, interactions=films.interactions.take([3, 1, 0])).fingerprint != films.fingerprint


@pytest.mark.parametrize(("users", "items"), [
    (["a", "a"], ["x", "z"]), (["a", "b"], ["x", "x"]), (["a"], ["x"]), (["a", "b"], ["y", "x"]), (["ax"], ["y"])])
def test_other_ids_or_interactions_give_another_fingerprint(users, items):
    assert of(users, items).fingerprint != of(["a", "b"], ["x", "y"]).fingerprint


def test_each_interaction_counts_in_the_fingerprint_not_only_its_ends():
    assert of(["a", "a", "b"], ["x", "y", "y"]).fingerprint != of(["a", "b", "b"], ["x", "x", "y"]).fingerprint


def test_the_border_between_user_and_item_ids_counts_in_the_fingerprint():
    assert of(["a"], ["bc"]).fingerprint != of(["ab"], ["c"]).fingerprint


def test_of_repeated_interactions_the_first_by_time_stays():
    data = of([1, 2, 1, 1], ["a", "a", "b", "a"], time=[9, 5, 1, 3], weight=[0.1, 0.2, 0.3, 0.4])
    assert data.interactions.to_pydict() == {"user": [0, 0, 1], "item": [0, 1, 0], "time": [3, 1, 5],
                                             "weight": [0.4, 0.3, 0.2]}


def test_of_repeated_interactions_of_one_time_or_none_the_first_row_stays():
    n, items = 300, ["a", "b"] * 150
    for time in ({}, {"time": [7] * n}, {"time": [9] * 100 + [7] * 200}):
        data = of([1] * n, items, weight=np.arange(n), **time)
        first = time.get("time", [7])[0] == 9
        assert data.interactions["weight"].to_pylist() == ([100, 101] if first else [0, 1])


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_are_seconds_whatever_their_unit(unit):
    moment = pa.array([np.datetime64("2001-09-09T01:46:40.9")]).cast(pa.timestamp(unit), safe=False)
    assert of([1], [1], time=moment).interactions["time"].to_pylist() == [1_000_000_000]


def test_time_zones_are_minded():
    frame = pd.DataFrame({"user": [1], "item": [1], "time": pd.to_datetime(["1970-01-02 00:00+02:00"])})
    data = Dataset.from_frames(frame, time="time")
    assert data.interactions["time"].to_pylist() == [22 * 3600]


def test_keeps_what_a_publisher_gave():
    link, vectors = pa.table({"source": ["1"], "target": ["2"]}), Precomputed(pa.array(["1"]), np.ones((1, 3)))
    raw = Raw(pa.table({"user": ["1", "1"], "item": ["1", "2"], "part": ["train", "test"]}), vectors={"image": vectors},
              item_links={"cites": link})
    data = Dataset.from_raw(raw)
    assert data.interactions["part"].to_pylist() == ["train", "test"]
    assert data.vectors["image"] is vectors
    assert data.item_links["cites"] is link
    assert repr(data).endswith("content: image)")
    assert repr(of([1], [1])).endswith("content: none)")


def test_renumbered_keeps_ids_content_and_interactions_together(films):
    some = films.renumbered(np.array([2, 0]), np.array([3, 2, 0]))
    assert some.users.ids.to_pylist() == ["u9", "u10"]
    assert some.items.ids.to_pylist() == ["100", "30", "4"]
    assert pairs(some) == [("u10", "4"), ("u9", "4"), ("u9", "30")]  # the rows stay in their order
    assert some.interactions["time"].to_pylist() == [6, 7, 5]
    assert some.item_content["text"].to_pylist() == ["hundred", None, None]
    assert some.item_content["image"].to_pylist() == [None, "30.jpg", None]
    assert some.user_content.num_rows == 2


def test_content_of_ids(films):
    assert films.content_of(films.items.take(np.array([3, 1])))["text"].to_pylist() == ["hundred", "seven"]
    with pytest.raises(KeyError, match=r"1 unknown item ids, e.g. .'5'"):
        films.content_of(type(films.items)(["5"]))


def peeled(rows, k):
    """The k-core, one interaction at a time."""
    left = set(rows)
    while True:
        poor = [(u, i) for u, i in left if sum(a == u for a, _ in left) < k or sum(b == i for _, b in left) < k]
        if not poor:
            return left
        left.remove(poor[0])


@settings(max_examples=60, deadline=None)
@given(st.sets(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=30), st.integers(1, 4))
def test_k_core_is_what_a_loop_leaves(rows, k):
    data, expected = of(*zip(*sorted(rows), strict=True)), peeled(rows, k)
    if not expected:
        with pytest.raises(ValueError, match=f"no user or item is left in the {k}-core of Dataset.*choose a smaller k"):
            data.k_core(k)
        return
    core = data.k_core(k)
    assert {(int(u), int(i)) for u, i in pairs(core)} == expected
    assert core.users.ids.to_pylist() == [str(u) for u in sorted({u for u, _ in expected})]
    assert core.items.ids.to_pylist() == [str(i) for i in sorted({i for _, i in expected})]


def test_k_core_peels_more_than_once_and_takes_the_content_along():
    block = [(u, i) for u in (1, 2, 3) for i in (1, 2, 3)]
    chain = [(3, 4), (4, 4), (4, 5), (5, 5)]  # peels from its end, and each step makes the next one poor
    content = pa.table({"item": [5, 4, 3, 2, 1], "text": ["five", "four", "three", "two", "one"]})
    core = of(*zip(*block, *chain, strict=True), content).k_core(3)
    assert len(core) == 9
    assert core.item_content["text"].to_pylist() == ["one", "two", "three"]
    two = of(*zip(*block, *chain, strict=True), content).k_core(2)
    assert two.fingerprint == core.fingerprint  # chain: 5 has one item, then item 5, user 4 and item 4 one


def test_frames_must_speak_arrow():
    with pytest.raises(TypeError, match=r"interactions must be a frame that speaks the Arrow .*, got list"):
        Dataset.from_frames([(1, 2)])
    with pytest.raises(TypeError, match=r"items must be a frame .*, got dict"):
        Dataset.from_frames(pa.table({"user": [1], "item": [1]}), {"item": [1]})


def test_unknown_columns_are_named():
    frame = pd.DataFrame({"userID": [1], "item": [1]})
    with pytest.raises(KeyError, match=r"the interactions have no column 'user', only \['userID', 'item'\]; name"):
        Dataset.from_frames(frame)
    with pytest.raises(KeyError, match="the interactions have no column 'when'"):
        Dataset.from_frames(frame, user="userID", time="when")
    with pytest.raises(KeyError, match=r"the items have no column 'item', only \['asin'\]"):
        Dataset.from_frames(frame, pd.DataFrame({"asin": ["1"]}), user="userID")
    with pytest.raises(KeyError, match="the users have no column 'userID'"):
        Dataset.from_frames(frame, None, pd.DataFrame({"user": ["1"]}), user="userID")


@pytest.mark.parametrize("frame", [pl.DataFrame({"user": [], "item": []}), pd.DataFrame({"user": [], "item": []})],
                         ids=["polars", "pandas"])
def test_empty_interactions_are_refused(frame):
    with pytest.raises(ValueError, match=r"the interactions are empty: .* at least one row \(user, item\)"):
        Dataset.from_frames(frame)


@pytest.mark.parametrize("frame", [pl.DataFrame, pd.DataFrame, pa.table])
@pytest.mark.parametrize(("ids", "error", "message"), [
    (["a", None, "b"], ValueError, "1 of 3 item ids are null; drop these rows"),
    ([1.0, 2.0, 3.0], TypeError, "item ids must be strings or integers, got double"),
    (["a", "", "b"], ValueError, "some item ids are the empty string")])
def test_broken_ids_are_refused(frame, ids, error, message):
    with pytest.raises(error, match=message):
        Dataset.from_frames(frame({"user": [1, 2, 3], "item": ids}))
    with pytest.raises(error, match=message):
        Dataset.from_frames(frame({"user": [1], "item": ["x"]}), frame({"item": ids, "text": ["a", "b", "c"]}))


def test_a_second_row_of_an_item_or_user_is_refused():
    frame = pa.table({"user": [1], "item": [1]})
    with pytest.raises(ValueError, match=r"1 item ids are given .* once, e.g. \['1'\]; an id has exactly one row"):
        Dataset.from_frames(frame, pa.table({"item": [1, 2, 1], "text": ["a", "b", "c"]}))
    with pytest.raises(ValueError, match="1 user ids are given more than once"):
        Dataset.from_frames(frame, None, pa.table({"user": ["7", "7"]}))


@pytest.mark.parametrize("name", ["time", "weight"])
def test_gaps_in_times_and_weights_are_refused(name):
    with pytest.raises(ValueError, match=f"1 interactions have no {name}; fill the column in or leave it out"):
        of([1, 2], [1, 2], **{name: [1, None]})
