"""Small networks of the real architectures with random weights: fast, and as untrained as they look."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from models import medsam, medsam2


def tiny_medsam(file: Path, device: str = "cpu") -> medsam.MedSam:
    """MedSAM with 16 channels at 256 pixels; `file` is written and stands for its weights."""
    import torch
    from transformers import SamConfig, SamModel

    config = SamConfig(
        vision_config={
            "image_size": 256,
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "output_channels": 16,
            "mlp_dim": 32,
            "global_attn_indexes": [],
            "num_pos_feats": 8,
        },
        prompt_encoder_config={"hidden_size": 16, "image_size": 256},
        mask_decoder_config={
            "hidden_size": 16,
            "mlp_dim": 32,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": 16,
        },
    )
    file.write_bytes(b"tiny MedSAM")
    network = medsam.MedSamNetwork(_random(SamModel(config)).to(device), torch.device(device))
    return medsam.MedSam(network=network, weights=file)


def tiny_medsam2(file: Path, device: str = "cpu") -> medsam2.MedSam2:
    """MedSAM2 with 128 channels at 128 pixels; `file` is written and stands for its weights."""
    import torch
    from transformers import Sam2VideoModel

    config = medsam2.configuration()
    backbone, vision = config.vision_config.backbone_config, config.vision_config
    config.image_size = config.prompt_encoder_config.image_size = 128
    config.memory_attention_rope_feat_sizes = [8, 8]
    backbone.image_size = [128, 128]
    vision.backbone_feature_sizes = [[32, 32], [16, 16], [8, 8]]
    backbone.hidden_size = 8
    backbone.embed_dim_per_stage = [8, 16, 32, 64]
    backbone.blocks_per_stage = [1, 1, 1, 1]
    backbone.num_attention_heads_per_stage = [1, 1, 1, 1]
    backbone.global_attention_blocks = []
    vision.backbone_channel_list = [64, 32, 16, 8]
    vision.fpn_hidden_size = 128
    config.prompt_encoder_config.hidden_size = 128
    decoder = config.mask_decoder_config
    decoder.hidden_size, decoder.mlp_dim, decoder.iou_head_hidden_dim = 128, 32, 16
    config.memory_attention_hidden_size = 128
    config.memory_attention_feed_forward_hidden_size = 32
    config.memory_attention_num_layers = 1
    config.memory_encoder_hidden_size = 128
    config.mask_downsampler_embed_dim = 128
    config.memory_fuser_embed_dim = 128
    config.memory_fuser_intermediate_dim = 32
    file.write_bytes(b"tiny MedSAM2")
    network = medsam2.MedSam2Network(_random(Sam2VideoModel(config)).to(device), torch.device(device))
    return medsam2.MedSam2(network=network, weights=file)


def tiny_open_lesion(file: Path) -> Path:
    """An untrained open lesion network with 4 and 8 features, as the file that training writes."""
    import torch

    from models.open_lesion.network import LesionNet
    from models.open_lesion.weights import save_network

    torch.manual_seed(1)
    save_network(LesionNet((4, 8)), file, origin={"samples": "0"})
    return file


def _random(model: Any) -> Any:
    """Weights large enough that the output depends on the image and on the prompt."""
    import torch

    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            fan_in = max(1, parameter[0].numel()) if parameter.dim() > 1 else 1
            if "norm" in name and name.endswith("weight"):
                parameter.copy_(1 + 0.1 * noise)
            elif parameter.dim() > 1 and "embed" not in name:
                parameter.copy_(noise * fan_in**-0.5)
            else:
                parameter.copy_(0.1 * noise)
            if name == "mask_decoder.pred_obj_score_head.proj_out.bias":
                parameter.fill_(20.0)  # otherwise it may find nothing at all
    return model.eval()
