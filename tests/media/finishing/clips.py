"""What the tests of this room share: small moving clips, and running steps on them."""

from fractions import Fraction

import torch

from opent2v.media.finishing import finish


def moving(frames=9, size=64, textured=True):
    """A red square that goes to the right over a blue background, [n, H, W, 3]; edges are smooth."""
    fine = 4
    y, x = torch.meshgrid(*[(torch.arange(size * fine) + 0.5) / fine] * 2, indexing="ij")
    back = torch.tensor([0.1, 0.3, 0.6])[:, None, None] * (1 + 0.3 * torch.sin(x / 4) * torch.cos(y / 5) * textured)
    out = []
    for n in range(frames):
        centre = size * (0.25 + 0.5 * n / (frames - 1))
        inside = ((x - centre).abs() < size * 0.15) & ((y - size / 2).abs() < size * 0.15)
        picture = torch.where(inside, torch.tensor([0.8, 0.3, 0.2])[:, None, None], back)
        out.append(torch.nn.functional.avg_pool2d(picture[None], fine)[0])
    return torch.stack(out).permute(0, 2, 3, 1).contiguous()


def run(*steps, frames, fps=16, piece=4):
    """(finished frames, fps, notes) of frames that come in pieces of `piece`."""
    pieces, rate, notes = finish(steps, iter(frames.split(piece)), Fraction(fps))
    return torch.cat(list(pieces)), rate, notes


def psnr(a, b):
    return float(-10 * (a - b).square().mean().clamp(min=1e-12).log10())
