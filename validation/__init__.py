"""Checks of a delivery: row rules (in Python and Spark), the gate on whole snapshots, and breakers."""
