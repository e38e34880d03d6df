"""GGUF files: names, shapes and numbers as the `gguf` package writes them; what is odd is refused in a sentence."""

from __future__ import annotations

import random
import struct

import numpy
import pytest
import torch

from opent2v.loaders import ModelFileError, TensorInfo, open_container, tensor_bytes
from opent2v.loaders.containers.gguf import ORIGINAL_SHAPE, GGUFFile
from opent2v.loaders.quantised import read_layer, split_header
from opent2v.tests.loaders import gguf_files
from opent2v.tests.loaders.gguf_files import Blocks, random_blocks, text, value_bytes, written

PLAIN = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}


def opened(path, tensors=PLAIN, metadata=(), **options) -> GGUFFile:
    path.write_bytes(written(tensors, metadata, **options))
    return open_container(path)


def message(path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(ModelFileError) as error:
        split_header(open_container(path))
    said = str(error.value)
    assert said.startswith(f"{path}: ")
    return said.removeprefix(f"{path}: ")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.gguf"


# --- what is read ---


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("alignment", [None, 32, 64])
def test_names_types_shapes_and_numbers(path, version, alignment):
    tensors = {
        **PLAIN,
        "half": torch.randn(3, 5).half(),
        "wide": torch.randn(2, 2).bfloat16(),
        "one": torch.tensor(7.0),
    }
    tensors |= {"order": torch.arange(4, dtype=torch.int32)}
    metadata = {"general.architecture": "wan", "general.name": "Name", "scale": 0.5, "is": True, "words": ["a", "b"]}
    metadata |= {} if alignment is None else {"general.alignment": alignment}
    file = opened(path, tensors, metadata, version=version, alignment=alignment or 32)
    codes = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int32: "I32"}
    assert file.header == {name: TensorInfo(codes[t.dtype], tuple(t.shape)) for name, t in tensors.items()}
    assert file.metadata["general.architecture"] == "wan" and "words" not in file.metadata
    assert file.array("words") == ["a", "b"] and file.array("none") is None
    with file.tensors() as read:
        assert all(torch.equal(read(name), tensor) for name, tensor in tensors.items())


def test_a_packed_tensor_is_read_as_its_bytes(path):
    blocks = random_blocks("Q4_K", (6, 512))
    file = opened(path, {"a.weight": blocks, "a.bias": torch.ones(6)})
    assert file.header["a.weight"] == TensorInfo("Q4_K", (6, 512), 6 * 2 * 144)
    assert tensor_bytes(file.header) == 6 * 2 * 144 + 6 * 4
    with file.tensors() as read:
        assert torch.equal(read("a.weight"), blocks.stored.reshape(6, 2 * 144))
    weights, quantisation = split_header(file)
    assert weights["a.weight"].shape == (6, 512) and quantisation.kind == "GGUF Q4_K"


def test_the_file_can_be_removed_while_its_tensors_are_in_use(path):
    file = opened(path)
    with file.tensors() as read:
        tensor = read("a.weight")
    path.write_bytes(bytes(path.stat().st_size))
    assert torch.equal(tensor, PLAIN["a.weight"])


@pytest.mark.parametrize("folded", [(32, 8), (4, 8, 8), (2, 4, 4, 8)])
def test_a_folded_kernel_gets_its_shape_back(path, folded):
    kernel = torch.randn(4, 16, 1, 2, 2)
    tensors = {"patch_embedding.weight": kernel.reshape(folded)}
    file = opened(path, tensors, {f"{ORIGINAL_SHAPE}patch_embedding.weight": list(kernel.shape)})
    assert file.header["patch_embedding.weight"].shape == (4, 16, 1, 2, 2)
    with file.tensors() as read:
        assert torch.equal(read("patch_embedding.weight"), kernel)


def test_a_kernel_of_five_axes_as_the_package_stores_it(path):
    kernel = torch.randn(4, 16, 1, 2, 2)
    assert opened(path, {"patch_embedding.weight": kernel}).header["patch_embedding.weight"].shape == (4, 16, 1, 2, 2)


def test_a_folded_packed_kernel(path):
    blocks = random_blocks("Q8_0", (32, 64))
    file = opened(path, {"k.weight": blocks}, {f"{ORIGINAL_SHAPE}k.weight": [32, 16, 1, 2, 2]})
    _, quantisation = split_header(file)
    with file.tensors() as read:
        weight = read_layer(quantisation.layers["k.weight"], read)
    assert weight.dequantise(torch.float32).shape == (32, 16, 1, 2, 2)


def test_the_packages_own_file(tmp_path):
    """Written by the `gguf` package: packed by it, read by ours, and its numpy decoder agrees."""
    gguf = pytest.importorskip("gguf")
    dice = numpy.random.default_rng(0)
    weight = dice.standard_normal((6, 64), dtype=numpy.float32)
    writer = gguf.GGUFWriter(tmp_path / "package.gguf", "wan")
    writer.add_array("tokenizer.ggml.tokens", ["a", "é", "\u2581b"])
    writer.add_tensor("plain", weight)
    writer.add_tensor("five", dice.standard_normal((4, 2, 1, 2, 2), dtype=numpy.float32))
    packed = {}
    for code in ("Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "BF16"):
        kind = gguf.GGMLQuantizationType[code]
        packed[code] = gguf.quantize(weight, kind)
        writer.add_tensor(f"{code}.weight", packed[code], raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    file = open_container(tmp_path / "package.gguf")
    assert file.metadata["general.architecture"] == "wan"
    assert file.array("tokenizer.ggml.tokens") == ["a", "é", "\u2581b"]
    assert file.header["five"].shape == (4, 2, 1, 2, 2)
    _, quantisation = split_header(file)
    with file.tensors() as read:
        assert torch.equal(read("plain"), torch.from_numpy(weight))
        for code, stored in packed.items():
            numbers = torch.from_numpy(gguf.dequantize(stored, gguf.GGMLQuantizationType[code]))
            layer = quantisation.layers.get(f"{code}.weight")
            ours = (
                read(f"{code}.weight").float() if layer is None else read_layer(layer, read).dequantise(torch.float32)
            )
            assert torch.equal(ours, numbers), code


def test_the_package_reads_the_tests_own_files(path):
    """So that what the tests write is GGUF, and not only what the reader happens to take."""
    gguf = pytest.importorskip("gguf")
    path.write_bytes(written({"q.weight": random_blocks("Q6_K", (3, 512)), **PLAIN}, {"general.name": "x"}))
    reader = gguf.GGUFReader(path)
    assert reader.get_field("general.name").contents() == "x"
    read = {tensor.name: (tensor.tensor_type.name, tensor.shape.tolist()) for tensor in reader.tensors}
    assert read == {"q.weight": ("Q6_K", [512, 3]), "a.weight": ("F32", [3, 2]), "a.bias": ("F32", [2])}


# --- what is odd ---


def one(kind: int, *axes: int, offset: int = 0, name: str = "a.weight", data: int = 64) -> bytes:
    """A file with one tensor by hand."""
    info = text(name) + struct.pack(f"<I{len(axes)}QIQ", len(axes), *axes, kind, offset)
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + info
    return head + bytes(-len(head) % 32) + bytes(data)


def with_metadata(*pairs: tuple[str, object]) -> bytes:
    return written(PLAIN, pairs)


TWICE = [("a.weight", torch.zeros(2, 32)), ("a.weight", torch.zeros(2, 32))]
FIVE = f"{ORIGINAL_SHAPE}a.weight"
ODD = {
    "version 1": (written(PLAIN, version=1), "is GGUF version 1, of August 2023, which is not read any more. Get"),
    "version 0": (written(PLAIN, version=0), "is GGUF version 0; this version of the pack reads 2 and 3. Update"),
    "version 4": (written(PLAIN, version=4), "is GGUF version 4; this version of the pack reads 2 and 3. Update"),
    "big-endian": (written(PLAIN, order=">"), "in the order of a big-endian machine. Get the little-endian file"),
    "magic alone": (b"GGUF", "the file is cut short or damaged: its header goes on at byte 8 of 4."),
    "cut in the counts": (written(PLAIN)[:20], "its header goes on at byte 24 of 20."),
    "cut in the metadata": (with_metadata(("general.name", "x" * 99))[:80], "the file is cut short or damaged"),
    "cut in the tensors' names": (written(PLAIN)[:60], "the file is cut short or damaged"),
    "cut in the numbers": (written(PLAIN)[:-40], "the file is cut short. Found "),
    "no tensors": (written({}, {"general.architecture": "llama"}), "holds metadata and no tensor (a vocabulary alone)"),
    "a million million tensors": (
        b"GGUF" + struct.pack("<IQQ", 3, 10**12, 0) + bytes(64),
        "is damaged: it counts 1,000,000,000,000 tensors and 0 values in 88 bytes",
    ),
    "a million million values": (b"GGUF" + struct.pack("<IQQ", 3, 1, 10**12) + bytes(64), "1,000,000,000,000 values"),
    "a name longer than the file": (
        b"GGUF" + struct.pack("<IQQQ", 3, 1, 0, 2**62) + bytes(64),
        "the file is cut short or damaged: its header goes on at byte",
    ),
    "a name that is no text": (
        b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + text(b"\xff\xfe") + bytes(64),
        "is damaged: a text before byte 34 is not UTF-8. Download the file again.",
    ),
    "a tensor twice": (written(TWICE), "the tensor a.weight is there twice. Download the file again."),
    "a key twice": (with_metadata(("x", 1), ("x", 2)), "the key x is there twice. Download the file again."),
    "an unknown kind of value": (with_metadata(("x", struct.pack("<I", 77))), "x has the unknown type 77."),
    "a list of lists": (
        with_metadata(("x", struct.pack("<IIQ", 9, 9, 1))),
        "a list holds values of the unknown type 9.",
    ),
    "a list longer than the file": (
        with_metadata(("x", struct.pack("<IIQ", 9, 5, 2**40))),
        "the file is cut short or damaged",
    ),
    "the second of a split": (
        with_metadata(("split.no", 1), ("split.count", 3)),
        "is part 2 of 3 of a split GGUF, and its name does not say so. Expected a name that ends in "
        "-00002-of-00003.gguf, with the other parts beside it. Give the parts their names back, or join the parts with "
        "llama-gguf-split --merge FIRST_PART JOINED_FILE.",
    ),
    "a part behind the last": (with_metadata(("split.no", 7), ("split.count", 3)), "is part 8 of 3 of a split GGUF"),
    "an odd alignment": (with_metadata(("general.alignment", 33)), "general.alignment is 33, which is no power of"),
    "an alignment of 0": (with_metadata(("general.alignment", 0)), "general.alignment is 0, which is no power of two."),
    "an alignment in words": (with_metadata(("general.alignment", "32")), "general.alignment is 32, which is no power"),
    "nine axes": (one(0, *[1] * 9), "a.weight has 9 axes."),
    "no numbers": (one(0, 4, 0), "a.weight is empty: [0, 4]."),
    "half a block": (one(8, 33, 2), "a.weight has rows of 33, no whole blocks of 32 (Q8_0)."),
    "a row shorter than a block": (one(12, 64, 4), "a.weight has rows of 64, no whole blocks of 256 (Q4_K)."),
    "a type of the future": (
        one(99, 32),
        "a.weight has GGUF's number format 99, which this version does not know. Update OpenT2V, or get the Q8_0",
    ),
    "a type of the past": (one(4, 32), "a.weight has GGUF's number format 4, which this version does not know."),
    "numbers behind the end": (one(0, 8, offset=10**9), "is cut short. Found 128 bytes, expected 1,000,000,096."),
    "more numbers than bytes": (one(0, 2**40, 2**20), "the file is cut short. Found 160 bytes, expected "),
    "two tensors in the same bytes": (
        b"GGUF" + struct.pack("<IQQ", 3, 2, 0)
        + b"".join(text(name) + struct.pack("<IQIQ", 1, 8, 0, 0) for name in "ab") + bytes(128),
        "is damaged: a and b lie in the same bytes.",
    ),
    "a folded shape of other numbers": (with_metadata((FIVE, [5, 5])), "does not hold the 6 numbers of [2, 3]."),
    "a folded shape of negative numbers": (with_metadata((FIVE, [-2, -3])), "does not hold the 6 numbers of [2, 3]."),
    "a folded shape in words": (with_metadata((FIVE, ["2", "3"])), "does not hold the 6 numbers of [2, 3]."),
    "a folded shape in fractions": (with_metadata((FIVE, [2.0, 3.0])), "does not hold the 6 numbers of [2, 3]."),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_odd_files(path, name):
    content, said = ODD[name]
    assert said in message(path, content)


@pytest.mark.parametrize(
    ("code", "instead"),
    [
        ("IQ1_S", "Q2_K"), ("IQ1_M", "Q2_K"), ("IQ2_XXS", "Q2_K"), ("IQ2_XS", "Q2_K"), ("IQ2_S", "Q2_K"),
        ("IQ3_XXS", "Q3_K_S"), ("IQ3_S", "Q3_K_M"), ("TQ1_0", "Q2_K"), ("TQ2_0", "Q2_K"), ("Q8_1", "Q8_0"),
        ("Q8_K", "Q8_0"), ("MXFP4", "Q4_K_M"), ("NVFP4", "Q4_K_M"), ("Q1_0", "Q2_K"),
    ],
)  # fmt: skip
def test_block_formats_that_are_not_read(path, code, instead):
    kind = gguf_files.BY_CODE[code]
    blocks = Blocks(code, (1, kind.numbers), torch.zeros(kind.nbytes, dtype=torch.uint8))
    assert message(path, written({"blocks.0.q.weight": blocks})).startswith(
        f"blocks.0.q.weight is stored as GGUF {code}, which this version does not read. Get the {instead} file of this "
        "model (read are Q8_0, "
    )


def test_every_prefix_of_a_file_is_refused(path):
    """A download that stopped anywhere."""
    whole = written(
        {"a.weight": random_blocks("Q8_0", (2, 32)), "b": torch.ones(3)}, {"general.name": "x", "l": [1, 2]}
    )
    for size in range(4, len(whole) - 20):  # the last tensor's bytes end before the padding does
        assert "cut short" in message(path, whole[:size]), size


@pytest.mark.parametrize("inner", [5, 8])
def test_a_list_as_long_as_half_a_large_file(path, inner):
    """A damaged count must not read gigabytes into memory."""
    with open(path, "wb") as file:
        file.write(b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + text("x") + struct.pack("<IIQQ", 9, inner, 2**28, 2**30))
        file.truncate(2**32)
    with pytest.raises(ModelFileError, match=r"header is damaged: it would be more than 268,435,456 bytes long"):
        open_container(path)


def test_a_file_that_shrinks_while_it_is_read(path):
    file = opened(path)
    content = path.read_bytes()
    path.write_bytes(content[:-60])
    with file.tensors() as read, pytest.raises(ModelFileError, match="became shorter while it was read"):
        read("a.bias")


def test_the_sizes_of_blocks_are_the_packages():
    gguf = pytest.importorskip("gguf")
    sizes = {int(kind): (kind.name, *size) for kind, size in gguf.GGML_QUANT_SIZES.items()}
    ours = {number: (kind.code, kind.numbers, kind.nbytes) for number, kind in gguf_files.BLOCK_TYPES.items()}
    # An older package has fewer.
    assert {number: size for number, size in ours.items() if number in sizes} == {
        n: sizes[n] for n in ours if n in sizes
    }
    assert len(ours.keys() & sizes.keys()) >= 30


def test_a_value_by_hand_is_what_the_helper_writes():
    assert value_bytes(["a"]) == struct.pack("<IIQ", 9, 8, 1) + text("a")


def test_a_header_with_any_bytes_changed_is_read_or_refused_in_words(path):
    """Never a bare exception, whatever the bytes; 40,000 were tried once on 30 Nov 2026."""
    folded = {f"{ORIGINAL_SHAPE}a.weight": [2, 3], "general.alignment": 32, "split.count": 1, "words": ["a", "b"]}
    whole = written({"q": random_blocks("Q4_K", (2, 256)), **PLAIN}, folded)
    header = whole.index(bytes(16), whole.index(b"a.bias"))
    dice = random.Random(0)
    messages = []
    for _ in range(500):
        content = bytearray(whole)
        for _ in range(dice.choice((1, 1, 2, 5))):
            content[dice.randrange(4, header)] = dice.choice((0, 1, 9, 127, 255, dice.randrange(256)))
        path.write_bytes(content)
        try:
            file = open_container(path)
            split_header(file)
            with file.tensors() as read:
                for name in file.header:
                    read(name)
        except ModelFileError as error:
            messages.append(str(error))
    assert all(message.startswith(f"{path}: ") for message in messages)
    assert 150 < len(messages) < 500
