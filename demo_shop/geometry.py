"""Outlines of shapes: float arrays [N, 2] of points (x to the right, y down); the canvas scales them to pixels."""

from collections.abc import Sequence

import numpy as np

Outline = np.ndarray
Point = tuple[float, float]


def smooth_outline(points: Sequence[Point], *, closed: bool = True, steps: int = 12) -> Outline:
    """Return the Catmull-Rom curve through the points, with ``steps`` samples per segment."""
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


def smooth_path(points: Sequence[Point], *, steps: int = 12) -> Outline:
    """Return the open Catmull-Rom curve from the first point to the last, with ``steps`` samples per segment."""
    return smooth_outline(points, closed=False, steps=steps)


def outline_ellipse(x: float, y: float, rx: float, ry: float, start: float = 0.0, stop: float = 360.0) -> Outline:
    """Return an ellipse with centre and radii, or its arc between two angles in degrees (0 = right, 90 = down)."""
    angle = np.radians(np.linspace(start, stop, 48))
    return np.column_stack([x + rx * np.cos(angle), y + ry * np.sin(angle)])


def outline_box(x0: float, y0: float, x1: float, y1: float, radius: float = 0.0) -> Outline:
    """Return a rectangle; a radius rounds its corners."""
    r = min(radius, (x1 - x0) / 2, (y1 - y0) / 2)
    if r <= 0:
        return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], dtype=np.float64)
    corners = ((x1 - r, y0 + r, -90), (x1 - r, y1 - r, 0), (x0 + r, y1 - r, 90), (x0 + r, y0 + r, 180))
    return np.vstack([outline_ellipse(cx, cy, r, r, a, a + 90)[::6] for cx, cy, a in corners])


def mirror_outline(right: Sequence[Point] | Outline) -> Outline:
    """Return the outline that is symmetric around x = 0, from the points of its right half, top to bottom."""
    half = np.asarray(right, dtype=np.float64)
    return np.vstack([half, half[::-1] * (-1, 1)])


def outline_tube(points: Sequence[Point] | Outline, width: float, end_width: float | None = None) -> Outline:
    """Return the outline of a tube along the points, whose width changes evenly from ``width`` to ``end_width``."""
    line = np.asarray(points, dtype=np.float64)
    along = np.gradient(line, axis=0)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    normal = np.column_stack([-along[:, 1], along[:, 0]])
    widths = np.linspace(width, width if end_width is None else end_width, len(line))[:, None] / 2
    return np.vstack([line + normal * widths, (line - normal * widths)[::-1]])


def outline_vessel(profile: Sequence[Point], tilt: float, *, curve: bool = True) -> tuple[Outline, Outline]:
    """Return the outlines of body and opening of a vessel seen slightly from above.

    Args:
        profile: (radius, y) from the rim to the foot.
        tilt: height of a horizontal circle in the picture as a share of its width.
        curve: whether the profile is a smooth curve or a line of straight pieces.

    The body covers the opening too: draw the body first.
    """
    points = smooth_path(profile) if curve else np.asarray(profile, dtype=np.float64)
    (top_r, top_y), (foot_r, foot_y) = points[0], points[-1]
    foot = outline_ellipse(0, foot_y, foot_r, foot_r * tilt, 0, 180)
    rim = outline_ellipse(0, top_y, top_r, top_r * tilt, 180, 360)
    body = np.vstack([points, foot, points[::-1] * (-1, 1), rim])
    return body, outline_ellipse(0, top_y, top_r, top_r * tilt)


def shift_outline(outline: Outline, dx: float, dy: float) -> Outline:
    """Return the outline moved by (dx, dy)."""
    moved: Outline = outline + np.array((dx, dy))
    return moved


def rotate_outline(outline: Outline, degrees: float, about: Point = (0.0, 0.0)) -> Outline:
    """Return the outline rotated around a point, clockwise on the screen."""
    a = np.radians(degrees)
    matrix = np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])
    rotated: Outline = (outline - about) @ matrix + about
    return rotated
