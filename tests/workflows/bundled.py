"""The templates that run on the bundled model, with nothing to download."""

BUNDLED = (
    "quickstart",
    "quickstart_from_picture",
    "video_to_video",
    "finishing",
    "step_cache",
    "lora",
    "prompt_travel",
    "long_video_storyboard",
    "keyframes_first",
    "continue_video",
)
# These run at once too, and leave no video.
WITHOUT_VIDEO = ("what_is_in_this_file",)
