"""The attention of both branches written out plainly in float64: one row, subject and head a time.

Nothing here is shared with the code under test but the weights and the values that it reads.
"""

import copy
import math

import numpy as np
import torch

from swiftpie.attention.processors import Merge
from swiftpie.models.denoiser import UNetDenoiser


def dense_output(denoiser, latents, timestep, text, condition):
    """What a denoiser predicts (B, C, h, w) with dense branches, and the call's inline mask."""
    installation = denoiser.installation
    call = DenseCall(installation, condition.attention, cells=tuple(latents.shape[2:]))
    network = copy.deepcopy(denoiser)
    if isinstance(network, UNetDenoiser):  # the small one codes places in float32
        network = network.double()
        latents, text, condition = latents.double(), _double(text), _double(condition)
    network.unet.set_attn_processor(
        {f"{name}.processor": DenseCross(call, name) for name in installation.semantic}
        | {f"{name}.processor": DenseSelf(call, name) for name in self_layers(installation)}
    )
    output = network(latents, timestep, text, condition, {})
    return output.sample, call


def self_layers(installation):
    """Names of all self-attention, with a detail branch or without."""
    return [*installation.detail, *installation.plain]


def _double(value):
    """A tensor, or a nest of tuples and dictionaries of them, in float64; None stays."""
    if value is None:
        return None
    if isinstance(value, torch.Tensor):
        return value.double()
    if isinstance(value, dict):
        return {name: _double(one) for name, one in value.items()}
    return type(value)(*(_double(part) for part in value))


class DenseCall:
    def __init__(self, installation, condition, *, cells):
        self.installation, self.condition, self.cells = installation, condition, cells
        self.maps, self.found = {}, None
        names = list(installation.semantic)
        first = next((name for name in names if name.startswith("up_blocks")), "").split(".")[:2]
        ups = [name for name in names if name.split(".")[:2] == first]
        self.mappers = [name for name in names if name.startswith("mid")] + ups[:10]

    def grid(self, num_tokens):
        rows, columns = self.cells
        while rows * columns != num_tokens:
            rows, columns = math.ceil(rows / 2), math.ceil(columns / 2)
            assert rows * columns > 1 or num_tokens == 1
        return rows, columns

    def shares(self, row, num_tokens):
        """What each subject has of each token, S arrays (N,)."""
        grid, masks = self.grid(num_tokens), []
        is_inline = float(self.condition.is_inline[row])
        for subject, mask in enumerate(self.condition.region[row].double().numpy()):
            known = mask
            if self.found is not None:
                known = is_inline * self.found[row, subject] + (1 - is_inline) * mask
            masks.append(torch.from_numpy(resample(known, grid)).flatten())
        crowd = torch.stack(masks).sum(0).clamp(min=1)
        return [mask / crowd for mask in masks]

    def care(self, row):
        """0.7 where an inline mask is still to be found."""
        is_waiting = bool(self.condition.is_inline[row]) and self.found is None
        return 0.7 if is_waiting else 1.0

    def by_region(self, inside, outside, row, subject, share):
        """A scale of one subject on every token, (N, 1)."""
        inside, outside = float(inside[row, subject]), float(outside[row, subject])
        return (inside * share + outside * (1 - share))[:, None] * self.care(row)


class DenseCross:
    def __init__(self, call, name):
        self.call, self.name, self.ours = call, name, call.installation.semantic[name]

    def __call__(
        self,
        attn,
        hidden_states,
        encoder_hidden_states,
        attention_mask=None,
        condition=None,
        notes=None,
    ):
        del condition, notes
        if attention_mask is None:
            attention_mask = hidden_states.new_zeros(len(hidden_states), 1, 1)
        inputs = zip(
            hidden_states.double(),
            encoder_hidden_states.double(),
            attention_mask.double(),
            strict=True,
        )
        rows = [self.row(attn, row, *one) for row, one in enumerate(inputs)]
        if self.name in self.call.mappers:
            grid = self.call.grid(hidden_states.shape[1])
            maps = np.stack([maps for _, maps in rows])
            self.call.maps[self.name] = maps.reshape(*maps.shape[:2], *grid)
        if self.name == self.call.mappers[-1]:
            self.call.found = inline_masks(list(self.call.maps.values()), self.call.cells)
        return torch.stack([output for output, _ in rows]).to(hidden_states.dtype)

    def row(self, attn, row, states, text, text_mask):
        """Output (N, D) and maps (S, N) of one row."""
        call, condition, heads = self.call, self.call.condition, attn.heads
        query = states @ weight_of(attn.to_q).T
        key, value = text @ weight_of(attn.to_k).T, text @ weight_of(attn.to_v).T
        text_mask = text_mask.expand(heads, -1, len(text))
        said = attended(query, key, value, heads, bias=text_mask)
        shares = call.shares(row, len(states))
        union = sum(shares)[:, None]
        inside, outside = (
            float(condition.text_scale[row]),
            float(condition.text_background_scale[row]),
        )
        output, maps = (inside * union + outside * (1 - union)) * said, []
        for subject, share in enumerate(shares):
            tokens = condition.identity_tokens[row, subject].double()
            image_key = tokens @ weight_of(self.ours.to_k_ip).T
            image_value = tokens @ weight_of(self.ours.to_v_ip).T
            scale = call.by_region(
                condition.identity_scale, condition.identity_background_scale, row, subject, share
            )
            if self.ours.is_active:
                output = output + scale * self.seen(query, image_key, image_value, heads)
            named = condition.class_tokens[row, subject].expand(len(text))
            counted = torch.cat([torch.ones(len(tokens)), named])
            views = torch.full((heads, 1, len(tokens)), -math.log(condition.coverage.shape[2]))
            bias = torch.cat([views.double(), text_mask], dim=2)
            keys = torch.cat([image_key, key])
            maps.append(mass(query, keys, counted.double(), heads, bias=bias))
        return leave(attn, output), np.stack(maps)

    def seen(self, query, key, value, heads):
        """Attention to the tokens of one subject, (N, D)."""
        return attended(query, key, value, heads)


class DenseSelf:
    def __init__(self, call, name):
        self.call, self.name, self.ours = call, name, call.installation.detail.get(name)

    def __call__(
        self,
        attn,
        hidden_states,
        encoder_hidden_states=None,
        attention_mask=None,
        condition=None,
        notes=None,
    ):
        del encoder_hidden_states, attention_mask, condition, notes
        rows = [self.row(attn, row, states) for row, states in enumerate(hidden_states.double())]
        return torch.stack(rows).to(hidden_states.dtype)

    def row(self, attn, row, states):
        """Output (N, D) of one row."""
        query, key, value = (
            states @ weight_of(linear).T for linear in (attn.to_q, attn.to_k, attn.to_v)
        )
        own = attended(query, key, value, attn.heads)
        if self.name not in self.call.condition.keys:
            output = own
        elif self.ours.merge is Merge.JOINT:
            output = self.joint(row, query, key, value, attn.heads)
        else:
            seen = sum(
                self.decoupled(row, subject, query, share, attn.heads)
                for subject, share in enumerate(self.call.shares(row, len(states)))
            )
            output = own + seen
        return leave(attn, output)

    def reference(self, row, subject):
        """Keys (R*M, D), values, whether each is background, and the grid (rows, columns)."""
        condition = self.call.condition
        key = condition.keys[self.name][row, subject].double()
        value = condition.values[self.name][row, subject].double()
        coverage = condition.coverage[row, subject].double().numpy()
        (rows, columns), views = coverage.shape[1:], len(coverage)
        while rows * columns * views != len(key):
            rows, columns = math.ceil(rows / 2), math.ceil(columns / 2)
        seen = np.concatenate([resample(mask, (rows, columns)).ravel() for mask in coverage])
        hidden = torch.from_numpy(seen < min(0.5, seen.max()))
        return key, value, hidden, (rows, columns)

    def scale(self, row, subject, share):
        condition = self.call.condition
        return self.call.by_region(
            condition.detail_scale, condition.detail_background_scale, row, subject, share
        )

    def decoupled(self, row, subject, query, share, heads):
        """`gate * scale * Attn(q, k_ref, v_ref)`, near its place where that is known, (N, D)."""
        condition = self.call.condition
        key, value, hidden, (rows, columns) = self.reference(row, subject)
        bias = torch.zeros(heads, len(query), len(key)).double()
        border = torch.ones(len(query), 1).double()
        if condition.has_layout[row, subject]:
            half = torch.tensor([columns / 2, rows / 2]).double()
            cells = centres(*self.call.grid(len(query)))
            affine = condition.affine[row, subject].double()
            points = cells @ affine[:, :2].T + affine[:, 2]
            places = centres(rows, columns).repeat(len(key) // (rows * columns), 1)
            apart = ((points[:, None] - places[None]) * half).square().sum(-1)
            sharpness = self.ours.log_sharpness.double().exp()
            bias = bias - sharpness[:, None, None] * apart
            depth = (1 - points.abs().amax(1, keepdim=True)) * half.min()
            border = (depth + 0.5).clamp(0, 1)
        bias = bias.masked_fill(hidden, -math.inf)
        seen = attended(query, key, value, heads, bias=bias)
        gates = self.ours.gate.double().repeat_interleave(query.shape[1] // heads)
        return self.scale(row, subject, share) * border * gates * seen

    def joint(self, row, query, key, value, heads):
        """One softmax over own keys and those of all subjects, with a dense (N, N + S*M) bias."""
        keys, values, biases = [key], [value], [torch.zeros(len(query), len(key)).double()]
        views = self.call.condition.coverage.shape[2]
        for subject, share in enumerate(self.call.shares(row, len(query))):
            other_key, other_value, hidden, _ = self.reference(row, subject)
            scale = self.scale(row, subject, share) / views
            bias = torch.where(scale > 0, scale.clamp(min=1e-6), torch.zeros_like(scale)).log()
            keys.append(other_key)
            values.append(other_value)
            biases.append(bias.expand(-1, len(other_key)).masked_fill(hidden, -math.inf))
        bias = torch.cat(biases, dim=1).expand(heads, -1, -1)
        return attended(query, torch.cat(keys), torch.cat(values), heads, bias=bias)


def weight_of(linear):
    return linear.weight.double()


def leave(attn, hidden):
    last = attn.to_out[0]
    return hidden @ weight_of(last).T + last.bias.double()


def attended(query, key, value, heads, *, bias=None):
    """Softmax attention of (N, D) on (M, D), a head at a time; `bias` is (heads, N, M)."""
    parts = []
    for head in range(heads):
        weights = softmax_of(query, key, head, heads, 0 if bias is None else bias[head])
        parts.append(weights @ value.chunk(heads, dim=1)[head])
    return torch.cat(parts, dim=1)


def mass(query, key, counted, heads, *, bias):
    """The share of attention on `counted` keys, a mean over heads, (N,)."""
    shares = [softmax_of(query, key, head, heads, bias[head]) @ counted for head in range(heads)]
    return torch.stack(shares).mean(0).numpy()


def softmax_of(query, key, head, heads, bias):
    size = query.shape[1] // heads
    logits = query.chunk(heads, dim=1)[head] @ key.chunk(heads, dim=1)[head].T / math.sqrt(size)
    return torch.softmax(logits + bias, dim=-1)


def centres(rows, columns):
    """Cell centres (rows * columns, 2) in [-1, 1], x first."""
    return torch.tensor(
        [
            [(2 * column + 1) / columns - 1, (2 * row + 1) / rows - 1]
            for row in range(rows)
            for column in range(columns)
        ]
    ).double()


def resample(field, size):
    """`field` (h, w) at another size: means of the cells below, or lines between centres."""
    height, width = field.shape
    return weights_of(height, size[0]) @ field @ weights_of(width, size[1]).T


def weights_of(old, new):
    """What each of `old` cells gives to each of `new` ones, (new, old)."""
    weights = np.zeros((new, old))
    for index in range(new):
        if new <= old:
            first, end = index * old // new, -(-(index + 1) * old // new)
            weights[index, first:end] = 1 / (end - first)
        else:
            place = min(max((index + 0.5) * old / new - 0.5, 0), old - 1)
            left = min(int(place), old - 2) if old > 1 else 0
            weights[index, left] += 1 - (place - left)
            weights[index, min(left + 1, old - 1)] += place - left
    return weights


def inline_masks(maps, cells):
    """Masks (B, S, h, w) of maps (B, S, rows, columns) of several layers, in NumPy."""
    rows, columns = (max(field.shape[axis] for field in maps) for axis in (2, 3))
    batch, subjects = maps[0].shape[:2]
    found = np.zeros((batch, subjects, *cells))
    for row in range(batch):
        average = np.stack(
            [
                np.mean([resample(field[row, subject], (rows, columns)) for field in maps], axis=0)
                for subject in range(subjects)
            ]
        )
        rivals = np.exp(average / 0.1)
        for subject in range(subjects):
            mask = mask_of_map(average[subject]) * rivals[subject] / rivals.max(axis=0)
            found[row, subject] = resample(mask, cells)
    return found


def mask_of_map(attention):
    """Divide by three means, blur, stretch between quantiles, steepen; all ones if it is flat."""
    low, high = np.quantile(attention, [0.05, 0.95])
    if (high - low) / attention.mean() < 0.5:
        return np.ones_like(attention)
    scaled = np.clip(attention / (3 * attention.mean()), 0, 1)
    padded = np.pad(scaled, 1, mode="edge")
    across = 0.25 * padded[:, :-2] + 0.5 * padded[:, 1:-1] + 0.25 * padded[:, 2:]
    blurred = 0.25 * across[:-2] + 0.5 * across[1:-1] + 0.25 * across[2:]
    low, high = np.quantile(blurred, [0.05, 0.95])
    stretched = np.clip((blurred - low) / (high - low), 0, 1)
    return 1 / (1 + np.exp(-10 * (stretched - 0.5)))
