"""Ways in which a file may be damaged, by chance or on purpose."""

import copy
import json
import struct

HOSTILE = [  # what may stand where something else belongs
    *(None, True, 0, -1, 1, 7, 999, 2**31, 2**63 - 1, 2**63, 2**64, -(2**63), 10**30, 10**300),
    *(0.5, -0.0, 1e308, float("inf"), float("-inf"), float("nan")),
    *(
        "",
        " ",
        "nan",
        "x" * 5000,
        "\x1b[31mred\x1b[0m\x9b2J",
        "\ud800",
        "../../etc",
        "\0",
        "\u202e",
    ),
    *([], {}, [[]], [0, 2**63], [1] * 40, {"": {}}, {"__metadata__": {}}),
    *("F32", "F64", "I64", "BOOL", "mini", "sd-turbo"),
]
NUMBERS = [  # in place of lengths and offsets
    number.to_bytes(4, order)
    for number in (0, 1, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
    for order in ("little", "big")
]


def damaged(data, random):
    changed = bytearray(data)
    for _ in range(random.choice([1, 1, 2, 5])):
        place = random.randrange(len(changed) + 1)
        if random.random() < 0.6:  # where headers are
            place = min(place, random.randrange(1, 400))
        length = min(random.choice([1, 1, 2, 8, 100]), len(changed) - place)
        span = slice(place, place + length)
        match random.randrange(7):
            case 0:
                del changed[place:]
            case 1:
                del changed[span]
            case 2:
                changed[span] = random.randbytes(length)
            case 3:
                alike = [byte * length for byte in (b"\0", b"\xff", b"9", b"\x7f\xc0")]
                changed[span] = random.choice([*alike, *NUMBERS])
            case 4:
                changed[place:place] = changed[span] * random.choice([1, 2, 20])
            case 5:
                changed += random.randbytes(length)
            case 6 if length:
                changed[place] ^= 1 << random.randrange(8)
    return bytes(changed)


def twisted(tree, random):
    """Return a copy of nested lists and dictionaries with something else at one or two places."""
    root = {"root": copy.deepcopy(tree)}
    for _ in range(random.choice([1, 1, 2])):
        parent, key = random.choice(list(_places(root["root"], root, "root")))
        match random.randrange(5):
            case 0 if parent is not root:
                del parent[key]
            case 1 if isinstance(parent, dict) and parent is not root:
                parent[str(random.choice(HOSTILE))] = parent.pop(key)
            case 2 if isinstance(parent, dict):
                parent[str(random.choice(HOSTILE))] = copy.deepcopy(parent[key])
            case 3 if isinstance(parent[key], int | float):
                parent[key] = parent[key] * random.choice([-1, 2, 10, 0.5, 1e30])
            case _:
                parent[key] = copy.deepcopy(random.choice(HOSTILE))
    return root["root"]


def spelled(tree):
    return json.dumps(tree, ensure_ascii=True).encode()


def taken_apart(data):
    length = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def put_together(header, content):
    text = header if isinstance(header, bytes) else spelled(header)
    return struct.pack("<Q", len(text)) + text + content


def tampered(tensors, random):
    import torch

    changed = dict(tensors)
    name = random.choice(sorted(changed))
    tensor = torch.atleast_1d(changed[name])
    match random.randrange(9):
        case 0:
            del changed[name]
        case 1:
            changed[random.choice(["x", "keys/", name + "x", "\x1b[2J"])] = changed.pop(name)
        case 2:
            kinds = [torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.bool]
            changed[name] = tensor.to(random.choice(kinds))
        case 3:
            changed[name] = tensor.flatten()
        case 4:
            changed[name] = tensor[:0]
        case 5:
            changed[name] = tensor.flatten(0, -1)[: max(1, tensor.numel() // 2)].clone()
        case 6:
            changed[name] = torch.cat([tensor, tensor])
        case 7 if tensor.is_floating_point() and tensor.numel():
            broken = tensor.clone().flatten()
            bad = random.choice([float("nan"), float("inf"), -3e38, 3e38])
            broken[random.randrange(len(broken))] = bad
            changed[name] = broken.view(tensor.shape)
        case _:
            changed[name] = tensor.new_zeros(random.choice([(), (1,), (0, 3), (1, 0, 5), (2,) * 9]))
    return changed


def _places(node, parent, key):
    yield parent, key
    if isinstance(node, dict | list):
        for name, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _places(value, node, name)
