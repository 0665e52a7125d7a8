"""The stages of the nightly run and the commands of `moon`."""
