"""What a text says to a pretrained transformer: any text model of transformers, and sentence-transformers folders."""

import copy
import os
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from mmgraph.features.encoder import text_of
from mmgraph.features.hub import locate
from mmgraph.features.lazy import Lazy
from mmgraph.features.sentence_folder import Dense, layer_of, recipe_of
from mmgraph.features.token_model import Loaded, model_of, padded, pooled, specials, steps, tokenizer_of

ENDLESS = 1_000_000  # the tokens of a text for a model that has no limit of its own
STEP_TOKENS = {"cpu": 2048}  # tokens that go through the model at once: what fits into a CPU's cache ...
STEP_TOKENS_ELSEWHERE = 32_768  # ... and what fills an accelerator


class TransformerText:
    """The pooled token vectors of a text model's last layer; of an encoder-decoder model, those of its encoder.

    A folder of sentence-transformers says itself how to pool, project and normalise, and how long a text may be;
    arguments that are given override it. A plain folder is mean-pooled and not normalised. Texts are always padded on
    the right, where neither causal attention nor absolute positions notice it, whatever the tokeniser would do.

    Args:
        name: a local folder, or ``"provider/model"``.
        pooling: mean over all tokens, the first, or the last one (decoder-only models).
        normalise: whether rows have unit length.
        prefix: instruction put before every text and every chunk of it; or the name of one of the prompts that a
            folder of sentence-transformers defines.
        max_tokens: tokens of a chunk, special ones and prefix included. The model's own limit if not given.
        chunks: at most this many windows of a long text are read, and their vectors averaged, weighted by their
            numbers of tokens; what lies behind them is not. 1 truncates.
        overlap: tokens that neighbouring windows share.
        revision: branch, tag or commit on the hub.
        trust_remote_code: let the model's folder run its own code. Off unless you have read that code.

    Raises:
        ValueError: if an argument is out of range, or the folder holds what cannot be honoured.
    """

    modality = "text"
    libraries: ClassVar[tuple[str, ...]] = ("transformers", "tokenizers")
    _loaded = Lazy[Loaded]()

    def __init__(self, name: str | os.PathLike[str], *, pooling: Literal["mean", "cls", "last"] | None = None,
                 normalise: bool | None = None, prefix: str = "", max_tokens: int | None = None, chunks: int = 1,
                 overlap: int = 0, revision: str | None = None, trust_remote_code: bool = False):
        check_options(pooling, max_tokens, chunks, overlap)
        self.name, self.chunks, self.overlap, self.trust_remote_code = str(name), chunks, overlap, trust_remote_code
        self.checkpoint = locate(name, revision=revision, code=trust_remote_code)
        self.recipe = recipe_of(self.checkpoint)
        self.pooling = self.recipe.pooling if pooling is None else ("lasttoken" if pooling == "last" else pooling,)
        self.normalise = self.recipe.normalise if normalise is None else normalise
        self.prefix = self.recipe.prompts.get(prefix, prefix)
        self.max_tokens = max_tokens
        self.device = torch.device("cpu")

    def settings(self) -> dict[str, Any]:
        return {"pooling": list(self.pooling), "normalise": self.normalise, "prefix": self.prefix,
                "include_prefix": self.recipe.include_prompt, "lower": self.recipe.lower,
                "max_tokens": self.max_tokens or self.recipe.max_tokens, "chunks": self.chunks,
                "overlap": self.overlap, "trust_remote_code": self.trust_remote_code,
                "weights": self.checkpoint.sha256}

    def decode(self, content: str | bytes) -> str:
        """The text itself; bytes are UTF-8."""
        return text_of(content)

    def fit(self, decoded: Iterable[str]) -> "TransformerText":
        return self

    def cost(self, content: str | bytes) -> int:
        return len(content)

    def to(self, device: torch.device | str) -> "TransformerText":
        moved = copy.copy(self)
        moved.device = torch.device(device)
        return moved

    @property
    def model(self) -> Any:
        """The transformer, loaded at the first use."""
        return self._ready().model

    def encode(self, batch: Sequence[str]) -> Float[Tensor, "batch dim"]:
        with torch.no_grad():  # rows made in inference mode could not become part of a trained model
            return self.rows(batch)

    def rows(self, batch: Sequence[str]) -> Float[Tensor, "batch dim"]:
        """As `encode`, with gradients."""
        loaded = self._ready()
        rows = torch.zeros(len(batch), loaded.dim(len(self.pooling)), device=self.device)
        skip = 0 if self.recipe.include_prompt or not self.prefix else len(loaded.start) + len(loaded.prefix)
        windows = sorted(loaded.windows([self.prefix + text for text in batch], self.chunks, self.overlap),
                         key=lambda window: -len(window.ids))
        for part in steps(windows, STEP_TOKENS.get(self.device.type, STEP_TOKENS_ELSEWHERE)):
            ids, mask = padded([window.ids for window in part], loaded.pad)
            tokens, mask = loaded.tokens(ids.to(self.device), mask.to(self.device)), mask.to(self.device)
            vectors = loaded.head(pooled(tokens, mask, self.pooling, skip)).float()
            share = torch.tensor([window.share for window in part], device=self.device)
            text = torch.tensor([window.text for window in part], device=self.device)
            rows = rows.index_add(0, text, vectors * share[:, None])
        return normalize(rows, dim=1) if self.normalise else rows

    def _ready(self) -> Loaded:
        return TransformerText._loaded.once(self, lambda: load(self))


def load(encoder: TransformerText) -> Loaded:
    """Read weights and tokeniser.

    Raises:
        ValueError: if weights are missing, or nothing of a text fits into ``max_tokens``.
    """
    folder = encoder.checkpoint.folder / encoder.recipe.model
    options = {"local_files_only": True, "trust_remote_code": encoder.trust_remote_code}
    tokenizer = tokenizer_of(folder, encoder.recipe.lower, options)
    model = model_of(folder, options).to(encoder.device)
    head = head_of(encoder, model.config.hidden_size * len(encoder.pooling)).to(encoder.device)
    start, end = specials(tokenizer)
    prefix = tokenizer(encoder.prefix, add_special_tokens=False)["input_ids"] if encoder.prefix else []
    room = limit(encoder, tokenizer, model) - len(start) - len(end)
    if room < 1 or (encoder.chunks > 1 and room - len(prefix) <= encoder.overlap):
        raise ValueError(f"max_tokens leaves {room} tokens beside {len(start) + len(end)} special ones, too few for a "
                         f"prefix of {len(prefix)} and an overlap of {encoder.overlap}; raise it.")
    pad = next((n for n in (tokenizer.pad_token_id, tokenizer.eos_token_id) if n is not None), 0)
    loaded = Loaded(tokenizer, model, head, start, end, prefix, pad, room)
    list(loaded.windows(["a"], encoder.chunks, encoder.overlap))  # sets the truncation, which no two threads may do
    return loaded


def head_of(encoder: TransformerText, size: int) -> nn.Sequential:
    """The layers after pooling, the last normalisation excepted.

    Raises:
        ValueError: if the first dense layer takes vectors of another size than pooling gives.
    """
    head = nn.Sequential(*(layer_of(encoder.checkpoint, place) for place in encoder.recipe.layers))
    taken = next((layer.linear.in_features for layer in head if isinstance(layer, Dense)), size)
    if taken != size:
        raise ValueError(f"pooling by {list(encoder.pooling)} gives {size} numbers, but the dense layer of "
                         f"{encoder.name} takes {taken}; leave pooling to the folder.")
    return head.eval()


def limit(encoder: TransformerText, tokenizer: Any, model: Any) -> int:
    """The number of tokens that the model reads at once.

    Raises:
        ValueError: if more were asked for than it has positions.
    """
    places = getattr(model.config, "max_position_embeddings", None) or -1
    places = places if places > 0 else ENDLESS
    for name, module in model.named_modules():  # RoBERTa and its kin count positions from the padding's number on
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            places -= module.padding_idx + 1
    if encoder.max_tokens is not None and encoder.max_tokens > places:
        raise ValueError(f"max_tokens is {encoder.max_tokens}, but {encoder.name} has only {places} positions; "
                         f"lower it and read long texts in chunks.")
    return min(places, encoder.max_tokens or encoder.recipe.max_tokens or tokenizer.model_max_length)


def check_options(pooling: str | None, max_tokens: int | None, chunks: int, overlap: int) -> None:
    """Refuse arguments that are out of range."""
    if pooling not in (None, "mean", "cls", "last"):
        raise ValueError(f"pooling must be 'mean', 'cls', 'last' or None (as the folder says), got {pooling!r}.")
    for name, value in (("max_tokens", 1 if max_tokens is None else max_tokens), ("chunks", chunks)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}.")
    if overlap < 0 or (overlap and chunks == 1):
        raise ValueError(f"overlap must be at least 0, and 0 where chunks is 1; got {overlap} with chunks={chunks}.")
