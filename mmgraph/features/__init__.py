"""Content in, one matrix and one mask per modality out."""

from mmgraph.features.audio import ClassicalAudio
from mmgraph.features.content import content_features
from mmgraph.features.encode import encode
from mmgraph.features.encoder import Encoder, Unreadable
from mmgraph.features.features import Features, from_arrays
from mmgraph.features.image import ClassicalImage
from mmgraph.features.normalise import Affine, fit_pca, fit_standardise, l2, pca, standardise, whiten
from mmgraph.features.store import load, save, verify
from mmgraph.features.text import TfidfText
from mmgraph.features.video import ClassicalVideo

__all__ = ["Affine", "ClassicalAudio", "ClassicalImage", "ClassicalVideo", "Encoder", "Features", "TfidfText",
           "Unreadable", "content_features", "encode", "fit_pca", "fit_standardise", "from_arrays", "l2", "load", "pca",
           "save", "standardise", "verify", "whiten"]
