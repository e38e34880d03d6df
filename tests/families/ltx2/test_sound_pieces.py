"""Long sounds of LTX-2 are decoded in pieces, to the same samples as in one.

Tests: families/ltx2/sound_pieces.py
"""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from opent2v.families.ltx2 import sound_pieces, vae
from opent2v.loaders import load_sound_vae, open_file
from opent2v.tests.tiny import ltx2 as tiny


@pytest.fixture(scope="module", autouse=True)
def _without_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(scope="module", params=["2.0", "2.3"])
def sound(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("vae") / "audio.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in tiny.sound_vae(request.param).items()}, path)
    return load_sound_vae(open_file(path), torch.float32)


def test_pieces_make_the_samples_of_the_whole(sound, monkeypatch):
    latent = torch.randn(1, 8, 200, 16, generator=torch.Generator().manual_seed(1))
    whole = vae.decode_sound(sound.vae, latent)
    lengths = []
    plain = sound.vae.decode
    monkeypatch.setattr(sound_pieces, "PIECE", 40)
    monkeypatch.setattr(sound.vae, "decode", lambda z, **options: (lengths.append(z.shape[2]), plain(z, **options))[1])
    pieces = vae.decode_sound(sound.vae, latent)
    assert len(lengths) == 5 and max(lengths) == 40 + sound_pieces.BEFORE + sound_pieces.AFTER
    assert pieces.shape == whole.shape and whole.std() > 0.01
    # Random vocoders are loud, and make more of a rounding: a millionth of noise in the latent says how much.
    monkeypatch.undo()
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(2))
    rounding = (vae.decode_sound(sound.vae, latent + 1e-6 * noise) - whole).abs()
    assert (pieces - whole).abs().mean() < rounding.mean() and (pieces - whole).abs().max() < 3 * rounding.max()


def test_a_short_sound_is_decoded_at_once(sound):
    calls = []

    def decode(piece):
        calls.append(piece.shape[2])
        return piece.new_zeros(1, 2, 4)

    sound_pieces.decoded(decode, torch.zeros(1, 8, sound_pieces.PIECE, 16))
    assert calls == [sound_pieces.PIECE]
