"""A broad shop in words: nouns, materials and the rest from which ``corpora`` composes titles that no shop wrote.

Much wider than the demo world, because the text side must stay good on catalogues it will only meet later: fashion,
home, kitchen, groceries, electronics, sports, toys, beauty, tools, pets and more. One table, hence its length.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Department:
    """A department of the shop in lists of words, parted by commas.

    Attributes:
        nouns: what it sells.
        kinds: materials or kinds.
        phrases: what titles say behind the noun.
        features: what descriptions praise.
    """

    nouns: str
    kinds: str
    phrases: str
    features: str


DEPARTMENTS: dict[str, Department] = {
    "Women/Clothing": Department(
        nouns=(
            "dress, midi dress, maxi skirt, pleated skirt, blouse, tunic, kimono, cardigan, jumpsuit, leggings, "
            "camisole, wrap top, bodysuit, culottes, pencil skirt, evening gown, saree, kurta, poncho, bolero"
        ),
        kinds="cotton, linen, silk, chiffon, viscose, satin, lace, wool, denim, polyester",
        phrases="for summer, for the office, with long sleeves, with v-neck, slim fit, high waist, party wear",
        features=(
            "a flattering waistline, a concealed side zip, softly gathered sleeves, an airy drape, a lined bodice, "
            "delicate embroidery at the neckline, a fabric that falls beautifully, adjustable straps, a scalloped "
            "hem, a relaxed cut"
        ),
    ),
    "Men/Clothing": Department(
        nouns=(
            "shirt, polo shirt, t-shirt, hoodie, sweatshirt, chinos, cargo shorts, jeans, blazer, waistcoat, suit, "
            "overcoat, parka, bomber jacket, swim shorts, boxer shorts, undershirt, tracksuit, pyjamas, turtleneck"
        ),
        kinds="cotton, linen, denim, wool, corduroy, fleece, jersey, flannel, polyester, merino",
        phrases="regular fit, slim fit, casual, formal, with pockets, solid, half sleeves",
        features=(
            "a button-down collar, a tailored fit, a chest pocket, ribbed cuffs, reinforced seams, a straight leg, a "
            "drawstring waist, a breathable weave, two side pockets, easy-iron fabric"
        ),
    ),
    "Kids/Clothing": Department(
        nouns="romper, baby bodysuit, dungarees, school skirt, raincoat, snowsuit, bib, mittens, baby booties, tutu",
        kinds="organic cotton, fleece, jersey, muslin",
        phrases="for girls, for boys, for newborns, with dinosaurs, with stars",
        features=(
            "snap fasteners, soft seams that do not scratch, an elastic waistband, cheerful prints, room to grow, a "
            "fluffy lining"
        ),
    ),
    "Shoes": Department(
        nouns=(
            "sneakers, running shoes, ankle boots, chelsea boots, sandals, flip flops, loafers, high heels, ballet "
            "flats, slippers, hiking boots, clogs, football boots, espadrilles, derby shoes"
        ),
        kinds="leather, suede, canvas, mesh, rubber, synthetic",
        phrases="for women, for men, for children, waterproof, lightweight, with laces",
        features=(
            "a springy outsole, a removable footbed, a reinforced toe cap, a knitted upper, a waterproof membrane, "
            "pull tabs, arch support, a sturdy heel counter, a rounded toe, quick lacing"
        ),
    ),
    "Accessories": Department(
        nouns=(
            "handbag, backpack, tote bag, clutch, wallet, belt, scarf, beanie, baseball cap, sun hat, sunglasses, "
            "gloves, tie, bow tie, wristwatch, necklace, earrings, bracelet, ring, brooch, socks, suitcase, duffel "
            "bag"
        ),
        kinds="leather, canvas, silk, wool, steel, silver, gold plated, nylon",
        phrases="unisex, for travel, with zip, gift boxed, adjustable",
        features=(
            "a secure zip pocket, an adjustable strap, a polished buckle, a scratch-resistant crystal, room for cards "
            "and coins, a hypoallergenic finish, a padded laptop sleeve, a magnetic clasp"
        ),
    ),
    "Home/Furniture": Department(
        nouns=(
            "sofa, dining chair, bar stool, coffee table, side table, desk, bookcase, wardrobe, bed frame, mattress, "
            "nightstand, tv stand, shoe rack, bench, ottoman, shelf, chest of drawers, office chair, crib"
        ),
        kinds="oak, walnut, pine, velvet, rattan, metal, glass, leather, plywood",
        phrases="scandinavian, mid-century, foldable, with storage, for small rooms",
        features=(
            "solid legs, deep seat cushions, soft-close drawers, a scratch-resistant top, a generous backrest, "
            "tool-free assembly, adjustable shelves, rounded edges that are safe for children, hidden storage"
        ),
    ),
    "Home/Textiles": Department(
        nouns=(
            "throw pillow, cushion cover, duvet cover, bed sheet, blanket, quilt, curtain, rug, doormat, bath towel, "
            "tablecloth, napkin, bath mat, sofa throw, pillowcase"
        ),
        kinds="cotton, linen, wool, jute, microfibre, velvet, bamboo",
        phrases="machine washable, king size, set of two, european vintage, soft",
        features=(
            "a soft touch, colours that stay bright after many washes, a hidden zip, a high thread count, a non-slip "
            "backing, excellent absorbency, a breathable filling, hand-knotted fringes"
        ),
    ),
    "Home/Decor": Department(
        nouns=(
            "vase, candle holder, picture frame, wall clock, mirror, wall art, figurine, artificial plant, scented "
            "candle, lantern, basket, plant pot, table lamp, floor lamp, pendant light, string lights, lampshade"
        ),
        kinds="ceramic, glass, brass, wood, concrete, paper, rattan",
        phrases="handmade, for the living room, minimalist, boho",
        features=(
            "a warm and gentle glow, a hand-glazed surface, a silent movement, a shatterproof front, ready to hang "
            "fittings, an organic silhouette, a long burning time, a weighted base"
        ),
    ),
    "Kitchen": Department(
        nouns=(
            "mug, teapot, bowl, dinner plate, frying pan, saucepan, casserole, chef's knife, cutting board, colander, "
            "whisk, rolling pin, baking tray, cake tin, kettle, coffee maker, blender, toaster, lunch box, water "
            "bottle, wine glass, tumbler, spoon, cutlery set, spice rack, storage jar, apron"
        ),
        kinds="stainless steel, ceramic, glass, cast iron, bamboo, silicone, enamel, porcelain, plastic",
        phrases="dishwasher safe, set of four, non-stick, 1 litre, microwave safe",
        features=(
            "an even heat distribution, a comfortable handle, a tight-fitting lid, a razor-sharp blade, a drip-free "
            "spout, measuring marks inside, a stackable shape, suitable for all hobs including induction"
        ),
    ),
    "Grocery/Fruit and vegetables": Department(
        nouns=(
            "apple, banana, pear, orange, lemon, lime, mango, pineapple, avocado, kiwi, melon, peach, plum, grapes, "
            "tomato, cucumber, carrot, potato, onion, garlic, ginger, cabbage, leek, bell pepper, courgette, "
            "aubergine, mushrooms, asparagus, beetroot, passion fruit, papaya, pomegranate, nectarine, red "
            "grapefruit, satsumas"
        ),
        kinds="organic, fresh, ripe, imported, local",
        phrases="per kilo, bag of six, sweet and crisp, loose",
        features=(
            "a juicy and aromatic flesh, a naturally sweet taste, a crisp bite, plenty of vitamin C, hand-picked at "
            "its best, a thin edible skin, a mild flavour that children love"
        ),
    ),
    "Grocery/Dairy and drinks": Department(
        nouns=(
            "milk, soy milk, oat milk, yoghurt, vanilla yoghurt, sour cream, soured milk, butter, cheese, cream, "
            "orange juice, apple juice, grapefruit juice, ruby red juice, iced tea, lemonade, coffee beans, green tea"
        ),
        kinds="organic, low fat, lactose free, fresh, fair trade",
        phrases="1 litre carton, without added sugar, family pack",
        features=(
            "a rich creamy taste, made from fresh whole milk, no concentrate, a refreshing acidity, a high share of "
            "calcium, a resealable carton, pasteurised and homogenised"
        ),
    ),
    "Grocery/Pantry": Department(
        nouns=(
            "pasta, rice, flour, olive oil, honey, strawberry jam, peanut butter, chocolate bar, biscuits, crisps, "
            "breakfast cereal, canned tuna, tomato sauce, lentils, chickpeas, bread, salt, black pepper, vinegar, "
            "noodles"
        ),
        kinds="organic, wholegrain, gluten free, vegan, classic",
        phrases="500 g, family size, no additives",
        features=(
            "slowly roasted, ground on stone, cold pressed, no artificial colours, a long shelf life, ready in ten "
            "minutes, a crunchy texture, a source of fibre"
        ),
    ),
    "Electronics": Department(
        nouns=(
            "smartphone, laptop, tablet, headphones, earbuds, bluetooth speaker, smartwatch, camera, tripod, monitor, "
            "keyboard, mouse, usb cable, power bank, charger, router, printer, hard drive, memory card, television, "
            "projector, microphone, game controller, drone, phone case, screen protector, remote control"
        ),
        kinds="wireless, 4k, portable, rechargeable, compact, aluminium",
        phrases="with fast charging, with noise cancelling, 128 GB, waterproof",
        features=(
            "a battery that lasts all day, a crisp high-resolution display, low latency, fast wireless pairing, a "
            "detachable cable, active cooling, voice control, a slim metal housing, dust and splash protection"
        ),
    ),
    "Appliances": Department(
        nouns=(
            "vacuum cleaner, washing machine, refrigerator, microwave oven, air conditioner, fan heater, iron, hair "
            "dryer, electric shaver, air purifier, humidifier, dishwasher, rice cooker, juicer, sewing machine"
        ),
        kinds="cordless, digital, stainless steel, compact, energy saving",
        phrases="1200 W, with timer, quiet",
        features=(
            "a washable filter, an automatic shut-off, several power levels, a transparent tank, a whisper-quiet "
            "motor, a clear control panel, a child lock, a retractable cord"
        ),
    ),
    "Sports": Department(
        nouns=(
            "yoga mat, dumbbell, kettlebell, resistance band, football, basketball, tennis racket, badminton set, "
            "cycling helmet, bicycle, skateboard, roller skates, ski jacket, snowboard, swimming goggles, tent, "
            "sleeping bag, trekking poles, fishing rod, climbing rope, water flask, jump rope, boxing gloves, sports "
            "bra"
        ),
        kinds="foam, carbon, nylon, rubber, steel, neoprene",
        phrases="for beginners, for the gym, professional, outdoor, adjustable",
        features=(
            "a non-slip grip, a shock-absorbing core, balanced weight, sweat-wicking fabric, double stitching, a "
            "foldable frame, air vents, a wide and stable base, quick-release buckles, high visibility in the dark, "
            "tested by athletes"
        ),
    ),
    "Toys": Department(
        nouns=(
            "teddy bear, doll, building blocks, jigsaw puzzle, board game, toy car, train set, kite, toy kitchen, "
            "yo-yo, colouring book, play tent, water gun, model aeroplane, rocking horse, plush rabbit, spinning top"
        ),
        kinds="wooden, plush, plastic, magnetic, cardboard",
        phrases="from three years, educational, 100 pieces, for toddlers",
        features=(
            "smooth rounded edges, bright non-toxic paint, pieces that fit little hands, light and sound, hours of "
            "creative play, a sturdy storage box"
        ),
    ),
    "Beauty": Department(
        nouns=(
            "lipstick, mascara, nail polish, perfume, shampoo, conditioner, face cream, sunscreen, body lotion, soap, "
            "hair brush, toothbrush, beard oil, eyeshadow palette, hand cream, shower gel, deodorant, face mask"
        ),
        kinds="vegan, natural, matte, rose, lavender, argan",
        phrases="50 ml, for dry skin, long lasting, fragrance free",
        features=(
            "a velvety texture, a fresh floral scent, a formula without parabens, hyaluronic acid, a precise "
            "applicator, intense pigments, protection from the sun, quick absorption"
        ),
    ),
    "Garden and tools": Department(
        nouns=(
            "spade, rake, garden hose, watering can, lawn mower, flower seeds, plant fertiliser, hammer, screwdriver "
            "set, cordless drill, ladder, tape measure, toolbox, paint roller, barbecue grill, parasol, garden chair"
        ),
        kinds="steel, galvanised, wooden, aluminium, plastic",
        phrases="heavy duty, with handle, weatherproof",
        features=(
            "a hardened blade, a rust-free coating, a telescopic handle, a soft-grip handle, a keyless chuck, "
            "UV-stable fabric, a non-kink tube, drought-tolerant seeds"
        ),
    ),
    "Pets": Department(
        nouns=(
            "dog leash, dog bed, cat tree, cat litter, dog food, cat toy, bird cage, aquarium, fish food, pet "
            "carrier, dog collar, food bowl, scratching post, hamster wheel"
        ),
        kinds="nylon, plush, sisal, steel, grain free",
        phrases="for small dogs, for large dogs, for kittens, washable",
        features=(
            "a removable cover, a chew-proof seam, a reflective stitching, a non-tip base, natural ingredients, a "
            "cosy hollow to curl up in, an escape-proof lock"
        ),
    ),
    "Music and office": Department(
        nouns=(
            "acoustic guitar, violin, digital piano, drum sticks, ukulele, notebook, fountain pen, pencil case, "
            "stapler, desk organiser, whiteboard, calculator, wall calendar, envelope, highlighter, sheet music "
            "stand, harmonica"
        ),
        kinds="wooden, leather, recycled paper, metal, plastic",
        phrases="a5, pack of ten, for students, refillable",
        features=(
            "a warm resonant tone, smooth ink flow, acid-free paper, a lay-flat binding, precise tuning pegs, a "
            "refillable cartridge, plenty of compartments"
        ),
    ),
    "Women/Nightwear and lingerie": Department(
        nouns=(
            "bra, briefs, thong, shapewear, nightdress, pyjama set, dressing gown, tights, stockings, camisole set, "
            "bathrobe, swimsuit, bikini"
        ),
        kinds="cotton, lace, satin, modal, microfibre, silk",
        phrases="seamless, wireless, padded, full coverage, for sensitive skin",
        features=(
            "soft elastic edges, a removable padding, an invisible seam, a delicate lace trim, a tie belt, moulded cups"
        ),
    ),
    "Women/Ethnic wear": Department(
        nouns=(
            "kurti, lehenga, salwar suit, dupatta, churidar, palazzo, anarkali, abaya, sari blouse, shawl, kaftan, "
            "hijab"
        ),
        kinds="cotton, georgette, silk, chanderi, rayon, crepe",
        phrases="for festivals, for weddings, with a round neck, straight cut, three quarter sleeves",
        features="golden zari work, block printed borders, mirror work, a flared hem, a contrasting lining",
    ),
    "Jewellery and watches": Department(
        nouns=(
            "analog watch, digital watch, chronograph, smart band, pendant, anklet, stud earrings, hoop earrings, "
            "bangle, engagement ring, cufflinks, charm, jewellery box, nose ring"
        ),
        kinds="stainless steel, sterling silver, gold, rose gold, pearl, leather",
        phrases="water resistant, with date display, nickel free, with gift box",
        features=(
            "a luminous dial, a sapphire crystal, a folding clasp, hand-set stones, a quartz movement, a tarnish-free "
            "plating"
        ),
    ),
    "Outdoor": Department(
        nouns=(
            "climbing harness, carabiner, headlamp, ski goggles, skis, ski boots, snowshoes, kayak, life jacket, "
            "hammock, camping stove, cooler box, compass, binoculars, gps device, trekking backpack, bike light, bike "
            "lock, cycling jersey, surfboard, wetsuit, sleeping pad, multi-tool, rain poncho"
        ),
        kinds="aluminium, nylon, carbon, ripstop, titanium, plastic",
        phrases="ultralight, for winter, for long tours, waterproof, packable",
        features=(
            "sealed seams, a long runtime, a compact packed size, cold-resistant electronics, a wide field of view, "
            "welded joints"
        ),
    ),
    "Baby": Department(
        nouns=(
            "stroller, baby bottle, pacifier, nappies, changing mat, baby monitor, high chair, baby carrier, car "
            "seat, teether, nursing pillow, playpen, potty, swaddle blanket"
        ),
        kinds="organic cotton, silicone, bpa-free plastic, wood",
        phrases="from birth, for six months and older, washable, foldable",
        features="a five-point belt, rounded corners, a soft washable cover, one-hand folding, a gentle night light",
    ),
    "Home/Bath and laundry": Department(
        nouns=(
            "shower curtain, soap dispenser, toothbrush holder, laundry basket, towel rack, toilet brush, shower "
            "head, washbasin, bathroom cabinet, clothes drying rack, ironing board, bathroom scale, waste bin"
        ),
        kinds="bamboo, chrome, ceramic, polyester, stainless steel, plastic",
        phrases="wall mounted, without drilling, water repellent, space saving",
        features=(
            "strong suction cups, a soft-close lid, rust-proof fittings, a quick-drying surface, a removable inner "
            "bucket"
        ),
    ),
    "Home/Lighting": Department(
        nouns=(
            "ceiling light, chandelier, desk lamp, wall sconce, led bulb, night light, spotlight, solar lamp, fairy "
            "lights, reading lamp, bedside lamp"
        ),
        kinds="glass, brass, paper, fabric, metal, concrete",
        phrases="dimmable, warm white, for the hallway, industrial style, with remote control",
        features="a flicker-free light, a swivel head, a textile cable, a memory function, a low power draw",
    ),
    "Car and motorcycle": Department(
        nouns=(
            "car vacuum, phone mount, dash cam, motor oil, tyre inflator, seat cover, floor mat, jump starter, wiper "
            "blades, motorcycle helmet, car charger, roof box, air freshener"
        ),
        kinds="rubber, leather, plastic, aluminium",
        phrases="universal fit, for all seasons, heavy duty, compact",
        features="a quick-release holder, a wide lens, an anti-slip underside, an integrated cable, a tough shell",
    ),
    "Home/Storage and cleaning": Department(
        nouns=(
            "storage box, clothes hanger, shoe organiser, drawer divider, laundry bag, mop, broom, bucket, dustpan, "
            "duster, sponge, spray bottle, step stool, hook rail, wine rack, room divider"
        ),
        kinds="plastic, felt, bamboo, metal, cotton, wire",
        phrases="stackable, with lid, set of three, for the wardrobe, folding",
        features="a label holder, a reinforced bottom, a comfortable grip, washable pads, a clever folding mechanism",
    ),
}

COLOUR_WORDS = (
    "red, dark red, crimson, burgundy, orange, apricot, yellow, mustard, gold, green, olive, emerald, mint, teal, "
    "turquoise, aqua, blue, navy, sky blue, cobalt, purple, violet, lilac, pink, rose, blush, brown, chocolate, tan, "
    "beige, cream, ivory, white, black, charcoal, grey, silver, multicolour"
)

PATTERN_WORDS = (
    "plain, striped, stripy, dotted, polka dot, checked, plaid, tartan, floral, flowery, paisley, zigzag, "
    "chevron, starry, leopard print, camouflage, geometric, marbled, tie dye, embroidered, printed, solid"
)

ADJECTIVE_WORDS = (
    "classic, modern, vintage, premium, everyday, handmade, elegant, sturdy, lightweight, new, cosy, small, large"
)

AUDIENCE_WORDS = "women's, men's, kids, unisex, women, men, girls, boys, baby, home"

BRAND_SYLLABLES = "nor, vel, tar, lum, kes, bri, mon, ada, ro, sil, fen, ost, hal, ira, quin, bel, zan, mar, tho, wick"
"""Of invented brands: a brand must not teach what a product is."""


def split_words(text: str) -> list[str]:
    """Split a list of words as the vocabularies hold them."""
    return [word.strip() for word in text.split(",")]
