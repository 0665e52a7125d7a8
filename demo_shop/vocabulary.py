"""Every word of the demo shop: product types, categories, colours, patterns, materials, brands.

Two registers are kept apart on purpose. `names` are the words the shop itself writes into titles and
attributes; `asked` are the words shoppers use instead, and they never occur in any title. A search that
only compares words therefore fails on most queries, as it does in real shops.
"""

from dataclasses import dataclass, field

Rgb = tuple[int, int, int]


@dataclass(frozen=True)
class ProductType:
    """One kind of product: where it stands in the shop, what it is called, what it can be made of."""

    category: tuple[str, ...]
    names: tuple[str, ...]
    asked: tuple[str, ...]
    materials: tuple[str, ...]
    sizes: tuple[str, ...]
    uses: tuple[str, ...]


@dataclass(frozen=True)
class Colour:
    """A colour family; `taste` is its place on the four hidden axes of `TASTES`."""

    rgb: Rgb
    names: tuple[str, ...]
    asked: tuple[str, ...]
    taste: tuple[float, float, float, float]


@dataclass(frozen=True)
class Pattern:
    """A surface pattern; `phrases` are nouns such as "with stripes", used at the end of a text."""

    names: tuple[str, ...]
    asked: tuple[str, ...]
    phrases: tuple[str, ...]
    taste: tuple[float, float, float, float]


@dataclass(frozen=True)
class Material:
    """How a material looks: `gloss` 0..1, `sharpness` of its highlight, and the kind of `grain` on it."""

    gloss: float
    sharpness: float
    grain: str = "none"
    strength: float = 0.0


@dataclass(frozen=True)
class Brand:
    """A maker; its taste draws similar shoppers to all of its products."""

    name: str
    taste: tuple[float, float, float, float]
    lines: tuple[str, ...] = field(default=())


TASTES = ("playful", "natural", "elegant", "sporty")

CLOTHES_SIZES = ("XS", "S", "M", "L", "XL")
SHOE_SIZES = ("37", "38", "39", "40", "41", "42", "43", "44")

PRODUCT_TYPES: dict[str, ProductType] = {
    "mug": ProductType(
        ("Home", "Kitchen", "Drinkware"),
        ("mug", "coffee mug"),
        ("cup", "tea cup", "beaker"),
        ("ceramic", "stoneware", "enamel"),
        ("250 ml", "300 ml", "350 ml", "400 ml"),
        ("for the first coffee of the day", "that keeps tea warm", "for desk and breakfast table"),
    ),
    "teapot": ProductType(
        ("Home", "Kitchen", "Teaware"),
        ("teapot", "tea pot"),
        ("tea kettle", "pot for brewing tea"),
        ("ceramic", "porcelain", "enamel"),
        ("0.8 l", "1.0 l", "1.2 l"),
        ("for two long conversations", "with a spout that does not drip", "for loose leaves"),
    ),
    "bowl": ProductType(
        ("Home", "Kitchen", "Tableware"),
        ("bowl", "serving bowl"),
        ("dish", "salad basin"),
        ("ceramic", "stoneware", "wood"),
        ("14 cm", "18 cm", "24 cm"),
        ("for soup and cereals", "for salads shared at table", "that stacks neatly"),
    ),
    "bottle": ProductType(
        ("Sports", "Outdoor", "Hydration"),
        ("bottle", "water bottle"),
        ("drinking flask", "canteen"),
        ("steel", "plastic", "glass"),
        ("500 ml", "750 ml", "1 l"),
        ("for the gym and the trail", "that does not leak in the bag", "with a wide opening"),
    ),
    "vase": ProductType(
        ("Home", "Decor", "Vases"),
        ("vase", "table vase"),
        ("flower jar", "container for a bouquet"),
        ("ceramic", "glass", "porcelain"),
        ("18 cm", "25 cm", "32 cm"),
        ("for a single branch", "for a full bunch of tulips", "that looks good empty"),
    ),
    "lamp": ProductType(
        ("Home", "Lighting", "Table lamps"),
        ("lamp", "table lamp"),
        ("desk light", "bedside light"),
        ("cotton", "linen", "metal"),
        ("35 cm", "45 cm", "60 cm"),
        ("for reading corners", "with a warm glow", "for the hallway table"),
    ),
    "cushion": ProductType(
        ("Home", "Textiles", "Cushions"),
        ("cushion", "cushion cover"),
        ("throw pillow", "sofa pillow"),
        ("cotton", "linen", "velvet", "wool"),
        ("40 x 40 cm", "45 x 45 cm", "50 x 50 cm"),
        ("for sofa and reading chair", "with a hidden zip", "soft on both sides"),
    ),
    "armchair": ProductType(
        ("Home", "Furniture", "Seating"),
        ("armchair", "accent chair"),
        ("lounge seat", "easy seat"),
        ("velvet", "linen", "leather"),
        ("75 cm wide", "80 cm wide", "85 cm wide"),
        ("to sink into", "for small living rooms", "with a firm seat"),
    ),
    "t-shirt": ProductType(
        ("Fashion", "Clothing", "Tops"),
        ("t-shirt", "crew t-shirt"),
        ("tee", "short-sleeved top"),
        ("cotton", "linen", "wool"),
        CLOTHES_SIZES,
        ("for every day", "cut straight", "that keeps its shape in the wash"),
    ),
    "dress": ProductType(
        ("Fashion", "Clothing", "Dresses"),
        ("dress", "summer dress"),
        ("frock", "gown"),
        ("cotton", "silk", "linen"),
        CLOTHES_SIZES,
        ("for warm evenings", "that moves with you", "with side pockets"),
    ),
    "trousers": ProductType(
        ("Fashion", "Clothing", "Trousers"),
        ("trousers", "straight trousers"),
        ("pants", "slacks"),
        ("cotton", "denim", "wool"),
        ("28", "30", "32", "34", "36"),
        ("for office and weekend", "with a high waist", "with deep pockets"),
    ),
    "sneaker": ProductType(
        ("Fashion", "Shoes", "Sneakers"),
        ("sneaker", "low sneaker"),
        ("trainer", "running shoe"),
        ("canvas", "leather", "nylon"),
        SHOE_SIZES,
        ("for city miles", "with a springy sole", "that you can wear without socks"),
    ),
    "boot": ProductType(
        ("Fashion", "Shoes", "Boots"),
        ("boot", "rain boot"),
        ("wellington", "welly"),
        ("rubber", "leather"),
        SHOE_SIZES,
        ("for puddles and gardens", "with a deep tread", "easy to pull on"),
    ),
    "backpack": ProductType(
        ("Fashion", "Bags", "Backpacks"),
        ("backpack", "day backpack"),
        ("rucksack", "school bag"),
        ("canvas", "nylon", "leather"),
        ("12 l", "18 l", "24 l"),
        ("for laptop and lunch", "with padded straps", "for day hikes"),
    ),
    "handbag": ProductType(
        ("Fashion", "Bags", "Handbags"),
        ("handbag", "top-handle handbag"),
        ("purse", "ladies' carryall"),
        ("leather", "canvas", "velvet"),
        ("small", "medium", "large"),
        ("with a magnetic clasp", "for keys, phone and a book", "that stands on its own"),
    ),
    "watch": ProductType(
        ("Fashion", "Accessories", "Watches"),
        ("watch", "strap watch"),
        ("timepiece", "chronometer"),
        ("leather", "nylon", "rubber"),
        ("36 mm", "40 mm", "44 mm"),
        ("with a quiet movement", "water resistant to 5 bar", "with a strap that is quick to change"),
    ),
    "umbrella": ProductType(
        ("Fashion", "Accessories", "Umbrellas"),
        ("umbrella", "stick umbrella"),
        ("brolly", "parasol"),
        ("nylon", "cotton"),
        ("90 cm", "100 cm", "110 cm"),
        ("that stands up to gusts", "with eight ribs", "for two under one roof"),
    ),
    "cap": ProductType(
        ("Fashion", "Accessories", "Headwear"),
        ("cap", "visor cap"),
        ("baseball hat", "peaked hat"),
        ("cotton", "denim", "nylon"),
        ("S/M", "L/XL", "one size"),
        ("for sunny walks", "with a curved peak", "with an adjustable back"),
    ),
    "guitar": ProductType(
        ("Leisure", "Music", "Guitars"),
        ("guitar", "acoustic guitar"),
        ("six-string", "strummer"),
        ("wood", "plastic"),
        ("1/2", "3/4", "4/4"),
        ("with low string action", "for campfires", "for first chords and old songs"),
    ),
    "ball": ProductType(
        ("Leisure", "Games", "Balls"),
        ("ball", "play ball"),
        ("bouncy toy sphere", "kickabout orb"),
        ("rubber", "leather", "plastic"),
        ("15 cm", "18 cm", "22 cm"),
        ("for garden and beach", "that bounces high", "soft enough for small hands"),
    ),
}

COLOURS: dict[str, Colour] = {
    "red": Colour((200, 28, 36), ("red", "cherry red"), ("crimson", "scarlet"), (0.6, -0.2, 0.3, 0.6)),
    "orange": Colour((240, 125, 20), ("orange", "pumpkin orange"), ("tangerine", "apricot"), (0.8, 0.2, -0.6, 0.5)),
    "yellow": Colour((247, 208, 40), ("yellow", "sun yellow"), ("lemon", "golden"), (0.9, 0.1, -0.5, 0.3)),
    "green": Colour((44, 140, 60), ("green", "forest green"), ("emerald", "grassy"), (-0.1, 1.0, 0.0, 0.2)),
    "turquoise": Colour((40, 180, 175), ("turquoise", "sea turquoise"), ("teal", "aqua"), (0.5, 0.3, 0.0, 0.4)),
    "blue": Colour((32, 84, 190), ("blue", "royal blue"), ("cobalt", "sapphire"), (0.0, -0.1, 0.3, 0.7)),
    "purple": Colour((112, 52, 150), ("purple", "plum purple"), ("violet", "lilac"), (0.4, -0.3, 0.6, -0.3)),
    "pink": Colour((240, 130, 170), ("pink", "candy pink"), ("rosy", "blush"), (0.9, -0.1, 0.3, -0.4)),
    "brown": Colour((118, 72, 40), ("brown", "chestnut brown"), ("chocolate", "hazel"), (-0.6, 0.9, 0.2, -0.5)),
    "black": Colour((34, 34, 38), ("black", "jet black"), ("ebony", "inky"), (-0.6, -0.7, 0.9, 0.4)),
    "white": Colour((240, 238, 232), ("white", "pure white"), ("ivory", "snowy"), (-0.4, 0.1, 0.8, 0.0)),
    "grey": Colour((136, 138, 142), ("grey", "stone grey"), ("gray", "silvery"), (-0.8, 0.0, 0.4, 0.2)),
}

PATTERNS: dict[str, Pattern] = {
    "plain": Pattern(("plain", "unicolour"), ("solid", "unpatterned"), ("in one colour",), (-0.8, 0.2, 0.7, 0.1)),
    "striped": Pattern(("striped", "stripe"), ("stripy", "banded"), ("with lines",), (0.2, 0.0, 0.2, 0.8)),
    "dotted": Pattern(("dotted", "polka dot"), ("spotted", "spotty"), ("with spots",), (0.9, -0.2, 0.1, -0.4)),
    "checked": Pattern(("checked", "gingham check"), ("plaid", "tartan"), ("with squares",), (-0.2, 0.6, 0.2, 0.0)),
    "floral": Pattern(("floral", "flower print"), ("flowery", "blossom"), ("with blossoms",), (0.2, 1.0, 0.4, -0.8)),
    "zigzag": Pattern(
        ("zigzag", "zigzag line"), ("chevron", "herringbone"), ("with chevrons",), (0.6, -0.3, -0.2, 0.7)
    ),
    "starry": Pattern(
        ("starry", "star print"), ("star-spangled", "celestial"), ("covered in stars",), (0.9, -0.3, 0.0, -0.2)
    ),
    "marbled": Pattern(("marbled", "marble effect"), ("swirled", "veined"), ("with swirls",), (-0.1, 0.4, 0.9, -0.6)),
}

MATERIALS: dict[str, Material] = {
    "ceramic": Material(0.55, 26),
    "porcelain": Material(0.75, 40),
    "enamel": Material(0.65, 32),
    "stoneware": Material(0.15, 8, "speckle", 0.16),
    "glass": Material(0.9, 60),
    "steel": Material(0.8, 14, "brushed", 0.14),
    "metal": Material(0.8, 14, "brushed", 0.14),
    "plastic": Material(0.45, 18),
    "rubber": Material(0.3, 10),
    "wood": Material(0.2, 8, "wood", 0.3),
    "cotton": Material(0.0, 4, "weave", 0.10),
    "linen": Material(0.0, 4, "weave", 0.20),
    "wool": Material(0.0, 4, "fuzz", 0.24),
    "denim": Material(0.05, 4, "twill", 0.24),
    "canvas": Material(0.03, 4, "weave", 0.16),
    "velvet": Material(0.12, 3, "fuzz", 0.12),
    "silk": Material(0.4, 6),
    "nylon": Material(0.2, 8, "twill", 0.08),
    "leather": Material(0.3, 9, "mottle", 0.2),
}

BRANDS: tuple[Brand, ...] = (
    Brand("Lumenhof", (-0.5, 0.2, 0.9, -0.3), ("Atelier", "Classic")),
    Brand("Pebble & Pine", (-0.1, 1.0, 0.1, 0.0), ("Grove", "Hearth")),
    Brand("Kobo Works", (-0.7, 0.1, 0.7, 0.3), ("Studio", "Line")),
    Brand("Zappo", (1.0, -0.3, -0.5, 0.3), ("Pop", "Fun")),
    Brand("Norrland", (-0.4, 0.8, 0.1, 0.6), ("Trail", "Basic")),
    Brand("Tamsin Vale", (0.1, 0.2, 0.9, -0.7), ("Maison", "Soft")),
    Brand("Volt9", (0.2, -0.6, -0.2, 1.0), ("Sprint", "Core")),
    Brand("Little Harbour", (0.8, 0.4, -0.1, -0.2), ("Bay", "Pier")),
    Brand("Oakfield Row", (-0.4, 0.6, 0.6, -0.4), ("Heritage", "House")),
    Brand("Mirador", (0.3, 0.1, 0.4, 0.5), ("Vista", "Uno")),
)

ADJECTIVES = (
    "Classic",
    "Modern",
    "Everyday",
    "New",
    "Handy",
    "Timeless",
    "Favourite",
    "Light",
    "Sturdy",
    "Original",
    "Simple",
    "Charming",
)

MISLEADING_TYPES = ("Perfect next to your {type}", "Gift for {type} lovers", "matches our {type}", "not a {type}")
MISLEADING_COLOURS = ("also in {colour}", "{colour} Friday Deal", "Club {colour}", "from our {colour} Room")

DESCRIPTION_OPENERS = ("{a_name} {use}.", "The {name} {use}.", "Our {name} {use}.", "From {brand}: {a_name} {use}.")
DESCRIPTION_MIDDLES = (
    "Made of {material}.",
    "{material}, finished by hand.",
    "Good {material}, simply made.",
    "We chose {material} because it lasts.",
)
DESCRIPTION_CLOSERS = (
    "Size {size}.",
    "Comes in size {size}.",
    "Easy to care for.",
    "Ships in recycled paper.",
    "Each piece differs a little.",
    "Two years of warranty.",
)
