"""A broad shop in words: nouns, materials and the rest from which ``corpora`` composes titles that no shop wrote.

Much wider than the demo world, because the text side must stay good on catalogues it will only meet later: fashion,
home, kitchen, groceries, electronics, sports, toys, beauty, tools, pets and more.
"""

DEPARTMENTS: dict[str, tuple[str, str, str]] = {
    # department: (nouns, materials or kinds, things said of them)
    "Women/Clothing": (
        "dress, midi dress, maxi skirt, pleated skirt, blouse, tunic, kimono, cardigan, jumpsuit, leggings, "
        "camisole, wrap top, bodysuit, culottes, pencil skirt, evening gown, saree, kurta, poncho, bolero",
        "cotton, linen, silk, chiffon, viscose, satin, lace, wool, denim, polyester",
        "for summer, for the office, with long sleeves, with v-neck, slim fit, high waist, party wear",
    ),
    "Men/Clothing": (
        "shirt, polo shirt, t-shirt, hoodie, sweatshirt, chinos, cargo shorts, jeans, blazer, waistcoat, suit, "
        "overcoat, parka, bomber jacket, swim shorts, boxer shorts, undershirt, tracksuit, pyjamas, turtleneck",
        "cotton, linen, denim, wool, corduroy, fleece, jersey, flannel, polyester, merino",
        "regular fit, slim fit, casual, formal, with pockets, solid, half sleeves",
    ),
    "Kids/Clothing": (
        "romper, baby bodysuit, dungarees, school skirt, raincoat, snowsuit, bib, mittens, baby booties, tutu",
        "organic cotton, fleece, jersey, muslin",
        "for girls, for boys, for newborns, with dinosaurs, with stars",
    ),
    "Shoes": (
        "sneakers, running shoes, ankle boots, chelsea boots, sandals, flip flops, loafers, high heels, ballet flats, "
        "slippers, hiking boots, clogs, football boots, espadrilles, derby shoes",
        "leather, suede, canvas, mesh, rubber, synthetic",
        "for women, for men, for children, waterproof, lightweight, with laces",
    ),
    "Accessories": (
        "handbag, backpack, tote bag, clutch, wallet, belt, scarf, beanie, baseball cap, sun hat, sunglasses, gloves, "
        "tie, bow tie, wristwatch, necklace, earrings, bracelet, ring, brooch, socks, suitcase, duffel bag",
        "leather, canvas, silk, wool, steel, silver, gold plated, nylon",
        "unisex, for travel, with zip, gift boxed, adjustable",
    ),
    "Home/Furniture": (
        "sofa, dining chair, bar stool, coffee table, side table, desk, bookcase, wardrobe, bed frame, "
        "mattress, nightstand, tv stand, shoe rack, bench, ottoman, shelf, chest of drawers, office chair, crib",
        "oak, walnut, pine, velvet, rattan, metal, glass, leather, plywood",
        "scandinavian, mid-century, foldable, with storage, for small rooms",
    ),
    "Home/Textiles": (
        "throw pillow, cushion cover, duvet cover, bed sheet, blanket, quilt, curtain, rug, doormat, bath towel, "
        "tablecloth, napkin, bath mat, sofa throw, pillowcase",
        "cotton, linen, wool, jute, microfibre, velvet, bamboo",
        "machine washable, king size, set of two, european vintage, soft",
    ),
    "Home/Decor": (
        "vase, candle holder, picture frame, wall clock, mirror, wall art, figurine, artificial plant, scented candle, "
        "lantern, basket, plant pot, table lamp, floor lamp, pendant light, string lights, lampshade",
        "ceramic, glass, brass, wood, concrete, paper, rattan",
        "handmade, for the living room, minimalist, boho",
    ),
    "Kitchen": (
        "mug, teapot, bowl, dinner plate, frying pan, saucepan, casserole, chef's knife, cutting board, colander, "
        "whisk, rolling pin, baking tray, cake tin, kettle, coffee maker, blender, toaster, lunch box, water bottle, "
        "wine glass, tumbler, spoon, cutlery set, spice rack, storage jar, apron",
        "stainless steel, ceramic, glass, cast iron, bamboo, silicone, enamel, porcelain, plastic",
        "dishwasher safe, set of four, non-stick, 1 litre, microwave safe",
    ),
    "Grocery/Fruit and vegetables": (
        "apple, banana, pear, orange, lemon, lime, mango, pineapple, avocado, kiwi, melon, peach, plum, grapes, "
        "tomato, cucumber, carrot, potato, onion, garlic, ginger, cabbage, leek, bell pepper, courgette, aubergine, "
        "mushrooms, asparagus, beetroot, passion fruit, papaya, pomegranate, nectarine, red grapefruit, satsumas",
        "organic, fresh, ripe, imported, local",
        "per kilo, bag of six, sweet and crisp, loose",
    ),
    "Grocery/Dairy and drinks": (
        "milk, soy milk, oat milk, yoghurt, vanilla yoghurt, sour cream, soured milk, butter, cheese, cream, "
        "orange juice, apple juice, grapefruit juice, ruby red juice, iced tea, lemonade, coffee beans, green tea",
        "organic, low fat, lactose free, fresh, fair trade",
        "1 litre carton, without added sugar, family pack",
    ),
    "Grocery/Pantry": (
        "pasta, rice, flour, olive oil, honey, strawberry jam, peanut butter, chocolate bar, biscuits, crisps, "
        "breakfast cereal, canned tuna, tomato sauce, lentils, chickpeas, bread, salt, black pepper, vinegar, noodles",
        "organic, wholegrain, gluten free, vegan, classic",
        "500 g, family size, no additives",
    ),
    "Electronics": (
        "smartphone, laptop, tablet, headphones, earbuds, bluetooth speaker, smartwatch, camera, tripod, monitor, "
        "keyboard, mouse, usb cable, power bank, charger, router, printer, hard drive, memory card, television, "
        "projector, microphone, game controller, drone, phone case, screen protector, remote control",
        "wireless, 4k, portable, rechargeable, compact, aluminium",
        "with fast charging, with noise cancelling, 128 GB, waterproof",
    ),
    "Appliances": (
        "vacuum cleaner, washing machine, refrigerator, microwave oven, air conditioner, fan heater, iron, hair dryer, "
        "electric shaver, air purifier, humidifier, dishwasher, rice cooker, juicer, sewing machine",
        "cordless, digital, stainless steel, compact, energy saving",
        "1200 W, with timer, quiet",
    ),
    "Sports": (
        "yoga mat, dumbbell, kettlebell, resistance band, football, basketball, tennis racket, badminton set, "
        "cycling helmet, bicycle, skateboard, roller skates, ski jacket, snowboard, swimming goggles, tent, "
        "sleeping bag, trekking poles, fishing rod, climbing rope, water flask, jump rope, boxing gloves, sports bra",
        "foam, carbon, nylon, rubber, steel, neoprene",
        "for beginners, for the gym, professional, outdoor, adjustable",
    ),
    "Toys": (
        "teddy bear, doll, building blocks, jigsaw puzzle, board game, toy car, train set, kite, toy kitchen, yo-yo, "
        "colouring book, play tent, water gun, model aeroplane, rocking horse, plush rabbit, spinning top",
        "wooden, plush, plastic, magnetic, cardboard",
        "from three years, educational, 100 pieces, for toddlers",
    ),
    "Beauty": (
        "lipstick, mascara, nail polish, perfume, shampoo, conditioner, face cream, sunscreen, body lotion, soap, "
        "hair brush, toothbrush, beard oil, eyeshadow palette, hand cream, shower gel, deodorant, face mask",
        "vegan, natural, matte, rose, lavender, argan",
        "50 ml, for dry skin, long lasting, fragrance free",
    ),
    "Garden and tools": (
        "spade, rake, garden hose, watering can, lawn mower, flower seeds, plant fertiliser, hammer, screwdriver set, "
        "cordless drill, ladder, tape measure, toolbox, paint roller, barbecue grill, parasol, garden chair",
        "steel, galvanised, wooden, aluminium, plastic",
        "heavy duty, with handle, weatherproof",
    ),
    "Pets": (
        "dog leash, dog bed, cat tree, cat litter, dog food, cat toy, bird cage, aquarium, fish food, pet carrier, "
        "dog collar, food bowl, scratching post, hamster wheel",
        "nylon, plush, sisal, steel, grain free",
        "for small dogs, for large dogs, for kittens, washable",
    ),
    "Music and office": (
        "acoustic guitar, violin, digital piano, drum sticks, ukulele, notebook, fountain pen, pencil case, stapler, "
        "desk organiser, whiteboard, calculator, wall calendar, envelope, highlighter, sheet music stand, harmonica",
        "wooden, leather, recycled paper, metal, plastic",
        "a5, pack of ten, for students, refillable",
    ),
}

COLOURS = (
    "red, dark red, crimson, burgundy, orange, apricot, yellow, mustard, gold, green, olive, emerald, mint, teal, "
    "turquoise, aqua, blue, navy, sky blue, cobalt, purple, violet, lilac, pink, rose, blush, brown, chocolate, tan, "
    "beige, cream, ivory, white, black, charcoal, grey, silver, multicolour"
)

PATTERNS = (
    "plain, striped, stripy, dotted, polka dot, checked, plaid, tartan, floral, flowery, paisley, zigzag, "
    "chevron, starry, leopard print, camouflage, geometric, marbled, tie dye, embroidered, printed, solid"
)

ADJECTIVES = (
    "classic, modern, vintage, premium, everyday, handmade, elegant, sturdy, lightweight, new, cosy, small, large"
)

SYLLABLES = "nor, vel, tar, lum, kes, bri, mon, ada, ro, sil, fen, ost, hal, ira, quin, bel, zan, mar, tho, wick"
"""Of invented brands: a brand must not teach what a product is."""
