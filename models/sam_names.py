"""Names of the SAM family's weights: as the publishers write them, and as `transformers` does."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from workflow.domain.errors import ConfigurationError

Rules = tuple[tuple[re.Pattern[str], str], ...]


def _rules(*pairs: tuple[str, str]) -> Rules:
    return tuple((re.compile(pattern), name) for pattern, name in pairs)


# A head of three layers: the first and the last have names of their own.
_THREE_LAYER_HEADS = (
    (
        r"((?:hypernetworks_mlps\.\d|prediction_head|obj_score_head|obj_ptr_proj))\.layers\.0\.",
        r"\1.proj_in.",
    ),
    (
        r"((?:hypernetworks_mlps\.\d|prediction_head|obj_score_head|obj_ptr_proj))\.layers\.1\.",
        r"\1.layers.0.",
    ),
    (
        r"((?:hypernetworks_mlps\.\d|prediction_head|obj_score_head|obj_ptr_proj))\.layers\.2\.",
        r"\1.proj_out.",
    ),
)
_PROMPT_AND_DECODER = (
    (r"mask_downscaling\.0\.", "mask_embed.conv1."),
    (r"mask_downscaling\.1\.", "mask_embed.layer_norm1."),
    (r"mask_downscaling\.3\.", "mask_embed.conv2."),
    (r"mask_downscaling\.4\.", "mask_embed.layer_norm2."),
    (r"mask_downscaling\.6\.", "mask_embed.conv3."),
    (r"output_upscaling\.0\.", "upscale_conv1."),
    (r"output_upscaling\.1\.", "upscale_layer_norm."),
    (r"output_upscaling\.3\.", "upscale_conv2."),
    (r"norm_final_attn\.", "layer_norm_final_attn."),
    (r"\.norm(\d)\.", r".layer_norm\1."),
)
_POSITIONS = r"^(?:sam_)?prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix$"

SAM = _rules(
    (_POSITIONS, "shared_image_embedding.positional_embedding"),
    (r"^image_encoder\.", "vision_encoder."),
    (r"\.patch_embed\.proj\.", ".patch_embed.projection."),
    (r"\.blocks\.", ".layers."),
    (r"\.neck\.0\.", ".neck.conv1."),
    (r"\.neck\.1\.", ".neck.layer_norm1."),
    (r"\.neck\.2\.", ".neck.conv2."),
    (r"\.neck\.3\.", ".neck.layer_norm2."),
    (r"\.point_embeddings\.", ".point_embed."),
    *_PROMPT_AND_DECODER,
    *_THREE_LAYER_HEADS,
)

SAM2 = _rules(
    (_POSITIONS, "shared_image_embedding.positional_embedding"),
    (r"^maskmem_tpos_enc$", "memory_temporal_positional_encoding"),
    (r"^no_mem_embed$", "no_memory_embedding"),
    (r"^no_mem_pos_enc$", "no_memory_positional_encoding"),
    (r"^no_obj_ptr$", "no_object_pointer"),
    (r"^no_obj_embed_spatial$", "occlusion_spatial_embedding_parameter"),
    (r"^sam_", ""),
    (r"^image_encoder\.trunk\.", "vision_encoder.backbone."),
    (r"^image_encoder\.neck\.convs\.(\d)\.conv\.", r"vision_encoder.neck.convs.\1."),
    (r"\.patch_embed\.proj\.", ".patch_embed.projection."),
    (r"^memory_encoder\.pix_feat_proj\.", "memory_encoder.feature_projection."),
    (r"^memory_encoder\.out_proj\.", "memory_encoder.projection."),
    (r"^memory_encoder\.fuser\.", "memory_encoder.memory_fuser."),
    (r"\.gamma$", ".scale"),
    (r"\.dwconv\.", ".depthwise_conv."),
    (r"\.pwconv(\d)\.", r".pointwise_conv\1."),
    (r"(memory_fuser\.layers\.\d|memory_attention)\.norm\.", r"\1.layer_norm."),
    (r"mask_downsampler\.encoder\.12\.", "mask_downsampler.final_conv."),
    *(
        (rf"mask_downsampler\.encoder\.{3 * layer + part}\.", f"mask_downsampler.layers.{layer}.{name}.")
        for layer in range(4)
        for part, name in ((0, "conv"), (1, "layer_norm"))
    ),
    (r"\.mlp\.layers\.0\.", ".mlp.proj_in."),
    (r"\.mlp\.layers\.1\.", ".mlp.proj_out."),
    *_PROMPT_AND_DECODER,
    *_THREE_LAYER_HEADS,
    (r"\.out_proj\.", ".o_proj."),
    (r"^obj_ptr_proj\.", "object_pointer_proj."),
    (r"^obj_ptr_tpos_proj\.", "temporal_positional_encoding_projection_layer."),
)


def rename(published: Mapping[str, Any], rules: Rules) -> dict[str, Any]:
    """The tensors under `transformers`' names; names that are already those stay as they are."""
    renamed: dict[str, Any] = {}
    for name, tensor in published.items():
        for pattern, replacement in rules:
            name = pattern.sub(replacement, name)
        renamed[name] = tensor
    shared = "shared_image_embedding.positional_embedding"
    if shared in renamed:
        # One tensor that transformers registers twice.
        renamed["prompt_encoder.shared_embedding.positional_embedding"] = renamed[shared]
    return renamed


def stack_point_embeddings(renamed: dict[str, Any]) -> dict[str, Any]:
    """SAM2's four point embeddings as the one table that `transformers` keeps."""
    import torch

    names = [f"prompt_encoder.point_embeddings.{label}.weight" for label in range(4)]
    if all(name in renamed for name in names):
        renamed["prompt_encoder.point_embed.weight"] = torch.cat([renamed.pop(name) for name in names])
    return renamed


def load_strictly(module: Any, state: Mapping[str, Any], *, what: str) -> None:
    """Load a state dict if every name and shape is the module's, and none is left over.

    Raises
    ------
    ConfigurationError
        Naming `what` was read and the first names that are missing, unknown or of another shape.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    missing = sorted(set(wanted) - set(state))
    unknown = sorted(set(state) - set(wanted))
    reshaped = sorted(name for name in wanted if name in state and tuple(state[name].shape) != wanted[name])
    if missing or unknown or reshaped:
        raise ConfigurationError(
            f"{what} is not a checkpoint of this architecture: {_some('missing', missing)}, "
            f"{_some('unknown', unknown)}, {_some('of another shape', reshaped)}; "
            "check that the file belongs to this model"
        )
    module.load_state_dict(dict(state), strict=True, assign=True)


def _some(kind: str, names: Iterable[str]) -> str:
    listed = list(names)
    return f"{len(listed)} {kind}" + (
        f" ({', '.join(listed[:3])}{' ...' if len(listed) > 3 else ''})" if listed else ""
    )
