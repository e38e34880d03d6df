"""Rescaled guidance against the formula of the paper, written out."""

from __future__ import annotations

import pytest
import torch

from opent2v.base.guidance import PassResults
from opent2v.sampling import prediction
from opent2v.sampling.guides import rescaled

TABLE = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


@pytest.mark.parametrize("kind", ["flow", "v", "eps"])
@pytest.mark.parametrize("share", [0.0, 0.7, 1.0])
def test_the_spread_of_the_models_output_is_brought_back(kind, share):
    predicts, sigma = prediction(kind, TABLE), torch.tensor([0.6, 0.9])
    x, positive, negative = torch.randn(3, 2, 4, 3, 2, 2).unbind(0)
    guided = negative + 5 * (positive - negative)
    clean, own = (predicts.clean(x, output, sigma) for output in (guided, positive))
    got = predicts.output(x, rescaled(clean, PassResults({"positive": own}, x, sigma, 5.0, predicts), share), sigma)
    for row in range(2):  # each video by itself
        ratio = positive[row].std() / guided[row].std()
        expected = share * guided[row] * ratio + (1 - share) * guided[row]
        assert (got[row] - expected).abs().max() <= 1e-4
        if share == 1:
            assert got[row].std().item() == pytest.approx(positive[row].std().item(), rel=1e-3)


def test_a_prediction_without_any_spread_stays_as_it_is():
    predicts, sigma, x = prediction("flow", TABLE), torch.tensor([0.6]), torch.randn(1, 4, 3, 2, 2)
    assert torch.equal(
        rescaled(x, PassResults({"positive": x}, x, sigma, 5.0, predicts), 0.7), x
    )  # the model's output is 0 everywhere
