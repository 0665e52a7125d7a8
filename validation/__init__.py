"""Row rules (data, Python form, Spark form), the gate on whole snapshots, and the breakers' arithmetic."""
