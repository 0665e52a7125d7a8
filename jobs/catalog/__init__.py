"""Reading a catalogue: formats, head, mapping, and a suggested mapping."""
