"""The noise of `swiftpie.noise.draw_noise` without PyTorch: a seed means the same picture.

PyTorch's generator on the CPU is the Mersenne twister, seeded by the lower half of a seed of 64
bits. It fills 16 or more normal numbers from uniform ones of 24 bits, by Box and Muller's method in
blocks of 16: cosines in the first half of a block, sines in the second.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

STATE_WORDS = 624
SEEDING_FACTOR = 1812433253  # of the twister's authors
WORD = 0xFFFFFFFF
UNIFORM_BITS = 24
BLOCK = 16


def draw_noise(seed: int, shape: tuple[int, ...], *, count: int = 1) -> Array:
    """Return `count` draws (count, 1, *shape) of standard normal noise, the first of `draw_noise`.

    A draw has to hold 16 numbers or more; PyTorch fills fewer in another way.
    """
    generator = _twister(seed)
    draws = [_normals(generator, int(np.prod(shape))) for _ in range(count)]
    return np.stack(draws).reshape(count, 1, *shape)


def _twister(seed: int) -> np.random.MT19937:
    words = [seed & WORD]
    for index in range(1, STATE_WORDS):
        last = words[-1]
        words.append((SEEDING_FACTOR * (last ^ (last >> 30)) + index) & WORD)
    generator = np.random.MT19937()
    key = np.array(words, dtype=np.uint32)
    generator.state = {"bit_generator": "MT19937", "state": {"key": key, "pos": STATE_WORDS}}
    return generator


def _uniforms(generator: np.random.MT19937, count: int) -> Array:
    words = generator.random_raw(count) & ((1 << UNIFORM_BITS) - 1)
    return words.astype(np.float32) * np.float32(2.0**-UNIFORM_BITS)


def _normals(generator: np.random.MT19937, count: int) -> Array:
    assert count >= BLOCK, "fewer numbers are drawn in another way"
    values = _uniforms(generator, count)
    whole = count - count % BLOCK
    values[:whole] = _box_muller(values[:whole])
    if whole < count:  # the last block begins anew, and covers the end of the one before
        values[-BLOCK:] = _box_muller(_uniforms(generator, BLOCK))
    return values


def _box_muller(uniforms: Array) -> Array:
    first, second = np.split(uniforms.reshape(-1, BLOCK), 2, axis=1)
    radius = np.sqrt(np.float32(-2) * np.log(np.float32(1) - first))
    angle = np.float32(2 * np.pi) * second
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1).ravel()
