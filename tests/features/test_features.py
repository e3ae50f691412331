import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmgraph.data.vocabulary import Vocabulary
from mmgraph.features.features import Features, check_shape, from_arrays


def three(**arrays):
    return from_arrays(["a", "b", "c"], arrays or {"text": [[1, 2], [0, 0], [3, 4]], "image": [[5], [6], [0]]})


def test_from_arrays_takes_zero_and_nan_rows_as_absent():
    features = from_arrays([10, 20, 30], {"text": np.array([[1, 2], [0, 0], [np.nan, np.nan]])})
    assert features.x["text"].tolist() == [[1, 2], [0, 0], [0, 0]]
    assert features.present["text"].tolist() == [True, False, False]
    assert features.ids.ids.to_pylist() == ["10", "20", "30"]
    assert features.dims == {"text": 2}


def test_from_arrays_owns_its_matrix():
    source = np.ones((3, 2), dtype=np.float32)
    tensor = torch.ones(3, 2, requires_grad=True)
    features = three(array=source, tensor=tensor)
    source[:] = 7
    with torch.no_grad():
        tensor.fill_(7)
    assert all((x == 1).all() and not x.requires_grad for x in features.x.values())


def test_from_arrays_takes_a_read_only_array():
    array = np.ones((3, 2), dtype=np.float16)
    array.flags.writeable = False
    assert three(text=array).x["text"].dtype == torch.float32


@pytest.mark.parametrize(("array", "message"), [
    (np.ones((2, 2)), r"shape \(3, dim > 0\).* for 3 items, got \(2, 2\)"),
    (np.ones(3), r"must be a matrix \(rows, dim\), got shape \(3,\)"),
    (np.ones((3, 2, 1)), "must be a matrix"),
    (np.ones((3, 0)), "dim > 0"),
    (np.array([[1, 2], [np.nan, 1], [3, 4]]), r"text features have NaN or infinite values in 1 rows, e.g. \['b'\]"),
    (np.array([[1, 2], [-np.inf, np.inf], [np.inf, 4]]), r"2 rows, e.g. \['b', 'c'\]"),
])
def test_from_arrays_refuses_a_wrong_matrix(array, message):
    with pytest.raises(ValueError, match=message):
        three(text=array)


def test_from_arrays_refuses_wrong_ids():
    with pytest.raises(ValueError, match=r"1 item ids are given more than once.*'a'"):
        from_arrays(["a", "b", "a"], {"text": np.ones((3, 1))})
    with pytest.raises(ValueError, match=r"1 feature rows belong to unknown item ids, e.g. \['x'\]"):
        from_arrays(["a", "x"], {"text": np.ones((2, 1))}, known=Vocabulary(["a", "b"]))


def test_known_ids_may_be_missing():
    assert len(from_arrays(["b"], {"text": np.ones((1, 1))}, known=Vocabulary(["a", "b"]))) == 1


@pytest.mark.parametrize(("x", "present", "message"), [
    ([[1.0], [2.0]], [True, False], "text features are non-zero where the mask says absent: 1 rows, e.g. .'b'"),
    ([[0.0], [2.0]], [True, True], "all zero though the mask says present: 1 rows, e.g. .'a'"),
    ([[0.0], [-2.0]], [False, False], "non-zero where the mask says absent"),
    ([[1.0], [float("nan")]], [True, False], "NaN"),
])
def test_mask_and_matrix_must_agree(x, present, message):
    with pytest.raises(ValueError, match=message):
        Features(Vocabulary(["a", "b"]), {"text": torch.tensor(x)}, {"text": torch.tensor(present)})


def test_a_trusted_matrix_is_not_read_but_its_shape_is_checked():
    nan, yes = torch.tensor([[torch.nan], [torch.nan]]), torch.tensor([True, False])
    assert len(Features(Vocabulary(["a", "b"]), {"text": nan}, {"text": yes}, trusted=True)) == 2
    with pytest.raises(ValueError, match=r"must have shape \(1, dim > 0\)"):
        Features(Vocabulary(["a"]), {"text": nan}, {"text": yes}, trusted=True)


def test_rows_of_trusted_features_stay_trusted():
    ids, nan = Vocabulary(["a", "b"]), torch.tensor([[torch.nan], [torch.nan]])
    features = Features(ids, {"text": nan}, {"text": torch.tensor([True, False])}, trusted=True)
    derived = (features.only("text"), features.rows(slice(0, 1)), features.aligned(Vocabulary(["b"])),
               features.to("cpu"), Features.empty(ids) | features)
    assert all("text" in d.x for d in derived)


@pytest.mark.parametrize(("x", "mask"), [(torch.ones(1, 1, dtype=torch.int64), torch.tensor([True])),
                                         (torch.ones(1, 1), torch.tensor([1], dtype=torch.uint8))])
def test_types_of_matrix_and_mask(x, mask):
    with pytest.raises(ValueError, match="must be a float matrix and a bool mask, got"):
        check_shape("text", x, mask, Vocabulary(["a"]))


def test_every_modality_needs_a_mask():
    with pytest.raises(ValueError, match=r"matrices: \['text'\], masks: \[\]"):
        Features(Vocabulary(["a"]), {"text": torch.ones(1, 1)}, {})


def test_aligned_by_hand():
    features = three().aligned(Vocabulary(["c", "x", "a"]))
    assert features.x["text"].tolist() == [[3, 4], [0, 0], [1, 2]]
    assert features.present["text"].tolist() == [True, False, True]
    assert features.present["image"].tolist() == [False, False, True]
    assert features.ids.ids.to_pylist() == ["c", "x", "a"]


def test_aligned_leaves_its_source_alone():
    features = three()
    features.aligned(Vocabulary(["x", "a"]))
    assert features.x["text"].tolist() == [[1, 2], [0, 0], [3, 4]]


def test_aligned_from_nothing_is_absent():
    nothing = from_arrays([], {"text": np.zeros((0, 2))})
    features = nothing.aligned(Vocabulary(["a"]))
    assert features.x["text"].tolist() == [[0, 0]]
    assert features.present["text"].tolist() == [False]


def test_aligned_refuses_another_type_of_node():
    with pytest.raises(ValueError, match="features of items cannot be aligned to user ids"):
        three().aligned(Vocabulary(["a", "b", "c"], what="user"))


@given(data=st.data(), n=st.integers(0, 12), seed=st.integers(0, 99))
def test_rows_in_any_order_give_the_same_features(data, n, seed):
    order = np.array(data.draw(st.permutations(range(n))), dtype=np.int64)
    x = np.random.default_rng(seed).integers(-1, 2, (n, 2)).astype(np.float32)
    features = from_arrays(range(n), {"text": x})
    shuffled = from_arrays(order, {"text": x[order]})
    back = shuffled.aligned(features.ids)
    assert back.x["text"].equal(features.x["text"])
    assert back.present["text"].equal(features.present["text"])
    assert features.rows(order).x["text"].equal(shuffled.x["text"])


@given(n=st.integers(1, 12), missing=st.integers(0, 11))
def test_a_shortened_file_is_absent_where_it_was_cut(n, missing):
    ids, x = np.arange(n), np.arange(1.0, n + 1)[:, None]
    kept = ids != missing
    features = from_arrays(ids[kept], {"text": x[kept]}).aligned(Vocabulary(ids))
    assert features.present["text"].tolist() == kept.tolist()
    assert features.x["text"][:, 0].tolist() == (x[:, 0] * kept).tolist()


def test_rows_keeps_ids_and_masks_together():
    features = three().rows(np.array([2, 0]))
    assert features.ids.ids.to_pylist() == ["c", "a"]
    assert features.x["text"].tolist() == [[3, 4], [1, 2]]
    assert features.present["image"].tolist() == [False, True]
    assert three().rows(slice(1, None)).ids.ids.to_pylist() == ["b", "c"]


def test_only():
    assert three().only("image").dims == {"image": 1}
    with pytest.raises(KeyError, match=r"no modality \['audio'\]; there are \['image', 'text'\]"):
        three().only("audio")


def test_or_joins_by_id():
    both = three() | from_arrays(["c", "a"], {"audio": [[30], [10]]})
    assert both.x["audio"].tolist() == [[10], [0], [30]]
    assert both.dims == {"text": 2, "image": 1, "audio": 1}


def test_or_replaces_a_modality_with_its_meta():
    ids, x, present = Vocabulary(["a"]), {"text": torch.ones(1, 1)}, {"text": torch.tensor([True])}
    old = Features(ids, x, present, {"text": {"encoder": "old"}})
    new = Features(ids, {"text": torch.full((1, 1), 2.0)}, present)
    assert (old | new).x["text"].item() == 2
    assert dict((old | new).meta) == {}
    assert dict((new | old).meta) == {"text": {"encoder": "old"}}


def test_empty_and_len_and_repr():
    assert len(Features.empty(Vocabulary(["a"]))) == 1
    assert repr(three()) == "Features(3 items; text: 2-d on 2, image: 1-d on 2)"
    assert repr(Features.empty(Vocabulary(["a"]))) == "Features(1 items; no modality)"


def test_to_a_device_keeps_the_rest():
    features = three().to("cpu")
    assert features.x["text"].equal(three().x["text"])
    assert features.ids == three().ids
