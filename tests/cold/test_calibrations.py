"""Each calibration by hand, and what all of them keep."""

from dataclasses import asdict

import numpy as np
import pytest
import torch

from mmgraph.cold.calibrations import Compressed, Exposure, LogQ, Scale, Standardised
from mmgraph.models.cold_start import calibration_of

NEW = torch.tensor([[0.5, -2.0, 3.0], [1.0, 0.0, -1.0]])
WARM = torch.tensor([[4.0, 1.0, 3.0, 0.0], [-1.0, -3.0, -2.0, 6.0]])
ALL = [Scale(2.0, -1.0), Standardised(0.5, 2.0, 0.25), Compressed(0.5, 3.0), LogQ(0.7, 2.0), Exposure(2, 0.5, 1.5)]


def by_hand(calibration):
    """The five formulas, in NumPy."""
    new, warm = NEW.double().numpy(), WARM.double().numpy()
    return {"Scale": lambda: 2 * new - 1,
            "Standardised": lambda: (warm.mean(1, keepdims=True)
                                     + warm.std(1, keepdims=True) * ((new - 0.5) / 2 + 0.25)),
            "Compressed": lambda: 3 * np.sign(new) * np.abs(new)**0.5,
            "LogQ": lambda: new + 0.7 * 2,
            "Exposure": lambda: np.array([[3.0], [-1.0]]) + 1.5 * (new - 0.5)}[type(calibration).__name__]()


@pytest.mark.parametrize("calibration", ALL, ids=lambda c: type(c).__name__)
class TestEvery:
    def test_is_the_formula(self, calibration):
        np.testing.assert_allclose(calibration(NEW, WARM).numpy(), by_hand(calibration), rtol=1e-6)

    def test_a_score_does_not_depend_on_other_new_items_nor_on_other_users(self, calibration):
        whole = calibration(NEW, WARM)
        assert torch.equal(calibration(NEW[:, 1:2], WARM), whole[:, 1:2])
        assert torch.equal(calibration(NEW[1:], WARM[1:]), whole[1:])

    def test_keeps_the_order_of_new_items_and_the_kind_of_number(self, calibration):
        assert torch.equal(calibration(NEW, WARM).argsort(1), NEW.argsort(1))
        assert calibration(NEW, WARM).dtype == torch.float32

    def test_is_rebuilt_from_plain_numbers(self, calibration):
        assert calibration_of({"name": type(calibration).__name__, **asdict(calibration)}) == calibration


def test_none_is_the_plain_scale():
    assert torch.equal(Scale()(NEW, WARM), NEW)
    assert torch.equal(Compressed(1.0, 1.0)(NEW, WARM), NEW)
    assert torch.equal(LogQ(0.0, 2.0)(NEW, WARM), NEW)


def test_a_user_whose_warm_scores_are_all_alike_gets_finite_scores():
    assert torch.equal(Standardised(0.0, 1.0, 0.0)(NEW, torch.ones(2, 4)), torch.ones(2, 3))


def test_exposure_reads_the_last_item_where_there_are_fewer():
    assert torch.equal(Exposure(9, 0.0, 1.0)(NEW, WARM), NEW + torch.tensor([[0.0], [-3.0]]))


@pytest.mark.parametrize(("wrong", "text"), [
    (lambda: Scale(0.0), "factor must be positive, so that the order of new items stays as it is, got 0.0"),
    (lambda: Standardised(0.0, -1.0), "std must be positive"), (lambda: Compressed(0.0), "power must be positive"),
    (lambda: Compressed(1.0, float("nan")), "factor must be positive"), (lambda: LogQ(-1.0), "temperature must be"),
    (lambda: Exposure(0), "rank counts a user's warm items from 1"),
    (lambda: Exposure(1, 0.0, -1.0), "factor must be positive")])
def test_numbers_out_of_range_are_refused(wrong, text):
    with pytest.raises(ValueError, match=text):
        wrong()
