"""A text model with its tokeniser: texts to windows of tokens, tokens to vectors, vectors to one."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mmgraph.features.sentence_folder import Dense


@dataclass(frozen=True)
class Window:
    """A piece of a text that the model reads at once.

    Args:
        text: number of the text in its batch.
        ids: its tokens, special ones included.
        share: its weight in the text's vector; the shares of a text's windows sum to one.
    """

    text: int
    ids: list[int]
    share: float


@dataclass(frozen=True)
class Loaded:
    """A model with its tokeniser.

    Args:
        tokenizer: texts → numbers of tokens.
        model: numbers of tokens → a vector for each, as ``last_hidden_state``.
        head: what comes after pooling, except a last normalisation.
        start: special tokens before a text.
        end: special tokens after it.
        prefix: the tokens of the prefix.
        pad: what fills the shorter rows of a batch.
        room: tokens of a window without special ones.
    """

    tokenizer: Any
    model: Any
    head: nn.Sequential
    start: list[int]
    end: list[int]
    prefix: list[int]
    pad: int
    room: int

    def dim(self, n_poolings: int) -> int:
        """Width of the output."""
        widths = [layer.linear.out_features for layer in self.head if isinstance(layer, Dense)]
        return widths[-1] if widths else n_poolings * self.model.config.hidden_size

    def tokens(self, ids: Int[Tensor, "windows length"],
               mask: Bool[Tensor, "windows length"]) -> Float[Tensor, "windows length hidden"]:
        """A vector per token."""
        return self.model(input_ids=ids, attention_mask=mask.long()).last_hidden_state.float()

    def windows(self, texts: Sequence[str], chunks: int, overlap: int) -> Iterator[Window]:
        """At most so many windows of each text. Every one starts with the prefix."""
        if not texts:
            return
        most = self.room + (chunks - 1) * (self.room - overlap)
        found = self.tokenizer(list(texts), add_special_tokens=False, truncation=True, max_length=most)["input_ids"]
        for number, ids in enumerate(found):
            n = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(self.prefix, ids, strict=False)))
            parts = split(ids[n:], self.room - n, overlap, chunks)
            total = sum(map(len, parts)) or 1
            for part in parts:
                if whole := self.start + ids[:n] + part + self.end:  # not for a text without any token
                    yield Window(number, whole, (len(part) or total) / total)


def tokenizer_of(folder: Path, lower: bool, options: Mapping[str, Any]) -> Any:
    """The tokeniser, which puts texts into lower case first if asked to.

    Raises:
        ImportError: without transformers.
    """
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise ImportError('text models are run by transformers: pip install "mmgraph[text]"') from error
    from tokenizers.normalizers import Lowercase
    from tokenizers.normalizers import Sequence as Chain

    tokenizer = AutoTokenizer.from_pretrained(folder, **options)
    if lower:
        backend = tokenizer.backend_tokenizer
        backend.normalizer = Chain([Lowercase(), *([backend.normalizer] if backend.normalizer else [])])
    return tokenizer


def model_of(folder: Path, options: Mapping[str, Any]) -> Any:
    """The model in float32, ready to be asked; of an encoder-decoder model its encoder.

    Raises:
        ValueError: if the file lacks weights that matter: they would be random.
    """
    from transformers import AutoConfig, AutoModel, AutoModelForTextEncoding

    config = AutoConfig.from_pretrained(folder, **options)
    config.use_cache = False
    half: Any = AutoModelForTextEncoding._model_mapping.get(type(config), AutoModel)
    kind = half if half.__name__.endswith("EncoderModel") else AutoModel  # T5's encoder, also where it lies alone
    both = config.is_encoder_decoder and kind is AutoModel
    config.is_encoder_decoder = both
    with no_bar():
        model, about = kind.from_pretrained(folder, config=config, dtype=torch.float32, use_safetensors=True,
                                            output_loading_info=True, **options)
    missing = sorted(k for k in about["missing_keys"] if "pooler" not in k and not (both and "decoder" in k))
    if missing or about["mismatched_keys"]:
        raise ValueError(f"the weights in {folder} lack {missing or about['mismatched_keys']}, which would be random; "
                         f"this is not a {type(model).__name__}, or the file is damaged.")
    return (model.get_encoder() if both else model).eval()


@contextmanager
def no_bar() -> Iterator[None]:
    """Loading a model from the disk shows no bar of its own."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def specials(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The special tokens that a tokeniser puts before and after a text.

    Raises:
        ValueError: if it does more than that.
    """
    inner, whole = tokenizer("a", add_special_tokens=False)["input_ids"], tokenizer("a")
    ids = whole["input_ids"]
    at = next((i for i in range(len(ids)) if ids[i:i + len(inner)] == inner), None)
    if at is None or any(whole.get("token_type_ids", ())):
        raise ValueError(f"{type(tokenizer).__name__} does not only put special tokens around a text, it makes {whole} "
                         f"of {inner}; such tokenisers are not supported.")
    return ids[:at], ids[at + len(inner):]


def pooled(tokens: Float[Tensor, "batch length hidden"], mask: Bool[Tensor, "batch length"], ways: Sequence[str],
           skip: int = 0) -> Float[Tensor, "batch dim"]:
    """One vector per text from those of its tokens, whichever side is padded.

    Args:
        tokens: the vector of each token.
        mask: which are not padding.
        ways: one block each: cls (the first token), lasttoken, mean, mean_sqrt_len_tokens (sum over the root of the
            length), weightedmean (weights 1, 2, 3, …), max.
        skip: leave out so many tokens at the beginning of each text: those of the prefix.
    """
    place = mask.long().cumsum(1) * mask  # 1, 2, 3, … at the tokens of a text, 0 at padding
    kept = place > skip
    weight, row = kept[..., None].to(tokens.dtype), torch.arange(len(tokens), device=tokens.device)
    total, n = (tokens * weight).sum(1), weight.sum(1).clamp(min=1)
    blocks = {
        "cls": lambda: tokens[row, kept.long().argmax(1)],
        "lasttoken": lambda: tokens[row, (place * kept).argmax(1)],
        "mean": lambda: total / n,
        "mean_sqrt_len_tokens": lambda: total / n.sqrt(),
        "weightedmean": lambda: ((tokens * weight * place[..., None]).sum(1)
                                 / (weight * place[..., None]).sum(1).clamp(min=1)),
        "max": lambda: tokens.masked_fill(~kept[..., None], -torch.inf).amax(1).masked_fill(~kept.any(1)[:, None], 0),
    }
    return torch.cat([blocks[way]() for way in ways], 1)


def split(ids: list[int], size: int, overlap: int, most: int) -> list[list[int]]:
    """Windows of this size, of which neighbours share ``overlap`` tokens; at least one, and together up to the end."""
    starts = range(0, max(len(ids) - overlap, 1), max(size - overlap, 1))[:most]
    return [ids[start:start + max(size, 0)] for start in starts]


def steps(windows: Sequence[Window], most: int) -> Iterator[list[Window]]:
    """Runs of windows, sorted by falling length, that hold up to so many tokens when padded; at least one window."""
    start = 0
    while start < len(windows):
        stop = start + max(most // max(len(windows[start].ids), 1), 1)
        yield list(windows[start:stop])
        start = stop


def padded(rows: Sequence[list[int]], pad: int) -> tuple[Int[Tensor, "rows length"], Bool[Tensor, "rows length"]]:
    """Rows filled up on the right, and which places were not filled."""
    longest = max(map(len, rows))
    ids = torch.tensor([row + [pad] * (longest - len(row)) for row in rows])
    return ids, torch.arange(longest) < torch.tensor([len(row) for row in rows])[:, None]
