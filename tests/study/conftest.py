import pyarrow as pa
import pytest
import torch
from small_study import study
from study_world import Planted, png, tiny

from mmgraph.models.bprmf import BPRMF
from mmgraph.models.popularity import Popularity
from mmgraph.study.compare import compare


@pytest.fixture
def split():
    return tiny()


@pytest.fixture
def shown():
    """With content: i0 has a hostile title, i1 only a text, i2 neither; i0, i5, i7 have pictures, i3 a broken one."""
    image = [png("red"), None, None, b"no image", None, png("blue"), None, png("lime"), None, None]
    text = [None, "One two three four five six seven", " ", *[None] * 7]
    return tiny(title=["<script>alert(1)</script>", None, " ", *(f"Title {n}" for n in range(3, 10))],
                text=text, image=pa.array(image, pa.binary()))


@pytest.fixture
def comparison(shown):
    models = {"Pop <b>": (Popularity, {}), "BPRMF": (BPRMF, {"dim": 4})}
    return compare(models, shown, ks=(1, 3), extra={"chance": Planted(torch.zeros(5, 10))}, max_epochs=1,
                   monitor="recall@3", progress_bar=False)


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """A study that ran without a break, and its folder."""
    folder = tmp_path_factory.mktemp("whole") / "study"
    study().run(folder, progress=False)
    return folder
