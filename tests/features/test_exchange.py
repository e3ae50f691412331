import json
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmgraph.data.dataset import Dataset
from mmgraph.data.sources import mmrec
from mmgraph.data.vocabulary import Vocabulary
from mmgraph.features.exchange import _choice, export, import_features
from mmgraph.features.features import Features

LAYOUTS = ["npy", "mmrec", "parquet"]
PLAIN = st.text(st.characters(codec="utf-8", exclude_characters='\t\r\n"', exclude_categories=["Cs", "Cc"]),
                min_size=1, max_size=5)
ANY = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=5)


@st.composite
def tables(draw, ids=ANY):
    """Features with any ids, any finite float32 values (also −0, tiny and huge), any mask."""
    names = draw(st.lists(ids, min_size=1, max_size=6, unique=True))
    x, present, meta = {}, {}, {}
    for modality in draw(st.lists(st.sampled_from(["text", "image", "v_1.x"]), unique=True, min_size=1)):
        number = st.floats(width=32, allow_nan=False, allow_infinity=False)
        rows = torch.tensor(draw(st.lists(st.lists(number, min_size=3, max_size=3), min_size=len(names),
                                          max_size=len(names))))
        rows[~rows.any(1)] = 0
        x[modality], present[modality] = rows, rows.any(1)
        meta[modality] = {"encoder": draw(ANY), "settings": {"a": [1, None]}}
    return Features(Vocabulary(names), x, present, meta)


def same(a, b):
    return (a.ids == b.ids and a.ids.what == b.ids.what and a.meta == b.meta and list(a.x) == list(b.x)
            and all(a.x[m].equal(b.x[m]) and a.present[m].equal(b.present[m]) for m in a.x))


@pytest.fixture
def features():
    x = {"text": torch.tensor([[1.5, 2], [0, 0], [3, -4]]), "image": torch.tensor([[0.0], [1e-3], [2]])}
    present = {"text": torch.tensor([True, False, True]), "image": torch.tensor([False, True, True])}
    return Features(Vocabulary(["b", "ü", "a"]), x, present, {"text": {"encoder": "tf-idf"}})


def place(folder, layout):
    return folder / ("f.parquet" if layout == "parquet" else "features")


@pytest.mark.parametrize("layout", LAYOUTS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_round_trips_are_exact(layout, tmp_path, data):
    features = data.draw(tables(PLAIN if layout == "mmrec" else ANY))
    target = place(tmp_path, layout)
    shutil.rmtree(target, ignore_errors=True)
    export(features, target, layout)
    assert same(import_features(target, layout), features)
    assert [f.name for f in tmp_path.iterdir()] == [target.name]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_users_stay_users_and_an_export_is_replaced(layout, features, tmp_path):
    users = Features(Vocabulary(features.ids.ids, what="user"), features.x, features.present)
    export(features, place(tmp_path, layout), layout)
    export(users, place(tmp_path, layout), layout)
    assert import_features(place(tmp_path, layout), layout).ids.what == "user"


def test_an_unknown_layout_is_refused():
    with pytest.raises(ValueError, match=r"layout must be one of \['npy'\], got 'hdf5'"):
        _choice({"npy": import_features}, "hdf5")


def test_shuffled_rows_are_joined_by_id(features, tmp_path):
    order = [2, 0, 1]
    export(features, tmp_path / "npy", "npy")
    for file in (tmp_path / "npy").glob("*.npy"):
        np.save(file, np.load(file, allow_pickle=False)[order])
    ids = json.loads((tmp_path / "npy" / "ids.json").read_text(encoding="utf-8"))
    (tmp_path / "npy" / "ids.json").write_text(json.dumps([ids[n] for n in order]), encoding="utf-8")
    export(features, tmp_path / "f.parquet", "parquet")
    pq.write_table(pq.read_table(tmp_path / "f.parquet").take(order), tmp_path / "f.parquet")
    for path, layout in ((tmp_path / "npy", "npy"), (tmp_path / "f.parquet", "parquet")):
        found = import_features(path, layout)
        assert found.ids.ids.to_pylist() == ["a", "b", "ü"]
        assert same(found.aligned(features.ids), features)


def test_plain_npy_files_of_others(tmp_path):
    np.save(tmp_path / "image.npy", np.asfortranarray([[1, 2], [0, 0], [3, 4]]).astype(np.float16))
    (tmp_path / "ids.txt").write_text("x\ny z\r\nü\n", encoding="utf-8")
    found = import_features(tmp_path, "npy")
    assert found.ids.ids.to_pylist() == ["x", "y z", "ü"]
    assert found.x["image"].tolist() == [[1, 2], [0, 0], [3, 4]]
    assert found.x["image"].dtype == torch.float32
    assert found.present["image"].tolist() == [True, False, True]
    (tmp_path / "ids.txt").write_text("x\ny\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"must have shape \(2, dim > 0\)"):
        import_features(tmp_path, "npy")


def test_objects_are_refused_unread(tmp_path, features):
    class Bomb:
        def __reduce__(self):
            return open, (str(tmp_path / "exploded"), "w")
    for layout, file in (("npy", "text.npy"), ("npy", "text.present.npy"), ("mmrec", "text_feat.npy")):
        folder = tmp_path / file
        export(features, folder, layout)
        np.save(folder / file, np.array([[Bomb()]], dtype=object), allow_pickle=True)
        with pytest.raises(ValueError, match="pickled files can run code and are refused"):
            import_features(folder, layout)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_links_that_lead_out_are_refused(layout, tmp_path, features):
    export(features, tmp_path / "own", layout) if layout != "parquet" else None
    (tmp_path / "own").mkdir(exist_ok=True)
    (tmp_path / "other").mkdir()
    if layout == "parquet":
        export(features, tmp_path / "own", layout)
    for file in sorted((tmp_path / "own").iterdir()):
        moved = tmp_path / "other" / file.name
        file.rename(moved)
        file.symlink_to(moved)
        with pytest.raises(ValueError, match="link that leads out of its folder"):
            import_features(tmp_path / "own", layout)
        file.unlink()
        moved.rename(file)
    import_features(tmp_path / "own", layout)


def test_a_name_that_leads_out_is_refused(tmp_path, features):
    export(features, tmp_path / "a", "npy")
    about = json.loads((tmp_path / "a" / "meta.json").read_text(encoding="utf-8"))
    (tmp_path / "a" / "meta.json").write_text(json.dumps(about | {"modalities": ["../text"]}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"'../text' cannot be a file name"):
        import_features(tmp_path / "a", "npy")
    odd = Features(features.ids, {"../x": features.x["text"]}, {"../x": features.present["text"]})
    for layout in ("npy", "mmrec"):
        with pytest.raises(ValueError, match="cannot be a file name"):
            export(odd, tmp_path / "b", layout)
    assert not list(tmp_path.glob("*x.npy"))


def test_a_header_cannot_claim_more_than_the_file_has(tmp_path, features):
    export(features, tmp_path / "a", "npy")
    header = np.lib.format.header_data_from_array_1_0(np.zeros((1, 1), dtype=np.float32)) | {"shape": (10**9, 10**6)}
    with (tmp_path / "a" / "text.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
    with pytest.raises(ValueError, match="is not a plain NumPy array"):
        import_features(tmp_path / "a", "npy")


def test_what_is_there_is_not_overwritten_and_a_failed_export_leaves_the_old(tmp_path, features, monkeypatch):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(FileExistsError, match="is not a folder of mmgraph-npy"):
        export(features, tmp_path / "mine", "npy")
    for layout in LAYOUTS:
        export(features, place(tmp_path, layout), layout)
        def fail(*_, **__):
            raise OSError("disk full")
        with monkeypatch.context() as patch:
            patch.setattr("numpy.save", fail)
            patch.setattr("pyarrow.parquet.write_table", fail)
            with pytest.raises(OSError, match="disk full"):
                export(features.rows(np.array([0])) if layout != "mmrec" else features, place(tmp_path, layout), layout)
        assert same(import_features(place(tmp_path, layout), layout), features)
        target = place(tmp_path, layout)
        assert not [f for f in tmp_path.rglob("*") if f.name.startswith(".")]
        target.unlink() if target.is_file() else shutil.rmtree(target)


def test_mmrec_rows_are_the_item_numbers_and_its_reader_reads_them(features, tmp_path):
    interactions = pa.table({"user": ["u", "u", "v", "v"], "item": ["a", "b", "ü", "c"]})
    data = Dataset.from_frames(interactions)  # a, b, c, ü
    (tmp_path / "x.inter").write_text("userID\titemID\tx_label\n0\t0\t0\n0\t1\t0\n1\t3\t0\n1\t2\t2\n", encoding="utf-8")
    export(features, tmp_path, "mmrec", dataset=data)
    assert (tmp_path / "i_id_mapping.csv").read_text(encoding="utf-8").splitlines() == [
        "asin\titemID", "a\t0", "b\t1", "c\t2", "ü\t3"]
    np.testing.assert_array_equal(np.load(tmp_path / "text_feat.npy", allow_pickle=False),
                                  [[3, -4], [1.5, 2], [0, 0], [0, 0]])
    assert same(import_features(tmp_path, "mmrec"), features.aligned(data.items))
    raw = mmrec.read(tmp_path)
    assert raw.vectors["text"].ids.to_pylist() == ["a", "b", "c", "ü"]
    assert Dataset.from_raw(raw).items == data.items
    with pytest.raises(FileExistsError, match="numbers the items differently"):
        export(features, tmp_path, "mmrec")
    stranger = Features(Vocabulary(["zz"]), {"text": torch.ones(1, 2)}, {"text": torch.tensor([True])})
    with pytest.raises(ValueError, match=r"1 feature rows belong to no item of the data set, e.g. \['zz'\]"):
        export(stranger, tmp_path, "mmrec", dataset=data)


def test_mmrec_files_of_others(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no file \*_feat.npy"):
        import_features(tmp_path, "mmrec")
    np.save(tmp_path / "image_feat.npy", np.array([[1.0, 2], [0, 0]]))
    assert import_features(tmp_path, "mmrec").present["image"].tolist() == [True, False]
    (tmp_path / "i_id_mapping.csv").write_text("asin\titemID\nB01\t1\n007\t0\n", encoding="utf-8")
    assert import_features(tmp_path, "mmrec").ids.ids.to_pylist() == ["007", "B01"]


@pytest.mark.parametrize("notes", [[], {"version": 99}])
def test_damaged_notes_are_refused(notes, tmp_path, features):
    export(features, tmp_path, "mmrec")
    (tmp_path / "absent.json").write_text(json.dumps(notes), encoding="utf-8")
    table = pa.table({"id": ["a"], "m": [[1.0]]}).replace_schema_metadata({"mmgraph": json.dumps(notes)})
    pq.write_table(table, tmp_path / "a.parquet")
    for path, layout in ((tmp_path, "mmrec"), (tmp_path / "a.parquet", "parquet")):
        with pytest.raises(ValueError, match="damaged or of a newer mmgraph"):
            import_features(path, layout)


def test_mmrec_cannot_hold_every_id(tmp_path):
    odd = Features(Vocabulary(["a\tb"]), {"m": torch.ones(1, 1)}, {"m": torch.tensor([True])})
    with pytest.raises(ValueError, match="a tab, a line break or a quote"):
        export(odd, tmp_path / "x", "mmrec")
    assert not (tmp_path / "x").exists()


def test_pandas_and_polars_read_the_parquet_file(features, tmp_path):
    polars = pytest.importorskip("polars")
    export(features, tmp_path, "parquet")
    file = tmp_path / "features.parquet"
    frame = pd.read_parquet(file).set_index("id")
    assert frame.loc["a", "text"].tolist() == [3, -4]
    assert frame["text"].isna().tolist() == [False, True, False]
    frame = polars.read_parquet(file)
    assert frame["text"].to_list() == [[1.5, 2], None, [3, -4]]
    frame.write_parquet(tmp_path / "features.parquet")  # polars' own writing, without our notes
    back = import_features(tmp_path, "parquet")
    assert back.ids == features.ids
    assert all(back.x[m].equal(features.x[m]) and back.present[m].equal(features.present[m]) for m in features.x)


def test_parquet_of_others(tmp_path, features):
    with pytest.raises(FileNotFoundError, match="no Parquet file"):
        import_features(tmp_path, "parquet")
    for part, rows in enumerate(([0, 2], [1])):
        table = pa.table({"id": [10 + r for r in rows], "m": [[[1.0, 2], None, [3, 4]][r] for r in rows]},
                         schema=pa.schema({"id": pa.int64(), "m": pa.list_(pa.float64())}))
        pq.write_table(table, tmp_path / f"{part}.parquet")
    found = import_features(tmp_path, "parquet")
    assert found.ids.ids.to_pylist() == ["10", "12", "11"]
    assert found.x["m"].tolist() == [[1, 2], [3, 4], [0, 0]]


@pytest.mark.parametrize(("columns", "message"), [
    ({"item": ["a"]}, "has no column 'id'"), ({"id": ["a"], "m": ["x"]}, "must hold lists of numbers, got string"),
    ({"id": ["a", "b"], "m": [[1.0], [1.0, 2]]}, "must all have one length"),
    ({"id": ["a"], "m": [["x"]]}, "must hold lists of numbers"), ({"id": ["a"], "m": [[1.0, None]]}, "NaN or infinite"),
    ({"id": ["a", "a"], "m": [[1.0], [2.0]]}, "given more than once")])
def test_bad_tables_are_refused(columns, message, tmp_path):
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=message):
        import_features(tmp_path / "a.parquet", "parquet")


def test_a_damaged_parquet_file_is_refused(tmp_path, features):
    export(features, tmp_path / "a.parquet", "parquet")
    (tmp_path / "a.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-20])
    with pytest.raises(ValueError, match="cannot be read as Parquet"):
        import_features(tmp_path / "a.parquet", "parquet")
    named = Features(features.ids, {"id": features.x["text"]}, {"id": features.present["text"]})
    with pytest.raises(ValueError, match="cannot be called 'id'"):
        export(named, tmp_path / "b.parquet", "parquet")
