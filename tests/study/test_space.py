import pytest

from mmgraph.graph import DropEdges, PrincipalEdges, drop_edges
from mmgraph.models import BPRMF, EASE
from mmgraph.study.space import Candidate
from mmgraph.train.robust import GroupRobust


def test_ranges_and_lists_in_optunas_terms():
    pytest.importorskip("optuna")
    space = {"dim": {"low": 8, "high": 64, "step": 8}, "lr": {"low": 1e-4, "high": 1e-1, "log": True},
             "l2": {"low": 0, "high": 1}, "unseen": ["zero", "neighbours"]}
    found = Candidate(BPRMF, {}, space).distributions
    assert (found["dim"].low, found["dim"].high, found["dim"].step) == (8, 64, 8)
    assert found["lr"].log
    assert type(found["dim"]).__name__ == "IntDistribution"
    assert type(found["l2"]).__name__ == "FloatDistribution"  # its default is a float
    assert found["unseen"].choices == ("zero", "neighbours")


@pytest.mark.parametrize(("space", "size"), [
    ({}, 1), ({"l2": [1.0, 2.0]}, 2), ({"k": {"low": 1, "high": 4}, "l2": [1.0, 2.0]}, 8),
    ({"k": {"low": 1, "high": 8, "step": 3}}, 3), ({"l2": {"low": 0.0, "high": 1.0, "step": 0.1}}, 11),
    ({"l2": {"low": 1.0, "high": 2.0}}, None), ({"l2": {"low": 1.0, "high": 1.0}}, 1)])
def test_size(space, size):
    pytest.importorskip("optuna")
    assert Candidate(EASE, {}, space).size == size


def test_grid_in_order():
    assert list(Candidate(EASE, {}, {"l2": [1.0, 2.0], "k": [3, 4]}).grid()) == [
        {"l2": 1.0, "k": 3}, {"l2": 1.0, "k": 4}, {"l2": 2.0, "k": 3}, {"l2": 2.0, "k": 4}]
    assert list(Candidate(EASE).grid()) == [{}]
    with pytest.raises(ValueError, match="l2 is a range without; list its values"):
        list(Candidate(EASE, {}, {"l2": {"low": 1.0, "high": 2.0}}).grid())


@pytest.mark.parametrize(("fixed", "space", "error", "match"), [
    ({"l3": 1}, {}, TypeError, "EASE has no hyper-parameter 'l3'"),
    ({}, {"checkpoint": ["a"]}, TypeError, "no hyper-parameter 'checkpoint'"),
    ({"l2": 1.0}, {"l2": [1.0]}, ValueError, "l2 is fixed and searched"),
    ({}, {"robust": [{"groups": 3}]}, ValueError, "EASE: robust is given in fixed and not searched"),
    ({}, {"cold": ["KernelRidge"]}, ValueError, "EASE: cold is given in fixed and not searched"),
    ({"robust": {"groups": 1}}, {}, ValueError, "at least 2 groups"),
    ({"robust": {"group": 3}}, {}, TypeError, "unexpected keyword argument 'group'"),
    ({"thin": {"DropEdges": {"fraction": 1.0}}}, {}, ValueError, r"must lie in \[0, 1\)"),
    ({"thin": {"DropEdge": {"fraction": 0.5}}}, {}, ValueError, "thin is one of DropEdges, PruneByDegree, "),
    ({"thin": drop_edges}, {}, TypeError, "thin is one of .* so that it can be written down; got <function drop_edges"),
    ({}, {"thin": [DropEdges(0.1)]}, ValueError, "EASE: thin is given in fixed and not searched"),
    ({"cold": 3}, {}, TypeError, "the cold-start method is given by name here, so that it can be written down; got 3"),
    ({"new_users": 3}, {}, TypeError, "the user-start method is given by name here"),
    ({}, {"l2": []}, ValueError, "a list of values or a range"), ({}, {"l2": "12"}, ValueError, "a list of values"),
    ({}, {"l2": 3.0}, ValueError, "a list of values"), ({}, {"l2": {"low": 1.0}}, ValueError, "has low and high"),
    ({}, {"l2": {"low": 2.0, "high": 1.0}}, ValueError, "low not above high"),
    ({}, {"l2": {"low": "a", "high": 1.0}}, ValueError, "must be numbers"),
    ({}, {"l2": {"low": 0.0, "high": 1.0, "log": True}}, ValueError, "starts above 0"),
    ({}, {"l2": {"low": 1.0, "high": 2.0, "lg": True}}, ValueError, "has low and high and may have")])
def test_what_is_no_space_is_refused(fixed, space, error, match):
    with pytest.raises(error, match=match):
        Candidate(EASE, fixed, space)


def test_group_robust_training_is_written_down_by_its_fields():
    told = {"groups": 3, "strength": 0.3, "trend": 0.0, "periods": 3, "steepness": 0.2}
    assert Candidate(BPRMF, {"robust": GroupRobust(groups=3)}).plain()["fixed"] == {"robust": told}
    assert Candidate(BPRMF, {"robust": {"groups": 3}}).plain()["fixed"] == {"robust": {"groups": 3}}


def test_a_switch_is_written_down_by_its_name_and_fields():
    told = {"thin": {"PrincipalEdges": {"fraction": 0.3, "rank": 4}}}
    assert Candidate(BPRMF, {"thin": PrincipalEdges(0.3, 4)}).plain()["fixed"] == told
    assert Candidate(BPRMF, told).plain()["fixed"] == told
