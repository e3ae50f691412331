import hashlib
import io
import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image

from mmgraph.features.clip_model import ClipModel
from mmgraph.features.decode_video import read_frames
from mmgraph.features.encoder import Encoder, Movable, Remarking, Unreadable
from mmgraph.features.image import ClassicalImage
from mmgraph.features.pretrained_video import FrameVideo, TorchvisionVideo, TransformerVideo, over_time
from mmgraph.features.torchvision_video import ARCHITECTURES, fetched

av = pytest.importorskip("av")


def film(n=12, seed=0, height=40, width=56):
    """An MP4 of moving coloured blocks."""
    coarse = np.random.default_rng(seed).integers(0, 256, (n, 4, 4, 3), dtype=np.uint8)
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width, stream.pix_fmt, stream.bit_rate = height, width, "yuv420p", 4_000_000
        for frame in coarse:
            picture = np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.NEAREST))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


def blank(n=3):
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width, stream.pix_fmt = 32, 32, "yuv420p"
        for _ in range(n):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((32, 32, 3), 99, np.uint8), format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


FILMS = [film(n, seed=n, height=32 + 8 * n) for n in (1, 2, 5, 12, 20)]


def rows_in_batches(encoder, size):
    decoded = [encoder.decode(content) for content in FILMS]
    return torch.cat([encoder.encode(decoded[start:start + size]) for start in range(0, len(decoded), size)])


# ---- frames through an image encoder

IMAGE = ClassicalImage(size=24, grid=2)


def test_frames_keep_the_protocol():
    encoder = FrameVideo(IMAGE, n_frames=3, pooling="max")
    assert isinstance(encoder, Encoder)
    assert isinstance(encoder, Movable)
    assert isinstance(encoder, Remarking)
    assert json.loads(json.dumps(encoder.settings())) == {
        "n_frames": 3, "sampling": "uniform", "pooling": "max", "max_pixels": 64_000_000,
        "image": {"encoder": "ClassicalImage", **IMAGE.settings()}}
    assert encoder.libraries == ("av", "numpy", "pillow")
    assert encoder.name == "ClassicalImage"
    assert encoder.to(torch.device("cpu")) is encoder  # a classical encoder stays on the CPU
    assert encoder.fit([]) is encoder


@pytest.mark.parametrize("pooling", ["mean", "max", "mean+std"])
def test_frames_equal_the_image_encoder_frame_by_frame(pooling):
    encoder = FrameVideo(IMAGE, n_frames=4, pooling=pooling)
    frames = [IMAGE.prepare(Image.fromarray(frame)) for frame in read_frames(FILMS[3], 4)]
    x = IMAGE.encode(frames).double()
    mean = sum(x) / 4
    expected = {"mean": mean, "max": x.max(0).values,
                "mean+std": torch.cat([mean, (sum((row - mean) ** 2 for row in x) / 4).sqrt()])}[pooling]
    found = encoder.encode([encoder.decode(FILMS[3])])
    assert found.dtype == torch.float32
    assert torch.allclose(found[0].double(), expected, atol=1e-6)
    assert encoder.encode([]).shape == (0, len(expected))


def test_frames_of_scenes_are_others_than_uniform_ones():
    uniform, scene = (FrameVideo(IMAGE, n_frames=3, sampling=way) for way in ("uniform", "scene"))
    picture = next(read_frames(FILMS[4], 3, sampling="scene"))
    assert (scene.decode(FILMS[4])[0][0] == IMAGE.prepare(Image.fromarray(picture))).all()
    assert not (scene.decode(FILMS[4])[0][0] == uniform.decode(FILMS[4])[0][0]).all()
    assert scene.settings() != uniform.settings()


def test_over_time_by_hand():
    x = torch.tensor([[[1.0, 5], [3, 1]]])
    assert over_time(x, "mean").tolist() == [[2, 3]]
    assert over_time(x, "max").tolist() == [[3, 5]]
    assert over_time(x, "mean+std").tolist() == [[2, 3, 1, 2]]


class Counting(ClassicalImage):
    """An image encoder that learns how many pictures there were, moves, and notes how many it got at once."""

    def __init__(self, seen=0, place="cpu"):
        super().__init__(size=8, grid=2)
        self.seen, self.place, self.sizes = seen, place, []

    def fit(self, decoded):
        return Counting(len(list(decoded)))

    def to(self, device):
        return Counting(self.seen, str(device))

    def encode(self, batch):
        self.sizes.append(len(batch))
        return super().encode(batch)


def test_image_encoder_learns_moves_and_gets_bounded_batches():
    encoder = FrameVideo(Counting(), n_frames=3, pooling="max", sampling="scene")
    decoded = [encoder.decode(FILMS[2])] * 50
    fitted = encoder.fit(iter(decoded))
    assert (fitted.image.seen, encoder.image.seen) == (150, 0)
    moved = fitted.to(torch.device("meta"))
    assert (moved.image.place, moved.image.seen, fitted.image.place) == ("meta", 150, "cpu")
    assert (moved.n_frames, moved.pooling, moved.sampling) == (3, "max", "scene")
    assert encoder.encode(decoded).shape[0] == 50
    assert encoder.image.sizes == [64, 64, 22]


@pytest.mark.parametrize(("arguments", "message"), [
    ({"n_frames": 0}, "n_frames=0"), ({"max_pixels": 0}, "max_pixels=0")])
def test_frames_refuse_arguments_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        FrameVideo(IMAGE, **arguments)


# ---- transformers

CLIP = {"image_size": 32, "num_frames": 4, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 37}
EXTRA = {"videomae": {"patch_size": 16, "tubelet_size": 2}, "timesformer": {"patch_size": 16},
         "vivit": {"tubelet_size": [2, 16, 16]}}


@pytest.fixture(scope="module", params=["videomae", "timesformer", "vivit"])
def folder(request, tmp_path_factory):
    """A tiny model with the settings of its preprocessing."""
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("torchvision")
    torch.manual_seed(0)
    place = tmp_path_factory.mktemp("models") / request.param
    config = transformers.AutoConfig.for_model(request.param, **CLIP, **EXTRA[request.param])
    bare = {"add_pooling_layer": False} if request.param == "vivit" else {}  # as in published classifiers
    transformers.AutoModel.from_config(config, **bare).save_pretrained(place)
    kind = {"videomae": "VideoMAE", "timesformer": "Timesformer", "vivit": "Vivit"}[request.param]
    getattr(transformers, f"{kind}VideoProcessor")(
        size={"shortest_edge": 36}, crop_size={"height": 32, "width": 32}, image_mean=[0.4, 0.5, 0.6]
    ).save_pretrained(place)
    return place


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def by_library(folder, clips):
    """What transformers itself makes of these clips."""
    import transformers

    processor = transformers.AutoVideoProcessor.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        tokens = model(torch.cat([processor(clip, return_tensors="pt")["pixel_values"] for clip in clips]))[0]
    return tokens.mean(1) if folder.name == "videomae" else tokens[:, 0]


def test_transformer_equals_the_library(folder):
    encoder = TransformerVideo(folder)
    decoded = [encoder.decode(content) for content in FILMS]
    assert {(film.dtype, tuple(film.shape)) for film in decoded} == {(torch.uint8, (4, 3, 32, 32))}
    rows = encoder.encode(decoded)
    assert rows.shape == (5, 32)
    assert rows.dtype == torch.float32
    assert torch.allclose(rows, by_library(folder, [list(read_frames(content, 4)) for content in FILMS]), atol=1e-5)
    assert torch.pdist(rows).min() > 1e-3  # the films differ


def test_transformer_clips_cover_the_film_and_are_averaged(folder):
    encoder, frames = TransformerVideo(folder, clips=2), list(read_frames(FILMS[4], 8))
    decoded = encoder.decode(FILMS[4])
    assert decoded.shape == (8, 3, 32, 32)
    halves = by_library(folder, [frames[:4], frames[4:]])
    assert torch.allclose(encoder.encode([decoded]), halves.mean(0, keepdim=True), atol=1e-5)


def test_transformer_rows_do_not_depend_on_the_batch(folder):
    encoder = TransformerVideo(folder, clips=2)
    whole = rows_in_batches(encoder, 5)
    for size in (1, 2, 3):
        assert torch.allclose(rows_in_batches(encoder, size), whole, atol=1e-5)
    assert torch.allclose(encoder.encode([encoder.decode(FILMS[0])] * 30), whole[:1].expand(30, -1), atol=1e-5)


def test_transformer_keeps_the_protocol(folder):
    encoder = TransformerVideo(folder)
    assert all(isinstance(encoder, kind) for kind in (Encoder, Movable, Remarking))
    about = json.loads(json.dumps(encoder.settings()))
    assert str(folder) not in json.dumps(about)
    assert (about["n_frames"], about["clips"], about["weights"]) == (4, 1, encoder.checkpoint.sha256)
    assert about["tokens"] == ("mean" if folder.name == "videomae" else "cls")
    assert encoder.fit([]) is encoder
    assert encoder.name == str(folder)
    assert encoder.encode([]).shape == (0, 32)
    moved = encoder.to(torch.device("cpu"))
    assert moved is not encoder
    assert moved.settings() == encoder.settings()


def test_weights_are_loaded_once_and_only_to_encode(folder, monkeypatch):
    encoder, loaded = TransformerVideo(folder), []
    plain = encoder.load
    monkeypatch.setattr(TransformerVideo, "load", lambda self: loaded.append(1) or plain())
    films = [encoder.decode(content) for content in FILMS]
    encoder.encode([])
    assert not loaded
    with ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(lambda _: encoder.encode(films), range(4)))
    assert len(loaded) == 1
    assert not encoder.model().training
    assert all(row.equal(rows[0]) for row in rows)
    again = pickle.loads(pickle.dumps(encoder))
    assert again._model is None
    assert again.encode(films).equal(rows[0])


def test_missing_weights_are_not_left_random(folder, tmp_path):
    from safetensors.torch import load_file, save_file

    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    state = load_file(folder / "model.safetensors")
    gone = next(name for name in state if "attention" in name and name.endswith("weight"))
    save_file({name: x for name, x in state.items() if name != gone}, tmp_path / "model.safetensors",
              metadata={"format": "pt"})
    encoder = TransformerVideo(tmp_path)
    with pytest.raises(ValueError, match="would stay random"):
        encoder.encode([encoder.decode(FILMS[0])])


def test_refuses_other_models_and_folders_without_preprocessing(folder, tmp_path):
    for file in folder.glob("*"):
        if file.name in ("config.json", "model.safetensors"):
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ValueError, match="says nothing of its preprocessing"):
        TransformerVideo(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "vit"}))
    with pytest.raises(ValueError, match=r"type 'vit'; clips are encoded by .*FrameVideo"):
        TransformerVideo(tmp_path)
    with pytest.raises(ValueError, match="clips must be at least 1, got 0"):
        TransformerVideo(folder, clips=0)


# ---- torchvision

def preset(architecture):
    models = pytest.importorskip("torchvision").models
    return models.get_model_weights(architecture).DEFAULT.transforms()


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_clips_are_prepared_as_torchvision_does(architecture):
    transform, encoder = preset(architecture), TorchvisionVideo.untrained(architecture)
    encoder.n_frames = 2
    content, found = film(height=140, width=200), []
    expected = transform(torch.stack([torch.from_numpy(f).permute(2, 0, 1) for f in read_frames(content, 2)]))
    encoder.rows(lambda pixels: found.append(pixels) or torch.zeros(1, 1), encoder.decode(content)[None])
    assert torch.allclose(found[0][0], expected, atol=1e-6)


def by_torchvision(architecture, seed, content):
    """Features before the last linear layer of the whole model, seen by a hook."""
    from torchvision import models

    torch.manual_seed(seed)
    model = models.get_model(architecture, weights=None).eval()
    last, seen = [m for m in model.modules() if isinstance(m, torch.nn.Linear)][-1], []
    last.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    frames = torch.stack([torch.from_numpy(f).permute(2, 0, 1)
                          for f in read_frames(content, ARCHITECTURES[architecture][0])])
    with torch.no_grad():
        model(preset(architecture)(frames)[None])
    return seen[0]


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_widths_are_those_before_the_classifier(architecture):
    from torchvision import models

    with torch.device("meta"):
        model = models.get_model(architecture, weights=None)
    last = [module for module in model.modules() if isinstance(module, torch.nn.Linear)][-1]
    assert last.in_features == ARCHITECTURES[architecture][1]


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["mvit_v2_s", "r3d_18", "swin3d_t"])
def test_torchvision_equals_the_library(architecture):
    encoder = TorchvisionVideo.untrained(architecture, seed=3)
    row = encoder.encode([encoder.decode(FILMS[3])])
    assert row.shape == (1, ARCHITECTURES[architecture][1])
    assert torch.allclose(row, by_torchvision(architecture, 3, FILMS[3]), atol=1e-5)


def test_untrained_weights_come_from_the_seed_alone():
    first, second = (TorchvisionVideo.untrained("mc3_18", seed=1) for _ in range(2))
    before = torch.get_rng_state()
    a, b = first.load().state_dict(), second.load().state_dict()
    assert torch.get_rng_state().equal(before)
    assert all(a[name].equal(b[name]) for name in a)
    other = TorchvisionVideo.untrained("mc3_18", seed=2)
    assert not other.load().state_dict()["stem.0.weight"].equal(a["stem.0.weight"])
    assert other.settings() != first.settings() == second.settings()
    assert first.settings()["weights"] == "untrained, seed 1"
    assert first.encode([]).shape == (0, 512)


def test_weights_from_a_file(tmp_path):
    from safetensors.torch import save_file
    from torchvision import models

    model = models.get_model("mc3_18", weights=None)
    save_file(model.state_dict(), tmp_path / "a.safetensors")
    encoder = TorchvisionVideo("mc3_18", weights=tmp_path / "a.safetensors")
    found = encoder.load().state_dict()
    assert all(found[name].equal(x) for name, x in model.state_dict().items() if not name.startswith("fc"))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b.safetensors").write_bytes((tmp_path / "a.safetensors").read_bytes())
    assert TorchvisionVideo("mc3_18", weights=tmp_path / "elsewhere" / "b.safetensors").settings() == encoder.settings()
    with pytest.raises(ValueError, match="does not hold r3d_18"):
        TorchvisionVideo("r3d_18", weights=tmp_path / "a.safetensors").load()


def test_refuses_other_files_and_architectures(tmp_path):
    (tmp_path / "a.pth").write_bytes(b"x")
    with pytest.raises(ValueError, match="not in safetensors"):
        TorchvisionVideo("r3d_18", weights=tmp_path / "a.pth")
    with pytest.raises(FileNotFoundError, match="no weights at"):
        TorchvisionVideo("r3d_18", weights=tmp_path / "b.safetensors")
    with pytest.raises(ValueError, match=r"architecture must be one of .*'resnet50'"):
        TorchvisionVideo("resnet50")


def test_without_a_network_the_error_names_cache_and_ways_out(tmp_path, monkeypatch):
    def unreachable(request, timeout):
        raise URLError("no route")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("mmgraph.features.torchvision_video.urlopen", unreachable)
    encoder = TorchvisionVideo("r3d_18")
    assert encoder.settings()["weights"] == "r3d_18-b3b3357e.pth"  # known without a download
    with pytest.raises(ConnectionError, match=r"r3d_18-b3b3357e\.pth.*checkpoints.*no route.*weights=file.*classical"):
        encoder.encode([encoder.decode(FILMS[0])])


def test_published_weights_are_read_from_the_cache_if_their_hash_is_right(tmp_path, monkeypatch):
    from torchvision import models

    state = models.get_model("mc3_18", weights=None).state_dict()
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    file = tmp_path / "checkpoints" / "raw"
    torch.save(state, file)
    name = f"mc3_18-{hashlib.sha256(file.read_bytes()).hexdigest()[:8]}.pth"
    file.rename(tmp_path / "checkpoints" / name)
    assert fetched(f"https://none.invalid/{name}")["stem.0.weight"].equal(state["stem.0.weight"])
    (tmp_path / "checkpoints" / name).write_bytes(b"other")
    with pytest.raises(ValueError, match="is damaged: its hash is not the one in its name"):
        fetched(f"https://none.invalid/{name}")


# ---- all of them

def encoders():
    clip = TorchvisionVideo.untrained("r3d_18")
    clip.n_frames = 2
    return [FrameVideo(IMAGE, n_frames=2), clip]


@pytest.mark.parametrize("encoder", encoders(), ids=["frames", "torchvision"])
def test_blank_films_are_remarked_and_unreadable_ones_named(encoder):
    assert encoder.remark(encoder.decode(blank())) == "blank video"
    assert encoder.remark(encoder.decode(FILMS[0])) is None
    for content, reason in ((b"", "zero bytes"), (b"text" * 99, "Invalid data"), (FILMS[1][:500], "Invalid data")):
        with pytest.raises(Unreadable, match=reason):
            encoder.decode(content)


def test_clip_models_are_abstract():
    with pytest.raises(TypeError, match="abstract"):
        ClipModel("a", 2, 2, 1, 1)
