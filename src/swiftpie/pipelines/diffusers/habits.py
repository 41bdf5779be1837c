"""What diffusers' pipelines have and these do not: a sentence for each that says what to use."""

from collections.abc import Collection, Mapping

from swiftpie.errors import InputError

DISTILLED = "The steps of a preset were fixed when it was distilled. Leave it out."
ONE_TEXT = "One prompt is read by all text encoders. Leave it out."
NO_SIZES = (
    "Stable Diffusion XL is told the size that is drawn, and nothing was cropped. Leave it out."
)
NO_CHECKER = "No pipeline here has one, so nothing is checked. Leave it out."
BY_PRESET = "A preset and its dtype say which files are read. Leave it out, or pass `dtype=`."
VAE = "The autoencoder has it: `pipe.vae.enable_{0}()`, where it is one of diffusers."
REPEATED = "A call repeats subjects and brings them to its device. Leave it out."

METHODS: Mapping[str, str] = {
    "enable_vae_tiling": VAE.format("tiling"),
    "enable_vae_slicing": VAE.format("slicing"),
    "enable_freeu": "Nothing rebalances skip connections here. Strengths are set by `scales=`.",
    "fuse_qkv_projections": (
        "Identities are read from inside of attention, whose layers stay as they are. "
        "swiftpie.load(…, engine=…) makes drawing quicker."
    ),
    "load_textual_inversion": "Learned words are not read. Show the subject: `ip_adapter_image=`.",
    "enable_lora_hotswap": "A LoRA is part of the weights. Call load_lora_weights() again.",
    "save_lora_weights": "A LoRA is part of the weights. save_pretrained() writes all of them.",
}

SHARED: Mapping[str, str] = {
    "callback": "Pass `callback_on_step_end=`, which is called after every step.",
    "callback_steps": "Pass `callback_on_step_end=`, which is called after every step.",
    "prompt_2": ONE_TEXT,
    "negative_prompt_2": ONE_TEXT,
    "original_size": NO_SIZES,
    "target_size": NO_SIZES,
    "crops_coords_top_left": NO_SIZES,
    "denoising_start": DISTILLED,
    "denoising_end": DISTILLED,
}
"""Arguments of calls."""

TEXT_TO_IMAGE: Mapping[str, str] = {
    **SHARED,
    "image": "Pictures are edited by SwiftEditPipeline.from_pipe(pipe)(prompt, image).",
    "mask_image": (
        "Pictures are edited by SwiftEditPipeline.from_pipe(pipe)(prompt, image, mask_image); "
        "where a subject is drawn is `box=` or `mask=`."
    ),
    "strength": "A picture is drawn from noise alone. Strengths of subjects are `scales=`.",
}

EDITS: Mapping[str, str] = {
    **SHARED,
    "strength": (
        "An edit starts from the noise that the picture itself gives, not from a noisy picture. "
        "How much of that noise is new is `settings=EditSettings(variation=…)`, how strongly the "
        "picture or the prompt speaks `settings=EditSettings(scales=…)`."
    ),
    **dict.fromkeys(
        ("height", "width"),
        "An edit is as large as its picture; `settings=EditSettings(size_px=…)` is where it works.",
    ),
    **dict.fromkeys(("timesteps", "sigmas", "eta"), DISTILLED),
    "clip_skip": "Prompts are read as the weights were trained with. Leave it out.",
    "latents": "An edit starts from the noise that the picture itself gives. Pass `seeds=`.",
    "masked_image_latents": "The picture is encoded by the call. Leave it out.",
    "padding_mask_crop": "Cut the picture yourself, or set `settings=EditSettings(size_px=…)`.",
    **dict.fromkeys(
        ("prompt_embeds", "negative_prompt_embeds"), "Edits read prompts as text. Pass `prompt=`."
    ),
    "cross_attention_kwargs": "Strengths of an edit are `settings=EditSettings(scales=…)`.",
    "guidance_rescale": "Pass `guidance=Decoupled(…, rescale=…)`.",
}

EDIT_METHODS: Mapping[str, str] = {
    **METHODS,
    "set_ip_adapter_scale": "Strengths of an edit are `settings=EditSettings(scales=…)`.",
}

LOADING: Mapping[str, str] = {
    "torch_dtype": "It is called `dtype=` here.",
    **dict.fromkeys(("safety_checker", "requires_safety_checker", "feature_extractor"), NO_CHECKER),
    **dict.fromkeys(("variant", "use_safetensors"), BY_PRESET),
    "device_map": "Pass `device=`, or call enable_model_cpu_offload().",
}
"""Options of `from_preset` and `from_recipe`."""

ENCODING_OPTIONS: Mapping[str, str] = {
    **dict.fromkeys(("device", "num_images_per_prompt", "do_classifier_free_guidance"), REPEATED),
    "ip_adapter_image_embeds": "What is encoded already needs no encoding. Leave it out.",
    **dict.fromkeys(
        ("negative_prompt", "prompt_embeds", "negative_prompt_embeds"),
        "Encode each prompt by a call of its own. Leave it out.",
    ),
    **dict.fromkeys(("prompt_2", "negative_prompt_2"), ONE_TEXT),
    "lora_scale": "Strengths of LoRAs are set by set_adapters().",
    "clip_skip": "Prompts are read as the weights were trained with. Leave it out.",
}
"""Arguments of `encode_prompt` and `prepare_ip_adapter_image_embeds`."""


def refuse(given: Collection[str], instead: Mapping[str, str]) -> None:
    """Say what to use in place of arguments of diffusers that are not taken here.

    Raises:
        InputError: One of them was given.
    """
    if found := sorted({*given} & instead.keys()):
        raise InputError(f"`{found[0]}=` was given, which this does not take. {instead[found[0]]}")
