import numpy as np
import planted
import pyarrow as pa
import pytest
import torch

from mmgraph.data import Dataset, GlobalTime, Pairs, Split
from mmgraph.features.features import from_arrays
from mmgraph.graph.graph import Graph
from mmgraph.graph.relation import Relation
from mmgraph.models import Popularity, RecentPopularity
from mmgraph.study.fit import fit

TAKEN = [(0, 0), (1, 0), (0, 1), (2, 2)]
AGES = [60.0, 30.0, 0.0, 15.0]
PLAIN = Graph.of(Pairs(*np.array(TAKEN).T), 3, 3)
GRAPH = PLAIN.with_relation("age", Relation.from_edges("user", "age", "item", 3, 3, torch.tensor(TAKEN).T,
                                                       torch.tensor(AGES)))
CONTENT = from_arrays(range(4), {"text": [[1, 0], [1, 1], [0, 1], [3, 1]]})  # item 3 is new


def solved(features=CONTENT.rows(slice(0, 3)), **hyperparameters):  # noqa: B008, immutable
    model = RecentPopularity(GRAPH.schema(features), **hyperparameters)
    return model.adopt(model.solve(model.prepare(GRAPH, features), features))


def test_by_hand():
    assert solved(half_life=30.0).count.tolist() == pytest.approx([1 / 4 + 1 / 2, 1, 0.5 ** 0.5])
    assert solved(half_life=15.0).count.tolist() == pytest.approx([1 / 16 + 1 / 4, 1, 1 / 2])


def test_an_endless_half_life_is_popularity():
    popular = Popularity(GRAPH.schema())
    assert torch.equal(solved(half_life=float("inf")).count, popular.solve(GRAPH, CONTENT)["count"])


def test_everybody_gets_the_same_and_a_new_item_the_mean_of_its_neighbours():
    model = solved(half_life=30.0, k=2)
    larger = GRAPH.extend(items=1, users=1)
    scores = model.scorer(model.prepare(larger, CONTENT), CONTENT).scores(torch.arange(4)).numpy()
    cosine = np.array([3 / 10 ** 0.5, 4 / 20 ** 0.5])
    assert (scores == scores[0]).all()
    assert scores[0] == pytest.approx([0.75, 1, 0.5 ** 0.5, cosine @ [0.75, 1] / cosine.sum()])


def test_a_graph_without_ages_is_refused():
    model = RecentPopularity(PLAIN.schema())
    with pytest.raises(ValueError, match=r"no relation 'age', only \['interacts'\]; add it with .*with_ages\(graph"):
        model.prepare(PLAIN, CONTENT.rows(slice(0, 3)))


@pytest.mark.parametrize("wrong", [0.0, -3.0, float("nan")])
def test_refuses_a_half_life_that_is_none(wrong):
    with pytest.raises(ValueError, match=f"positive number of days, got {wrong}"):
        RecentPopularity(GRAPH.schema(), half_life=wrong)


def test_fit_gives_it_the_times_of_training_and_of_nothing_else():
    days = {("a", "x"): 0, ("a", "y"): 90, ("b", "x"): 10, ("b", "y"): 100, ("c", "x"): 70,
            ("c", "y"): 200, ("a", "z"): 300, ("d", "x"): 400, ("d", "y"): 500}
    users, items = zip(*days, strict=True)
    scores = []
    for later in (0, 1000):  # what is held out happens later still
        times = [86_400 * (day if day <= 100 else day + later) for day in days.values()]
        data = Dataset.from_frames(pa.table({"user": users, "item": items, "time": times}), time="time")
        split = Split.of(data, GlobalTime(valid=0.2, test=0.2), seed=0)
        fitted = fit(RecentPopularity, split, half_life=10.0)
        assert split.data.items.names([0, 1]) == ["x", "y"]
        scores.append(fitted.scores(torch.tensor([0]))[0])
    assert scores[0][:2].tolist() == pytest.approx([2**-10 + 2**-9 + 2**-3, 2**-1 + 1])
    assert torch.equal(*scores)


def test_data_without_times_are_refused():
    data = Dataset.from_frames(pa.table({"user": ["a", "a", "b"], "item": ["x", "y", "x"]}))
    split = Split(data, np.zeros(3, dtype=np.int64), "all", {}, 0)
    with pytest.raises(ValueError, match=r"need their times.* only the columns \['user', 'item'\]"):
        fit(RecentPopularity, split)


def test_ranks_what_was_taken_lately_first():
    graph = planted.graph(ages=True)
    model = RecentPopularity(graph.schema(), half_life=5.0)
    count = model.solve(graph, planted.features())["count"]
    want = [sum(2 ** (-planted.age(u, i) / 5) for u, i in planted.TAKEN if i == item) for item in range(planted.N)]
    assert count.tolist() == pytest.approx(want)
    assert count.argmax() != count.argmin()
