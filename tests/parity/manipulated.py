"""Attention through reshaped identity maps, written out in NumPy and float64 from the equations."""

import copy
from dataclasses import dataclass

import numpy as np
import torch

from tests.parity import dense
from tests.parity.attention import whole


@dataclass(frozen=True)
class Numbers:
    """The changes of a step by part of the U-Net, as (name, strength, level)."""

    parts: dict
    inverts: bool = False  # the first token of each reference
    share: float = 1.0  # lambda of the stabiliser

    @property
    def changes_nothing(self):
        plain = {("power", 1.0), ("scale", 1.0)}
        return all({name[:2] for name in ones} <= plain for ones in self.parts.values())


def shaped_output(denoiser, latents, text, condition, numbers):
    """What a whole U-Net predicts (B, C, h, w) with maps reshaped by `numbers`."""
    installation, network = denoiser.installation, copy.deepcopy(denoiser).double()
    call = dense.DenseCall(installation, condition, cells=tuple(latents.shape[2:]))
    network.unet.set_attn_processor(
        {f"{name}.processor": ShapedCross(call, name, numbers) for name in installation.semantic}
        | {
            f"{name}.processor": dense.DenseSelf(call, name)
            for name in dense.self_layers(installation)
        }
    )
    attention = condition._replace(identity_tokens=condition.identity_tokens.double())
    return network(latents.double(), 999, text, whole(attention), {}).sample


class ShapedCross(dense.DenseCross):
    def __init__(self, call, name, numbers):
        super().__init__(call, name)
        self.numbers, self.changes = numbers, numbers.parts.get(name.split(".")[0])

    @classmethod
    def alone(cls, installation, name, condition, cells, numbers):
        """The processor of a layer without a U-Net."""
        call = dense.DenseCall(installation, condition, cells=cells)
        call.mappers = ["none"]
        return cls(call, name, numbers)

    def seen(self, query, key, value, heads):
        if self.changes is None:
            return super().seen(query, key, value, heads)
        maps = [dense.softmax_of(query, key, number, heads, 0) for number in range(heads)]
        plain = torch.stack(maps).numpy()  # (heads, N, K)
        values = np.stack([head.numpy() for head in value.chunk(heads, dim=1)])  # (heads, K, d)
        changed = self.reshaped(plain)
        if self.numbers.share == 1:
            answer = changed @ values
        else:
            mixed = stabilised(changed, plain, self.numbers.share)
            answer = stabilised(mixed @ values, plain @ values, self.numbers.share)
        return torch.from_numpy(np.concatenate([*answer], axis=1))

    def reshaped(self, w):
        """`w` (…, heads, N, K) after all changes."""
        w = w.copy()
        per_view = w.shape[-1] // self.call.condition.coverage.shape[2]
        firsts = list(range(0, w.shape[-1], per_view)) if self.numbers.inverts else []
        w[..., firsts] = 1 - w[..., firsts]
        for name, strength, level in self.changes:
            if name == "power":
                w = w**strength
            elif name == "scale":
                w = np.minimum(w * strength, 10)
            else:
                c = level
                if name == "soft mask":
                    c = np.maximum(np.quantile(w, level, axis=-2, keepdims=True), 1e-6)
                w = n01(1 / (1 + np.exp(-strength * (n01(w) - c))))
        w[..., firsts] = w[..., firsts].max(axis=-2, keepdims=True) - w[..., firsts]
        return w


def n01(w):
    axes = tuple(range(w.ndim - 1))
    low, high = w.min(axes, keepdims=True), w.max(axes, keepdims=True)
    return (w - low) / (high - low)


def stabilised(new, old, share):
    """λ new + (1-λ) new moved to mean and deviation of old, over the last axis."""
    mean, spread = new.mean(-1, keepdims=True), new.std(-1, ddof=1, keepdims=True)
    old_mean, old_spread = old.mean(-1, keepdims=True), old.std(-1, ddof=1, keepdims=True)
    return share * new + (1 - share) * ((new - mean) / (spread + 1e-6) * old_spread + old_mean)
