"""Each reader on files of a few lines; ids and rows are shuffled, so that a reader that goes by position is found."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmgraph.data.sources import citeulike, lightgcn, mmrec, movielens_1m, movielens_100k, triples

EXTRA = "{}::T::1995::G::1 Jan::Drama::{}::{}::{}::{}::http://x"


def write(folder: Path, **files: str | bytes | np.ndarray) -> Path:
    """Files by name, with ``__`` for the dot."""
    for name, content in files.items():
        path = folder / name.replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, np.ndarray):
            np.save(path, content, allow_pickle=True)
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def rows(table: pa.Table, *names: str) -> list[tuple[str, ...]]:
    return list(zip(*(table[name].to_pylist() for name in names), strict=True))


def by_item(items: pa.Table) -> dict[str, dict]:
    return {row["item"]: row for row in items.to_pylist()}


@pytest.fixture
def ml_1m(tmp_path):
    movies = ["1::Unrated (1990)::Drama", "2::Misérables, Les (1995)::Drama|Musical", "30::(1900): B (1960) (V)::", ""]
    extras = [EXTRA.format(30, "N/A", "N/A", "N/A", "N/A"), EXTRA.format(1, "x", "x", "x", "x"),
              EXTRA.format(2, "Irène Jacob, Al Co(co-director)", 'Ann (story "A,  B"), Ann (play), Bo Jr. (novel)',
                           "\"Moo\", Zoë", " \"A\" plot\x85 more "), ""]
    folder = write(
        tmp_path / "ml-1m", ratings__dat="7::30::5::978300760\n7::2::3::978302109\n9::30::1::978301968\n",
        movies__dat="\n".join(movies).encode("latin-1"), users__dat="9::F::1::10::48067\n7::M::56::16::70072\n",
        movies_extrainfos__dat="\r\n".join(extras))
    write(folder / "posters", **{"30__jpg": b"", "1__jpg": b""})
    return folder


def test_ml_1m_reads_ratings_and_users(ml_1m):
    raw = movielens_1m.read(ml_1m)
    assert raw.interactions.to_pylist() == [
        {"user": "7", "item": "30", "weight": 5.0, "time": 978300760},
        {"user": "7", "item": "2", "weight": 3.0, "time": 978302109},
        {"user": "9", "item": "30", "weight": 1.0, "time": 978301968}]
    assert raw.users.to_pylist() == [{"user": "9", "gender": "F", "age": "1", "occupation": "10"},
                                     {"user": "7", "gender": "M", "age": "56", "occupation": "16"}]


def test_ml_1m_gives_each_rated_film_its_own_content(ml_1m):
    films = by_item(movielens_1m.read(ml_1m).items)
    assert films == {
        "2": {"item": "2", "title": "Misérables, Les (1995)", "year": 1995, "genre": ["Drama", "Musical"],
              "text": "\"A\" plot\x85 more", "image": None, "director": ["Irène Jacob", "Al Co"],
              "writer": ["Ann", "Bo Jr."], "actor": ["\"Moo\"", "Zoë"]},
        "30": {"item": "30", "title": "(1900): B (1960) (V)", "year": 1960, "genre": None, "text": None,
               "image": str(ml_1m / "posters" / "30.jpg"), "director": None, "writer": None, "actor": None}}


def test_ml_1m_reads_parquet_only_without_dat(ml_1m):
    pq.write_table(pa.table({"userID": ["9"], "movieID": ["1"]}), ml_1m / "ratings.parquet")
    assert movielens_1m.read(ml_1m).interactions.num_rows == 3
    (ml_1m / "ratings.dat").unlink()
    assert movielens_1m.read(ml_1m).interactions.to_pylist() == [{"user": "9", "item": "1"}]
    pq.write_table(pa.table({"user": ["9"], "movieID": ["1"]}), ml_1m / "ratings.parquet")
    with pytest.raises(KeyError, match=r"no column \['userID'\], only"):
        movielens_1m.read(ml_1m)


def test_ml_1m_without_extras_has_no_modality(ml_1m):
    for extra in (ml_1m / "movies_extrainfos.dat", *(ml_1m / "posters").iterdir()):
        extra.unlink()
    assert movielens_1m.read(ml_1m).items.column_names == ["item", "title", "year", "genre"]


@pytest.mark.parametrize(("name", "content", "message"), [
    ("ratings__dat", "1::2::3::4\n1::2::3\n", r"ratings\.dat must hold the 4 fields .* line 2 has 3: '1::2::3'\."),
    ("ratings__dat", "1::2::3::4\n\n1::2::3::4\n", r"ratings\.dat .* line 2 is empty"),
    ("users__dat", "\r\n9::F::1::10::48067\n", r"users\.dat .* line 1 is empty"),
    ("users__dat", "9::F::1::10::48067\r\n\r\n", r"users\.dat .* line 2 is empty"),
    ("ratings__dat", "1::2::3::4\n1::2::x::4\n", r"ratings\.dat .*Row #2.*'x'"),
    ("ratings__dat", "1::2::3::\n", r"ratings\.dat .*Row #1"),
    ("ratings__dat", "", r"ratings\.dat .*Empty"),
    ("movies__dat", "2::A::B\n2::C::D\n", r"movies\.dat has two rows for the film '2'"),
    ("movies_extrainfos__dat", EXTRA.format(2, *"abcd").encode() + b"\n\xe9" + EXTRA.format(2, *"abcd").encode(),
     r"movies_extrainfos\.dat .*utf8.*UTF8"),
])
def test_ml_1m_names_file_and_line_of_a_malformed_line(ml_1m, name, content, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        movielens_1m.read(write(ml_1m, **{name: content}))


@pytest.fixture
def ml_100k(tmp_path):
    info = [{"movielens_id": "1", "plot": "", "directors": "", "cast": "C, D"},
            {"movielens_id": "5", "plot": "five", "directors": "A", "cast": ""}]
    items = "1|One (1991) |||http://x|1|0|0\n5|C'est près (1992)|01-Jan-1995|||0|1|1\n"
    folder = write(
        tmp_path / "ml-100k", u__data="3\t5\t4\t881250949\n8\t1\t2\t881250950\n", u__item=items.encode("latin-1"),
        u__genre="unknown|0\nWar|1\nSci-Fi|2\n\n", u__user="3|24|M|writer|85711\n8|53|F|other|94043\n",
        items_info__json=json.dumps(info),
        poster_map__csv='ml100k_id,title,movielens_id,matched_by\r\n5,"C\'est, près",77,title\r\n1,One,,\r\n')
    write(tmp_path / "ml-1m" / "posters", **{"77__jpg": b"", "5__jpg": b""})
    return folder


def test_ml_100k_joins_all_its_files_by_id(ml_100k):
    raw = movielens_100k.read(ml_100k)
    assert raw.interactions.to_pylist() == [{"user": "3", "item": "5", "weight": 4.0, "time": 881250949},
                                            {"user": "8", "item": "1", "weight": 2.0, "time": 881250950}]
    assert raw.users.to_pylist() == [{"user": "3", "age": 24, "gender": "M", "occupation": "writer"},
                                     {"user": "8", "age": 53, "gender": "F", "occupation": "other"}]
    assert by_item(raw.items) == {
        "1": {"item": "1", "title": "One (1991)", "year": 1991, "genre": None, "text": None, "image": None,
              "director": None, "actor": ["C", "D"]},
        "5": {"item": "5", "title": "C'est près (1992)", "year": 1992, "genre": ["War", "Sci-Fi"], "text": "five",
              "image": str(ml_100k.parent / "ml-1m" / "posters" / "77.jpg"), "director": ["A"], "actor": None}}


def test_ml_100k_prefers_its_own_posters_and_needs_none(ml_100k):
    write(ml_100k / "posters", **{"77__jpg": b""})
    assert by_item(movielens_100k.read(ml_100k).items)["5"]["image"] == str(ml_100k / "posters" / "77.jpg")
    (ml_100k / "items_info.json").unlink()
    (ml_100k / "poster_map.csv").unlink()
    assert movielens_100k.read(ml_100k).items.column_names == ["item", "title", "year", "genre"]


def test_ml_100k_refuses_malformed_json(ml_100k):
    for content in ("[", "{}x", '[{"movielens_id": "1"}]', "[1]"):
        with pytest.raises(ValueError, match=r"items_info\.json must be a JSON list"):
            movielens_100k.read(write(ml_100k, items_info__json=content))


INTER = "userID\titemID\tx_label\n0\t2\t0\n1\t0\t1\n0\t1\t2\n"


def test_mmrec_labels_are_parts_and_rows_are_items(tmp_path):
    matrix = np.array([[1, 2], [60000, 60000], [0, 0]], dtype=np.float16)
    raw = mmrec.read(write(tmp_path, a__inter=INTER, image_feat__npy=matrix, audio_feat__npy=matrix[:, :1]))
    assert raw.interactions.to_pylist() == [{"user": "0", "item": "2", "part": "train"},
                                            {"user": "1", "item": "0", "part": "valid"},
                                            {"user": "0", "item": "1", "part": "test"}]
    assert raw.items["item"].to_pylist() == raw.vectors["image"].ids.to_pylist() == ["0", "1", "2"]
    assert set(raw.vectors) == {"image", "audio"}
    assert raw.vectors["image"].matrix.dtype == np.float32
    assert raw.vectors["image"].matrix.tolist() == matrix.tolist()


def test_mmrec_gives_back_the_original_ids_whatever_the_order(tmp_path):
    raw = mmrec.read(write(
        tmp_path, a__inter="itemID\tuserID\trating\ttimestamp\tx_label\n2\t0\t4.5\t1400000000\t0\n",
        i_id_mapping__csv="asin\titemID\nB2\t2\nB0\t0\n007\t1\nB3\t3\n",
        u_id_mapping__csv="\ufeffuserID,user_id\n0,u-zero\n", text_feat__npy=np.array([[0.0], [1], [2], [3]])))
    assert raw.interactions.to_pylist() == [
        {"user": "u-zero", "item": "B2", "part": "train", "time": 1400000000, "weight": 4.5}]
    assert raw.vectors["text"].ids.to_pylist() == raw.items["item"].to_pylist() == ["B0", "007", "B2", "B3"]


@pytest.mark.parametrize(("files", "error", "message"), [
    ({"a__inter": INTER, "b__inter": INTER}, FileNotFoundError, "exactly one .inter file, found"),
    ({"a__inter": "userID\titemID\n0\t1\n"}, KeyError, r"no column \['x_label'\]"),
    ({"a__inter": INTER + "0\t3\t7\n"}, ValueError, r"x_label must be 0 .* got \[0, 1, 2, 7\]"),
    ({"a__inter": INTER + "0\t3\n"}, ValueError, "line 5 has 2"),
    ({"a__inter": INTER + "0\t-3\t1\n"}, ValueError, "start at 0, got -3"),
    ({"a__inter": "userID\titemID\tx_label\ttimestamp\n0\t0\t0\t1.5\n"}, ValueError, "'timestamp' must hold numbers"),
    ({"a__inter": INTER, "v_feat__npy": np.zeros((2, 3))}, ValueError, "2 rows for 3 items"),
    ({"a__inter": INTER, "v_feat__npy": np.array([[1], [np.nan], [1]])}, ValueError, r"values in 1 rows, e.g. \[1\]"),
    ({"a__inter": INTER, "v_feat__npy": np.array([[{}], [1], [2]], object)}, ValueError, "pickled files can run code"),
    ({"a__inter": INTER, "v_feat__npy": np.zeros(3)}, ValueError, "must hold a matrix of numbers, got float64"),
    ({"a__inter": INTER, "v_feat__npy": np.array([["1"], ["2"], ["3"]])}, ValueError, "a matrix of numbers, got <U1"),
    ({"a__inter": INTER, "v_feat__npy": b"no"}, ValueError, "not a plain NumPy matrix"),
    ({"a__inter": INTER, "i_id_mapping__csv": "asin,itemID\nA,0\nB,1\n"}, ValueError, "the number 2 has no id"),
    ({"a__inter": INTER, "i_id_mapping__csv": "asin,itemID\nA,0\nB,0\nC,2\n"}, ValueError, "0 … 2, each once"),
    ({"a__inter": INTER, "i_id_mapping__csv": "asin,itemID,x\nA,0,1\n"}, ValueError, "two columns"),
])
def test_mmrec_refuses_what_does_not_fit(tmp_path, files, error, message):
    with pytest.raises(error, match=message):
        mmrec.read(write(tmp_path, **files))


def test_triples_are_parts_with_asins(tmp_path):
    none = np.zeros((2, 0), int)
    write(tmp_path, train__npy=np.array([[5, 0], [1, 0]]), valid__npy=np.array([[5], [2]]), test__npy=none)
    assert rows(triples.read(tmp_path).interactions, "user", "item", "part") == [
        ("5", "1", "train"), ("0", "0", "train"), ("5", "2", "valid")]
    write(tmp_path, item_asin__csv="itemID,asin\n1,B1\n0,0001\n2,B2\n")
    assert triples.read(tmp_path).interactions["item"].to_pylist() == ["B1", "0001", "B2"]


@pytest.mark.parametrize("bad", [np.zeros((3, 2), int), np.zeros((2, 2)), np.array([[None], [1]])])
def test_triples_refuse_other_arrays(tmp_path, bad):
    with pytest.raises(ValueError, match=r"valid\.npy"):
        triples.read(write(tmp_path, train__npy=np.array([[0], [0]]), valid__npy=bad, test__npy=bad))


def test_lightgcn_lines_hold_a_user_and_any_number_of_items(tmp_path):
    raw = lightgcn.read(write(tmp_path, train__txt="4 10 11\n2\n0 10 \n", test__txt="4 7\r\n2 11 10"))
    train, test = [("4", "10"), ("4", "11"), ("0", "10")], [("4", "7"), ("2", "11"), ("2", "10")]
    assert rows(raw.interactions, "user", "item", "part") == [
        *((*pair, "train") for pair in train), *((*pair, "test") for pair in test)]


@pytest.mark.parametrize(("train", "line"), [
    ("1 2\n\n3 4\n", 2), ("1 2\n3 x\n", 2), ("1,2\n", 1), ("0 -1\n", 1), ("0 1:2\n", 1)])
def test_lightgcn_names_the_malformed_line(tmp_path, train, line):
    with pytest.raises(ValueError, match=rf"train\.txt, line {line}: expected numbers"):
        lightgcn.read(write(tmp_path, train__txt=train, test__txt="0 0\n"))


@pytest.fixture
def cite(tmp_path):
    return write(tmp_path, users__dat="2 3 0\n1 3\n0\n", vocabulary__dat="graph\nhuman–computer\ntree\n",
                 mult__dat="2 2:1 0:3\n0\n1 1:1\n1 0:1\n", tags__dat="red\nblue\nnone",
                 citations__dat="1 2\n0\n1 2\n1 0\n", **{"tag-item__dat": "2 2 0\n1 0\n0\n"})


def test_citeulike_lines_are_users_items_and_tags(cite):
    raw = citeulike.read(cite)
    assert rows(raw.interactions, "user", "item") == [("0", "3"), ("0", "0"), ("1", "3")]
    assert raw.items.to_pylist() == [{"item": "0", "text": "tree graph graph graph", "tag": ["red", "blue"]},
                                     {"item": "1", "text": None, "tag": None},
                                     {"item": "2", "text": "human–computer", "tag": ["red"]},
                                     {"item": "3", "text": "graph", "tag": None}]
    assert rows(raw.item_links["cites"], "source", "target") == [("0", "2"), ("2", "2"), ("3", "0")]
    (cite / "citations.dat").unlink()
    assert citeulike.read(cite).item_links == {}


@pytest.mark.parametrize(("name", "content", "message"), [
    ("users__dat", "2 3 0\n2 3\n", r"users\.dat, line 2: the line announces 2 entries and has 1"),
    ("users__dat", "1 4\n", r"users\.dat, line 1: item 4 does not exist, there are 4, counted from 0"),
    ("mult__dat", "1 0:1\n1 3:1\n0\n0\n", r"mult\.dat, line 2: word 3 does not exist"),
    ("mult__dat", "1 0:1\n1 3 1\n", r"mult\.dat, line 2: expected numbers"),
    ("mult__dat", "1 0:1 1:1\n", r"mult\.dat, line 1: the line announces 1 entries and has 2"),
    ("tag-item__dat", "0\n0\n", r"tag-item\.dat, line 2: last line, but tags.dat names 3 tags"),
    ("citations__dat", "0\n", r"citations\.dat, line 1: last line, but there are 4 articles"),
])
def test_citeulike_names_file_and_line_of_what_does_not_fit(cite, name, content, message):
    with pytest.raises(ValueError, match=message):
        citeulike.read(write(cite, **{name: content}))
