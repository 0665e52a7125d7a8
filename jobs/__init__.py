"""The stages of the night and the verbs of the `moon` command."""
