import io
import json
import logging
import wave
from importlib.metadata import version

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from scipy.sparse import csr_matrix

from mmgraph.data.dataset import Dataset
from mmgraph.data.load import load
from mmgraph.features.audio import ClassicalAudio
from mmgraph.features.encode import Contents, encode
from mmgraph.features.encoder import Unreadable
from mmgraph.features.image import ClassicalImage, width
from mmgraph.features.text import TfidfText
from mmgraph.features.video import ClassicalVideo

av = pytest.importorskip("av")
pytest.importorskip("torchaudio")
pytest.importorskip("soundfile")

N = 20
WORDS = ["apple", "pear", "plum", "whale", "shark", "squid", "piano", "drum", "flute", "train", "plane", "boat"]
ENCODERS = {"text": TfidfText(dim=6, min_df=1), "image": ClassicalImage(size=16, grid=2),
            "audio": ClassicalAudio(n_mels=16, n_mfcc=4), "video": ClassicalVideo(n_frames=2, size=16, grid=2)}


def png(seed):
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 16, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def wav(seed):
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16_000)
        out.writeframes(np.random.default_rng(seed).integers(-9000, 9000, 1600, dtype=np.int16).tobytes())
    return file.getvalue()


def mp4(seed):
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width, stream.pix_fmt = 16, 16, "yuv420p"
        for frame in np.random.default_rng(seed).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


def text(seed):
    return " ".join(np.random.default_rng(seed).choice(WORDS, 6))


MAKE = {"text": text, "image": png, "audio": wav, "video": mp4}


@pytest.fixture(scope="module")
def columns(tmp_path_factory):
    """Text as strings, images and films as paths, sounds as bytes."""
    folder = tmp_path_factory.mktemp("media")
    made = {name: [make(seed) for seed in range(N)] for name, make in MAKE.items()}
    for name in ("image", "video"):
        for n, content in enumerate(made[name]):
            path = folder / f"{name}{n}"
            path.write_bytes(content)
            made[name][n] = str(path)
    return made


def dataset(columns):
    n = len(next(iter(columns.values())))
    items = pa.table({"item": [f"i{n}" for n in range(n)], "price": range(n)} | columns)
    return Dataset.from_frames(pa.table({"user": ["u"] * n, "item": items["item"]}), items)


def encoded(columns, **arguments):
    """Features in the order of the columns' rows."""
    features = encode(dataset(columns), progress=False, **arguments)
    n = len(next(iter(columns.values())))
    return features.rows(features.ids.numbers([f"i{n}" for n in range(n)]))


def with_rows(column, changes):
    return [changes.get(n, value) for n, value in enumerate(column)]


# ---- every row is that item's own

@pytest.mark.parametrize("name", list(MAKE))
def test_each_row_is_what_the_encoder_says_of_that_item_alone(columns, name):
    encoder = ENCODERS[name]
    features = encoded({name: columns[name]}, **{name: encoder}, batch_size=7)
    if name == "text":
        encoder = encoder.fit(columns["text"])
    for n, content in enumerate(columns[name]):
        assert features.x[name][n].equal(encoder.encode([encoder.decode(content)])[0])
    assert features.present[name].all()
    assert len(features.x[name].unique(dim=0)) == N


@pytest.mark.parametrize("name", list(MAKE))
def test_deleting_the_content_of_some_items_changes_no_other_row(columns, name):
    gone = list(range(1, N, 3))[:6]  # 30 % of the items
    fit = [f"i{n}" for n in range(N) if n not in gone]
    whole = encoded(columns, **ENCODERS, fit_items=fit)
    rest = encoded(columns | {name: with_rows(columns[name], dict.fromkeys(gone))}, **ENCODERS, fit_items=fit)
    kept = [n for n in range(N) if n not in gone]
    for modality in MAKE:
        assert rest.x[modality][kept].equal(whole.x[modality][kept])
        assert rest.present[modality][kept].all()
        if modality != name:
            assert rest.x[modality].equal(whole.x[modality])
    assert not rest.x[name][gone].any()
    assert not rest.present[name][gone].any()


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_batch_size_does_not_matter(columns, size):
    a, b = encoded(columns, **ENCODERS, batch_size=size), encoded(columns, **ENCODERS, batch_size=5)
    assert all(a.x[name].equal(b.x[name]) for name in MAKE)


def test_rows_follow_ids_however_the_items_are_ordered(columns):
    order = np.random.default_rng(0).permutation(N)
    ids = [f"i{n}" for n in range(N)]
    items = pa.table({"item": ids, "text": columns["text"]})
    interactions = pa.table({"user": ["u"], "item": ["i3"]})
    a = encode(Dataset.from_frames(interactions, items), text=ENCODERS["text"], progress=False)
    b = encode(Dataset.from_frames(interactions, items.take(pa.array(order))), text=ENCODERS["text"], progress=False)
    assert a.ids == b.ids
    assert a.x["text"].equal(b.x["text"])


# ---- what is learned, and from whom

def test_no_row_depends_on_the_text_of_an_item_that_is_not_fitted_on(columns):
    fit = [f"i{n}" for n in range(12)]
    cold = with_rows(columns["text"], {12: "zebra zebra apple", 15: "", 17: "whale", 19: None})
    a = encoded({"text": columns["text"]}, text=ENCODERS["text"], fit_items=fit)
    b = encoded({"text": cold}, text=ENCODERS["text"], fit_items=fit)
    same = [n for n in range(N) if n not in (12, 15, 17, 19)]
    assert a.x["text"][same].equal(b.x["text"][same])
    assert not a.x["text"][12].equal(b.x["text"][12])
    everyone = encoded({"text": cold}, text=ENCODERS["text"])
    assert not everyone.x["text"][same].equal(b.x["text"][same])


def test_a_shared_text_of_an_item_that_is_not_fitted_on_does_not_reorder_the_fitted_ones(columns):
    fit = [f"i{n}" for n in range(5, 15)]
    texts = [with_rows(columns["text"], {0: columns["text"][n]}) for n in (14, 9)]
    a, b = (encoded({"text": column}, text=ENCODERS["text"], fit_items=fit) for column in texts)
    assert a.x["text"][1:].equal(b.x["text"][1:])


def test_contents_of_rows_are_distinct_and_in_the_order_of_the_rows():
    contents = Contents.of("text", pa.chunked_array([["b", "a", None], ["b", "c", "a"]]))
    assert contents.first == [0, 1, 4]
    assert contents.number.tolist() == [0, 1, -1, 0, 2, 1]
    assert list(contents.of_rows(np.array([1, 2, 3, 5]))) == ["a", "b"]
    assert list(contents.of_rows(np.array([], np.int64))) == []


class Watching:
    """An encoder that notes what it sees; content "bad…" cannot be read, and "blank" says nothing."""

    modality = "text"

    def __init__(self):
        self.fitted, self.decoded, self.batches = [], [], []

    def settings(self):
        return {}

    def decode(self, content):
        self.decoded.append(content)
        if content.startswith("bad"):
            raise Unreadable("bad content")
        return content

    def fit(self, decoded):
        self.fitted = list(decoded)
        self.decoded = []
        return self

    def encode(self, batch):
        self.batches.append(list(batch))
        return torch.tensor([[0.0 if c == "blank" else float(len(c)), 0.0] for c in batch])


def test_each_distinct_content_is_encoded_once_in_batches():
    watching = Watching()
    column = ["one", "bad", "three", None, "one", "blank", "bad", "three", "seven"]
    features = encoded({"text": column}, text=watching, batch_size=2, fit_items=["i8", "i7", "i6", "i4", "i8"])
    assert watching.fitted == ["one", "three", "seven"]
    assert watching.decoded == ["one", "bad", "three", "blank", "seven"]
    assert watching.batches == [["one"], ["three", "blank"], ["seven"]]
    assert features.x["text"][:, 0].tolist() == [3, 0, 5, 0, 3, 0, 0, 5, 5]
    assert features.present["text"].tolist() == [True, False, True, False, True, False, False, True, True]
    assert features.meta["text"]["unreadable"] == {"i1": "bad content", "i6": "bad content"}
    assert features.meta["text"]["blank"] == ["i5"]
    assert features.meta["text"]["fit_items"]["count"] == 4


def test_a_batch_in_which_nothing_can_be_read_is_not_encoded():
    watching = Watching()
    features = encoded({"text": ["bad one", "bad two", "good", "bad three"]}, text=watching, batch_size=2)
    assert watching.batches == [["good"]]
    assert features.present["text"].tolist() == [False, False, True, False]


# ---- bad files

def test_one_bad_file_is_absent_and_reported_and_the_run_goes_on(columns, tmp_path, caplog):
    (tmp_path / "page.jpg").write_text("<html>404</html>")
    bad = {"image": {2: str(tmp_path / "page.jpg"), 5: str(tmp_path / "none.jpg"), 6: "", 7: str(tmp_path)},
           "audio": {2: b"", 9: b"RIFF"}, "video": {2: str(tmp_path / "page.jpg")}, "text": {2: None}}
    broken = {name: with_rows(columns[name], bad[name]) for name in MAKE}
    whole = encoded(columns, **ENCODERS, fit_items=["i0", "i1", "i3"])
    with caplog.at_level(logging.WARNING):
        features = encoded(broken, **ENCODERS, fit_items=["i0", "i1", "i3"])
    for name in MAKE:
        kept = [n for n in range(N) if n not in bad[name]]
        assert features.x[name][kept].equal(whole.x[name][kept])
        assert (~features.present[name]).nonzero()[:, 0].tolist() == list(bad[name])
    reasons = features.meta["image"]["unreadable"]
    assert sorted(reasons) == ["i2", "i5", "i6", "i7"]
    assert reasons["i2"].endswith("page.jpg: not an image")
    assert reasons["i5"].endswith("none.jpg: no such file")
    assert sorted(features.meta["audio"]["unreadable"]) == ["i2", "i9"]
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 4
    assert lines[0].startswith("image: 4 of 20 items cannot be read and are marked absent, e.g. {'i2': ")
    assert "i6" in lines[0]
    assert "i7" not in lines[0]
    assert lines[1].startswith("audio: 2 of 20")
    assert lines[2].startswith("video: 1 of 20")
    assert lines[3] == "1 of 20 items have no content in any of ['audio', 'image', 'text', 'video'], e.g. ['i2']"


def test_the_warning_on_bare_items_names_three(columns, caplog):
    with caplog.at_level(logging.WARNING):
        encoded({"text": with_rows(columns["text"], {1: None, 2: "the", 3: None, 4: ""})}, text=ENCODERS["text"])
    assert [r.getMessage() for r in caplog.records] == [
        "4 of 20 items have no content in any of ['text'], e.g. ['i1', 'i2', 'i3']"]


def test_nothing_is_logged_where_nothing_is_wrong(columns, caplog):
    with caplog.at_level(logging.WARNING):
        encoded(columns, **ENCODERS)
    assert not caplog.records


def test_silence_and_stop_words_are_absent_and_blank(columns):
    silence = io.BytesIO()
    with wave.open(silence, "wb") as out:
        out.setparams((1, 2, 16_000, 0, "NONE", ""))
        out.writeframes(bytes(3200))
    features = encoded({"text": with_rows(columns["text"], {3: "the of"}),
                        "audio": with_rows(columns["audio"], {4: silence.getvalue()})}, **{
                            name: ENCODERS[name] for name in ("text", "audio")})
    assert features.meta["text"]["blank"] == ["i3"]
    assert features.meta["audio"]["blank"] == ["i4"]
    assert features.meta["audio"]["unreadable"] == {}
    assert (~features.present["text"]).nonzero().tolist() == [[3]]
    assert (~features.present["audio"]).nonzero().tolist() == [[4]]


def test_where_no_file_can_be_read_the_width_is_still_known():
    features = encoded({"image": [b"junk", b"rubbish"]})
    assert features.x["image"].shape == (2, width(4))
    assert not features.present["image"].any()


# ---- choosing

def test_by_default_every_modality_there_is_by_classical_encoders(columns):
    features = encoded({"image": columns["image"], "text": columns["text"], "audio": [None] * N})
    assert list(features.x) == ["text", "image"]
    assert features.meta["text"]["encoder"] == "TfidfText"
    assert features.meta["image"]["settings"] == ClassicalImage().settings()


@pytest.mark.parametrize(("name", "choice"), [("text", "classical"), ("text", "tfidf"), ("image", "classical"),
                                              ("audio", "classical"), ("video", "classical")])
def test_names_of_encoders(columns, name, choice):
    features = encoded(columns, **{name: choice})
    assert list(features.x) == [name]
    assert features.meta[name]["encoder"] in ("TfidfText", "ClassicalImage", "ClassicalAudio", "ClassicalVideo")


@pytest.mark.parametrize(("choices", "message"), [
    ({"text": "tf-idf"}, r"no text encoder is called 'tf-idf'; available without a download: \['classical', 'tfidf'\]"),
    ({"text": ""}, "no text encoder is called ''"),
    ({"image": "tfidf"}, r"no image encoder is called 'tfidf'; available without a download: \['classical'\]"),
    ({"text": ClassicalImage()}, "ClassicalImage encodes image, but was given as the text encoder; pass it as image="),
    ({"audio": "classical"}, r"no item has audio content: columns are \['price', 'text', 'image', 'video'\], and of "
                             r"the modalities only \['text', 'image', 'profile'\] hold"),
    ({"video": "classical"}, "no item has video content"), ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
])
def test_refuses_what_it_cannot_encode(columns, choices, message):
    with pytest.raises(ValueError, match=message):
        encoded({"text": columns["text"], "image": columns["image"], "video": [None] * N}, **choices)


def test_refuses_classes_wrong_columns_unknown_ids_and_items_without_content(columns):
    with pytest.raises(TypeError, match="image must be an encoder, got the class ClassicalImage; write Class"):
        encoded(columns, image=ClassicalImage)
    with pytest.raises(TypeError, match="column 'text' must hold strings or bytes, got int64"):
        encoded({"text": [1, 2]})
    with pytest.raises(KeyError, match="1 unknown item ids"):
        encoded(columns, **ENCODERS, fit_items=["i1", "nobody"])
    with pytest.raises(ValueError, match=r"no content to encode: columns are \['price', 'color'\]"):
        encoded({"color": ["red", "blue"]})


def test_refuses_an_encoder_that_loses_a_row():
    class Losing(Watching):
        def encode(self, batch):
            return torch.ones(1, 2)

    with pytest.raises(ValueError, match=r"Losing\.encode must return one row for each of 3 .*got shape \(1, 2\)"):
        encoded({"text": ["a", "b", "c"]}, text=Losing())


# ---- how it was made

def test_meta_says_how_it_was_made(columns):
    features = encoded(columns, **ENCODERS, fit_items=["i0", "i5", "i9"])
    assert features.meta == json.loads(json.dumps(features.meta))
    about = features.meta["image"]
    assert about["encoder"] == "ClassicalImage"
    assert about["settings"] == {"size": 16, "grid": 2, "max_pixels": 64_000_000}
    assert about["versions"] == {name: version(name) for name in ("torch", "numpy", "pillow")}
    assert set(features.meta["text"]["versions"]) == {"torch", "scikit-learn", "scipy"}
    assert set(features.meta["audio"]["versions"]) == {"torch", "torchaudio", "soundfile", "scipy"}
    assert set(features.meta["video"]["versions"]) == {"torch", "numpy", "av"}
    assert about["fit_items"]["count"] == 3
    again = encoded(columns, **ENCODERS, fit_items=iter(["i9", "i0", "i5", "i0"]))
    assert again.meta == features.meta
    other = encoded(columns, **ENCODERS, fit_items=["i0", "i5", "i8"])
    assert other.meta["image"]["fit_items"]["hash"] != about["fit_items"]["hash"]


def test_a_bar_shows_progress_only_if_asked(columns, capsys):
    encode(dataset({"text": columns["text"]}), text=ENCODERS["text"], progress=True)
    assert "text: 100%" in capsys.readouterr().err
    encode(dataset({"text": columns["text"]}), text=ENCODERS["text"], progress=False)
    assert capsys.readouterr().err == ""


# ---- real posters and plots

def recall(data, x, seed, permute=False):
    """Recall@20 on a fifth of the items for users whose profile is the mean feature of their other items."""
    rng, n = np.random.default_rng(seed), len(x)
    cold = np.zeros(n, bool)
    cold[rng.permutation(n)[: n // 5]] = True
    x = np.where((x != 0).any(1, keepdims=True), x - x[~cold].mean(0), 0)
    x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    x = x[rng.permutation(n)] if permute else x
    taken = csr_matrix((np.ones(len(data), np.float32), (data.user, data.item)), (len(data.users), n))
    scores = taken[:, ~cold] @ x[~cold] @ x[cold].T
    relevant = taken[:, cold].toarray() > 0
    top = np.argpartition(-scores, 20, axis=1)[:, :20]
    found, there = np.take_along_axis(relevant, top, 1).sum(1), relevant.sum(1)
    return (found / np.clip(there, 1, 20))[there > 0].mean()


@pytest.mark.slow
@pytest.mark.realdata
def test_posters_and_plots_encode_and_belong_to_their_items(data_root):
    data = load("ml-1m", data_root / "ml-1m")
    features = encode(data, progress=False)
    assert features.ids == data.items
    assert {name: int(there.sum()) for name, there in features.present.items()} == {"text": 3685, "image": 3699}
    assert not features.meta["image"]["unreadable"]
    for name, least in (("text", 0.13), ("image", 0.09)):
        x = features.x[name].numpy()
        aligned, permuted = (np.mean([recall(data, x, seed, permute) for seed in range(3)])
                             for permute in (False, True))
        assert aligned > least, name
        assert permuted < 0.06, name  # random scores give 0.051
