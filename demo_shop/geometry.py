"""Outlines: points [N, 2] as float (x to the right, y down) in free units; the canvas fits them later."""

from collections.abc import Sequence

import numpy as np

Outline = np.ndarray
Point = tuple[float, float]


def smooth_outline(points: Sequence[Point], *, closed: bool = True, steps: int = 12) -> Outline:
    """Return the Catmull-Rom curve through the points, `steps` samples a segment."""
    control = np.asarray(points, dtype=np.float64)
    if closed:
        before, after, last = np.roll(control, 1, 0), np.roll(control, -1, 0), np.roll(control, -2, 0)
        here = control
    else:
        padded = np.vstack([2 * control[0] - control[1], control, 2 * control[-1] - control[-2]])
        before, here, after, last = padded[:-3], padded[1:-2], padded[2:-1], padded[3:]
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    p0, p1, p2, p3 = (p[:, None, :] for p in (before, here, after, last))
    curve = 0.5 * (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3)
    flat = curve.reshape(-1, 2)
    return flat if closed else np.vstack([flat, control[-1:]])


def outline_ellipse(x: float, y: float, rx: float, ry: float, start: float = 0.0, stop: float = 360.0) -> Outline:
    """Return an ellipse or, with `start` and `stop` in degrees (0 = right, 90 = down), an arc of it."""
    angle = np.radians(np.linspace(start, stop, 48))
    return np.column_stack([x + rx * np.cos(angle), y + ry * np.sin(angle)])


def outline_box(x0: float, y0: float, x1: float, y1: float, radius: float = 0.0) -> Outline:
    """Return a rectangle, with rounded corners where `radius` is given."""
    r = min(radius, (x1 - x0) / 2, (y1 - y0) / 2)
    if r <= 0:
        return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], dtype=np.float64)
    corners = ((x1 - r, y0 + r, -90), (x1 - r, y1 - r, 0), (x0 + r, y1 - r, 90), (x0 + r, y0 + r, 180))
    return np.vstack([outline_ellipse(cx, cy, r, r, a, a + 90)[::6] for cx, cy, a in corners])


def mirror_outline(right: Sequence[Point] | Outline) -> Outline:
    """Return the outline whose right half, from top to bottom, is given; the axis is x = 0."""
    half = np.asarray(right, dtype=np.float64)
    return np.vstack([half, half[::-1] * (-1, 1)])


def outline_tube(points: Sequence[Point] | Outline, width: float, end_width: float | None = None) -> Outline:
    """Return the outline of a bent rod along the points, its width running from `width` to `end_width`."""
    line = np.asarray(points, dtype=np.float64)
    along = np.gradient(line, axis=0)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    normal = np.column_stack([-along[:, 1], along[:, 0]])
    widths = np.linspace(width, width if end_width is None else end_width, len(line))[:, None] / 2
    return np.vstack([line + normal * widths, (line - normal * widths)[::-1]])


def outline_vessel(profile: Sequence[Point], tilt: float, *, curve: bool = True) -> tuple[Outline, Outline]:
    """Return (body, opening) of a vessel seen slightly from above.

    `profile` lists (radius, y) from the rim to the foot; `tilt` is the height of a circle as a share of its
    width. The body includes the opening, so that draw order is body, then opening.
    """
    points = smooth_outline(profile, closed=False) if curve else np.asarray(profile, dtype=np.float64)
    (top_r, top_y), (foot_r, foot_y) = points[0], points[-1]
    foot = outline_ellipse(0, foot_y, foot_r, foot_r * tilt, 0, 180)
    rim = outline_ellipse(0, top_y, top_r, top_r * tilt, 180, 360)
    body = np.vstack([points, foot, points[::-1] * (-1, 1), rim])
    return body, outline_ellipse(0, top_y, top_r, top_r * tilt)


def shift_outline(outline: Outline, dx: float, dy: float) -> Outline:
    """Return the outline moved by (dx, dy)."""
    return outline + np.array((dx, dy))


def rotate_outline(outline: Outline, degrees: float, about: Point = (0.0, 0.0)) -> Outline:
    """Return the outline turned clockwise (as seen) around a point."""
    a = np.radians(degrees)
    matrix = np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])
    return (outline - about) @ matrix + about
