"""The residual-encoder U-Net (nnU-Net ResEnc), with the parameter names of the released checkpoints."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from models.lesionlocator.plans import Architecture, Triple


class ConvNorm(nn.Module):
    """Convolution, instance norm and, if wanted, leaky ReLU."""

    def __init__(
        self,
        architecture: Architecture,
        channels_in: int,
        channels_out: int,
        kernel: Triple,
        *,
        stride: Triple = (1, 1, 1),
        bias: bool | None = None,
        is_activated: bool = True,
    ) -> None:
        super().__init__()
        z, y, x = ((k - 1) // 2 for k in kernel)
        self.conv = nn.Conv3d(
            channels_in,
            channels_out,
            kernel,
            stride,
            (z, y, x),
            bias=architecture.bias if bias is None else bias,
        )
        self.norm = nn.InstanceNorm3d(channels_out, eps=architecture.norm_eps, affine=True)
        self.activation: nn.Module = (
            nn.LeakyReLU(architecture.negative_slope, inplace=True) if is_activated else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """(n, in, z, y, x) to (n, out, ...)."""
        out: Tensor = self.activation(self.norm(self.conv(x)))
        return out


class ResidualBlock(nn.Module):
    """Two convolutions beside a skip that pools and projects where the shape changes (ResNet-D)."""

    def __init__(
        self, architecture: Architecture, channels_in: int, channels_out: int, kernel: Triple, stride: Triple
    ) -> None:
        super().__init__()
        self.conv1 = ConvNorm(architecture, channels_in, channels_out, kernel, stride=stride)
        self.conv2 = ConvNorm(architecture, channels_out, channels_out, kernel, is_activated=False)
        self.activation = nn.LeakyReLU(architecture.negative_slope, inplace=True)
        skip: list[nn.Module] = []
        if any(s != 1 for s in stride):
            skip.append(nn.AvgPool3d(stride, stride))
        if channels_in != channels_out:
            skip.append(
                ConvNorm(architecture, channels_in, channels_out, (1, 1, 1), bias=False, is_activated=False)
            )
        self.skip = nn.Sequential(*skip)

    def forward(self, x: Tensor) -> Tensor:
        """(n, in, z, y, x) to (n, out, z / stride, ...)."""
        out = self.conv2(self.conv1(x))
        out += self.skip(x)
        activated: Tensor = self.activation(out)
        return activated


class _Convolutions(nn.Module):
    """Convolutions in a row; a module of its own because the released names have the level `convs`."""

    def __init__(self, architecture: Architecture, channels: list[int], kernel: Triple) -> None:
        super().__init__()
        self.convs = nn.Sequential(*(ConvNorm(architecture, a, b, kernel) for a, b in pairwise(channels)))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.convs(x)
        return out


class _Stage(nn.Module):
    """Residual blocks in a row, the first one with the stage's stride."""

    def __init__(self, architecture: Architecture, channels_in: int, channels_out: int, stage: int) -> None:
        super().__init__()
        kernel, stride = architecture.kernels[stage], architecture.strides[stage]
        blocks = [ResidualBlock(architecture, channels_in, channels_out, kernel, stride)]
        for _ in range(architecture.blocks[stage] - 1):
            blocks.append(ResidualBlock(architecture, channels_out, channels_out, kernel, (1, 1, 1)))
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.blocks(x)
        return out


class _Encoder(nn.Module):
    def __init__(self, architecture: Architecture, channels_in: int) -> None:
        super().__init__()
        features = architecture.features
        self.stem = _Convolutions(architecture, [channels_in, features[0]], architecture.kernels[0])
        self.stages = nn.ModuleList(
            _Stage(architecture, features[max(0, i - 1)], features[i], i) for i in range(len(features))
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.stem(x)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


class _Decoder(nn.Module):
    """From the coarsest features up. All heads are loaded, only the finest one speaks."""

    def __init__(self, architecture: Architecture, classes: int) -> None:
        super().__init__()
        stages, upsamplings, heads = [], [], []
        levels = range(len(architecture.features) - 1, 0, -1)
        for level, convolutions in zip(levels, architecture.decoder_convolutions, strict=True):
            below, skip = architecture.features[level], architecture.features[level - 1]
            stride = architecture.strides[level]
            upsamplings.append(nn.ConvTranspose3d(below, skip, stride, stride, bias=architecture.bias))
            channels = [2 * skip] + [skip] * convolutions
            stages.append(_Convolutions(architecture, channels, architecture.kernels[level - 1]))
            heads.append(nn.Conv3d(skip, classes, 1))
        self.stages = nn.ModuleList(stages)
        self.transpconvs = nn.ModuleList(upsamplings)
        self.seg_layers = nn.ModuleList(heads)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Consume the encoder's features, the finest first; the list is empty afterwards."""
        x = features.pop()
        for upsample, stage in zip(self.transpconvs, self.stages, strict=True):
            # Nothing of the finer level may outlive its use: at full size each tensor is a gigabyte.
            x = torch.cat((upsample(x), features.pop()), 1)
            x = stage(x)
        logits: Tensor = self.seg_layers[-1](x)
        return logits


class ResidualEncoderUNet(nn.Module):
    """Image and prompt in, logits of background and lesion out.

    `forward` takes (n, 2, z, y, x): the normalised CT and the prompt (0 or 1); every axis is a
    multiple of the product of its strides. It returns (n, 2, z, y, x) logits.
    """

    def __init__(self, architecture: Architecture, *, channels_in: int = 2, classes: int = 2) -> None:
        super().__init__()
        self.encoder = _Encoder(architecture, channels_in)
        self.decoder = _Decoder(architecture, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 2, z, y, x) to logits of the same grid."""
        logits: Tensor = self.decoder(self.encoder(x))
        return logits
