"""Notes and texts of the templates that run with the bundled model."""

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
PICTURED = "a red star moving to the right on a beige background"
PICTURE_NOTE = """A video that starts from a picture. The model comes with this pack, nothing is downloaded.

1. The first Video Sampler makes a video of one frame: the picture.
2. Image to Video takes it as the first frame, and the words say what happens in it.
3. The second Video Sampler makes what follows.

A picture of yours: put Load Image in the place of the first Video Sampler and Decode Video, and describe it in
"Encode Video Prompt". This model knows flat shapes only; for photographs choose Wan 2.2, LTX-2 or MiniMax H3 in
"Load Video Model" and keep the rest.

从图片开始的视频。模型随包附带，无需下载。

1. 第一个“Video Sampler”生成只有一帧的视频，也就是图片。
2. “Image to Video”把它作为第一帧，提示词说明图中发生什么。
3. 第二个“Video Sampler”生成后续画面。

用自己的图片：把“Load Image”放在第一个“Video Sampler”和“Decode Video”的位置，并在“Encode Video Prompt”中描述它。
此模型只认识平面图形；照片请在“Load Video Model”中选择 Wan 2.2、LTX-2 或 MiniMax H3，其余不变。"""
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
2 s: a yellow triangle moving to the right on a black background
3.5 s: a blue triangle moving to the right on a black background"""
TRAVEL_NOTE = """Twice the length that the model was trained for, with a prompt that travels. The model comes with
this pack.

1. Encode Video Prompt reads moments in its text: seconds (s), frames (f) or per cent (%). In between, prompts are
mixed.
2. Empty Video Latent is 65 frames long; the model was trained on 33.
3. Video Windows computes overlapping windows of 33 frames at each step, and each gets the prompt of its middle. Memory
is that of one window.

Longer still: only frames of Empty Video Latent. The same graph takes every model of the pack.

训练长度的两倍，提示词随时间变化。模型随包附带，无需下载。

1. “Encode Video Prompt”的文本里写时刻：秒（s）、帧（f）或百分比（%），两个时刻之间的提示词会混合。
2. “Empty Video Latent”为 65 帧，模型的训练长度是 33 帧。
3. “Video Windows”在每一步计算 33 帧的重叠窗口，每个窗口用其中点的提示词。显存只相当于一个窗口。

要更长：只改“Empty Video Latent”的 frames。换其他模型，图不变。"""

STORY = """2 s | a red triangle moving to the right on a black background
2 s | a blue star rotating on a beige background | seed 3 | fade 4 f
2 s | a white square moving to the right on a grey background | lora opent2v-quickstart-outline.safetensors"""
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
KEYFRAMES_STORY = """2 s | a red circle growing on a black background
2 s | a blue circle growing on a black background | lead
2 s | a green circle growing on a black background | lead"""
KEYFRAMES_NOTE = """Keyframes first: pictures that you look at, then what lies between. The model comes with this pack.

1. Storyboard reads a shot on each line; lead says that the shot before leads into this one's picture.
2. The first Video Sampler makes a video of one frame for each shot. Run Save Image alone (the play button above the
selected node), look at the pictures, and change the lines of those that you do not like.
3. Continue Video fills in from each picture to the next one, and Join Video Files makes one file of the shots.

keep is on: what you liked is not made anew. A shot with "picture name.png" takes that file. Each model of the pack can
take this one's place; those for a first and a last picture (Wan 2.2 I2V, LTX-2, MiniMax H3) are best at filling in.

先做关键帧：先看图片，再生成图片之间的视频。模型随包附带，无需下载。

1. “Storyboard”每行一个镜头；lead（衔接）表示上一个镜头以本镜头的图片结束。
2. 第一个“Video Sampler”为每个镜头生成一帧。单独运行“Save Image”（选中节点后点上方的播放按钮），看图片，修改不满意的行。
3. “Continue Video”补出图片之间的画面，“Join Video Files”把镜头拼成一个文件。

keep 已打开：满意的部分不会重做。写有 “picture name.png” 的镜头使用该文件。可换成本包的任何模型；
支持首尾帧的模型（Wan 2.2 I2V、LTX-2、MiniMax H3）补得最好。"""
CONTINUE_NOTE = """A clip that goes on where it ends. The model comes with this pack.

1. The first Video Sampler makes a clip of 33 frames.
2. Continue Video takes its last 5 frames as the start of the next one and gives them the first clip's colours.
3. The second Video Sampler makes what follows, and Join Clips fades both into one over those frames.

Longer still: copy the three nodes from Continue Video on. A model that starts from pictures goes on from the last
frame; Continue Video says which way it takes.

让一段视频从结尾处继续。模型随包附带，无需下载。

1. 第一个“Video Sampler”生成 33 帧。
2. “Continue Video”取最后 5 帧作为下一段的开头，并使其颜色与第一段一致。
3. 第二个“Video Sampler”生成后续，“Join Clips”在这些帧上把两段合为一段。

要更长：复制“Continue Video”起的三个节点。以图片开始的模型会从最后一帧继续；“Continue Video”会说明用哪种方式。"""
INSPECT_NOTE = """What is this file? Any model file: which model, which format, what goes with it, and where it belongs.

1. Press Run: it reads the header of the LoRA that comes with this pack. No weights are loaded, nothing is downloaded.
2. Choose a file of yours in "Inspect Model File". It lists the folders diffusion_models, checkpoints, text_encoders,
vae, loras and clip_vision; R on the keyboard reads them again.
3. Read below the widgets, or click there for the whole report: green fits, yellow wants a look, red cannot be used,
with what to do.

这是什么文件？任何模型文件：是哪个模型、什么格式、与什么搭配、应放在哪里。

1. 按“运行”：读取随包附带的 LoRA 的文件头。不加载权重，无需下载。
2. 在“Inspect Model File”中选择自己的文件。列出的文件夹有 diffusion_models、checkpoints、text_encoders、vae、loras 和
clip_vision；按 R 键刷新。
3. 结果显示在控件下方，点击可看完整报告：绿色合适，黄色请留意，红色不能用，并说明怎么办。"""
