"""Paints a sketch: outlines become masks, and masks get colour, light and shadow."""

from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from demo_shop.shading import Light, compute_shading, draw_grain_tile, multiply_tile
from demo_shop.sketch import Sketch, SketchPart, Stroke
from demo_shop.vocabulary import Material, Rgb

SUPERSAMPLE = 2
MARGIN = 4
"""Transparent pixels around the drawing, for blurred edges."""

PixelBox = tuple[int, int, int, int]


class Canvas:
    """A picture at `SUPERSAMPLE` times the wanted size, on which the parts of a sketch are painted back to front.

    Args:
        sketch: what to paint; its bounds fill the canvas.
        longest: longest side of the finished picture in pixels.
        paints: RGB of each paint key; "main" is cut from the pattern sheet instead.
        materials: material of each paint key; ``materials["other"]`` for keys without one.
        light: direction and strength of the light.
    """

    def __init__(
        self, sketch: Sketch, longest: int, paints: Mapping[str, Rgb], materials: Mapping[str, Material], light: Light
    ) -> None:
        low, high = sketch.compute_bounds()
        self._scale = longest * SUPERSAMPLE / float((high - low).max())
        self._low = low
        width, height = (int(np.ceil(v)) for v in (high - low) * self._scale)
        self.size = (width + 2 * MARGIN, height + 2 * MARGIN)
        self._colour = Image.new("RGB", self.size, (128, 128, 128))
        self._alpha = Image.new("L", self.size, 0)
        self._paints = paints
        self._materials = materials
        self._light = light

    def paint(self, sketch: Sketch, sheet: Image.Image, folds: np.ndarray) -> Image.Image:
        """Return the painted sketch as RGBA of `size`.

        Args:
            sketch: what to paint.
            sheet: RGB pattern sheet of `size`, from which the parts with paint "main" are cut.
            folds: height map [64, 64] of creases.
        """
        for item in sketch.items:
            if isinstance(item, SketchPart):
                self._add_part(item, sheet, folds)
            else:
                self._add_stroke(item)
        picture = self._colour.copy()
        picture.putalpha(self._alpha)
        return picture

    def _to_pixels(self, points: np.ndarray) -> np.ndarray:
        pixels: np.ndarray = (points - self._low) * self._scale + MARGIN
        return pixels

    def _add_part(self, part: SketchPart, sheet: Image.Image, folds: np.ndarray) -> None:
        points = self._to_pixels(part.outline)
        (x0, y0), (x1, y1) = np.floor(points.min(axis=0)).astype(int) - 1, np.ceil(points.max(axis=0)).astype(int) + 2
        frame = (max(x0, 0), max(y0, 0), min(x1, self.size[0]), min(y1, self.size[1]))
        size = (frame[2] - frame[0], frame[3] - frame[1])
        if min(size) < 2:
            return
        mask = Image.new("L", size, 0)
        ImageDraw.Draw(mask).polygon([tuple(p) for p in points - frame[:2]], fill=255)
        material = self._materials.get(part.paint, self._materials["other"])
        surface = self._cut_surface(part, sheet, frame, material)
        glossy = Material(min(material.gloss * part.gloss, 1.0), material.sharpness)
        dark, glint = compute_shading(mask, part.form, part.height, glossy, self._light, folds)
        surface = multiply_tile(surface, dark)
        if glint is not None:
            surface = ImageChops.screen(surface, Image.merge("RGB", (glint, glint, glint)))
        if part.form != "flat":
            self._cast_shadow(mask, frame)
        self._colour.paste(surface, frame[:2], mask)
        self._alpha.paste(255, frame[:2], mask)

    def _cut_surface(self, part: SketchPart, sheet: Image.Image, frame: PixelBox, material: Material) -> Image.Image:
        """Return the unlit surface of a part: pattern or paint, with the material's grain."""
        size = (frame[2] - frame[0], frame[3] - frame[1])
        if part.paint == "main":
            surface = sheet.crop(frame)
            if part.form in ("turned", "ball"):
                surface = _wrap_around_cylinder(surface)
        else:
            surface = Image.new("RGB", size, self._paints[part.paint])
        if material.grain != "none":
            tile = draw_grain_tile(material.grain, material.strength)
            x, y = frame[0] % 64, frame[1] % 64
            if size[0] + x <= tile.width and size[1] + y <= tile.height:
                grain = tile.crop((x, y, x + size[0], y + size[1]))
            else:
                grain = tile.resize(size, Image.Resampling.BILINEAR)
            surface = multiply_tile(surface, grain)
        return surface

    def _cast_shadow(self, mask: Image.Image, frame: PixelBox) -> None:
        """Darken what is behind a part, on the side away from the light."""
        if self._alpha.getextrema()[1] == 0:
            return
        reach = max(3, self.size[0] // 36)
        wide = Image.new("L", (mask.width + 2 * reach, mask.height + 2 * reach), 0)
        wide.paste(mask, (reach - int(self._light.x * reach), reach - int(self._light.y * reach)))
        soft = wide.reduce(4).filter(ImageFilter.BoxBlur(max(reach / 8, 1)))
        dim = soft.resize(wide.size, Image.Resampling.BILINEAR).point(lambda v: 255 - int(v * 0.42))
        corner = (frame[0] - reach, frame[1] - reach)
        behind = self._colour.crop((*corner, corner[0] + wide.width, corner[1] + wide.height))
        self._colour.paste(multiply_tile(behind, dim), corner)

    def _add_stroke(self, stroke: Stroke) -> None:
        points = [tuple(p) for p in self._to_pixels(stroke.points)]
        width = max(round(stroke.width * self._scale), 1)
        if stroke.paint is not None:
            ImageDraw.Draw(self._colour).line(points, fill=self._paints[stroke.paint], width=width, joint="curve")
            ImageDraw.Draw(self._alpha).line(points, fill=255, width=width, joint="curve")
            return
        mark = Image.new("L", self.size, 0)
        ImageDraw.Draw(mark).line(points, fill=int(abs(stroke.shade) * 255), width=width, joint="curve")
        if stroke.width > 0.015:
            mark = mark.filter(ImageFilter.BoxBlur(max(width / 4, 1)))
        self._colour.paste((0, 0, 0) if stroke.shade < 0 else (255, 255, 255), mask=mark)


def _wrap_around_cylinder(surface: Image.Image) -> Image.Image:
    """Return a surface bent around an upright cylinder: columns get denser towards both edges."""
    t = np.linspace(-1, 1, surface.width)
    source = (np.arcsin(t * 0.96) / np.arcsin(0.96) + 1) / 2 * (surface.width - 1)
    return Image.fromarray(np.asarray(surface)[:, source.round().astype(int)])
