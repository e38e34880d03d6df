"""What the templates in workflows/ hold: models and their public addresses, prompts, notes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class File:
    """A published model file: `path` inside the repository `repository` of huggingface.co.

    Attributes:
        gigabytes: 0 where its size is not known here.
        converted: the name it gets from scripts/convert.py, for one that is published as a pickle only.
    """

    path: str
    directory: str
    repository: str
    gigabytes: float = 0.0
    converted: str = ""

    @property
    def name(self) -> str:
        return self.converted or self.path.rpartition("/")[2]

    def link(self) -> dict[str, str]:
        """What the page offers to download, in its own form."""
        url = f"https://huggingface.co/{self.repository}/resolve/main/{self.path}"
        return {"name": self.name, "url": url, "directory": self.directory}


def repackaged(repository: str, directory: str, name: str, gigabytes: float) -> File:
    """A file of Comfy-Org's, which all have one layout."""
    return File(f"split_files/{directory}/{name}", directory, f"Comfy-Org/{repository}", gigabytes)


WAN_21, WAN_22 = "Wan_2.1_ComfyUI_repackaged", "Wan_2.2_ComfyUI_Repackaged"
MOCHI, HUNYUAN, COG = "mochi_preview_repackaged", "HunyuanVideo_repackaged", "Kijai/CogVideoX-comfy"
UMT5 = repackaged(WAN_21, "text_encoders", "umt5_xxl_fp8_e4m3fn_scaled.safetensors", 6.7)
T5 = repackaged(MOCHI, "text_encoders", "t5xxl_fp8_e4m3fn_scaled.safetensors", 5.2)
WAN_VAE = repackaged(WAN_21, "vae", "wan_2.1_vae.safetensors", 0.25)
WAN_22_VAE = repackaged(WAN_22, "vae", "wan2.2_vae.safetensors", 1.4)
WAN_5B = repackaged(WAN_22, "diffusion_models", "wan2.2_ti2v_5B_fp16.safetensors", 10)
COG_VAE = File("cogvideox_vae_bf16.safetensors", "vae", COG, 0.43)
CLIP_L = repackaged(HUNYUAN, "text_encoders", "clip_l.safetensors", 0.25)
HUNYUAN_VAE = repackaged(HUNYUAN, "vae", "hunyuan_video_vae_bf16.safetensors", 0.5)
OPEN_SORA = File("Open_Sora_v2.safetensors", "diffusion_models", "hpcai-tech/Open-Sora-v2", 23.8)
OPEN_SORA_VALUES = {
    "OpenT2VEncodePrompt": {"fps": 24.0, "motion_score": 4.0},
    "OpenT2VGuidance": {"cfg_schedule": "auto"},
}
LTX_23 = File("ltx-2.3-22b-distilled-fp8.safetensors", "checkpoints", "Lightricks/LTX-2.3-fp8", 29)
GEMMA_3 = repackaged("ltx-2", "text_encoders", "gemma_3_12B_it_fp4_mixed.safetensors", 9.4)
LTX_25 = File(
    "diffusion_models/ltx-2.5-22b-distilled-transformer-comfy-int8-convrot.safetensors", "diffusion_models",
    "Lightricks/LTX-2.5", 21.5,
)  # fmt: skip
GEMMA_4 = File(
    "text_encoders/gemma4-12b-with-proj-ltx-2.5-comfy-int8-convrot.safetensors", "text_encoders", "Lightricks/LTX-2.5",
    15.4,
)  # fmt: skip
LTX_25_VAE = File("vae/ltx-2.5-video-vae-conv-bf16.safetensors", "vae", "Lightricks/LTX-2.5", 1.5)
LTX_25_SOUND = File("vae/ltx-2.5-audio-vae-bf16.safetensors", "vae", "Lightricks/LTX-2.5", 0.37)
H3 = "Comfy-Org/MiniMax-H3"
H3_MODEL = File("diffusion_models/minimax_h3_fl2va_pruned_int8_convrot.safetensors", "diffusion_models", H3)
H3_REFERENCES = File("diffusion_models/minimax_h3_ref2va_pruned_int8_convrot.safetensors", "diffusion_models", H3)
QWEN_3_VL = File("text_encoders/qwen3vl_32b_minimax_h3_nvfp4_awq.safetensors", "text_encoders", H3)
H3_VAE = File("vae/minimax_h3_video_vae_fp16.safetensors", "vae", H3)
H3_SOUND = File("vae/minimax_h3_audio_vae_fp32.safetensors", "vae", H3)
# Of every note of MiniMax H3.
H3_LICENCE = (
    "The licence gives no rights in the EU, the UK, South Korea and the USA without MiniMax's authorisation, outputs "
    'included; "Powered by MiniMax H3" must be shown.'
)
H3_LICENCE_ZH = (
    "许可证：未经 MiniMax 授权，在欧盟、英国、韩国和美国无任何权利，生成内容也包括在内；须标明“Powered by MiniMax H3”。"
)
LTX = File("ltx-video-2b-v0.9.5.safetensors", "checkpoints", "Lightricks/LTX-Video", 6.3)


@dataclass(frozen=True)
class Template:
    """A graph from text, from a picture, or from the end of a clip.

    Attributes:
        model: the transformer, or an all-in-one file; `low` is the low-noise expert of a model with two.
        vae: None where it is inside `model`.
        upscaler: makes the latent of a first run larger, for a second one at the noise levels `sigmas`.
        has_sound: makes a sound with the video; `sound` is its VAE, None where it is inside `model`.
        ends: goes to a last picture; hears: is made to a sound.
        starts: begins with a picture; `vision` is the image encoder that reads it, where the model has one.
        shows: the text encoder reads the picture too.
        refers: makes its video after a picture, in place of beginning with it.
        goes_on: goes on where a clip with sound ends.
        english, chinese: a hint at the end of the note.
        values: node -> widgets that do not keep their default.
    """

    name: str
    title: str
    model: File
    text: tuple[File, ...]
    vae: File | None
    prompt: str
    english: str
    chinese: str
    low: File | None = None
    starts: bool = False
    shows: bool = False
    refers: bool = False
    goes_on: bool = False
    ends: bool = False
    hears: bool = False
    has_sound: bool = False
    sound: File | None = None
    upscaler: File | None = None
    sigmas: str = ""
    vision: File | None = None
    values: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def files(self) -> list[File]:
        return [
            file
            for file in (self.model, self.low, *self.text, self.vae, self.sound, self.upscaler, self.vision)
            if file is not None
        ]


_SMALLER = "Short of memory: a smaller width, height or frames, or dtype fp8_e4m3fn."
_SMALLER_ZH = "显存不够时：减小 width、height 或 frames，或把 dtype 设为 fp8_e4m3fn。"
TEMPLATES = (
    Template(
        "wan2.1_text_to_video",
        "Wan 2.1 T2V 1.3B",
        repackaged(WAN_21, "diffusion_models", "wan2.1_t2v_1.3B_fp16.safetensors", 2.8),
        (UMT5,),
        WAN_VAE,
        "A red panda crosses a mossy log over a mountain stream, morning mist, soft light, the camera follows slowly",
        "The 14B model: choose its file, keep the rest.",
        "换 14B 模型：只换文件，其余不变。",
    ),
    Template(
        "wan2.2_a14b_text_to_video",
        "Wan 2.2 T2V A14B",
        repackaged(WAN_22, "diffusion_models", "wan2.2_t2v_high_noise_14B_fp8_scaled.safetensors", 14.3),
        (UMT5,),
        WAN_VAE,
        "An old lighthouse in a storm, waves break high over the rocks, its beam sweeps through the rain, wide shot",
        "Two experts: high_noise goes to model, low_noise to low_noise_model, each with a cfg of its own.",
        "两个专家模型：high_noise 接 model，low_noise 接 low_noise_model，各有自己的 cfg。",
        low=repackaged(WAN_22, "diffusion_models", "wan2.2_t2v_low_noise_14B_fp8_scaled.safetensors", 14.3),
    ),
    Template(
        "wan2.2_5b_text_to_video",
        "Wan 2.2 TI2V 5B",
        WAN_5B,
        (UMT5,),
        WAN_22_VAE,
        "A sailing boat glides through a fjord at sunrise, gulls circle above the mast, golden light on calm water",
        _SMALLER,
        _SMALLER_ZH,
    ),
    Template(
        "wan2.2_5b_image_to_video",
        "Wan 2.2 TI2V 5B",
        WAN_5B,
        (UMT5,),
        WAN_22_VAE,
        "The scene comes to life, hair and clothes move gently in the wind, the camera moves in slowly",
        "Choose your picture in Load Image and say what happens in it.",
        "在 Load Image 中选择图片，用提示词描述画面里发生的事。",
        starts=True,
    ),
    Template(
        "wan2.1_image_to_video",
        "Wan 2.1 I2V 14B 480P",
        repackaged(WAN_21, "diffusion_models", "wan2.1_i2v_480p_14B_fp8_e4m3fn.safetensors", 16.4),
        (UMT5,),
        WAN_VAE,
        "The scene comes to life, hair and clothes move gently in the wind, the camera moves in slowly",
        "Choose your picture in Load Image. CLIP Vision reads it too: this model needs both.",
        "在 Load Image 中选择图片。此模型还需要 CLIP Vision 读取同一张图片。",
        starts=True,
        vision=repackaged(WAN_21, "clip_vision", "clip_vision_h.safetensors", 1.3),
    ),
    Template(
        "cogvideox_text_to_video",
        "CogVideoX 1.5 5B",
        File("CogVideoX_1_5_5b_T2V_bf16.safetensors", "diffusion_models", COG, 11.1),
        (T5,),
        COG_VAE,
        "A potter shapes a tall clay vase on a spinning wheel, wet hands, warm light from a workshop window, close-up",
        "Its own size is 1360 x 768 with 81 frames. " + _SMALLER,
        "模型自己的尺寸是 1360 x 768、81 帧。" + _SMALLER_ZH,
    ),
    Template(
        "cogvideox_image_to_video",
        "CogVideoX 5B I2V",
        File("CogVideoX_1_0_5b_I2V_bf16.safetensors", "diffusion_models", COG, 11.3),
        (T5,),
        COG_VAE,
        "The scene comes to life, hair and clothes move gently in the wind, the camera moves in slowly",
        "Choose your picture in Load Image. This model makes 720 x 480 with 49 frames and nothing else: leave 0.",
        "在 Load Image 中选择图片。此模型只能生成 720 x 480、49 帧：请保持 0。",
        starts=True,
    ),
    Template(
        "ltx_video_text_to_video",
        "LTX-Video 2B 0.9.5",
        LTX,
        (T5,),
        None,
        "A woman in a yellow raincoat walks through a neon-lit street at night. Rain falls, puddles reflect the signs. "
        "The camera follows her from behind at shoulder height. The look is that of a film.",
        "The VAE is inside the model's file. Keep the version in the file's name: it counts. Long, detailed prompts.",
        "VAE 在模型文件里。请保留文件名中的版本号。提示词宜长而具体。",
    ),
    Template(
        "ltx_video_image_to_video",
        "LTX-Video 2B 0.9.5",
        LTX,
        (T5,),
        None,
        "The person in the picture turns the head slowly and smiles. Hair moves gently in the wind. The camera stays "
        "still. The light is soft and even.",
        "Choose your picture in Load Image; end_image takes a last one. The VAE is inside the model's file.",
        "在 Load Image 中选择图片；end_image 可接尾帧。VAE 在模型文件里。",
        starts=True,
    ),
    Template(
        "ltx2.3_image_to_video",
        "LTX-2.3 22B",
        LTX_23,
        (GEMMA_3,),
        None,
        "The person in the picture looks into the camera and says in a calm voice: 'Good morning.' A clock ticks in "
        "the room, birds sing outside. The camera stays still, the light is soft.",
        "Choose your picture in Load Image; end_image takes a last one. Say what is to be heard. VAEs and text "
        "projection are inside the model's file.",
        "在 Load Image 中选择图片；end_image 可接尾帧。请写出要听到什么。VAE 和文本投影都在模型文件里。",
        starts=True,
        has_sound=True,
    ),
    Template(
        "ltx2.3_text_to_video",
        "LTX-2.3 22B",
        LTX_23,
        (GEMMA_3,),
        None,
        "A street musician plays the cello in a railway station at night. The bow moves over the strings, the melody "
        "echoes under the roof, steps pass by. The camera moves slowly around him.",
        "Say what is to be heard. VAEs and text projection are inside the model's file. Long, detailed prompts.",
        "请写出要听到什么。VAE 和文本投影都在模型文件里。提示词宜长而具体。",
        has_sound=True,
    ),
    Template(
        "ltx2.3_first_last_image_to_video",
        "LTX-2.3 22B",
        LTX_23,
        (GEMMA_3,),
        None,
        "The flower in the picture opens slowly from bud to full blossom, petals rustle, a bee hums past. The camera "
        "does not move, morning light wanders over the leaves.",
        "Choose the first and the last picture in the two Load Image nodes; middle_images takes more between them.",
        "在两个 Load Image 中选择首帧和尾帧；middle_images 可在中间再加图像。",
        starts=True,
        ends=True,
        has_sound=True,
    ),
    Template(
        "ltx2.3_sound_to_video",
        "LTX-2.3 22B",
        LTX_23,
        (GEMMA_3,),
        None,
        "A woman in a recording studio sings into a microphone, her lips follow every word, her hands move with the "
        "music. Medium shot, warm light, the camera stays still.",
        "Choose your sound in Load Audio: it stays as it is, and the picture is made to it. Set seconds in Empty Video "
        "Latent to its length.",
        "在 Load Audio 中选择声音：它保持原样，画面按它生成。请把“空视频 Latent”的 seconds 设为它的长度。",
        hears=True,
        has_sound=True,
    ),
    Template(
        "ltx2.3_two_stage_image_to_video",
        "LTX-2.3 22B",
        LTX_23,
        (GEMMA_3,),
        None,
        "The man in the picture pours coffee into a cup, steam rises, the coffee splashes softly and a spoon rings "
        "against the cup. He looks up and smiles. The camera moves slowly closer, morning light.",
        "The first run is half as large; the second refines it at three noise levels. width and height are the first "
        "run's.",
        "第一遍的尺寸减半，第二遍用三个噪声水平细化。width 和 height 是第一遍的。",
        starts=True,
        has_sound=True,
        upscaler=File(
            "ltx-2.3-spatial-upscaler-x2-1.1.safetensors", "latent_upscale_models", "Lightricks/LTX-2.3", 1.0
        ),
        sigmas="0.85, 0.725, 0.421875",
        values={"OpenT2VImageToVideo": {"width": 640, "height": 384, "strength": 0.7}},
    ),
    Template(
        "ltx2.5_image_to_video",
        "LTX-2.5 22B",
        LTX_25,
        (GEMMA_4,),
        LTX_25_VAE,
        "The woman in the picture lifts the violin and plays a slow melody, the strings ring through the hall. The bow "
        "draws long strokes, dust floats in the light, the camera comes a little closer.",
        "Choose your picture in Load Image; end_image takes a last one. Say what is to be heard. The text projection "
        "is inside the Gemma's file.",
        "在 Load Image 中选择图片；end_image 可接尾帧。请写出要听到什么。文本投影在 Gemma 文件里。",
        starts=True,
        has_sound=True,
        sound=LTX_25_SOUND,
    ),
    Template(
        "ltx2.5_text_to_video",
        "LTX-2.5 22B",
        LTX_25,
        (GEMMA_4,),
        LTX_25_VAE,
        "A blacksmith hammers a glowing blade on the anvil, each blow rings and sparks fly, the fire roars behind him. "
        "Close shot from the side, the camera follows the hammer, warm light in a dark workshop.",
        "Say what is to be heard. The text projection is inside the Gemma's file. Long, detailed prompts.",
        "请写出要听到什么。文本投影在 Gemma 文件里。提示词宜长而具体。",
        has_sound=True,
        sound=LTX_25_SOUND,
    ),
    Template(
        "minimax_h3_image_to_video",
        "MiniMax H3",
        H3_MODEL,
        (QWEN_3_VL,),
        H3_VAE,
        "The person in the picture turns to the window, rain runs down the glass and drums on the sill. She says "
        "quietly: 'It has stopped being summer.' The camera comes slowly closer.",
        "Choose your picture in Load Image; end_image takes a last one. Say what is to be heard. " + H3_LICENCE,
        "在 Load Image 中选择图片；end_image 可接尾帧。请写出要听到什么。" + H3_LICENCE_ZH,
        starts=True,
        shows=True,
        has_sound=True,
        sound=H3_SOUND,
    ),
    Template(
        "minimax_h3_text_to_video",
        "MiniMax H3",
        H3_MODEL,
        (QWEN_3_VL,),
        H3_VAE,
        "A potter shapes a bowl on a turning wheel, wet clay squeaks under her fingers, a radio plays softly in the "
        "next room. Close shot from the side, morning light, the camera circles slowly.",
        "Say what is to be heard. There is no negative prompt. " + H3_LICENCE,
        "请写出要听到什么。没有负面提示词。" + H3_LICENCE_ZH,
        has_sound=True,
        sound=H3_SOUND,
    ),
    Template(
        "minimax_h3_reference_to_video",
        "MiniMax H3",
        H3_REFERENCES,
        (QWEN_3_VL,),
        H3_VAE,
        "The person of <Picture 1> walks along a beach at dusk and hums a song, waves roll in and gulls cry. The "
        "camera moves beside her.",
        "The prompt names references as <Picture 1>, <Video 1>, <Audio 1>. " + H3_LICENCE,
        "提示词用 <Picture 1>、<Video 1>、<Audio 1> 指代参考。" + H3_LICENCE_ZH,
        refers=True,
        has_sound=True,
        sound=H3_SOUND,
    ),
    Template(
        "minimax_h3_continue",
        "MiniMax H3",
        H3_MODEL,
        (QWEN_3_VL,),
        H3_VAE,
        "She puts the cup down, stands up and walks to the open door, her steps creak on the boards, outside a "
        "blackbird sings. The camera turns after her.",
        "Upload a clip with sound in Load Video Frames, say in the prompt what happens next. Its last 22 frames and "
        "their sound begin the new clip; overlap takes 1, 5, 22, 39 ... Silent clip: unlink audio and first_audio. "
        + H3_LICENCE,
        "在“加载视频帧”中上传带声音的视频，用提示词写接下来发生的事。新片段从它的最后 22 帧及其声音开始；"
        "overlap 可为 1、5、22、39……无声视频请断开 audio 和 first_audio。" + H3_LICENCE_ZH,
        goes_on=True,
        has_sound=True,
        sound=H3_SOUND,
        values={
            "OpenT2VLoadVideo": {"fps": 24, "width": 1344, "height": 768},
            "OpenT2VContinue": {"overlap": 22},
        },
    ),
    Template(
        "mochi_text_to_video",
        "Mochi 1",
        repackaged(MOCHI, "diffusion_models", "mochi_preview_bf16.safetensors", 20),
        (T5,),
        repackaged(MOCHI, "vae", "mochi_vae.safetensors", 0.9),
        "A hummingbird hovers at a red flower and drinks, wings a blur, green garden out of focus, macro shot",
        "frames 0 makes 19; up to 163 (6n + 1). mochi_preview_fp8_scaled.safetensors is half as large.",
        "frames 为 0 时生成 19 帧；最多 163 帧（6n + 1）。mochi_preview_fp8_scaled.safetensors 体积减半。",
    ),
    Template(
        "hunyuan_video_text_to_video",
        "HunyuanVideo",
        repackaged(HUNYUAN, "diffusion_models", "hunyuan_video_t2v_720p_bf16.safetensors", 25.6),
        (
            repackaged(HUNYUAN, "text_encoders", "llava_llama3_fp8_scaled.safetensors", 9.1),
            CLIP_L,
        ),
        HUNYUAN_VAE,
        "A steam train crosses a stone viaduct in autumn, smoke drifts over golden trees, aerial shot, realistic",
        "cfg is the guidance the model is told; the negative prompt is not used. " + _SMALLER,
        "cfg 是告诉模型的引导值；不使用负面提示词。" + _SMALLER_ZH,
    ),
    Template(
        "videocrafter_text_to_video",
        "VideoCrafter2",
        File("model.ckpt", "checkpoints", "VideoCrafter/VideoCrafter2", 7.4, converted="videocrafter2.safetensors"),
        (),
        None,
        "A corgi runs through shallow waves on a beach at sunset, water splashes, cinematic light, sharp focus",
        "Text encoder and VAE are inside. Encode Video Prompt's fps is what the model is told: higher, less movement "
        "between frames.",
        "文本编码器和 VAE 都在文件里。Encode Video Prompt 的 fps 是告诉模型的帧率：越高，帧间动作越小。",
    ),
    Template(
        "open_sora_text_to_video",
        "Open-Sora 2.0",
        OPEN_SORA,
        (T5, CLIP_L),
        HUNYUAN_VAE,
        "A lone surfer rides a long green wave at sunset, spray glows behind the board, filmed from the water",
        "motion_score: 1 hardly moves, 4 usual, 7 a lot. It was made for an aspect_ratio with area 256 or 768.",
        "motion_score：1 几乎不动，4 为常用值，7 动作很大。训练尺寸：选 aspect_ratio，area 填 256 或 768。",
        values=OPEN_SORA_VALUES,
    ),
    Template(
        "open_sora_image_to_video",
        "Open-Sora 2.0",
        OPEN_SORA,
        (T5, CLIP_L),
        HUNYUAN_VAE,
        "The scene comes to life, hair and clothes move gently in the wind, the camera moves in slowly",
        "end_image takes a last picture. 33 or 65 frames of a video in place of a picture are gone on with.",
        "end_image 可接尾帧。把图片换成 33 或 65 帧的视频即可续写。",
        starts=True,
        values=OPEN_SORA_VALUES,
    ),
)

QUICKSTART_NOTE = """Press Run. The model comes with this pack, nothing is downloaded.

Try another sentence in "Encode Video Prompt":
• a circle, square, triangle or star
• red, green, blue, yellow, purple, orange or white
• on a black, grey, sky blue or beige background
• standing still, moving left, right, up or down, growing, shrinking or rotating

for example: a green triangle growing on a sky blue background
Every run takes a new seed; set "control after generate" to "fixed" to keep one.

The video is in ComfyUI's output folder. Drop it on this page and this workflow comes back.
For another model: choose it in "Load Video Model" and keep the rest; 0 means the model's own value.

按“运行”即可：模型随包附带，无需下载。

在“Encode Video Prompt”里换一句话试试（中英文均可）：
• 圆形、正方形、三角形、星形
• 红、绿、蓝、黄、紫、橙、白
• 黑色、灰色、天蓝色、米色背景
• 静止、向左、向右、向上、向下移动、变大、变小、旋转

例如：一个绿色的三角形在天蓝色背景上变大
每次运行都会换种子；把“control after generate”设为“fixed”可固定种子。

视频保存在 ComfyUI 的 output 文件夹；把它拖到本页即可恢复此工作流。
换用其他模型：只需在“Load Video Model”中选择，其余不变；0 表示模型自己的默认值。"""
VIDEO_NOTE = """Another look for a video you have. The model comes with this pack, nothing is downloaded.

1. Upload a video in "Load Video Frames": one that quickstart has saved, to begin with.
2. Say in "Encode Video Prompt" what it should become.
3. Video Sampler's denoise says how much is made anew: 0.3 a little, 0.6 here, 1 everything.

For another model: choose it in "Load Video Model" and set count, fps, width and height to what it can make.

给已有的视频换一种样子。模型随包附带，无需下载。

1. 在“Load Video Frames”中上传视频，例如 quickstart 保存的那个。
2. 在“Encode Video Prompt”中写想变成什么。
3. Video Sampler 的 denoise 决定重画多少：0.3 少量，这里 0.6，1 为全部。

换用其他模型：在“Load Video Model”中选择，并把 count、fps、width、height 设为它能生成的值。"""
FINISH_NOTE = """Finishing on the way to the file. The model comes with this pack, nothing is downloaded.

Each step hands on to the next, in this order: colours, frames in between, captions.
• Match Colours: every frame gets the colours of the first.
• Change Frame Rate: 32 frames per second at the same speed, made along the motion.
• Burn In Captions: plain words, or subtitles with times as in an .srt file.
Decode to Video File applies them piece by piece: memory does not grow with length.

在写入文件的途中做后期。模型随包附带，无需下载。

每一步的输出接到下一步，顺序为：颜色、补帧、字幕。
• Match Colours：让每一帧的颜色与第一帧一致。
• Change Frame Rate：速度不变，沿运动补到每秒 32 帧。
• Burn In Captions：普通文字，或带时间的字幕（.srt 格式）。
Decode to Video File 分段处理：内存不随长度增长。"""
LORA_NOTE = """A LoRA that makes outline drawings. It and the model come with this pack, nothing is downloaded.

The node says below its widgets what the file is and what of it fits the model.
• strength_model 0: the model as it is, bit for bit. 1: outlines.
• Where only the strength changed, nothing is read again.
• The words stay as they were; the style comes from the LoRA.

Your own LoRA goes into models/loras. It must have been made for the model: where nothing fits, the node says so.

让画面变成轮廓画的 LoRA。LoRA 与模型都随包附带，无需下载。

运行后，节点的控件下方会写明这个文件是什么、有多少与模型匹配。
• strength_model 为 0：与不用 LoRA 逐位相同；为 1：轮廓画。只改强度时不会重新读取文件。
• 提示词照旧，风格来自 LoRA。

自己的 LoRA 放入 models/loras。它必须是为所用模型训练的：完全不匹配时，节点会说明原因。"""
CAPTIONS = "1\n00:00:00,000 --> 00:00:00,500\nthis is\n\n2\n00:00:00,500 --> 00:00:02,000\nOpenT2V"

CACHE_NOTE = """Twice as fast, and how close. The model comes with this pack, nothing is downloaded.

1. Calibrate Step Cache samples once with every step computed: its profile says how far each step can be reused.
2. Step Cache plans by the profile: as close as can be at target_speedup 2.
3. Video Sampler makes the same video by that plan and says what it did.
4. Compare Step Cache says how close it came to the first. Keep the two seeds the same.

From then on Load Cache Profile takes Calibrate's place, for any prompt; leave the rest out.

快一倍，又有多接近？模型随包附带，无需下载。

1. “Calibrate Step Cache”完整采样一次：profile 说明每一步可以复用多少，latent 作为参照。
2. “Step Cache”据此安排：在 target_speedup 2 下尽量接近。
3. “Video Sampler”按计划生成同一段视频，并说明做了什么。
4. “Compare Step Cache”说明有多接近。两个种子要相同。

以后用“Load Cache Profile”代替标定，适用于任意提示词，其余可去掉。"""

TRAVELLING = """0.5 s: a red triangle moving to the right on a black background
1.5 s: a yellow triangle moving to the right on a black background
2.5 s: a blue triangle moving to the right on a black background"""
TRAVEL_NOTE = """Three times the length that the model was trained for, with a prompt that travels. The model comes with
this pack.

1. Encode Video Prompt reads moments in its text: seconds (s), frames (f) or per cent (%). In between, prompts are
mixed.
2. Empty Video Latent is 49 frames long; the model was trained on 17.
3. Video Windows computes overlapping windows of 17 frames at each step, and each gets the prompt of its middle. Memory
is that of one window.

Longer still: only frames of Empty Video Latent. The same graph takes every model of the pack.

训练长度的三倍，提示词随时间变化。模型随包附带，无需下载。

1. “Encode Video Prompt”的文本里写时刻：秒（s）、帧（f）或百分比（%），两个时刻之间的提示词会混合。
2. “Empty Video Latent”为 49 帧，模型的训练长度是 17 帧。
3. “Video Windows”在每一步计算 17 帧的重叠窗口，每个窗口用其中点的提示词。显存只相当于一个窗口。

要更长：只改“Empty Video Latent”的 frames。换其他模型，图不变。"""

STORY = """1 s | a red triangle moving to the right on a black background
1 s | a blue star rotating on a beige background | seed 3 | fade 4 f
1 s | a white square moving to the right on a grey background | lora opent2v-quickstart-outline.safetensors"""
STORY_NOTE = """A story in shots that ends in one file. The model comes with this pack.

1. Storyboard reads a shot on each line: length, prompt, and if you like seed, lora, picture and fade.
2. The nodes behind it run once for each shot.
3. Join Video Files makes one file of them, with the cuts and fades of the storyboard. Memory does not grow with their
number.

keep is on in Video Sampler and Decode to Video File: change a line and run again, and only that shot is made anew. Each
model of the pack can take this one's place.

由镜头组成的故事，最后合成一个文件。模型随包附带，无需下载。

1. “Storyboard”每行一个镜头：时长、提示词，以及可选的种子、LoRA、图片和淡入。
2. 后面的节点对每个镜头运行一次。
3. “Join Video Files”按分镜的切换和淡化拼成一个文件，内存不随镜头数增长。

“Video Sampler”和“Decode to Video File”打开了 keep：修改一行再运行，只重新生成那个镜头。可换成本包的任何模型。"""
CONTINUE_NOTE = """A clip that goes on where it ends. The model comes with this pack.

1. The first Video Sampler makes a clip of 17 frames.
2. Continue Video takes its last 5 frames as the start of the next one and gives them the first clip's colours.
3. The second Video Sampler makes what follows, and Join Clips fades both into one over those frames.

Longer still: copy the three nodes from Continue Video on. A model that starts from pictures goes on from the last
frame; Continue Video says which way it takes.

让一段视频从结尾处继续。模型随包附带，无需下载。

1. 第一个“Video Sampler”生成 17 帧。
2. “Continue Video”取最后 5 帧作为下一段的开头，并使其颜色与第一段一致。
3. 第二个“Video Sampler”生成后续，“Join Clips”在这些帧上把两段合为一段。

要更长：复制“Continue Video”起的三个节点。以图片开始的模型会从最后一帧继续；“Continue Video”会说明用哪种方式。"""
