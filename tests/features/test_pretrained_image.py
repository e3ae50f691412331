import io
import json
import pickle
import threading
import time

import numpy as np
import pytest
import torch
from media import picture
from media import picture_file as saved
from PIL import Image

from mmgraph.features import pretrained_image
from mmgraph.features.decode_image import read_image
from mmgraph.features.encoder import Encoder, ImageEncoder, Movable, Remarking
from mmgraph.features.pixels import cells, spatial, trimmed
from mmgraph.features.pretrained_image import TimmImage, TransformerImage, check_features

timm = pytest.importorskip("timm")
transformers = pytest.importorskip("transformers")


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


FILES = [saved(picture(50 + 9 * seed, 40 + 3 * seed, seed)) for seed in range(5)]
TIMM = {"resnet10t": {"input_size": (3, 64, 64)},
        "vit_tiny_patch16_224": {"input_size": (3, 64, 64), "crop_mode": "squash", "crop_pct": 1.0},
        "convnext_atto": {"input_size": (3, 64, 96), "crop_pct": 0.9}}


@pytest.fixture(scope="module", params=TIMM)
def timm_folder(request, tmp_path_factory):
    torch.manual_seed(0)
    change = TIMM[request.param]
    more = {"img_size": 64, "embed_dim": 24, "depth": 2, "num_heads": 2} if "vit" in request.param else {}
    model = timm.create_model(request.param, num_classes=7, pretrained_cfg_overlay=change, **more)
    folder = tmp_path_factory.mktemp(request.param)
    timm.models.save_for_hf(model, folder, model_config={"pretrained_cfg": change}, model_args=more,
                            safe_serialization=True)
    return folder


def timm_by_hand(folder):
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    x = torch.stack([transform(Image.open(io.BytesIO(file)).convert("RGB")) for file in FILES])
    return model, x


def test_timm_equals_timm(timm_folder):
    encoder = TimmImage(str(timm_folder))
    decoded = [encoder.decode(file) for file in FILES]
    assert all(each.dtype == torch.uint8 for each in decoded)
    model, x = timm_by_hand(timm_folder)
    assert torch.allclose(encoder.pixels.normalised(torch.stack(decoded)), x, atol=2e-6)
    with torch.no_grad():
        expected = model.forward_head(model.forward_features(x), pre_logits=True)
        found = encoder.encode(decoded)
        assert torch.allclose(found, expected, atol=1e-5)
        assert torch.allclose(model.get_classifier()(found), model(x), atol=1e-4)
    assert found.std(0).max() > 1e-3


def test_timm_maps(timm_folder):
    encoder = TimmImage(str(timm_folder), features="map", grid=2)
    model, x = timm_by_hand(timm_folder)
    with torch.no_grad():
        maps = model.forward_features(x)
    if maps.ndim == 3:
        maps = maps[:, 1:].transpose(1, 2).reshape(len(x), -1, 4, 4)
    height, width = maps.shape[2:]
    if height % 2 == 0 and width % 2 == 0:
        quarters = maps.reshape(len(x), -1, 2, height // 2, 2, width // 2).mean((3, 5)).flatten(1)
        assert torch.allclose(encoder.encode([encoder.decode(file) for file in FILES]), quarters, atol=1e-5)
    with pytest.raises(ValueError, match="fewer than grid=50"):
        TimmImage(str(timm_folder), features="map", grid=50).encode([encoder.decode(FILES[0])])


def transformer_folder(kind, folder):
    """A tiny vision model with random weights, and the size of its pictures."""
    torch.manual_seed(0)
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 37}
    patches = {"image_size": 32, "patch_size": 8}
    name, config = {
        "vit": ("ViT", small | patches),
        "vit-classifier": ("ViT", small | patches),
        "dinov2": ("Dinov2", {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2} | patches),
        "dinov2-registers": ("Dinov2WithRegisters", {"hidden_size": 32, "num_hidden_layers": 2,
                                                     "num_attention_heads": 2, "num_register_tokens": 3} | patches),
        "resnet": ("ResNet", {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]}),
        "convnext": ("ConvNext", {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2}),
        "swin": ("Swin", {"image_size": 32, "patch_size": 2, "embed_dim": 8, "depths": [1, 1, 1],
                          "num_heads": [2, 2, 2], "window_size": 2})}[kind]
    config = getattr(transformers, f"{name}Config")(**config)
    which = f"{name}ForImageClassification" if kind == "vit-classifier" else f"{name}Model"
    getattr(transformers, which)(config).eval().save_pretrained(folder)
    processor = {"ConvNext": transformers.ConvNextImageProcessorPil, "ViT": transformers.ViTImageProcessorPil}.get(
        name, transformers.BitImageProcessorPil)
    size = {"height": 32, "width": 32} if name == "ViT" else {"shortest_edge": 32 if name == "ConvNext" else 36}
    crop = {"crop_size": {"height": 32, "width": 32}} if name not in ("ViT", "ConvNext") else {}
    processor(size=size, image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.25, 0.3], **crop).save_pretrained(folder)
    return str(folder)


KINDS = ["vit", "vit-classifier", "dinov2", "dinov2-registers", "resnet", "convnext", "swin"]


def transformers_by_hand(folder):
    """The model's output for `FILES`, and its map."""
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    model = transformers.AutoModel.from_pretrained(folder).eval()
    x = processor([Image.open(io.BytesIO(file)) for file in FILES], return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        return x, model(pixel_values=x)


@pytest.mark.parametrize("kind", KINDS)
def test_transformers_equals_transformers(kind, tmp_path):
    folder = transformer_folder(kind, tmp_path)
    encoder = TransformerImage(folder)
    decoded = [encoder.decode(file) for file in FILES]
    x, out = transformers_by_hand(folder)
    assert decoded[0].dtype == torch.uint8
    assert torch.allclose(encoder.pixels.normalised(torch.stack(decoded)), x, atol=1e-6)
    # A classifier's folder has no weights for a pooler: not random ones, but the mean over patches.
    expected = out.last_hidden_state[:, 1:].mean(1) if kind == "vit-classifier" else out.pooler_output.flatten(1)
    assert torch.allclose(encoder.encode(decoded), expected, atol=1e-5)
    extra = {"vit": 1, "vit-classifier": 1, "dinov2": 1, "dinov2-registers": 4}.get(kind, 0)
    last = out.last_hidden_state
    maps = last if last.ndim == 4 else last[:, extra:].transpose(1, 2).reshape(5, last.shape[2], 4, 4)
    maps = maps.reshape(5, maps.shape[1], 2, maps.shape[2] // 2, 2, maps.shape[3] // 2).mean((3, 5)).flatten(1)
    mapped = TransformerImage(folder, features="map", grid=2)
    assert torch.allclose(mapped.encode(decoded), maps, atol=1e-5)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vit")
    return [TimmImage.untrained("resnet10t"), TransformerImage(transformer_folder("vit", folder))]


@pytest.mark.parametrize("which", [0, 1])
def test_keeps_the_protocols(two, which):
    encoder = two[which]
    for protocol in (Encoder, ImageEncoder, Movable, Remarking):
        assert isinstance(encoder, protocol)
    assert encoder.modality == "image"
    assert encoder.fit([]) is encoder
    decoded = [encoder.decode(file) for file in FILES]
    whole = encoder.encode(decoded)
    assert whole.dtype == torch.float32
    assert encoder.encode([]).shape == (0, whole.shape[1])
    assert torch.allclose(torch.cat([encoder.encode([each]) for each in decoded]), whole, atol=1e-5)
    assert torch.allclose(encoder.encode(decoded[::-1]), whole.flip(0), atol=1e-5)
    assert encoder.decode(FILES[0]).equal(encoder.prepare(read_image(FILES[0])))
    assert encoder.remark(decoded[0]) is None
    assert encoder.remark(encoder.prepare(Image.new("RGB", (9, 5), (3, 200, 77)))) == "blank image"
    stripes = Image.new("RGB", (40, 40), "red")
    stripes.paste("blue", (0, 0, 40, 20))
    assert encoder.remark(encoder.prepare(stripes)) is None
    copied = pickle.loads(pickle.dumps(encoder))
    assert copied.settings() == encoder.settings()
    assert copied.encode(decoded).equal(whole)
    assert encoder.to(torch.device("cpu")) is encoder


@pytest.mark.parametrize("which", [0, 1])
def test_settings_are_plain_and_name_what_matters(two, which):
    encoder = two[which]
    settings = encoder.settings()
    assert json.loads(json.dumps(settings)) == settings
    assert len(settings["weights"]) == 64
    assert settings["features"] == "pooled"
    assert "grid" not in settings
    assert "/" not in json.dumps(settings)


def test_settings_follow_the_weights_not_the_place(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    for folder in (a, b):
        transformer_folder("resnet", folder)
    assert TransformerImage(str(a)).settings() == TransformerImage(str(b)).settings()
    mapped = TransformerImage(str(a), features="map", grid=3).settings()
    assert (mapped["features"], mapped["grid"]) == ("map", 3)
    torch.manual_seed(1)
    transformers.ResNetModel.from_pretrained(b).apply(
        lambda m: torch.nn.init.normal_(m.weight) if hasattr(m, "weight") else None).save_pretrained(b)
    assert TransformerImage(str(a)).settings()["weights"] != TransformerImage(str(b)).settings()["weights"]


def test_untrained_weights_come_from_the_seed_and_leave_torch_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    same, again, other = (TimmImage.untrained("resnet10t", seed=seed) for seed in (1, 1, 2))
    x = [same.decode(FILES[0])]
    assert same.encode(x).equal(again.encode(x))
    assert not same.encode(x).allclose(other.encode(x))
    assert torch.rand(3).equal(expected)
    assert same.settings() == again.settings()
    assert same.settings()["weights"] != other.settings()["weights"]


def test_weights_load_once_and_only_when_used(tmp_path, monkeypatch):
    calls = []
    load = pretrained_image.transformer

    def slow(checkpoint):
        calls.append(checkpoint)
        time.sleep(0.1)
        return load(checkpoint)

    monkeypatch.setattr(pretrained_image, "transformer", slow)
    encoder = TransformerImage(transformer_folder("vit", tmp_path))
    encoder.settings()
    decoded = [encoder.decode(file) for file in FILES]
    assert not calls
    threads = [threading.Thread(target=encoder.encode, args=(decoded,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1


def test_missing_or_foreign_weights_are_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    for kind, build in (("timm", None), ("vit", transformer_folder)):
        folder = tmp_path / kind
        if build is None:
            timm.models.save_for_hf(timm.create_model("resnet10t", num_classes=3), folder, safe_serialization=True)
        else:
            build("vit", folder)
        state = load_file(folder / "model.safetensors")
        gone = next(name for name in state if name.endswith(".weight") and "pooler" not in name and "fc" not in name)
        save_file({k: v for k, v in state.items() if k != gone}, folder / "model.safetensors", {"format": "pt"})
        encoder = (TimmImage if build is None else TransformerImage)(str(folder))
        with pytest.raises(ValueError, match=r"weights of .* (do not fit|lack)"):
            encoder.encode([encoder.decode(FILES[0])])


def test_a_pickle_beside_the_weights_is_never_opened(tmp_path):
    timm.models.save_for_hf(timm.create_model("resnet10t"), tmp_path, safe_serialization=True)
    (tmp_path / "sub").mkdir()
    (tmp_path / "model.safetensors").rename(tmp_path / "sub" / "x.safetensors")
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps({"conv1.weight": print}))
    encoder = TimmImage(str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        encoder.encode([encoder.decode(FILES[0])])


def test_wrong_folders_and_arguments_are_told(tmp_path):
    vit = transformer_folder("vit", tmp_path / "vit")
    with pytest.raises(ValueError, match=r"no model that timm .* knows.*TransformerImage"):
        TimmImage(vit)
    with pytest.raises(ValueError, match="no model that timm"):
        TimmImage.untrained("resnet9999")
    with pytest.raises(ValueError, match="features must be 'pooled' or 'map' and grid at least 1, got 'tokens'"):
        check_features("tokens", 2)
    with pytest.raises(ValueError, match="grid at least 1"):
        TimmImage.untrained("resnet10t", features="map", grid=0)
    with pytest.raises(ValueError, match="max_pixels must be at least 1"):
        TransformerImage(vit, max_pixels=0)
    (tmp_path / "vit" / "preprocessor_config.json").unlink()
    with pytest.raises(FileNotFoundError, match="does not say how images are prepared"):
        TransformerImage(vit)


def test_a_line_of_pixels_does_not_become_a_giant(two):
    line = Image.new("RGB", (500_000, 1))
    line.paste("red", (250_000, 0, 500_000, 1))
    assert trimmed(line).size == (64, 1)
    assert trimmed(line.transpose(Image.Transpose.ROTATE_90)).size == (1, 64)
    assert trimmed(picture(50, 40)).size == (40, 50)
    for encoder in two:
        decoded = encoder.prepare(line)
        assert decoded.shape[0] == 3
        assert decoded[0, 0, 0] < 60 < 200 < decoded[0, 0, -1]  # the middle: black on the left, red on the right


def test_a_large_jpeg_is_close_to_the_exact_one():
    y, x = np.mgrid[:1200, :1200] / 1200
    lively = np.stack([0.5 + 0.5 * np.sin(60 * x), 0.5 + 0.5 * np.sin(60 * y), 0.5 + 0.5 * np.sin(30 * x * y)], 2)
    image = Image.fromarray((lively * 255).astype(np.uint8))
    encoder = TimmImage.untrained("resnet10t")
    exact, draft = encoder.prepare(image), encoder.decode(saved(image, "JPEG", quality=95, subsampling=0))
    assert (exact.float() - draft.float()).abs().mean() < 2


def test_cells_by_hand():
    maps = torch.arange(32.0).reshape(1, 2, 4, 4)
    assert cells(maps, 2).tolist() == [[2.5, 4.5, 10.5, 12.5, 18.5, 20.5, 26.5, 28.5]]
    assert cells(maps, 1).tolist() == [[7.5, 23.5]]


def test_tokens_find_their_places():
    tokens = torch.arange(7.0).reshape(1, 7, 1)
    found = spatial(tokens, {"patch_size": 4}, (8, 12))
    assert found.tolist() == [[[[1, 2, 3], [4, 5, 6]]]]
    with pytest.raises(ValueError, match="7 tokens for 1x1 patches"):
        spatial(tokens, {"patch_size": 4, "model_type": "x"}, (4, 4))
    with pytest.raises(ValueError, match="is no map"):
        spatial(tokens, {}, (4, 4))
