"""Tensor names and shapes of a network, listed layer by layer without building the network."""

from __future__ import annotations


class Tensors(dict[str, tuple[int, ...]]):
    """Tensor name -> shape, in the library's names."""

    def linear(self, name: str, out: int, into: int, *kernel: int, bias: bool = True) -> None:
        """A matrix, or with `kernel` sizes a convolution."""
        self[f"{name}.weight"] = (out, into, *kernel)
        if bias:
            self[f"{name}.bias"] = (out,)

    def linears(self, stem: str, layers: tuple[str, ...], out: int, into: int, bias: bool = True) -> None:
        for layer in layers:
            self.linear(f"{stem}.{layer}", out, into, bias=bias)

    def norm(self, name: str, width: int, bias: bool = True) -> None:
        self[f"{name}.weight"] = (width,)
        if bias:
            self[f"{name}.bias"] = (width,)

    def norms(self, stem: str, names: tuple[str, ...], width: int, bias: bool = False) -> None:
        for name in names:
            self.norm(f"{stem}.{name}", width, bias)

    def embedder(self, name: str, width: int, into: int) -> None:
        """Two layers: of a timestep, a text, a guidance scale."""
        self.linear(f"{name}.linear_1", width, into)
        self.linear(f"{name}.linear_2", width, width)

    def two_streams(self, width: int, head: int, inner: int, double: int, single: int) -> None:
        """The blocks of Flux and HunyuanVideo: first text and picture side by side, then both in one stream."""
        for n in range(double):
            block = f"transformer_blocks.{n}"
            self.linears(block, ("norm1.linear", "norm1_context.linear"), 6 * width, width)
            self.linears(f"{block}.attn", (*PROJECTIONS, *ADDED), width, width)
            self.norms(f"{block}.attn", ("norm_q", "norm_k", "norm_added_q", "norm_added_k"), head)
            for side in ("ff", "ff_context"):
                self.linear(f"{block}.{side}.net.0.proj", inner, width)
                self.linear(f"{block}.{side}.net.2", width, inner)
        for n in range(single):
            block = f"single_transformer_blocks.{n}"
            self.linear(f"{block}.norm.linear", 3 * width, width)
            self.linears(f"{block}.attn", PROJECTIONS[:3], width, width)
            self.norms(f"{block}.attn", ("norm_q", "norm_k"), head)
            self.linear(f"{block}.proj_mlp", inner, width)
            self.linear(f"{block}.proj_out", width, width + inner)
        self.linear("norm_out.linear", 2 * width, width)


PROJECTIONS = ("to_q", "to_k", "to_v", "to_out.0")
ADDED = ("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
