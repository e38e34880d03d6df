"""What is done to a guided prediction before the solver takes it."""

from __future__ import annotations

from torch import Tensor

from .prediction import Prediction


def rescaled(clean: Tensor, positive: Tensor, x: Tensor, sigma: Tensor, predicts: Prediction, share: float) -> Tensor:
    """Bring the spread of a guided prediction back to that of the positive prompt's: less burnt colours at a high cfg.

    Args:
        clean, positive: the clean latent implied by both prompts together, and by the positive alone, [B, C, T, H, W].
        x: what the model was shown, in the host's scale.
        sigma: [B], as the host counts it.
        share: 0 changes nothing, 1 takes the positive prompt's spread whole.
    Source: Lin et al. 2023, arXiv:2305.08891, section 3.4, on the model's own output.
    """
    guided, own = predicts.output(x, clean, sigma), predicts.output(x, positive, sigma)
    axes = list(range(1, x.ndim))
    ratio = own.std(dim=axes, keepdim=True) / guided.std(dim=axes, keepdim=True)
    return predicts.clean(x, guided * (share * ratio + 1 - share), sigma)
