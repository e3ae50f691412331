"""From a name to an encoder: a classical one, a model folder, or a model of the hub."""

from collections.abc import Callable, Mapping
from pathlib import Path

from mmgraph.features.audio import ClassicalAudio
from mmgraph.features.encoder import Encoder, ImageEncoder
from mmgraph.features.hub import Checkpoint, locate
from mmgraph.features.image import ClassicalImage
from mmgraph.features.joint import Joint
from mmgraph.features.pretrained_audio import TransformerAudio
from mmgraph.features.pretrained_image import TimmImage, TransformerImage
from mmgraph.features.pretrained_torchaudio import TorchaudioAudio
from mmgraph.features.pretrained_video import FrameVideo, TransformerVideo
from mmgraph.features.profile import Profile
from mmgraph.features.text import TfidfText
from mmgraph.features.torchvision_video import TorchvisionVideo
from mmgraph.features.transformer_text import TransformerText
from mmgraph.features.video import ClassicalVideo
from mmgraph.features.word_vectors import WordVectors

# The encoders that need no download, by modality and name.
CLASSICAL: Mapping[str, Mapping[str, Callable[[], Encoder]]] = {
    "text": {"classical": TfidfText, "tfidf": TfidfText},
    "image": {"classical": ClassicalImage},
    "audio": {"classical": ClassicalAudio},
    "video": {"classical": ClassicalVideo},
    "profile": {"classical": Profile},
}
TOWERS = {"text": ("clip", "siglip", "siglip2", "clap"), "image": ("clip", "siglip", "siglip2"), "audio": ("clap",)}
CLIPS = ("videomae", "timesformer", "vivit")
VECTORS = (".vec", ".txt", ".txt.gz", ".vec.gz")  # word vectors in text format


def encoder_of(modality: str, choice: Encoder | str) -> Encoder:
    """The encoder that a user names or hands over.

    A name is ``"classical"``; a folder with a model or ``"provider/model"`` on the hub (see `locate`), of transformers,
    timm or sentence-transformers, known by its settings file; ``"torchaudio/…"`` or ``"torchvision/…"`` for their
    pipelines; or a file of word vectors.

    Raises:
        ValueError: if the encoder is of another modality, or no name is given where there is none.
        TypeError: if it is a class.
        FileNotFoundError: if there is no model of this name.
        ConnectionError: if it would have to be downloaded and the hub cannot be reached.
    """
    if isinstance(choice, str):
        return named(modality, choice)
    if isinstance(choice, type):
        raise TypeError(f"{modality} must be an encoder, got the class {choice.__name__}; write {choice.__name__}().")
    if choice.modality != modality:
        raise ValueError(f"{type(choice).__name__} encodes {choice.modality}, but was given as the {modality} encoder; "
                         f"pass it as {choice.modality}=.")
    return choice


def named(modality: str, name: str) -> Encoder:
    """The encoder of this name."""
    if name in CLASSICAL[modality]:
        return CLASSICAL[modality][name]()
    there = name and Path(name).expanduser().exists()
    if modality == "profile" or ("/" not in name and not there):
        raise ValueError(f"no {modality} encoder is called {name!r}; available without a download: "
                         f"{sorted(CLASSICAL[modality])}; or name a folder or \"provider/model\", or pass an Encoder "
                         f"object.")
    provider, _, model = name.partition("/")
    if modality == "audio" and provider == "torchaudio":
        return TorchaudioAudio(model)
    if modality == "video" and provider == "torchvision":
        return TorchvisionVideo(model)
    if modality == "text" and name.endswith(VECTORS) and Path(name).expanduser().is_file():
        return WordVectors(name)
    return loaded(modality, name, locate(name))


def loaded(modality: str, name: str, checkpoint: Checkpoint) -> Encoder:
    """The encoder for a model folder, by what its settings say."""
    if modality == "text" and checkpoint.has("modules.json"):
        return TransformerText(name)
    config = checkpoint.config()
    kind = config.get("model_type")
    if kind in TOWERS.get(modality, ()):
        encoder: Encoder = getattr(Joint(name), modality)
        return encoder
    if modality == "video" and kind not in CLIPS:
        frames = loaded("image", name, checkpoint)
        assert isinstance(frames, ImageEncoder)
        return FrameVideo(frames)
    if modality == "image" and "architecture" in config:
        return TimmImage(name)
    by_modality: Mapping[str, Callable[[str], Encoder]] = {
        "text": TransformerText, "image": TransformerImage, "audio": TransformerAudio, "video": TransformerVideo}
    return by_modality[modality](name)
