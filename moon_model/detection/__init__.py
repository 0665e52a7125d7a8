"""Finding a photo's core product, so that MOON also sees it without its surroundings (paper: core region)."""
