"""Cars, vans and buses as meshes: a row of cross-sections from tail to nose, then wheels, lamps and plates."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from edge.street.mesh import GLASS, LAMP, MATTE, PAINT, Mesh, joined, make_mesh
from edge.street.place import Floats


@dataclass(frozen=True)
class Body:
    """A kind of vehicle. `profile` is the side view from tail to nose: (z, height of the top, share of the width).

    Between tops above the belt line the sides are glass, but for the pillars; where a top climbs or falls past it, the
    top itself is a windscreen. Positions are shares: z of half the length, heights of the whole height.
    """

    length_m: float
    width_m: float
    height_m: float
    belt: float
    sill_m: float
    wheel_m: float
    axles: tuple[float, ...]
    profile: tuple[tuple[float, float, float], ...]
    pillars: tuple[float, ...]


# Shapes from side views: a small hatchback, a saloon, an estate, a tall off-roader, a panel van, a bus, a lorry.
BODIES: dict[str, Body] = {
    "hatch": Body(3.95, 1.72, 1.47, 0.655, 0.20, 0.30, (-0.64, 0.66), (
        (-1.0, 0.50, 0.86), (-0.985, 0.62, 0.94), (-0.94, 0.70, 0.97), (-0.90, 0.74, 0.98), (-0.72, 0.95, 0.99),
        (-0.55, 0.985, 1.0),
        (-0.05, 1.0, 1.0), (0.0, 1.0, 1.0), (0.18, 0.965, 1.0), (0.52, 0.70, 1.0), (0.60, 0.67, 0.99),
        (0.82, 0.60, 0.97),
        (0.94, 0.52, 0.93), (0.985, 0.44, 0.88), (1.0, 0.36, 0.82)), (-0.05,)),
    "saloon": Body(4.55, 1.78, 1.43, 0.655, 0.20, 0.31, (-0.58, 0.62), (
        (-1.0, 0.50, 0.84), (-0.985, 0.62, 0.92), (-0.94, 0.68, 0.96), (-0.66, 0.705, 0.99), (-0.60, 0.72, 1.0),
        (-0.34, 0.95, 1.0),
        (-0.20, 0.99, 1.0), (0.0, 1.0, 1.0), (0.04, 1.0, 1.0), (0.14, 0.97, 1.0), (0.44, 0.71, 1.0),
        (0.52, 0.675, 0.99),
        (0.80, 0.61, 0.97), (0.94, 0.53, 0.92), (0.985, 0.45, 0.86), (1.0, 0.36, 0.80)), (0.0,)),
    "estate": Body(4.6, 1.78, 1.47, 0.64, 0.20, 0.31, (-0.58, 0.62), (
        (-1.0, 0.48, 0.86), (-0.985, 0.60, 0.94), (-0.95, 0.68, 0.97), (-0.91, 0.72, 0.98), (-0.80, 0.93, 0.99),
        (-0.66, 0.975, 1.0),
        (-0.30, 1.0, 1.0), (-0.26, 1.0, 1.0), (0.02, 1.0, 1.0), (0.06, 1.0, 1.0), (0.18, 0.965, 1.0), (0.46, 0.70, 1.0),
        (0.54, 0.665, 0.99), (0.82, 0.60, 0.97), (0.95, 0.51, 0.92), (1.0, 0.36, 0.82)), (-0.30, 0.02)),
    "tall": Body(4.5, 1.86, 1.78, 0.64, 0.30, 0.37, (-0.60, 0.62), (
        (-1.0, 0.48, 0.90), (-0.985, 0.62, 0.96), (-0.96, 0.68, 0.98), (-0.93, 0.72, 0.98), (-0.86, 0.94, 0.99),
        (-0.72, 0.985, 1.0),
        (-0.28, 1.0, 1.0), (-0.24, 1.0, 1.0), (0.04, 1.0, 1.0), (0.08, 1.0, 1.0), (0.20, 0.97, 1.0), (0.46, 0.71, 1.0),
        (0.54, 0.68, 0.99), (0.86, 0.64, 0.97), (0.96, 0.56, 0.93), (1.0, 0.40, 0.86)), (-0.28, 0.04)),
    "van": Body(4.95, 1.92, 2.05, 0.60, 0.25, 0.33, (-0.58, 0.66), (
        (-1.0, 0.40, 0.96), (-0.995, 0.62, 0.98), (-0.99, 0.93, 0.97), (-0.96, 0.985, 1.0), (-0.60, 1.0, 1.0),
        (0.10, 1.0, 1.0),
        (0.22, 1.0, 1.0), (0.38, 0.97, 1.0), (0.70, 0.62, 0.99), (0.76, 0.585, 0.98), (0.93, 0.50, 0.95),
        (1.0, 0.36, 0.88)), ()),
    "bus": Body(10.4, 2.5, 3.05, 0.42, 0.30, 0.48, (-0.42, 0.60), (
        (-1.0, 0.30, 0.97), (-0.998, 0.46, 0.98), (-0.992, 0.92, 0.98), (-0.97, 0.985, 1.0), (-0.62, 1.0, 1.0),
        (-0.60, 1.0, 1.0),
        (-0.30, 1.0, 1.0), (-0.28, 1.0, 1.0), (0.02, 1.0, 1.0), (0.04, 1.0, 1.0), (0.34, 1.0, 1.0),
        (0.36, 1.0, 1.0), (0.70, 1.0, 1.0),
        (0.72, 1.0, 1.0), (0.97, 0.985, 1.0), (0.985, 0.93, 0.99), (0.998, 0.40, 0.98), (1.0, 0.22, 0.96)),
        (-0.62, -0.30, 0.02, 0.34, 0.70)),
}  # fmt: skip
_BODY_SHARES = {"hatch": 0.36, "saloon": 0.17, "estate": 0.15, "tall": 0.14, "van": 0.13, "bus": 0.05}
_PAINTS = (
    (168, 168, 166), (120, 118, 116), (30, 30, 32), (226, 228, 228), (104, 58, 34), (36, 34, 134), (62, 44, 28),
    (54, 76, 40),
    (150, 138, 96), (40, 52, 110), (86, 86, 90), (190, 196, 200), (44, 130, 196), (20, 20, 24), (96, 84, 62),
)  # fmt: skip
_PAINT_SHARES = (0.16, 0.11, 0.11, 0.1, 0.1, 0.09, 0.06, 0.04, 0.03, 0.03, 0.05, 0.05, 0.02, 0.03, 0.02)
_BLACK = (34, 33, 32)


@dataclass(frozen=True)
class Vehicle:
    """A vehicle's shape for when it is near, further off, and far."""

    fine: Mesh
    coarse: Mesh
    tiny: Mesh


def make_vehicle(rng: np.random.Generator, kinds: tuple[str, ...] | None = None) -> Vehicle:
    """A vehicle with its own body, paint and small differences."""
    names = list(_BODY_SHARES) if kinds is None else list(kinds)
    shares = np.array([_BODY_SHARES[name] for name in names])
    name = str(rng.choice(names, p=shares / shares.sum()))
    body = BODIES[name]
    paint = np.array(_PAINTS[int(rng.choice(len(_PAINTS), p=np.array(_PAINT_SHARES) / sum(_PAINT_SHARES)))], float)
    if name == "van" and rng.random() < 0.55:
        paint = np.array((224.0, 226, 226))
    if name == "bus":
        paint = np.array([(150.0, 80, 30), (40, 40, 160), (200, 205, 208), (60, 120, 60)][int(rng.integers(4))])
    trim, extras = _trim(body, paint, name, rng)
    rim = float(rng.uniform(90, 190))
    few, fewest = (replace(body, profile=(*body.profile[:-1:step], body.profile[-1])) for step in (2, 3))
    return Vehicle(
        fine=joined(
            [
                *extras,
                _shell(body, paint, name, _FINE),
                *_wheels(body, rim),
                *trim,
                *_mirrors(body, paint),
                *_details(body, paint, name),
            ]
        ),
        coarse=joined([_shell(few, paint, name, _COARSE), *_far_wheels(body), *trim]),
        tiny=joined([_shell(fewest, paint, name, _TINY), *_far_wheels(body)[1::2], *trim[4:]]),
    )


# Which points of a half cross-section to keep, and what each strip between them is.
_FINE = (tuple(range(10)), ("sill", "side", "side", "side", "side", "side", "window", "edge", "top"))
_TINY = ((0, 6, 7, 9), ("side", "window", "top"))
_COARSE = ((0, 3, 6, 7, 9), ("side", "side", "window", "top"))


def _section(body: Body, top: float, share: float, z_share: float) -> list[tuple[float, float]]:
    """Half a cross-section, from the sill to the middle of the roof: (x, y) in metres."""
    half = body.width_m / 2 * share
    high = top * body.height_m
    belt = body.belt * body.height_m
    # The ends of the floor rise as bumpers do.
    low = body.sill_m + 0.10 * max(0.0, abs(z_share) - 0.9) * 10
    side = min(belt, high - 0.02)
    lean = 0.20 if body.height_m < 1.9 else 0.08
    rise = max(0.0, high - belt) / (body.height_m - belt)
    roof_y = max(side + 0.004, high - 0.055)
    glass = half * (0.945 if high > belt else 0.90)
    roof_x = glass * (1 - lean * rise)
    # From the widest line the door leans in and turns up into the shoulder, which catches the sky.
    return [
        (half * 0.86, low),
        (half * 0.965, low + 0.09),
        (half * 0.990, low + 0.32 * (side - low)),
        (half, low + 0.62 * (side - low)),
        (half * 0.992, low + 0.84 * (side - low)),
        (half * 0.968, side - 0.02),
        (glass, side),
        (roof_x, roof_y),
        (roof_x * 0.90, max(roof_y, high - 0.012)),
        (0.0, high + 0.012 * (1 if high > belt else 0.5)),
    ]


def _shell(body: Body, paint: Floats, name: str, detail: tuple[tuple[int, ...], tuple[str, ...]]) -> Mesh:
    """Body and windows."""
    keep, roles = detail
    half_length = body.length_m / 2
    rings = []
    for z, top, share in body.profile:
        section = np.array(_section(body, top, share, z))[list(keep)]
        left = np.column_stack([-section[:, 0], section[:, 1], np.full(len(keep), z * half_length)])
        right = left[-2::-1] * (-1, 1, 1)
        rings.append(np.concatenate([left, right]))
    n, strips = 2 * len(keep) - 1, len(roles)
    quads, colours, kinds = [], [], []
    for i in range(len(rings) - 1):
        for j in range(n - 1):
            a, b = i * n + j, (i + 1) * n + j
            quads.append([a, b, b + 1, a + 1])
            colour, kind = _panel(body, paint, name, i, roles[j if j < strips else 2 * strips - 1 - j])
            colours.append(colour)
            kinds.append(kind)
    for ring, flip in ((0, True), (len(rings) - 1, False)):
        for j in range(strips):
            quad = [ring * n + k for k in (j, n - 1 - j, n - 2 - j, j + 1)]
            quads.append(quad[::-1] if flip else quad)
            colours.append(np.array(_BLACK, float) if roles[j] == "sill" else paint * 0.92)
            kinds.append(MATTE if roles[j] == "sill" else PAINT)
    mesh = make_mesh(np.concatenate(rings), np.array(quads), np.array(colours, np.float32))
    return replace(mesh, kinds=np.array(kinds, np.intp))


def _panel(body: Body, paint: Floats, name: str, i: int, role: str) -> tuple[Floats, int]:
    """Colour and material of the panel between sections i and i + 1."""
    (z0, top0, _), (z1, top1, _) = body.profile[i], body.profile[i + 1]
    glass = np.array((30.0, 28, 26))
    above = min(top0, top1) > body.belt + 0.2 * (1 - body.belt)
    slope = abs(top1 - top0) / max(1e-3, z1 - z0)
    screen = slope > 0.42 and max(top0, top1) > body.belt + 0.15 and min(top0, top1) > body.belt - 0.12
    if role == "sill":
        return np.array(_BLACK, float), MATTE
    if role == "window" and (above or (screen and max(top0, top1) > 0.9)):
        if name == "van" and z0 < 0.09:
            return paint, PAINT
        return (paint * 0.5, PAINT) if any(abs(z0 - p) < 1e-6 for p in body.pillars) else (glass, GLASS)
    if role == "top" and screen:
        return glass, GLASS
    return paint, PAINT


def _disc(x: float, y: float, z: float, radii: tuple[float, float], count: int) -> tuple[Floats, Floats]:
    """A flat ring that faces sideways, outwards from the vehicle."""
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    rings = [np.column_stack([np.full(count, x), y + r * np.sin(angle), z + r * np.cos(angle)]) for r in radii]
    k = np.arange(count)
    nxt = (k + 1) % count
    quads = np.column_stack([k, nxt, nxt + count, k + count])
    return np.concatenate(rings), quads[:, ::-1] if x > 0 else quads


def _far_wheels(body: Body) -> list[Mesh]:
    parts = []
    for z in body.axles:
        for sign in (-1, 1):
            at = (sign * (body.width_m / 2 + 0.005), body.wheel_m, z * body.length_m / 2)
            parts.append(make_mesh(*_disc(*at, (body.wheel_m, 0.0), 6), (36.0, 36.0, 36.0), nearer=0.4))
            parts.append(_tread(body, sign, at))
    return parts


def _wheels(body: Body, rim: float) -> list[Mesh]:
    parts = []
    for z in body.axles:
        for sign in (-1, 1):
            at = (sign * (body.width_m / 2 + 0.005), body.wheel_m, z * body.length_m / 2)
            arch, quads = _disc(*at, (body.wheel_m * 1.17, 0.0), 12)
            parts.append(make_mesh(arch, quads, (20, 20, 20), nearer=0.4))
            tyre, quads = _disc(at[0] * 1.004, at[1], at[2], (body.wheel_m, body.wheel_m * 0.64), 14)
            parts.append(make_mesh(tyre, quads, (38, 37, 36), nearer=0.45))
            hub, quads = _disc(at[0] * 1.006, at[1], at[2], (body.wheel_m * 0.66, 0.0), 10)
            spokes = np.where(np.arange(10) % 2, rim, rim * 0.55)[:, None] * np.ones(3)
            parts.append(make_mesh(hub, quads, spokes, nearer=0.5))
            parts.append(_tread(body, sign, at))
    return parts


def _tread(body: Body, sign: int, at: tuple[float, float, float]) -> Mesh:
    """The running surface, seen from ahead and behind."""
    angle = np.linspace(0, 2 * np.pi, 10, endpoint=False)
    circle = np.column_stack([at[1] + at[1] * np.sin(angle), at[2] + at[1] * np.cos(angle)])
    rings = [np.column_stack([np.full(10, x), circle]) for x in (at[0], at[0] - sign * 0.19)]
    k = np.arange(10)
    quads = np.column_stack([k, (k + 1) % 10, (k + 1) % 10 + 10, k + 10])
    return make_mesh(np.concatenate(rings), quads if sign > 0 else quads[:, ::-1], (32, 31, 30))


def _face(body: Body, x0: float, x1: float, y0: float, y1: float, end: int, colour: Floats | tuple[float, ...],
          kind: int = MATTE, out: float = 0.02) -> Mesh:  # fmt: skip
    """A rectangle on the tail (end -1) or the nose (end 1)."""
    z = end * (body.length_m / 2 + out)
    # The nose and tail lean with the body: higher parts stand further in.
    lean = -end * 0.10 * max(0.0, (y1 - 0.45))
    points = np.array([[x0, y0, z], [x0, y1, z + lean], [x1, y1, z + lean], [x1, y0, z]])
    quad = np.array([[0, 1, 2, 3]] if end < 0 else [[3, 2, 1, 0]])
    return make_mesh(points, quad, np.asarray(colour, np.float32), kind, nearer=0.45)


def _trim(body: Body, paint: Floats, name: str, rng: np.random.Generator) -> tuple[list[Mesh], list[Mesh]]:
    """Lamps, plates and bumpers, which show from afar, and what shows only from close by."""
    half, high = body.width_m / 2, body.height_m
    tall = name in ("van", "bus")
    dark_bumper = rng.random() < 0.4
    bumper = _BLACK if dark_bumper else tuple(paint * 0.86)
    parts = [
        _face(body, -half * 0.9, half * 0.9, 0.25, 0.47, end, bumper, MATTE if dark_bumper else PAINT, 0.05)
        for end in (-1, 1)
    ]
    parts += [_face(body, -half * 0.84, half * 0.84, 0.21, 0.29, end, _BLACK, MATTE, 0.055) for end in (-1, 1)]
    lamps, extras = _lamps(body, tall, rng)
    parts += lamps
    plate_y = 0.56 if tall or rng.random() < 0.5 else 0.40
    for end, y, colour in ((-1, plate_y, (58.0, 190, 216)), (1, 0.33, (222.0, 224, 224))):
        parts.append(_face(body, -0.26, 0.26, y, y + 0.11, end, colour, MATTE, 0.075))
        for x in (-0.2, -0.12, -0.04, 0.07, 0.14):
            extras.append(_face(body, x, x + 0.05, y + 0.03, y + 0.085, end, (40.0, 42, 44), MATTE, 0.085))
    grille = 0.50 if high < 1.6 else 0.56
    extras.append(_face(body, -half * 0.45, half * 0.45, grille, grille + 0.11, 1, (34, 34, 34), MATTE))
    extras.append(_face(body, -half * 0.45, half * 0.45, grille + 0.05, grille + 0.06, 1, (120, 122, 122), MATTE, 0.03))
    extras.append(_face(body, -0.05, 0.05, grille + 0.02, grille + 0.10, 1, (170, 172, 174), PAINT, 0.04))
    if name == "bus":
        parts.append(_face(body, -half * 0.92, half * 0.92, 0.36 * high, 0.86 * high, 1, (34, 32, 30), GLASS, 0.0))
        parts.append(_face(body, -half * 0.8, half * 0.8, 0.88 * high, 0.96 * high, 1, (30, 30, 30), MATTE))
        parts.append(_face(body, -half * 0.5, half * 0.5, 0.89 * high, 0.95 * high, 1, (60, 170, 235), LAMP, 0.03))
        parts.append(_face(body, -half * 0.85, half * 0.85, 0.50 * high, 0.82 * high, -1, (34, 32, 30), GLASS, 0.0))
    if name == "van":
        parts.append(_face(body, -half * 0.85, -0.04, 0.60 * high, 0.86 * high, -1, (34, 32, 30), GLASS, 0.01))
        parts.append(_face(body, 0.04, half * 0.85, 0.60 * high, 0.86 * high, -1, (34, 32, 30), GLASS, 0.01))
    return parts, extras


def _lamps(body: Body, tall: bool, rng: np.random.Generator) -> tuple[list[Mesh], list[Mesh]]:
    """Lamps, and what shows of them only from close by."""
    half, high = body.width_m / 2, body.height_m
    braking, shining = rng.random() < 0.25, rng.random() < 0.3
    upright = tall or (high > 1.45 and rng.random() < 0.6)
    y = (0.40 if not tall else 0.28) * high
    wide, deep = rng.uniform(0.24, 0.34), rng.uniform(0.11, 0.16)
    rear = (0.16, rng.uniform(0.3, 0.45)) if upright else (rng.uniform(0.26, 0.36), rng.uniform(0.12, 0.16))
    rear_y = (0.44 if not tall else 0.30) * high
    red = (46, 44, 240) if braking else (40, 36, 150)
    parts: list[Mesh] = []
    extras: list[Mesh] = []
    for sign in (-1, 1):

        def span(inner: float, outer: float, side: int = sign) -> tuple[float, float]:
            low, high = sorted((side * half * inner, side * half * outer))
            return low, high

        parts.append(_face(body, *span(0.93 - wide, 0.93), y, y + deep, 1, (168, 170, 170), GLASS))
        lens = (250, 252, 252) if shining else (216, 218, 218)
        parts.append(
            _face(
                body,
                *span(0.90 - wide * 0.7, 0.88),
                y + 0.02,
                y + deep - 0.02,
                1,
                lens,
                LAMP if shining else PAINT,
                0.03,
            )
        )
        parts.append(
            _face(body, *span(0.935 - rear[0], 0.935), rear_y, rear_y + rear[1], -1, red, LAMP if braking else PAINT)
        )
        indicator = rear_y + rear[1] * 0.4
        extras.append(
            _face(
                body,
                *span(0.92 - rear[0], 0.92),
                indicator,
                indicator + rear[1] * 0.18,
                -1,
                (150, 170, 205),
                PAINT,
                0.03,
            )
        )
    return parts, extras


def _details(body: Body, paint: Floats, name: str) -> list[Mesh]:
    """What shows from close by: door gaps and handles."""
    parts = []
    half_length = body.length_m / 2
    if name == "bus":
        return parts
    gaps = (*body.pillars, 0.46) if name != "van" else (0.12, 0.5)
    for z in gaps:
        parts += [_gap(body, z * half_length, sign, paint * 0.3) for sign in (-1, 1)]
        handle = np.array(
            [[1.004, y, z * half_length - 0.30 + dz] for y, dz in ((-0.02, 0), (0.02, 0), (0.02, 0.18), (-0.02, 0.18))]
        )
        for sign in (-1, 1):
            points = handle * (sign * body.width_m / 2, 1, 1) + (0, body.belt * body.height_m - 0.14, 0)
            quads = np.array([[0, 1, 2, 3]] if sign > 0 else [[3, 2, 1, 0]])
            parts.append(make_mesh(points, quads, tuple(paint * 0.6 + 20), PAINT, nearer=0.3))
    return parts


def _gap(body: Body, z: float, sign: int, colour: Floats) -> Mesh:
    """A dark line up the side of the body, from the sill to the windows."""
    section = np.array(_section(body, 1.0, 1.0, 0.0))[1:7]
    rings = [
        np.column_stack([sign * (section[:, 0] + 0.003), section[:, 1], np.full(6, z + d)]) for d in (-0.007, 0.007)
    ]
    k = np.arange(5)
    quads = np.column_stack([k, k + 1, k + 7, k + 6])
    return make_mesh(np.concatenate(rings), quads if sign > 0 else quads[:, ::-1], tuple(colour), MATTE, nearer=0.25)


def _mirrors(body: Body, paint: Floats) -> list[Mesh]:
    parts = []
    z = 0.42 * body.length_m / 2 if body.length_m < 8 else 0.97 * body.length_m / 2
    y = body.belt * body.height_m + (0.02 if body.length_m < 8 else 0.5)
    for sign in (-1, 1):
        x0, x1 = sorted((sign * body.width_m * 0.48, sign * (body.width_m * 0.5 + 0.17)))
        corners = [[x, yy, zz] for zz in (z - 0.05, z + 0.07) for yy in (y, y + 0.14) for x in (x0, x1)]
        quads = [[0, 2, 3, 1], [5, 7, 6, 4], [2, 6, 7, 3], [4, 6, 2, 0], [1, 3, 7, 5]]
        parts.append(make_mesh(np.array(corners), np.array(quads), paint * 0.9, PAINT, nearer=0.2))
    return parts
