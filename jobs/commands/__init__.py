"""The commands of `moon`, one module per topic; each has ``register(app)``."""
