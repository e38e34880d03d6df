"""Blocks that double their input: what is computed, what is reused, and that nothing stays behind."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from opent2v.sampling import SamplingError
from opent2v.sampling.caches.gate import Gate, region
from opent2v.sampling.caches.report import summary
from opent2v.tests.sampling.caches.doubling import NEGATIVE, POSITIVE, Doubling, Model, cache, full, walk

STYLES = ("positional", "keyword", "two streams", "in place")


@pytest.mark.parametrize("style", STYLES)
def test_a_reused_step_adds_what_the_last_computed_one_added(style):
    model = Model(style)
    results = walk(model, cache(plan="crrc"), [full(1), full(10), full(20), full(30)])
    # computed: 1 * 2 * 2 * 2 = 8, so 7 was added; reused: 10 + 7 = 17 and 20 + 7 = 27; computed: 30 * 8 = 240
    assert [r.unique().item() for r in results] == [8, 17, 27, 240]
    assert model.runs == [2, 2, 2]


@pytest.mark.parametrize("style", STYLES)
def test_the_same_input_gives_the_computed_output(style):
    results = walk(Model(style), cache(plan="crc"), [full(3)] * 3)
    assert torch.equal(results[1], results[0]) and torch.equal(results[2], results[0])


def test_what_a_model_adds_between_its_blocks_is_inside_once():
    results = walk(Model(), cache(plan="crc"), [full(1), full(1), full(1)], hint=0.5)
    # ((1 * 2 + .5) * 2 + .5) * 2 + .5 = 11.5, reused the same: not a hint more
    assert [r.unique().item() for r in results] == [11.5, 11.5, 11.5]


def test_a_computed_call_is_bit_identical():
    torch.manual_seed(0)
    xs = [torch.randn(2, 9, 3) for _ in range(4)]
    for style in STYLES:
        model = Model(style)
        for got, x in zip(walk(model, cache(plan="c"), xs, (NEGATIVE, POSITIVE)), xs, strict=True):
            assert torch.equal(got, model(x))


def test_after_the_first_block_the_rest_is_reused():
    model = Model()
    results = walk(model, cache("first block", threshold=10.0), [full(1), full(2), full(5)])
    # 1 -> 2, then 2 -> 8: 6 was added behind the first block. 2 -> 4 + 6 = 10; the last step is computed: 5 * 8 = 40
    assert [r.unique().item() for r in results] == [8, 10, 40]
    assert model.runs == [3, 2, 2]


def test_another_dtype_behind_the_blocks_is_kept():
    class Wide(Model):
        def forward(self, x):
            for block in self.blocks:
                x = block(x)
            return self.out(x.float())

    results = walk(Wide(), cache(plan="crc"), [full(1).bfloat16(), full(10).bfloat16(), full(1).bfloat16()])
    assert [r.dtype for r in results] == [torch.float32] * 3 and results[1].unique().item() == 17


def test_the_transformer_is_as_before_afterwards():
    model = Model()
    model.blocks[1].forward = own = model.blocks[1].forward  # as other packs' hooks do
    attached = cache().attached(model, torch.linspace(1, 0, 4))
    with pytest.raises(KeyError), attached as stage, stage.call((POSITIVE,), 1.0, full(1)):
        raise KeyError("stop")
    assert model.blocks[1].__dict__["forward"] is own
    assert "forward" not in model.blocks[0].__dict__ and not model.out._forward_pre_hooks
    assert model(full(1)).unique().item() == 8


def test_calls_outside_a_step_pass():
    model = Model()
    with cache().attached(model, torch.linspace(1, 0, 4)):
        assert model(full(1)).unique().item() == 8


def test_two_caches_on_one_model_are_refused():
    model, sigmas = Model(), torch.linspace(1, 0, 4)
    with cache().attached(model, sigmas), pytest.raises(SamplingError, match=r"under a step cache already. Use one"):
        cache().attached(model, sigmas).__enter__()
    assert model(full(1)).unique().item() == 8


def test_the_region_is_lists_of_equal_blocks():
    model = Model()
    model.more = nn.ModuleList([nn.Linear(1, 1)])  # layers are no blocks
    assert region(model) == list(model.blocks)
    model.others = nn.ModuleList([Model().blocks[0]])
    assert len(region(model)) == 4


class Stages(nn.Module):
    """A UNet's list of stages; three channels of x are its answer, times a factor."""

    def __init__(self, kind=None):
        super().__init__()
        self.input_blocks = nn.ModuleList([nn.Sequential(nn.Identity())])
        self.kind, self.runs = kind, 0

    def forward(self, x, factor=2.0):
        self.runs += 1
        answer = self.input_blocks[0](x)[:, :3] * factor
        return answer if self.kind is None else self.kind(answer)


def tupled(answer):
    return (answer,)


def output(answer):
    from diffusers.models.modeling_outputs import Transformer2DModelOutput

    return Transformer2DModelOutput(sample=answer)


@pytest.mark.parametrize("kind", [None, tupled, output])
def test_of_a_unet_the_whole_answer_is_kept(kind):
    model = Stages(kind)
    xs = [torch.full((1, 4, 2, 2), float(value)) for value in (1, 10, 20)]
    results = walk(model, cache(plan="crc"), xs)
    # computed 1 * 2; reused the same, whatever goes in; computed 20 * 2
    assert [(r if kind is None else r[0]).unique().item() for r in results] == [2, 2, 40]
    assert model.runs == 2 and "forward" not in model.__dict__
    assert all(type(one) is type(results[0]) for one in results)


def test_a_unet_of_equal_stages_is_one_as_well():
    model = Model()
    assert region(model)
    model.mid_block = nn.Identity()
    assert region(model) == []


def test_a_unet_has_no_first_block():
    with pytest.raises(SamplingError, match=r"^Stages has no list of equal blocks, so the step cache's policy first"):
        walk(Stages(), cache("first block"), [full(1)])


def test_blocks_that_do_not_all_run_are_refused():
    class Partial(Model):
        def forward(self, x):
            return self.out(self.blocks[0](x))

    with pytest.raises(SamplingError, match=r"^Partial does not run all its blocks one after the other"):
        walk(Partial(), cache(), [full(1)])


def test_another_shape_behind_the_blocks_is_refused():
    class Cut(Model):
        def forward(self, x):
            for block in self.blocks:
                x = block(x)
            return self.out(x[:, 1:])

    with pytest.raises(SamplingError, match=r"^Cut: \[1, 4, 3\] enters the blocks and \[1, 3, 3\] leaves them"):
        walk(Cut(), cache(), [full(1)])


def test_blocks_that_take_no_tensor_first_are_refused():
    class Named(Model):
        def forward(self, x):
            return self.blocks[0]({"x": x})

    with pytest.raises(SamplingError, match=r"blocks take a dict first; a step cache needs a tensor"):
        walk(Named(), cache(), [full(1)])


class Sound(Model):
    """Two streams that both leave the blocks, by name or as one pair; the second grows by 1 a block."""

    def __init__(self, is_pair: bool):
        super().__init__("two streams")
        self.is_pair, self.audio_out = is_pair, nn.Identity()

        class Pair(Doubling):
            def forward(self, pair, temb=None):
                return super().forward(*pair)

        if is_pair:
            self.blocks = nn.ModuleList(Pair("two streams") for _ in range(3))

    def forward(self, x):
        sound = x[:, :2] + 100
        for block in self.blocks:
            x, sound = block((x, sound)) if self.is_pair else block(hidden=x, text=sound)
        return torch.cat([self.out(x), self.audio_out(sound)], 1)


@pytest.mark.parametrize("is_pair", [True, False])
def test_a_second_stream_that_leaves_is_kept_as_well(is_pair):
    model, run = Sound(is_pair), cache(plan="crc")
    results = walk(model, run, [full(1), full(10), full(1)])
    # x: 8, then 10 + 7; sound: 101 + 3, then 110 + 3
    assert [r[0, :, 0].tolist() for r in results[:2]] == [[8] * 4 + [104] * 2, [17] * 4 + [113] * 2]
    assert model.runs == [2, 2, 2] and run.stages[0].peak == 6 * 3 * 4


# --- torch.compile ---


class Twice(nn.Module):
    """Counts nothing: a count would be compiled anew each time it changes."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Identity()

    def forward(self, hidden, text=None):
        return self.inner(hidden) * 2


class Compiled(Model):
    """Its blocks are compiled one by one, as diffusers' `compile_repeated_blocks` or as nodes do it."""

    def __init__(self, how: str, backend):
        super().__init__()
        self.blocks = nn.ModuleList(Twice() for _ in range(3))
        for n, block in enumerate(self.blocks):
            if how == "in place":
                block.compile(backend=backend, fullgraph=True)
            else:
                self.blocks[n] = torch.compile(block, backend=backend, fullgraph=True)


@pytest.mark.parametrize("how", ["in place", "replaced"])
@pytest.mark.parametrize("policy", ["plan", "first block"])
def test_compiled_blocks_stay_compiled(how, policy):
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    counts = {}
    for under in (False, True):
        torch._dynamo.reset()
        graphs.clear()
        model = Compiled(how, backend)
        if under:
            walk(model, cache(policy, plan="crcrc", threshold=10.0), [full(n + 1) for n in range(5)])
        for x in (full(1), full(2)):
            assert model(x).unique().item() == 8 * x[0, 0, 0]  # fullgraph: a break would raise
        counts[under] = len(graphs)
    assert counts[True] == counts[False] > 0


def test_a_model_compiled_as_a_whole_is_refused():
    whole, inside = torch.compile(Model(), backend="eager"), Model()
    inside.compile(backend="eager")
    for model in (whole, inside):
        with pytest.raises(SamplingError, match=r"^Model is compiled as a whole, and a step cache works between its"):
            walk(model, cache(), [full(1)])


@pytest.mark.parametrize("how", ["in place", "replaced"])
def test_a_model_compiled_as_a_whole_may_be_kept_as_a_whole(how):
    model = Model()
    if how == "replaced":
        model = torch.compile(model, backend="eager")
    else:
        model.compile(backend="eager")
    run = cache(plan="crc", boundary="model")
    found = walk(model, run, [full(1), full(2), full(3)])
    assert [one.unique().item() for one in found] == [8, 8, 24]
    assert summary(run) == "2 of 3 steps computed"


def test_the_first_blocks_change_is_that_of_the_stream_that_entered_it():
    """Flux's blocks hand the text back before the video."""

    class TextFirst(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Identity()

        def forward(self, video, text):
            return text + 1, video * 2

    class Flux(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks, self.out = nn.ModuleList([TextFirst(), TextFirst()]), nn.Identity()

        def forward(self, video, text):
            for block in self.blocks:
                text, video = block(video, text)
            return self.out(video)

    seen = []
    model = Flux()
    gate = Gate(model, lambda *_: None, lambda *_: None, saw=lambda *pair: seen.append(pair))
    with gate.attached(), gate.call():
        model(torch.ones(1, 4, 3), torch.zeros(1, 2, 3))
    ((entered, left),) = seen
    assert entered.unique().item() == 1 and left.shape == entered.shape and left.unique().item() == 2
