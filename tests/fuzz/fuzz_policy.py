"""Changes good policy images and seals them again. Invariant: an image is refused, or every look-up in it ends.

Run as `python tests/fuzz/fuzz_policy.py --seconds 60 [--seed 1]`, best against a build with `BROKER_SANITIZE=1`. Where atheris
is installed it draws the inputs and its own options apply instead (`-max_total_time=60 corpus/`).
"""

from __future__ import annotations

import random
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from broker._native.counters import Counters, Questions, decide_and_spend
from broker._native.policy import Image
from broker._native.remembered import Remembered
from tests import image_kit as kit
from tests.fuzz import driver
from tests.image_kit import DIRECTORY_AT, FIRST_SECTION, NOW_MS, Part

SEEDS = (
    kit.image_of(),
    kit.small_image(),
    kit.image_of(kit.granted(quota_per_day=5, quota_total=9), zone="America/St_Johns"),
    kit.image_of(*(kit.granted(id=f"g{n}", consumer="halls", burst=1 + n) for n in range(12))),
)
EDGES = (0, 1, 2, 7, 8, 255, 1439, 1440, 10_079, 10_080, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 8, 2**32 - 1)
LONG_EDGES = (*EDGES, 2**53, 2**61, 2**62, 2**63 - 1, 2**63, 2**64 - 8, 2**64 - 1)
ASKED = Questions(
    [
        (consumer, name, version, text, text, text, says)
        for consumer in (None, 0, 1, 2)
        for name in (b"", b"i", b"other")
        for version in (0, 1)
        for text in (b"", b"P1", b"M1", b"U1")
        for says in (0, 7)
    ]
)
DIGEST = bytes(32)


def check(data: bytes) -> bool:
    """One input, as it is and with its size and digest put right. Returns whether one of them was accepted."""
    return any([_is_accepted(data), len(data) >= FIRST_SECTION and _is_accepted(_with_header(data))])


def _with_header(data: bytes) -> bytes:
    return kit.resealed(data[:24] + struct.pack("<Q", len(data)) + data[32:])


def _is_accepted(data: bytes) -> bool:
    try:
        image = Image(data)
    except ValueError:
        return False
    kit.look_everywhere(image)
    counters, verdicts = Counters(bytearray(64 * 16)), bytearray(len(ASKED))
    for now_ns in (0, 10**18):
        decide_and_spend(image, counters, ASKED, NOW_MS, NOW_MS, now_ns, verdicts)
    for ref in image.terms()[:16]:
        counters.spend(image, ref, 2**62 - 1, image.day(NOW_MS))
        counters.remaining(image, ref, 0, 0)
    remembered = Remembered(1)
    remembered.remember(DIGEST, bytes(16), 0, 1)
    remembered.recall(image, DIGEST, 0, 0)
    return True


def mutate(data: bytes, draw: random.Random) -> bytes:
    """One to four changes within sections, then maybe one of the directory or of the bytes as they stand."""
    parts = kit.parts_of(data)
    for _ in range(draw.randint(1, 4)):
        part = draw.choice(parts)
        _mutate_part(part, draw)
    changed = bytearray(kit.sealed(parts))
    match draw.randrange(8):
        case 0:
            struct.pack_into("<Q", changed, DIRECTORY_AT + 8 * draw.randrange(24), draw.choice(LONG_EDGES))
        case 1:
            at = draw.randrange(len(changed))
            changed[at] ^= 1 << draw.randrange(8)
        case 2:
            del changed[draw.randint(0, len(changed)) :]
    return bytes(changed)


def _mutate_part(part: Part, draw: random.Random) -> None:
    """A bit, a word at an edge or at another's value, two words changed over, a stretch taken away or added, another count."""
    data = part.data
    words = len(data) // 4
    match draw.randrange(7):
        case 0 if data:
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        case 1 if words:
            struct.pack_into("<I", data, 4 * draw.randrange(words), draw.choice(EDGES))
        case 2 if words > 1:
            struct.pack_into("<Q", data, 8 * draw.randrange(words // 2), draw.choice(LONG_EDGES))
        case 3 if words:
            one, other = (4 * draw.randrange(words) for _ in range(2))
            data[one : one + 4], data[other : other + 4] = data[other : other + 4], data[one : one + 4]
        case 4 if data:
            at = 8 * draw.randrange(len(data) // 8 + 1)
            del data[at : at + 8 * draw.randint(1, 4)]
        case 5:
            at = 8 * draw.randint(0, len(data) // 8)
            data[at:at] = draw.randbytes(8 * draw.randint(1, 4)) if draw.random() < 0.5 else data[at : at + 8]
        case _:
            part.count = draw.choice((part.count + 1, max(0, part.count - 1), part.count * 2, part.count // 2, *EDGES))


if __name__ == "__main__":
    driver.main(__doc__, check, lambda draw: mutate(draw.choice(SEEDS), draw))
