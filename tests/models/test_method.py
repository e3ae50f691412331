import pytest

from mmgraph.cold import KernelRidge, ProfileRidge
from mmgraph.models.cold_start import NEW_ITEMS
from mmgraph.models.user_start import NEW_USERS


def test_what_belongs_to_a_role_begins_with_its_option_and_a_dot():
    given = {"cold": "KernelRidge", "cold.l2": 3.0, "new_users.l2": 2.0, "colder": 1, "l2": 0.5, "cold.weights.text": 1}
    assert NEW_ITEMS.own(given) == {"l2": 3.0, "weights.text": 1}
    assert NEW_USERS.own(given) == {"l2": 2.0}


def test_entries_of_a_mapping_are_gathered():
    made = NEW_ITEMS.by_name("KernelRidge", {"l2": 2.0, "weights.text": 1.0, "weights.image": 3.0})
    assert (made.l2, made.weights) == (2.0, {"text": 1.0, "image": 3.0})


def test_settings_and_back():
    told = NEW_ITEMS.settings(KernelRidge(l2=7.0, weights={"text": 1.0}))
    assert told["cold"] == "KernelRidge"
    assert told["cold.l2"] == 7.0
    again = NEW_ITEMS.given(told["cold"], NEW_ITEMS.own(told))
    assert again.hyperparameters() == KernelRidge(l2=7.0, weights={"text": 1.0}).hyperparameters()


def test_a_role_knows_its_own_methods_alone():
    assert NEW_USERS.named("ProfileRidge") is ProfileRidge
    with pytest.raises(ValueError, match=r"no cold-start method is called 'ProfileRidge'; there are .*KernelRidge"):
        NEW_ITEMS.named("ProfileRidge")
    with pytest.raises(ValueError, match=r"no user-start method is called 'KernelRidge'; there are .*ProfileRidge"):
        NEW_USERS.check("KernelRidge", [])


def test_given_as_it_is_or_not_at_all():
    method = KernelRidge()
    assert NEW_ITEMS.given(method, {}) is method
    assert NEW_ITEMS.given(None, {}) is None
    with pytest.raises(TypeError, match="'l2': KernelRidge is made already"):
        NEW_ITEMS.given(method, {"l2": 1.0})
    with pytest.raises(TypeError, match=r"without new_users=… there is no user-start method, which has no hyper-"):
        NEW_USERS.given(None, {"l2": 1.0})
