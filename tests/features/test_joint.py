import io
import json
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from mmgraph.features import joint as module
from mmgraph.features.encoder import Encoder, ImageEncoder, Measured, Movable, Remarking
from mmgraph.features.joint import Joint, windows

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

WORDS = ["[PAD]", "[BOS]", "[EOS]", "[UNK]", "a", "toy", "red", "blue", "cat", "dog", "film", "song"]
TOWER = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 37}
TEXTS = ["a red toy", "", "dog", "a blue cat " * 40, "unseen words"]


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def tokenizer(limit, ends=True):
    core = tokenizers.Tokenizer(tokenizers.models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    core.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    if ends:
        core.post_processor = tokenizers.processors.TemplateProcessing(
            single="[BOS] $A [EOS]", special_tokens=[("[BOS]", 1), ("[EOS]", 2)])
    return transformers.PreTrainedTokenizerFast(tokenizer_object=core, pad_token="[PAD]", bos_token="[BOS]",
                                                eos_token="[EOS]", unk_token="[UNK]", model_max_length=limit)


def clip(folder):
    text = TOWER | {"vocab_size": 20, "max_position_embeddings": 12, "bos_token_id": 1, "eos_token_id": 2,
                    "pad_token_id": 0}
    config = transformers.CLIPConfig(text_config=text, vision_config=TOWER | {"image_size": 32, "patch_size": 8},
                                     projection_dim=16)
    processor = transformers.CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    return written(folder, transformers.CLIPModel(config), tokenizer(12), processor)


def siglip(folder):
    text = TOWER | {"vocab_size": 20, "max_position_embeddings": 12, "bos_token_id": 1, "eos_token_id": 2,
                    "pad_token_id": 0, "projection_size": 32}
    config = transformers.SiglipConfig(text_config=text, vision_config=TOWER | {"image_size": 32, "patch_size": 8})
    return written(folder, transformers.SiglipModel(config), tokenizer(12),
                   transformers.SiglipImageProcessorPil(size={"height": 32, "width": 32}))


def siglip2(folder):
    text = TOWER | {"vocab_size": 20, "max_position_embeddings": 12, "bos_token_id": 1, "eos_token_id": 2,
                    "pad_token_id": 0, "projection_size": 32}
    config = transformers.Siglip2Config(text_config=text, vision_config=TOWER | {"num_patches": 16, "patch_size": 8})
    return written(folder, transformers.Siglip2Model(config), tokenizer(12),
                   transformers.Siglip2ImageProcessorPil(patch_size=8, max_num_patches=16))


def clap(folder, fusion=False):
    text = TOWER | {"vocab_size": 20, "max_position_embeddings": 14, "pad_token_id": 1, "projection_dim": 16}
    audio = {"spec_size": 32, "num_mel_bins": 8, "patch_size": 4, "patch_stride": [4, 4], "patch_embeds_hidden_size": 8,
             "depths": [1, 1], "num_attention_heads": [2, 2], "window_size": 4, "hidden_size": 16, "num_classes": 4,
             "projection_dim": 16, "enable_fusion": fusion, "drop_path_rate": 0.0}
    config = transformers.ClapConfig(text_config=text, audio_config=audio, projection_dim=16)
    words = tokenizer(12)
    words.pad_token = "[BOS]"  # number 1, as RoBERTa's
    extractor = transformers.ClapFeatureExtractor(
        feature_size=8, sampling_rate=8000, hop_length=80, max_length_s=1, fft_window_size=256, frequency_max=4000,
        truncation="fusion" if fusion else "rand_trunc")
    return written(folder, transformers.ClapModel(config), words, extractor)


def written(folder, model, *parts):
    with torch.no_grad():
        for value in model.parameters():  # as they come, tiny random towers hardly tell inputs apart
            if value.ndim > 1:
                value.mul_(4)
    for part in (model.eval(), *parts):
        part.save_pretrained(folder)
    return str(folder)


KINDS = {"clip": clip, "siglip": siglip, "siglip2": siglip2}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    torch.manual_seed(0)
    return {kind: build(tmp_path_factory.mktemp(kind)) for kind, build in {**KINDS, "clap": clap}.items()}


def picture(height=50, width=40, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def saved(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


FILES = [saved(picture(50 + 9 * seed, 40 + 3 * seed, seed)) for seed in range(4)]


def wav(wave, rate=8000):
    soundfile = pytest.importorskip("soundfile")
    file = io.BytesIO()
    soundfile.write(file, wave, rate, format="WAV", subtype="FLOAT")
    return file.getvalue()


def sound(seconds, seed=0):
    return 0.1 * np.random.default_rng(seed).standard_normal(int(seconds * 8000)).astype(np.float32)


def unit(x):
    return x / x.norm(dim=1, keepdim=True)


def text_by_hand(folder, kind):
    """One text at a time, through the library alone."""
    model = transformers.AutoModel.from_pretrained(folder).eval()
    words = transformers.AutoTokenizer.from_pretrained(folder)
    full = kind.startswith("siglip")
    rows = []
    for text in TEXTS:
        tokens = words([text], truncation=True, max_length=12, padding="max_length" if full else False,
                       return_tensors="pt")
        with torch.no_grad():
            mask = {} if full else {"attention_mask": tokens["attention_mask"]}
            rows.append(model.get_text_features(input_ids=tokens["input_ids"], **mask).pooler_output)
    return unit(torch.cat(rows))


@pytest.mark.parametrize("kind", ["clip", "siglip", "siglip2", "clap"])
def test_text_equals_transformers(folders, kind):
    encoder = Joint(folders[kind]).text
    assert encoder.max_tokens == 12
    found = encoder.encode([encoder.decode(text.encode()) for text in TEXTS])
    assert torch.allclose(found, text_by_hand(folders[kind], kind), atol=1e-5)
    assert found.norm(dim=1).allclose(torch.ones(len(TEXTS)))
    assert torch.pdist(found).median() > 1e-2


@pytest.mark.parametrize("kind", KINDS)
def test_image_equals_transformers(folders, kind):
    encoder = Joint(folders[kind]).image
    decoded = [encoder.decode(file) for file in FILES]
    model = transformers.AutoModel.from_pretrained(folders[kind]).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folders[kind], backend="pil")
    inputs = processor([Image.open(io.BytesIO(file)) for file in FILES], return_tensors="pt")
    with torch.no_grad():
        expected = unit(model.get_image_features(**inputs).pooler_output)
    found = encoder.encode(decoded)
    assert torch.allclose(found, expected, atol=1e-5)
    assert torch.pdist(found).min() > 1e-3
    assert encoder.remark(decoded[0]) is None
    assert encoder.remark(encoder.prepare(Image.new("RGB", (40, 20), (3, 200, 77)))) == "blank image"
    assert encoder.prepare(picture()).__class__ is (tuple if kind == "siglip2" else torch.Tensor)


@pytest.mark.parametrize("fusion", [False, True])
def test_audio_equals_transformers_where_it_is_not_random(folders, tmp_path, fusion):
    folder = clap(tmp_path, fusion=True) if fusion else folders["clap"]
    encoder = Joint(folder).audio
    waves = [sound(0.3, 1), sound(1, 2), sound(0.77, 3)]
    decoded = [encoder.decode(wav(wave)) for wave in waves]
    model = transformers.AutoModel.from_pretrained(folder).eval()
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    spectra = extractor(waves, sampling_rate=8000, return_tensors="pt")["input_features"]
    with torch.no_grad():
        expected = unit(model.get_audio_features(input_features=spectra.float(),
                                                 is_longer=torch.zeros(3, 1).bool()).pooler_output)
    assert torch.allclose(encoder.encode(decoded), expected, atol=1e-5)


def test_long_audio_is_the_mean_of_its_windows(folders):
    encoder = Joint(folders["clap"], max_seconds=10.0).audio
    wave = sound(2.5)
    pieces = [wave[:8000], wave[8000:16000], wave[12000:]]
    whole = encoder.encode([encoder.decode(wav(wave))])
    parts = encoder.encode([encoder.decode(wav(piece)) for piece in pieces])
    assert torch.allclose(whole, unit(parts.mean(0, keepdim=True)), atol=1e-5)
    again = encoder.encode([encoder.decode(wav(wave)) for _ in range(2)])
    assert torch.allclose(again, whole.expand(2, -1), atol=1e-6)
    short = Joint(folders["clap"], max_seconds=1.0).audio
    assert torch.allclose(short.encode([short.decode(wav(wave))]), parts[:1], atol=1e-5)
    assert encoder.remark(encoder.decode(wav(wave))) is None
    assert encoder.remark(encoder.decode(wav(0 * wave))) == "silent audio"


@pytest.mark.parametrize(("samples", "expected"), [
    (3, [(0, 3)]), (4, [(0, 4)]), (5, [(0, 4), (1, 5)]), (8, [(0, 4), (4, 8)]), (9, [(0, 4), (4, 8), (5, 9)])])
def test_windows_by_hand(samples, expected):
    found = windows(torch.arange(float(samples)), 4)
    assert [(int(w[0]), int(w[-1]) + 1) for w in found] == expected


def towers(folders):
    for kind in ("clip", "siglip", "siglip2", "clap"):
        for modality in module.KINDS[kind]:
            yield kind, getattr(Joint(folders[kind]), modality), modality


def contents(modality):
    media = {"text": TEXTS, "image": FILES}
    return media[modality] if modality in media else [wav(sound(s, int(9 * s))) for s in (0.2, 1.5, 1, 2.2)]


def test_every_tower_keeps_the_protocols(folders):
    for kind, encoder, modality in towers(folders):
        for protocol in (Encoder, Movable, Remarking, {"text": Measured, "image": ImageEncoder}.get(modality, Encoder)):
            assert isinstance(encoder, protocol), (kind, modality)
        assert (encoder.modality, encoder.fit([])) == (modality, encoder)
        decoded = [encoder.decode(content) for content in contents(modality)]
        whole = encoder.encode(decoded)
        assert whole.dtype == torch.float32
        assert encoder.encode([]).shape == (0, whole.shape[1])
        assert whole.norm(dim=1).allclose(torch.ones(len(whole)))
        assert torch.allclose(torch.cat([encoder.encode([each]) for each in decoded]), whole, atol=1e-5), kind
        assert torch.allclose(encoder.encode(decoded[::-1]), whole.flip(0), atol=1e-5)
        settings = encoder.settings()
        assert json.loads(json.dumps(settings)) == settings
        assert (settings["tower"], len(settings["weights"])) == (modality, 64)
        assert encoder.name not in json.dumps(settings)
        copied = pickle.loads(pickle.dumps(encoder))
        assert copied.settings() == settings
        assert torch.equal(copied.encode(decoded), whole)


def test_the_towers_share_one_model_loaded_at_the_first_encode(folders, monkeypatch):
    calls, load = [], module.transformer
    monkeypatch.setattr(module, "transformer", lambda checkpoint: calls.append(1) or load(checkpoint))
    joint = Joint(folders["clip"])
    text, image = joint.text, joint.image
    decoded = image.decode(FILES[0])
    text.settings()
    assert not calls
    image.encode([decoded])
    text.encode(["a cat"])
    joint.text.encode(["a dog"])
    text.to(torch.device("cpu")).encode(["a dog"])
    assert len(calls) == 1
    elsewhere = torch.device("meta")
    assert text.to(elsewhere).joint is image.to(elsewhere).joint is not joint
    assert text.joint.device.type == "cpu"


def test_a_missing_tower_and_another_kind_are_told(folders, tmp_path):
    with pytest.raises(AttributeError, match=r"\(clip\) has no audio tower, only \('text', 'image'\)"):
        _ = Joint(folders["clip"]).audio
    with pytest.raises(AttributeError, match=r"\(clap\) has no image tower"):
        _ = Joint(folders["clap"]).image
    transformers.ResNetModel(transformers.ResNetConfig(embedding_size=4, hidden_sizes=[4], depths=[1])).save_pretrained(
        tmp_path)
    with pytest.raises(ValueError, match="of kind 'resnet'; joint ones are"):
        Joint(str(tmp_path))
    with pytest.raises(ValueError, match="max_seconds positive and finite"):
        Joint(folders["clap"], max_seconds=0.0)
