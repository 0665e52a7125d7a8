"""Reading product images from any store."""
