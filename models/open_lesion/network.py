"""The network: a small residual U-Net on one patch, a mask, how good it is, and how large."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from models.open_lesion.encoding import CHANNELS, PRIOR_CHANNEL, PromptCode

# Weight of the prompt's shape in the logit: the network learns the difference from it.
PRIOR_GAIN = 4.0


class LesionNet(nn.Module):
    """Mask, quality and size of the lesion in a patch.

    Parameters
    ----------
    widths
        Features at full, half, quarter ... resolution; the patch's side is divided by 2 between them.
    """

    def __init__(self, widths: Sequence[int] = (16, 32, 64, 128)) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.prompt = nn.Embedding(len(PromptCode), widths[0])
        self.stem = nn.Conv3d(len(CHANNELS), widths[0], 3, padding=1)
        self.encoder = nn.ModuleList([_Residual(widths[0], widths[0])])
        for narrow, wide in pairwise(widths):
            self.encoder.append(nn.Sequential(_Residual(narrow, wide, stride=2), _Residual(wide, wide)))
        self.up = nn.ModuleList()
        self.decoder = nn.ModuleList()
        for narrow, wide in reversed(list(pairwise(widths))):
            self.up.append(nn.ConvTranspose3d(wide, narrow, 2, stride=2))
            self.decoder.append(_Residual(2 * narrow, narrow))
        self.logit = nn.Conv3d(widths[0], 1, 1)
        # What the heads look at: the deepest features, and the last ones inside and outside the found mask.
        self.heads = nn.Sequential(
            nn.Linear(widths[-1] + 2 * widths[0] + 2, 64), nn.LeakyReLU(0.01), nn.Linear(64, 1 + len(SIZES))
        )

    def forward(self, patch: Tensor, prompt: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Look at patches.

        Parameters
        ----------
        patch
            float32, shape (n, channels, side, side, side), channels as `encoding.CHANNELS`.
        prompt
            int64, shape (n,), a `PromptCode` each.

        Returns
        -------
        tuple of Tensor
            Log odds of the lesion, shape (n, side, side, side); logit of the Dice that the mask will reach,
            shape (n,); natural logarithms of the `SIZES` in patch sides, shape (n, 3).
        """
        features = self.stem(patch) + self.prompt(prompt)[:, :, None, None, None]
        passed = []
        for stage in self.encoder:
            features = stage(features)
            passed.append(features)
        deepest = passed.pop()
        features = deepest
        for up, decode in zip(self.up, self.decoder, strict=True):
            features = decode(torch.cat([up(features), passed.pop()], dim=1))
        log_odds = self.logit(features)[:, 0].float() + PRIOR_GAIN * patch[:, PRIOR_CHANNEL].float()
        seen = self._summary(deepest, features, log_odds)
        said = self.heads(seen).float()
        return log_odds, said[:, 0], said[:, 1:]

    @staticmethod
    def _summary(deepest: Tensor, last: Tensor, log_odds: Tensor) -> Tensor:
        # The heads judge the mask; they must not shape it.
        soft = torch.sigmoid(log_odds.detach()).to(last.dtype)[:, None]
        inside = soft.sum(dim=(2, 3, 4))
        outside = (1 - soft).sum(dim=(2, 3, 4))
        within = (last * soft).sum(dim=(2, 3, 4)) / (inside + 1)
        without = (last * (1 - soft)).sum(dim=(2, 3, 4)) / (outside + 1)
        doubt = 4 * (soft * (1 - soft)).sum(dim=(2, 3, 4)) / (inside + 1)
        share = inside / float(soft[0].numel())
        return torch.cat([deepest.mean(dim=(2, 3, 4)), within, without, doubt, share], dim=1)


# The sizes that the third head gives, in this order.
SIZES = ("long axis", "short axis", "equivalent diameter")


class _Residual(nn.Module):
    def __init__(self, before: int, after: int, stride: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv3d(before, after, 3, stride=stride, padding=1, bias=False)
        self.first_norm = nn.BatchNorm3d(after)
        self.second = nn.Conv3d(after, after, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm3d(after)
        same = before == after and stride == 1
        self.short = nn.Identity() if same else nn.Conv3d(before, after, 1, stride=stride, bias=False)
        self.act = nn.LeakyReLU(0.01)

    def forward(self, features: Tensor) -> Tensor:
        inner = self.act(self.first_norm(self.first(features)))
        out: Tensor = self.act(self.second_norm(self.second(inner)) + self.short(features))
        return out
