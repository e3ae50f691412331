"""BM3 computed by hand on a few nodes."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from by_hand import CONTENT, GRAPH, KNOWN, close, propagated, randomise, scores

from mmgraph.features.features import from_arrays
from mmgraph.models import Triples
from mmgraph.models.bm3 import BM3

IMAGE = [[1, 2], [0, 0], [3, 4], [0, 0], [5, -6]]  # items 1 and 3 have none
TWO = from_arrays(range(5), {"text": KNOWN.x["text"], "image": IMAGE})
BATCH = Triples(torch.tensor([0, 3, 1]), torch.tensor([2, 3, 1]), torch.tensor([4, 0, 4]))


def bm3(features=KNOWN, **hyperparameters):
    return randomise(BM3(GRAPH.schema(features), dim=3, **hyperparameters))


def tables(model):
    return model.user.weight.detach().numpy(), model.item.weight.detach().numpy()


def online(model, n_layers=1):
    """Users and items before the predictor: LightGCN, and each item's own vector once more."""
    p, q = tables(model)
    users, items = propagated(p, q, n_layers)
    return users, items + q


def predicted(model, vectors):
    return vectors @ model.predict.weight.detach().numpy().T + model.predict.bias.detach().numpy()


def projected(model, name, x):
    linear = model.project[name]
    return np.asarray(x) @ linear.weight.detach().numpy().T + linear.bias.detach().numpy()


def mismatch(a, b):
    return 1 - (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


@pytest.mark.parametrize("n_layers", [1, 2])
def test_scores_predicted_users_against_predicted_items_by_ids_alone(n_layers):
    model = bm3(n_layers=n_layers)
    users, items = online(model, n_layers)
    close(scores(model), predicted(model, users) @ predicted(model, items).T)
    other = from_arrays(range(5), {"text": KNOWN.x["text"].flip(0)})
    assert torch.equal(scores(model, features=other), scores(model))


def test_each_term_by_hand():
    model = bm3(TWO, dropout=0.0, modal_loss=0.7, l2=0.1)
    terms = {name: term.detach() for name, term in model.loss(GRAPH, TWO, BATCH).items()}
    users, items = (part[rows] for part, rows in zip(online(model), BATCH[:2], strict=True))
    close(terms["user"], mismatch(predicted(model, users), items).mean())
    close(terms["item"], mismatch(predicted(model, items), users).mean())
    close(terms["l2"], 0.1 * sum((part**2).sum(1).mean() / 2 for part in online(model)))  # of all, not of the batch
    for name, rows in (("text", [0, 1, 2]), ("image", [0])):  # only item 2 of the batch has an image
        content = projected(model, name, TWO.x[name][BATCH.positives[rows]])
        close(terms[f"align_{name}"], 0.7 * mismatch(predicted(model, content), items[rows]).mean())
        close(terms[f"mask_{name}"], 0.7 * mismatch(predicted(model, content), content).mean())
    assert set(terms) == {"user", "item", "l2", "align_text", "mask_text", "align_image", "mask_image"}


def test_a_batch_without_a_modality_costs_nothing_there():
    model = bm3(TWO)
    terms = model.loss(GRAPH, TWO, Triples(*(torch.tensor([n]) for n in (1, 1, 4))))
    assert terms["align_image"] == terms["mask_image"] == 0
    sum(terms.values()).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_reads_no_negatives():
    model = bm3().eval()
    other = BATCH._replace(negatives=torch.tensor([0, 1, 2]))
    assert model.loss(GRAPH, KNOWN, BATCH) == model.loss(GRAPH, KNOWN, other)


@pytest.mark.parametrize(("term", "moved"), [
    ("user", {"user.weight", "predict.weight", "predict.bias"}),
    ("item", {"item.weight", "predict.weight", "predict.bias"}),
    ("align_text", {"project.of.0.weight", "project.of.0.bias", "predict.weight", "predict.bias"}),
    ("mask_text", {"project.of.0.weight", "project.of.0.bias", "predict.weight", "predict.bias"})])
def test_no_gradient_reaches_the_target(term, moved):
    """Without layers users and items do not mix, so that a leak of one target shows in its own table."""
    model = bm3(n_layers=0)
    model.loss(GRAPH, KNOWN, BATCH)[term].backward()
    assert {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()} == moved


def test_the_target_of_the_masking_term_is_a_constant():
    """Both its sides come from the same projection; the gradient is that against a fixed target."""
    model = bm3(dropout=0.0, modal_loss=1.0)
    model.loss(GRAPH, KNOWN, BATCH)["mask_text"].backward()
    got, linear = model.project["text"].weight.grad.clone(), model.project["text"]
    linear.weight.grad = None
    content = linear(KNOWN.x["text"][BATCH.positives])
    fixed = torch.tensor(content.tolist())
    (1 - F.cosine_similarity(model.predict(content), fixed).mean()).backward()
    close(got, linear.weight.grad)


def test_dropout_hits_the_targets_only_and_only_in_training():
    model = bm3(dropout=0.5)
    whole = bm3(dropout=0.0).loss(GRAPH, KNOWN, BATCH)
    torch.manual_seed(3)
    terms = model.loss(GRAPH, KNOWN, BATCH)
    torch.manual_seed(3)
    users, items = (torch.tensor(part[rows], dtype=torch.float32)
                    for part, rows in zip(online(model), BATCH[:2], strict=True))
    dropped = [F.dropout(part, 0.5) for part in (users, items)]
    for name, vectors, target in (("user", users, dropped[1]), ("item", items, dropped[0])):
        seen = target.any(1).numpy()
        each = mismatch(predicted(model, vectors.numpy())[seen], target.numpy()[seen])
        close(terms[name].detach(), (each.sum() + (~seen).sum()) / 3)
        assert terms[name] != whole[name]
    assert model.eval().loss(GRAPH, KNOWN, BATCH) == whole


def test_a_new_item_points_where_its_contents_do_and_is_as_long_as_the_average_item():
    image = [*IMAGE, [7, 8], [9, 1], [0, 0]]
    text = torch.cat([CONTENT.x["text"], torch.zeros(2, 5)])
    more = from_arrays(range(8), {"text": text, "image": image})  # both, only an image, nothing
    model = bm3(TWO)
    got = model.embed(GRAPH.extend(items=3), more).items
    items = online(model)[1]
    unit = {name: projected(model, name, x) for name, x in (("text", text[5:]), ("image", image[5:]))}
    unit = {name: z / np.linalg.norm(z, axis=1, keepdims=True) for name, z in unit.items()}
    new = np.stack([unit["text"][0] + unit["image"][0], unit["image"][1]])
    new *= np.linalg.norm(items, axis=1).mean() / np.linalg.norm(new, axis=1, keepdims=True)
    close(got, predicted(model, np.concatenate([items, new, np.zeros((1, 3))])))


@pytest.mark.parametrize("dropout", [-0.1, 1.0])
def test_refuses_a_dropout_that_leaves_nothing(dropout):
    with pytest.raises(ValueError, match=rf"dropout .* must lie in \[0, 1\), got {dropout}; 0 leaves"):
        BM3(GRAPH.schema(KNOWN), dropout=dropout)
