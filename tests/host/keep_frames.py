"""A custom node for the tests: writes its IMAGE to a file, number for number. Reads nothing of any host."""

from __future__ import annotations


class KeepFrames:
    CATEGORY = "tests"
    FUNCTION = "keep"
    OUTPUT_NODE = True
    RETURN_TYPES = ()

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"images": ("IMAGE",), "file": ("STRING", {"default": ""})}}

    def keep(self, images, file):
        from safetensors.torch import save_file

        save_file({"images": images.detach().clone().contiguous()}, file)
        return {"ui": {}}


# Not written as a dictionary: the Manager's scan of the repository would take this for a node of the pack.
NODE_CLASS_MAPPINGS = dict(KeepFrames=KeepFrames)
