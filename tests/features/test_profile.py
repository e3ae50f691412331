import datetime as dt
import json
import logging
import math
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgraph.features.attributes import check_kinds, kind_of, missing, parsed
from mmgraph.features.encoder import Encoder, Movable, Remarking, Unreadable
from mmgraph.features.image import ClassicalImage
from mmgraph.features.normalise import FAINT
from mmgraph.features.profile import Profile, profile_texts
from mmgraph.features.text import TfidfText

PEOPLE = [{"age": 20, "sex": "F", "likes": ["jazz", "rock"]}, {"age": 30, "sex": "M", "likes": ["rock"]},
          {"age": 40, "sex": "F", "likes": []}, {"age": 50, "sex": None}]
BIOS = ["plays old jazz records", "sings rock songs at night", "plays rock", "jazz and whales at night"]


class Lengths:
    """A text encoder that learns nothing: number of letters and of blanks."""

    modality = "text"
    device = "cpu"

    def settings(self):
        return {"of": "lengths"}

    def decode(self, content):
        if "\x00" in content:
            raise Unreadable("a zero byte")
        return content

    def fit(self, decoded):
        list(decoded)
        return self

    def encode(self, batch):
        return torch.tensor([[len(text), text.count(" ")] for text in batch], dtype=torch.float32).reshape(-1, 2)

    def to(self, device):
        moved = Lengths()
        moved.device = device
        return moved


def test_keeps_the_protocol():
    encoder = Profile()
    assert isinstance(encoder, Encoder)
    assert isinstance(encoder, Remarking)
    assert isinstance(encoder, Movable)
    assert (encoder.modality, encoder.name) == ("profile", "profile")
    with pytest.raises(ValueError, match=r"learned nothing yet; call encoder = encoder\.fit"):
        encoder.encode(PEOPLE)
    fitted = encoder.fit(iter(PEOPLE))
    assert encoder.columns is None
    assert fitted.encode([]).shape == (0, 5)
    assert fitted.encode(PEOPLE).dtype == torch.float32


def test_blocks_by_hand():
    x = Profile().fit(PEOPLE).encode(PEOPLE)
    sd, half = math.sqrt(125), 1 / math.sqrt(2)  # age | jazz rock | F M
    assert torch.allclose(x, torch.tensor([[-15 / sd, half, half, 1, 0], [-5 / sd, 0, 1, 0, 1],
                                           [5 / sd, 0, 0, 1, 0], [15 / sd, 0, 0, 0, 0]]))


def test_only_the_fitted_nodes_decide_what_is_known():
    fitted = Profile().fit(PEOPLE[:2])
    x = fitted.encode([{"age": 25, "sex": "X", "likes": ["folk", "rock", "rock"], "height": 180}, {"sex": "X"}, {}])
    assert x.tolist() == [[FAINT, 0, 1, 0, 0], [0] * 5, [0] * 5]


@pytest.mark.parametrize("nothing", [None, math.nan, math.inf, -math.inf, 1e39, 10**400, "", " \n", [], [None, ""]])
def test_what_is_missing_is_zero_and_teaches_nothing(nothing):
    assert missing(nothing)
    with_it = [*PEOPLE, {"age": nothing, "sex": nothing, "likes": nothing}]
    assert Profile().fit(with_it).settings() == Profile().fit(PEOPLE).settings()
    assert not Profile().fit(with_it).encode(with_it[-1:]).any()


def test_a_constant_number_is_present_and_extreme_ones_stay_finite():
    x = Profile().fit([{"price": 0.1}] * 3).encode([{"price": 0.1}, {"price": None}, {"price": 1.1}])
    assert x[:, 0].tolist() == pytest.approx([FAINT, 0, 1])
    far = Profile().fit([{"price": 0.0}, {"price": 1e-30}]).encode([{"price": 3e38}, {"price": -3e38}])
    assert far.isfinite().all()
    assert far[0, 0] > 1e37


def test_flags_are_categories_and_numbers_of_one_value_are_one_category():
    assert Profile().fit([{"new": True}, {"new": False}]).columns[0].values == ("false", "true")
    fitted = Profile(kinds={"code": "category"}).fit([{"code": 5}, {"code": 5.0}, {"code": "x"}, {"code": 2.5}])
    assert fitted.columns[0].values == ("2.5", "5", "x")


def test_dates_are_numbers_of_days():
    days = [{"born": "2000-01-01"}, {"born": "2000-01-03T00:00:00"}, {"born": "2000-01-05T01:00:00+01:00"}]
    column = Profile().fit(days).columns[0]
    assert (column.kind, column.mean, column.sd) == ("number", 10959, pytest.approx(math.sqrt(8 / 3)))
    assert parsed("number", "2000-02-31") is None


def test_text_is_as_by_its_own_encoder():
    fitted = Profile().fit([{"bio": text} for text in BIOS])
    own = TfidfText(dim=32, min_df=1).fit(BIOS)
    assert torch.allclose(fitted.encode([{"bio": text} for text in BIOS]), own.encode(BIOS), atol=1e-6)


def test_text_of_any_encoder_has_length_one():
    fitted = Profile(text=Lengths()).fit([{"bio": text} for text in BIOS])
    x = fitted.encode([{"bio": "abc d"}, {}, {"bio": "ab\x00"}, {"bio": "abcd efg"}])
    assert torch.allclose(x, torch.nn.functional.normalize(torch.tensor([[5.0, 1], [0, 0], [0, 0], [8, 1]])))
    assert fitted.encode([]).shape == (0, 2)


def test_a_moved_profile_has_moved_text_encoders():
    fitted = Profile(text=Lengths()).fit([{"bio": text} for text in BIOS])
    moved = fitted.to(torch.device("meta"))
    assert (moved.text.device.type, moved.columns[0].text.device.type) == ("meta", "meta")
    assert fitted.columns[0].text.device == "cpu"
    assert moved.settings() == fitted.settings()
    assert Profile().to(torch.device("cpu")).columns is None


def strings(n, distinct, form="{}"):
    return [form.format(i % distinct) for i in range(n)]


@pytest.mark.parametrize(("values", "kind"), [
    ([1, 2.5], "number"), ([True, False], "category"), ([["a"], ["b", "c"]], "labels"),
    (strings(8, 4, "sci fi {}"), "category"), (strings(7, 4, "sci fi {}"), "text"), (strings(400, 200), "category"),
    (strings(32, 32), "category"), (strings(33, 33), "none"), (strings(40, 39), "text"),
    (strings(1000, 257, "w{}"), "text"), (strings(33, 33, "a word {}"), "text"), (["2000-01-01"] * 9, "number"),
    (["2000-01-01", "x"] * 9, "category")])
def test_the_rule_by_which_kinds_are_told(values, kind):
    assert kind_of("column", values, 256) == kind


def test_ids_are_left_out_with_a_warning(caplog):
    nodes = [{"id": f"u{i}", "age": i} for i in range(40)]
    with caplog.at_level(logging.WARNING):
        fitted = Profile().fit(nodes)
    assert "'id' looks like an id (40 words, all distinct, e.g. 'u0') and is left out" in caplog.text
    assert fitted.encode(nodes).shape == (40, 1)
    assert fitted.settings()["kinds"] == {"id": "none", "age": "number"}
    assert Profile(kinds={"id": "category"}).fit(nodes).encode(nodes).shape == (40, 41)
    caplog.clear()
    Profile(kinds={"id": "none"}).fit(nodes)
    assert not caplog.records


def test_told_kinds_win():
    nodes = [{"a": "1", "b": 7, "c": "x"}, {"a": "3.0", "b": 8, "c": ["x", "y"]}]
    fitted = Profile(kinds={"a": "number", "b": "category", "c": "labels"}).fit(nodes)
    assert fitted.encode(nodes)[:, :3].tolist() == [[-1, 1, 0], [1, 0, 1]]
    assert fitted.columns[2].values == ("x", "y")
    tags = Profile(kinds={"c": "text"}, text=Lengths()).fit([{"c": ["ab", "c"]}])
    assert tags.encode([{"c": ["ab", "c"]}])[0].tolist() == pytest.approx([5 / math.sqrt(26), 1 / math.sqrt(26)])


def test_the_most_frequent_values_are_kept_and_ties_go_by_name():
    nodes = [{"likes": ["c", "b"]}, {"likes": ["c", "a"]}, {"likes": ["d"]}]
    fitted = Profile(max_values=2).fit(nodes)
    assert fitted.columns[0].values == ("a", "c")
    assert torch.allclose(fitted.encode(nodes), torch.tensor([[0, 1], [0.5**0.5, 0.5**0.5], [0, 0]]))


@pytest.mark.parametrize(("kinds", "nodes", "says"), [
    ({}, [{"x": 1}, {"x": "a"}], r"column 'x' holds int and str, which no single kind covers.*kinds=\{'x': 'none'\}"),
    ({}, [{"x": [1.5, 2]}], "column 'x' holds list, which no single kind covers"),
    ({}, [{"x": {"y": 1}}], "column 'x' holds dict"),
    ({}, [{}, {"x": None}], r"no attribute is left to encode of \[\]; fit on nodes that have some"),
    ({"x": "none"}, [{"x": 1}], r"no attribute is left to encode of \['x'\]"),
    ({"y": "number"}, [{"x": 1}], "kinds says that 'y' is number, and no fitted node has a value there"),
    ({"x": "number"}, [{"x": 1}, {"x": "tall"}], "kinds says that 'x' is number, e.g. 'tall'; correct"),
    ({"x": "category"}, [{"x": ["a"]}], r"kinds says that 'x' is category, e.g. \['a'\]"),
    ({"x": "text"}, [{"x": "the of"}], r"text column 'x' cannot be learned: no term is left.*\{'x': 'none'\}"),
])
def test_what_cannot_be_learned_is_told(kinds, nodes, says):
    with pytest.raises(ValueError, match=says):
        Profile(kinds=kinds).fit(nodes)


def test_wrong_arguments_are_told():
    with pytest.raises(ValueError, match=r"a kind is one of \['number', .*got \{'x': 'float'\}"):
        check_kinds({"x": "float", "y": "text"})
    with pytest.raises(ValueError, match="max_values must be at least 1, got 0"):
        Profile(max_values=0)
    with pytest.raises(ValueError, match="text must be an encoder of text, got one of image"):
        Profile(text=ClassicalImage())


@pytest.mark.parametrize("content", [b"\xff", "", "[1]", "3", "{'a': 1}", "[" * 100_000, '{"a": 1'])
def test_what_is_no_json_object_is_unreadable(content):
    with pytest.raises(Unreadable, match="attributes"):
        Profile().decode(content)
    assert Profile().decode(b'{"a": NaN}').keys() == {"a"}


def test_values_of_another_kind_count_as_missing_and_are_remarked():
    fitted = Profile().fit(PEOPLE)
    odd = {"age": "old", "sex": ["F"], "likes": [{"x": 1}], "other": object()}
    assert not fitted.encode([odd]).any()
    assert fitted.remark(odd) == ("age is no number: 'old'; likes is no labels: \"[{'x': 1}]\"; "
                                  "sex is no category: \"['F']\"")
    assert fitted.remark(PEOPLE[3]) is None
    assert Profile().remark(odd) is None


def test_settings_hash_all_that_was_learned_and_nothing_else():
    base = Profile().fit(PEOPLE).settings()
    assert json.loads(json.dumps(base)) == base
    assert base["kinds"] == {"age": "number", "sex": "category", "likes": "labels"}
    assert base["text"] is None  # no column is read by it
    assert Profile().fit([dict(reversed(node.items())) for node in PEOPLE]).settings() == base
    assert Profile(text=Lengths()).fit(PEOPLE).settings() == base
    others = [[{**PEOPLE[0], "age": 21}, *PEOPLE[1:]], [{**PEOPLE[0], "sex": "M", "likes": ["folk"]}, *PEOPLE[1:]]]
    hashes = {json.dumps(Profile().fit(nodes).settings()) for nodes in [PEOPLE, *others]}
    assert len(hashes) == 3


def test_texts_are_hashed_only_where_something_is_learned_from_them():
    one, two = ([{"bio": text} for text in BIOS[:n]] for n in (3, 4))
    assert Profile().fit(one).settings() != Profile().fit(two).settings()
    assert Profile(text=Lengths()).fit(one).settings() == Profile(text=Lengths()).fit(two).settings()
    assert Profile(text=Lengths()).fit(one).settings()["text"] == {"encoder": "Lengths", "of": "lengths"}


values = st.fixed_dictionaries({}, optional={
    "n": st.none() | st.integers() | st.floats(width=32), "c": st.none() | st.sampled_from(["a", "b", "c"]),
    "l": st.lists(st.sampled_from("pqrs"), max_size=5), "t": st.none() | st.sampled_from(BIOS)})


@settings(max_examples=60, deadline=None)
@given(st.lists(values, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_a_row_depends_on_its_node_alone_and_each_block_weighs_one(nodes, random):
    whole = FITTED.encode(nodes)
    assert whole.isfinite().all()
    order = random.sample(range(len(nodes)), len(nodes))
    assert torch.allclose(FITTED.encode([nodes[i] for i in order]), whole[order], atol=1e-6)
    for row, node in zip(whole, nodes, strict=True):
        blocks = row.split([3, 4, 1, len(row) - 8])
        assert bool(blocks[0].any()) == (node.get("c") is not None)
        assert float(blocks[1].norm()) == pytest.approx(float(bool(node.get("l"))), abs=1e-6)
        assert bool(blocks[2].any()) == (not missing(node.get("n")))
        assert float(blocks[3].norm()) == pytest.approx(float(node.get("t") is not None), abs=1e-6)


KNOWN = [{"n": i / 3, "c": "abc"[i % 3], "l": ["pqrs"[i % 4]], "t": BIOS[i % 4]} for i in range(7)]
FITTED = Profile(kinds={"t": "text"}).fit(KNOWN)


def test_texts_of_a_table_by_hand():
    table = pa.table({
        "user": ["a", "b", "c"], "z": [1, None, None], "price": [Decimal("2.50"), None, None],
        "born": [dt.date(2000, 1, 2), None, None], "seen": [dt.datetime(2000, 1, 2, 3, 4), None, None],
        "long": [dt.timedelta(minutes=2), None, None], "tags": [["é", None], [], None],
        "x": [math.nan, 1.5, None], "name": ["", " ", None], "ok": [None, False, None],
        "kind": pa.array(["p", None, None]).dictionary_encode()})
    assert profile_texts(table, {"user"}) == [
        '{"born": "2000-01-02", "kind": "p", "long": 120.0, "price": 2.5, "seen": "2000-01-02T03:04:00", '
        '"tags": ["é"], "z": 1}', '{"ok": false, "x": 1.5}', None]
    assert profile_texts(table.select(reversed(table.column_names)), ["user"]) == profile_texts(table, ["user"])
    assert profile_texts(table, table.column_names) == [None] * 3
    assert profile_texts(table.slice(0, 0)) == []
    with pytest.raises(TypeError, match="column 'image' holds bytes, which is no attribute; name it in leave_out"):
        profile_texts(pa.table({"image": [b"x"]}))


def test_numbers_survive_the_way_through_text():
    table = pa.table({"x": [0.1 + 0.2, 1e300, 5e-324], "n": [2**62, -1, 0]})
    assert [json.loads(text) for text in profile_texts(table)] == [
        {"x": 0.1 + 0.2, "n": 2**62}, {"n": -1}, {"x": 5e-324, "n": 0}]


@pytest.mark.realdata
def test_movielens_people_and_films_are_as_by_scikit_learn(data_root):
    from sklearn.preprocessing import MultiLabelBinarizer, OneHotEncoder, StandardScaler, normalize

    from mmgraph.data import load

    data = load("ml-1m", data_root / "ml-1m")
    encoder = Profile()
    users = [encoder.decode(text) for text in profile_texts(data.user_content)]
    fitted = encoder.fit(users[:3000])
    table = data.user_content.select(sorted(data.user_content.column_names)).to_pandas()
    expected = OneHotEncoder(handle_unknown="ignore", sparse_output=False).fit(table[:3000]).transform(table)
    assert fitted.settings()["kinds"] == dict.fromkeys(["age", "gender", "occupation"], "category")
    assert np.array_equal(fitted.encode(users).numpy(), expected)
    films = data.item_content.select(["genre", "year"])
    nodes = [encoder.decode(text) for text in profile_texts(films)]
    fitted, films = encoder.fit(nodes[:2000]), films.to_pandas()
    labels = MultiLabelBinarizer().fit(films["genre"][:2000])
    scaler = StandardScaler().fit(films[["year"]][:2000])
    expected = np.hstack([normalize(labels.transform(films["genre"])), scaler.transform(films[["year"]])])
    assert np.allclose(fitted.encode(nodes).numpy(), expected, atol=1e-4)  # a film of the mean year has 2⁻¹⁴, not 0
