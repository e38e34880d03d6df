"""The number formats of GGUF files: how many numbers a block holds, and in how many bytes.

Source: https://github.com/ggml-org/ggml, docs/gguf.md and src/ggml-common.h (MIT).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BlockType:
    """One number format.

    Attributes:
        code: as files of models name it: "Q4_K".
        numbers, nbytes: of one block; a row of a matrix is whole blocks.
        instead: for a format that is not read here, the one to get instead; else "".
    """

    code: str
    numbers: int
    nbytes: int
    instead: str = ""

    @property
    def is_packed(self) -> bool:
        """Whether its numbers share a scale."""
        return self.numbers > 1


# By the number that a file has for it.
BLOCK_TYPES = {
    0: BlockType("F32", 1, 4),
    1: BlockType("F16", 1, 2),
    2: BlockType("Q4_0", 32, 18),
    3: BlockType("Q4_1", 32, 20),
    6: BlockType("Q5_0", 32, 22),
    7: BlockType("Q5_1", 32, 24),
    8: BlockType("Q8_0", 32, 34),
    9: BlockType("Q8_1", 32, 40, "Q8_0"),
    10: BlockType("Q2_K", 256, 84),
    11: BlockType("Q3_K", 256, 110),
    12: BlockType("Q4_K", 256, 144),
    13: BlockType("Q5_K", 256, 176),
    14: BlockType("Q6_K", 256, 210),
    15: BlockType("Q8_K", 256, 292, "Q8_0"),
    16: BlockType("IQ2_XXS", 256, 66, "Q2_K"),
    17: BlockType("IQ2_XS", 256, 74, "Q2_K"),
    18: BlockType("IQ3_XXS", 256, 98, "Q3_K_S"),
    19: BlockType("IQ1_S", 256, 50, "Q2_K"),
    20: BlockType("IQ4_NL", 32, 18),
    21: BlockType("IQ3_S", 256, 110, "Q3_K_M"),
    22: BlockType("IQ2_S", 256, 82, "Q2_K"),
    23: BlockType("IQ4_XS", 256, 136),
    24: BlockType("I8", 1, 1),
    25: BlockType("I16", 1, 2),
    26: BlockType("I32", 1, 4),
    27: BlockType("I64", 1, 8),
    28: BlockType("F64", 1, 8),
    29: BlockType("IQ1_M", 256, 56, "Q2_K"),
    30: BlockType("BF16", 1, 2),
    34: BlockType("TQ1_0", 256, 54, "Q2_K"),
    35: BlockType("TQ2_0", 256, 66, "Q2_K"),
    39: BlockType("MXFP4", 32, 17, "Q4_K_M"),
    40: BlockType("NVFP4", 64, 36, "Q4_K_M"),
    41: BlockType("Q1_0", 128, 18, "Q2_K"),
}
BY_CODE = {kind.code: kind for kind in BLOCK_TYPES.values()}
