"""The commands of `moon`, a module a theme; each has ``register(app)``."""
