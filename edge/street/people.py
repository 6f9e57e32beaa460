"""Walkers and cyclists: skeletons in motion, dressed in tapered limbs. A whole crowd is posed at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge.street.limbs import Limbs
from edge.street.mesh import Mesh, in_owner_order, joined, make_mesh
from edge.street.place import Floats, Ints

# Skin, hair and cloth, BGR.
_SKINS = ((150, 180, 222), (132, 164, 212), (108, 142, 194), (80, 112, 164), (52, 76, 118), (40, 56, 88))
_HAIRS = ((28, 30, 36), (30, 42, 62), (44, 66, 96), (80, 120, 160), (150, 156, 160), (36, 50, 110), (24, 22, 22))
_DARKS = (
    (38, 36, 36),
    (60, 44, 36),
    (76, 60, 44),
    (52, 52, 54),
    (84, 84, 86),
    (44, 52, 66),
    (48, 58, 46),
    (28, 26, 28),
)
_BRIGHTS = (
    (44, 40, 168), (150, 92, 44), (206, 210, 212), (70, 120, 84), (60, 150, 206), (170, 120, 150), (120, 110, 170),
    (180, 160, 110),
    (60, 200, 220), (44, 110, 190), (130, 130, 134), (160, 176, 196), (84, 60, 120), (96, 140, 176),
)  # fmt: skip
_JEANS = ((110, 76, 52), (86, 60, 44), (60, 46, 38), (130, 100, 76))
_VEST = (70.0, 240.0, 220.0)

_NUMBERS = (
    "height_m", "girth", "coat", "skirt", "swing", "long_hair", "striped", "bare_legs", "bare_arms", "backpack",
    "handbag", "carrier", "hatted", "hooded", "phoning",
)  # fmt: skip
_COLOURS = ("skin", "hair", "top", "stripe", "legs", "shoes", "bag", "hat")


@dataclass(frozen=True)
class Looks:
    """What people are like and wear. For one person or, stacked along a new first axis, for many.

    numbers float (..., 15): as named in _NUMBERS; metres, coat and skirt as shares of a leg, the rest 0 or 1.
    colours float (..., 8, 3): BGR as named in _COLOURS.
    """

    numbers: Floats
    colours: Floats

    def number(self, name: str) -> Floats:
        """float (...): one of the numbers, by its name."""
        return self.numbers[..., _NUMBERS.index(name)]

    def has(self, name: str) -> Floats:
        """bool (...): whether a number is above 0."""
        return self.number(name) > 0

    def colour(self, name: str) -> Floats:
        """float (..., 3): one of the colours, by its name."""
        return self.colours[..., _COLOURS.index(name), :]

    def either(self, condition: str, yes: str, no: str) -> Floats:
        """One colour where the condition holds for a person, else the other."""
        return np.where(self.has(condition)[..., None], self.colour(yes), self.colour(no))


def crowd(people: list[Looks]) -> Looks:
    """The looks of many, stacked."""
    return Looks(np.stack([one.numbers for one in people]), np.stack([one.colours for one in people]))


def make_looks(rng: np.random.Generator, cyclist: bool = False) -> Looks:
    """A person."""
    child = not cyclist and rng.random() < 0.1
    woman = rng.random() < 0.5
    height = rng.uniform(1.05, 1.45) if child else rng.normal(1.65 if woman else 1.77, 0.07)

    def pick(table: tuple[tuple[int, int, int], ...]) -> Floats:
        return np.array(table[int(rng.integers(len(table)))]) * rng.uniform(0.75, 1.2)

    def chance(share: float) -> bool:
        return bool(rng.random() < share)

    skirt = rng.uniform(0.35, 0.8) if woman and not cyclist and chance(0.3) else 0.0
    bag = str(rng.choice(["none", "backpack", "handbag", "carrier"], p=[0.5, 0.22, 0.16, 0.12]))
    numbers = {
        "height_m": float(np.clip(height, 1.0, 1.98)),
        "girth": float(np.clip(rng.normal(1.0, 0.1), 0.82, 1.35)),
        "coat": 0.0 if cyclist or chance(0.6) else rng.uniform(0.25, 0.75),
        "skirt": skirt,
        "swing": rng.uniform(0.8, 1.15),
        "long_hair": woman and chance(0.7),
        "striped": chance(0.15),
        "bare_legs": (skirt > 0 and chance(0.6)) or chance(0.08),
        "bare_arms": chance(0.2),
        "backpack": bag == "backpack",
        "handbag": bag == "handbag",
        "carrier": bag == "carrier",
        "hatted": chance(0.6 if cyclist else 0.14),
        "hooded": chance(0.12),
        "phoning": not cyclist and chance(0.12),
    }
    top = pick(_DARKS) if chance(0.35 if cyclist else 0.55) else pick(_BRIGHTS)
    colours = {
        "skin": pick(_SKINS),
        "hair": pick(_HAIRS),
        "top": np.array(_VEST) if cyclist and chance(0.3) else top,
        "stripe": pick(_BRIGHTS),
        "legs": pick(_JEANS) if chance(0.5) else pick(_DARKS),
        "shoes": pick(_DARKS) if chance(0.7) else pick(_BRIGHTS),
        "bag": pick(_DARKS) if chance(0.6) else pick(_BRIGHTS),
        "hat": pick(_BRIGHTS) if cyclist else pick(_DARKS),
    }
    return Looks(np.array([float(numbers[name]) for name in _NUMBERS]), np.array([colours[name] for name in _COLOURS]))


def _xyz(x: Floats | float, y: Floats | float, z: Floats | float) -> Floats:
    """(..., 3) from three that broadcast."""
    out = np.empty((*np.broadcast_shapes(np.shape(x), np.shape(y), np.shape(z)), 3))
    out[..., 0], out[..., 1], out[..., 2] = x, y, z
    return out


def _by(x: float, y: float, z: float) -> Floats:
    """(3,) a step to the right, up and ahead."""
    return np.array([x, y, z])


def _hanging(angle: Floats) -> Floats:
    """(n, 3) unit vectors of limbs that hang, swung ahead by the angles."""
    return _xyz(0.0, -np.cos(angle), np.sin(angle))


def walkers(looks: Looks, phase: Floats, pace: Floats, detail: Ints) -> list[tuple[int, Ints, Mesh]]:
    """A crowd on foot: for each detail in use, which of them have it and their mesh.

    Args:
        looks: of n people, stacked.
        phase: (n,) 0 to 2 pi over two steps.
        pace: (n,) 0 when standing, about 1 when walking.
        detail: (n,) 0 for people of a dozen pixels, to 3 for tall ones.
    """
    limbs = Limbs(len(phase))
    girth = looks.number("girth")
    swing = 0.46 * np.minimum(pace, 1.2) * looks.number("swing")
    legs, soles = [], []
    for side in (-1, 1):
        turn = phase + (0.0 if side < 0 else np.pi)
        thigh = swing * np.sin(turn) + 0.06 * pace
        # The knee gives while its leg swings ahead.
        shin = thigh - (0.10 * pace + 0.95 * swing * np.maximum(0.0, np.cos(turn)) ** 1.3 + 0.12 * swing)
        hip = _xyz(0.088 * side, 0.0, np.zeros_like(phase))
        knee = hip + 0.43 * _hanging(thigh)
        ankle = knee + 0.43 * _hanging(shin)
        toe = ankle + _xyz(0.02 * side, 0.14 * np.sin(shin) - 0.02, 0.17)
        legs.append((hip, knee, ankle, toe))
        soles.append(np.minimum(ankle[:, 1] - 0.065, toe[:, 1] - 0.03))
    # The lower foot stands on the ground.
    rise = _xyz(0.0, -np.minimum(*soles), 0.0)
    trousers = looks.colour("legs")
    lower = looks.either("bare_legs", "skin", "legs")
    upper = np.where(looks.has("skirt")[:, None], lower, trousers)
    for hip, knee, ankle, toe in legs:
        limbs.add(hip + rise, knee + rise, (0.088 * girth, 0.062 * girth), upper)
        limbs.add(knee + rise, ankle + rise, (0.06 * girth, 0.043), lower, nearer=0.01)
        limbs.add(
            ankle + rise - _by(0, 0.03, 0.04),
            toe + rise - _by(0, 0.005, 0),
            (0.045, 0.036),
            looks.colour("shoes"),
            nearer=0.02,
        )
    up = _unit(_xyz(0.0, 1.0, 0.03 * pace))
    _trunk(limbs, looks, rise, up, (legs[0][1] + legs[1][1]) / 2 + rise)
    _walking_arms(limbs, looks, rise, phase, swing)
    return limbs.meshes(detail, looks.number("height_m") / 1.75)


def _unit(vectors: Floats) -> Floats:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _trunk(limbs: Limbs, looks: Looks, hip: Floats, up: Floats, knees: Floats | None) -> None:
    """Pelvis, chest, neck, head, and what is worn on them; `knees` where coats and skirts hang."""
    girth = looks.number("girth")
    waist, chest, neck = hip + 0.12 * up, hip + 0.42 * up, hip + 0.54 * up
    top = looks.colour("top")
    limbs.add(
        hip - 0.02 * up, waist, (0.148 * girth, 0.132 * girth), looks.either("skirt", "top", "legs"), 0.72, nearer=-0.03
    )
    stripe = looks.either("striped", "stripe", "top")
    limbs.add(waist - 0.03 * up, chest, (0.14 * girth, 0.172 * girth), top, 0.64, nearer=0.02, stripe=stripe)
    limbs.add(chest - 0.02 * up, neck - 0.03 * up, (0.172 * girth, 0.07), top, 0.64, nearer=0.01, least=1)
    limbs.add(neck - 0.06 * up, neck + 0.05 * up, (0.056, 0.052), looks.colour("skin"), least=1)
    if knees is not None:
        coat, skirt = looks.number("coat"), looks.number("skirt")
        hem = np.minimum(1.0, np.where(coat > 0, coat * 1.2, skirt * 1.7))[:, None]
        # Cloth hangs round both thighs, so it reaches further from front to back than the body.
        colour = np.where(coat[:, None] > 0, top, looks.colour("legs"))
        worn = (coat > 0) | (skirt > 0)
        limbs.add(waist, hip + (knees - hip) * hem, (0.148 * girth, 0.18 * girth), colour, 1.0, nearer=0.06, where=worn)
    _head(limbs, looks, neck + 0.125 * up, up)
    pack = (waist + _by(0, 0.05, -0.17), chest + _by(0, 0.04, -0.17))
    limbs.add(*pack, (0.13, 0.12), looks.colour("bag"), 0.55, nearer=0.02, where=looks.has("backpack"))


def _head(limbs: Limbs, looks: Looks, middle: Floats, up: Floats) -> None:
    skin, cover = looks.colour("skin"), looks.either("hooded", "top", "hair")
    limbs.add(
        middle - 0.045 * up + _by(0, 0, 0.012), middle + 0.05 * up, (0.070, 0.082), skin, 1.2, nearer=0.01, crown=cover
    )
    limbs.add(
        middle + _by(0, 0.0, 0.095), middle + _by(0, -0.02, 0.10), (0.013, 0.016), skin * 0.94, nearer=0.03, least=2
    )
    hanging = looks.has("long_hair") | looks.has("hooded")
    limbs.add(
        middle + _by(0, 0.02, -0.05), middle + _by(0, -0.15, -0.06), (0.086, 0.075), cover, 0.66, where=hanging, least=1
    )
    hat = (middle + _by(0, 0.075, -0.01), middle + _by(0, 0.10, -0.012))
    limbs.add(*hat, (0.1, 0.092), looks.colour("hat"), 1.18, nearer=0.04, where=looks.has("hatted"), least=1)


def _walking_arms(limbs: Limbs, looks: Looks, hip: Floats, phase: Floats, swing: Floats) -> None:
    girth, top, skin, bag = looks.number("girth"), looks.colour("top"), looks.colour("skin"), looks.colour("bag")
    sleeve = looks.either("bare_arms", "skin", "top")
    for side in (-1, 1):
        forward = 0.85 * swing * np.sin(phase + (np.pi if side < 0 else 0.0))
        shoulder = hip + _xyz(0.168 * side * girth, 0.44, 0.0)
        elbow = shoulder + 0.28 * _hanging(forward) + _by(0.03 * side, 0, 0)
        hand = elbow + 0.26 * _hanging(forward + 0.22 + 0.35 * swing)
        if side > 0:
            phoning = looks.has("phoning")[:, None]
            elbow = np.where(phoning, shoulder + _by(0.03, -0.27, 0.05), elbow)
            hand = np.where(phoning, shoulder + _by(-0.06, -0.16, 0.27), hand)
        limbs.add(shoulder, elbow, (0.056 * girth, 0.046), top * 0.97)
        limbs.add(elbow, hand, (0.045, 0.033), sleeve * 0.97, nearer=0.01)
        limbs.add(hand, hand + _by(0, -0.06, 0.015), (0.036, 0.03), skin, nearer=0.01, least=1)
        if side > 0:
            limbs.add(
                hand + _by(0, -0.14, 0), hand + _by(0, -0.36, 0), (0.11, 0.13), bag, 0.6, where=looks.has("carrier")
            )
        else:
            at = hip + _xyz(-0.205 * girth, 0.0, -0.02)
            limbs.add(at + _by(0, 0.10, 0), at - _by(0, 0.08, 0), (0.09, 0.10), bag, 1.4, where=looks.has("handbag"))


def _bent(root: Floats, tip: Floats, bones_m: tuple[float, float], towards: Floats) -> Floats:
    """(n, 3) knees or elbows between roots and tips, bent towards a direction."""
    upper, lower = bones_m
    reach = tip - root
    distance = np.minimum(np.linalg.norm(reach, axis=1, keepdims=True), (upper + lower) * 0.999)
    along = _unit(reach)
    a = (upper**2 - lower**2 + distance**2) / (2 * distance)
    side = _unit(towards - along * (along @ towards)[:, None])
    return root + along * a + side * np.sqrt(np.maximum(0.0, upper**2 - a**2))


def cyclists(looks: Looks, phase: Floats, detail: Ints) -> list[tuple[int, Ints, Mesh]]:
    """Riders on bicycles, pedals at angles `phase` (n,); otherwise as for walkers."""
    limbs = Limbs(len(phase))
    girth, top = looks.number("girth"), looks.colour("top")
    hip, grip, crank = (
        np.tile(np.array(p), (len(phase), 1)) for p in ((0, 0.98, -0.22), (0, 1.02, 0.42), (0, 0.29, 0))
    )
    lower, sleeve = looks.either("bare_legs", "skin", "legs"), looks.either("bare_arms", "skin", "top")
    up = _unit(_xyz(0.0, 0.44, 0.24 + 0.0 * phase))
    for side in (-1, 1):
        turn = phase + (0.0 if side < 0 else np.pi)
        root = hip + _by(0.085 * side, -0.02, 0)
        pedal = crank + _xyz(0.11 * side, 0.17 * np.cos(turn), 0.17 * np.sin(turn))
        ankle = pedal + _by(0, 0.09, -0.05)
        knee = _bent(root, ankle, (0.44, 0.44), np.array([0.05 * side, 0.3, 1.0]))
        limbs.add(root, knee, (0.085 * girth, 0.06), looks.colour("legs"))
        limbs.add(knee, ankle, (0.057, 0.042), lower, nearer=0.01)
        limbs.add(
            ankle - _by(0, 0.04, 0.04), pedal + _by(0, 0.03, 0.10), (0.042, 0.034), looks.colour("shoes"), nearer=0.01
        )
        shoulder = hip + 0.45 * up + _xyz(0.165 * side * girth, 0.0, 0.0)
        hand = grip + _by(0.24 * side, 0, 0)
        elbow = _bent(shoulder, hand, (0.28, 0.27), np.array([0.5 * side, -1.0, -0.2]))
        limbs.add(shoulder, elbow, (0.052 * girth, 0.044), top * 0.96)
        limbs.add(elbow, hand, (0.042, 0.034), sleeve * 0.96, nearer=0.01)
        limbs.add(hand, hand + _by(0, 0.01, 0.04), (0.034, 0.03), looks.colour("skin"), nearer=0.01, least=1)
    _trunk(limbs, looks, hip, up, None)
    _bicycle(limbs, looks, grip)
    scale = 0.85 + 0.15 * looks.number("height_m") / 1.75
    made = []
    for level, bodies, riders in limbs.meshes(detail, scale):
        wheels = joined([_wheel(z, level) for z in (-0.5, 0.55)])
        pairs = [wheels.scaled(float(scale[body])) for body in bodies]
        # Owners must ascend: each rider's wheels come right after its limbs.
        made.append((level, bodies, in_owner_order(joined([riders, *pairs], [0, *range(len(pairs))]))))
    return made


def _bicycle(limbs: Limbs, looks: Looks, grip: Floats) -> None:
    count = len(grip)
    colour = looks.colour("bag") * 1.2

    def at(y: float, z: float, x: float = 0.0) -> Floats:
        return np.tile(np.array([x, y, z]), (count, 1))

    seat, crank, head, rear, front = at(0.90, -0.2), at(0.29, 0.0), at(0.82, 0.36), at(0.34, -0.5), at(0.34, 0.55)
    tubes = ((seat, crank), (crank, head), (seat - _by(0, 0.12, 0), head), (crank, rear), (rear, seat), (head, front))
    for number, (start, end) in enumerate(tubes):
        limbs.add(start, end, (0.017, 0.017), colour, least=0 if number in (0, 1, 5) else 1)
    grey = np.full((count, 3), 48.0)
    limbs.add(head, grip, (0.015, 0.015), grey, least=1)
    limbs.add(grip - _by(0.27, 0, 0), grip + _by(0.27, 0, 0), (0.016, 0.016), grey, least=1)
    limbs.add(seat - _by(0, 0, 0.12), seat + _by(0, 0, 0.1), (0.06, 0.03), grey * 0.7, 0.6, least=1)
    limbs.add(
        seat - _by(0, 0.17, 0.07),
        seat - _by(0, 0.13, 0.07),
        (0.03, 0.03),
        np.tile([40.0, 40, 190], (count, 1)),
        least=1,
    )


def _wheel(z: float, detail: int) -> Mesh:
    """A tyre: a thin ring with a tread, seen from either side."""
    count = (8, 12, 18, 24)[detail]
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    rings = [
        np.column_stack([np.full(count, x), 0.34 + r * np.sin(angle), z + r * np.cos(angle)])
        for x, r in ((-0.022, 0.30), (-0.022, 0.34), (0.022, 0.34), (0.022, 0.30))
    ]
    k = np.arange(count)
    nxt = (k + 1) % count
    quads = [np.column_stack([k + a, nxt + a, nxt + a + count, k + a + count]) for a in (0, count, 2 * count)]
    both = np.concatenate([*quads, *[quad[:, ::-1] for quad in quads]])
    return make_mesh(np.concatenate(rings), both, (36.0, 35.0, 34.0))
