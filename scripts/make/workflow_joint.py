"""The templates of models that make a sound with their video."""

from __future__ import annotations

from workflow_files import (
    GEMMA_3,
    GEMMA_4,
    H3_LICENCE,
    H3_LICENCE_ZH,
    H3_MODEL,
    H3_REFERENCES,
    H3_SOUND,
    H3_VAE,
    LTX_23,
    LTX_25,
    LTX_25_SOUND,
    LTX_25_VAE,
    QWEN_3_VL,
    File,
    Template,
)

TEMPLATES = (
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
)
