"""LTX-Video's and LTX-2's VAEs decode one latent frame after the other to what they decode whole.

Tests: families/ltx_video/streamed.py
"""

from __future__ import annotations

import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from opent2v.families import ltx_video
from opent2v.families.ltx2 import FAMILY as LTX2
from opent2v.families.ltx2 import vae as ltx2_vae
from opent2v.families.ltx2.versions import of_vae
from opent2v.families.ltx_video import streamed
from opent2v.tests.tiny import ltx2 as tiny
from opent2v.tests.tiny import ltx_video as tiny_ltx

# As many layers as the published VAEs have, since each of them looks one frame further.
DEPTHS = {"2.0": (5, 5, 5, 5), "2.3": (4, 6, 4, 2, 2)}


@pytest.fixture(scope="module", autouse=True)
def _without_gradients():
    with torch.no_grad():
        yield


def ltx2(kind, **changes):
    from diffusers import AutoencoderKLLTX2Video

    vae = AutoencoderKLLTX2Video(**tiny.VIDEO_VAES[kind] | {"decoder_layers_per_block": DEPTHS[kind]} | changes)
    vae.load_state_dict(tiny.settled(vae, 5))
    return vae.eval()


def compared(pieces, whole, count):
    """The pieces are as many as latent frames, and together the whole but for rounding."""
    lengths = [piece.shape[2] for piece in pieces]
    assert lengths == [1] + [8] * (count - 1)
    video = torch.cat(pieces, 2)
    assert video.shape == whole.shape and whole.std() > 1e-3
    torch.testing.assert_close(video / whole.std(), whole / whole.std(), atol=2e-5, rtol=0)


@pytest.mark.parametrize("count", [1, 2, 14])
@pytest.mark.parametrize("kind", ["2.0", "2.3"])
def test_ltx2_frame_by_frame(kind, count):
    vae = ltx2(kind)
    latent = torch.randn(2, 128, count, 2, 2, generator=torch.Generator().manual_seed(count))
    compared(list(ltx2_vae.decode_frames(vae, latent, False)), ltx2_vae.decode(vae, latent, 0), count)


def test_a_decoder_that_looks_back_only():
    vae = ltx2("2.3", decoder_causal=True)
    latent = torch.randn(1, 128, 5, 2, 2, generator=torch.Generator().manual_seed(0))
    compared(list(ltx2_vae.decode_frames(vae, latent, False)), ltx2_vae.decode(vae, latent, 0), 5)


@pytest.mark.parametrize("kind", list(tiny_ltx.VAES))
def test_ltx_video_with_its_noise_and_timestep(kind):
    vae = tiny_ltx.vae(kind)
    for name, parameter in vae.decoder.named_parameters():
        if "per_channel_scale" in name:  # diffusers begins with none
            parameter.fill_(0.3)
    latent = torch.randn(1, vae.config.latent_channels, 6, 2, 3, generator=torch.Generator().manual_seed(0))
    compared(list(ltx_video.decode_frames(vae, latent, False)), ltx_video.decode(vae, latent, 0), 6)


def in_tiles(vae):
    vae.enable_tiling(96, 96, tile_sample_stride_height=64, tile_sample_stride_width=64)
    vae.use_framewise_decoding = False
    return vae


def test_in_the_tiles_of_the_whole():
    vae = in_tiles(ltx2("2.3", decoder_layers_per_block=(1,) * 5))
    latent = torch.randn(1, 128, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    tiled = list(ltx2_vae.decode_frames(vae, latent, True))
    compared(tiled, ltx2_vae.decode(vae, latent, 0), 3)
    plain = torch.cat(list(ltx2_vae.decode_frames(vae, latent, False)), 2)
    assert not torch.allclose(torch.cat(tiled, 2), plain, atol=1e-3)


def test_no_tile_lies_within_another():
    """diffusers cuts a last tile of one row here, which a decoder that mirrors its edges cannot read."""
    vae = in_tiles(ltx2("2.0", decoder_layers_per_block=(1,) * 4))
    latent = torch.randn(1, 128, 2, 5, 3, generator=torch.Generator().manual_seed(0))
    with pytest.raises(RuntimeError, match="Padding size"):
        ltx2_vae.decode(vae, latent, 0)
    video = torch.cat(list(ltx2_vae.decode_frames(vae, latent, True)), 2)
    assert video.shape == (1, 3, 9, 160, 96) and video.isfinite().all()


def test_what_is_held_does_not_grow_with_the_length():
    """Values in tensors that the layers keep between two latent frames."""
    vae, held = ltx2("2.3"), []
    layers = streamed._layers(vae, None, torch.Generator())
    for frame in torch.randn(1, 128, 40, 1, 1).split(1, 2):
        for _ in streamed._through(layers, frame, False):
            pass
        held.append(sum(values(layer) for layer in layers))
    assert held[-1] == held[-2] == max(held) > 0


def values(item):
    if isinstance(item, torch.Tensor):
        return item.numel()
    if isinstance(item, list | tuple):
        return sum(map(values, item))
    is_ours = type(item).__module__ == streamed.__name__
    return sum(map(values, vars(item).values())) if is_ours else 0


class Peak(TorchDispatchMode):
    """Counts the values in all tensors that are alive at once."""

    def __init__(self):
        super().__init__()
        self.sizes, self.count = {}, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        output = function(*args, **(kwargs or {}))
        for tensor in output if isinstance(output, tuple | list) else [output]:
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in self.sizes:
                    self.sizes[storage._cdata] = storage.nbytes() // 4
                    weakref.finalize(storage, self.sizes.pop, storage._cdata, None)
        self.count = max(self.count, sum(self.sizes.values()))
        return output


@pytest.mark.parametrize("kind", ["2.0", "2.3"])
def test_the_memory_of_the_published_decoders_is_the_estimate(kind):
    from diffusers import AutoencoderKLLTX2Video

    widths = {"2.0": (256, 512, 1024), "2.3": (256, 512, 512, 1024)}[kind]
    changes = {"decoder_layers_per_block": DEPTHS[kind], "decoder_block_out_channels": widths}
    with torch.device("meta"):
        vae = AutoencoderKLLTX2Video(**tiny.VIDEO_VAES[kind] | changes)
        latent = torch.zeros(1, 128, 14, 2, 2)
    variant = of_vae(LTX2)
    layers = streamed._layers(vae, None, torch.Generator())
    with Peak() as peak:
        for n, frame in enumerate(latent.split(1, 2)):
            for _ in streamed._through(layers, frame, n == 13):
                pass
    per_pixel = peak.count / (64 * 64)
    assert 0.95 * variant.piece_floats < per_pixel <= variant.piece_floats
    whole, pieces = variant.decode_memory((1, 128, 126, 16, 24), 2), variant.piece_memory((1, 128, 126, 16, 24), 2)
    assert pieces == variant.piece_memory((1, 128, 9, 16, 24), 2) < whole / 40
