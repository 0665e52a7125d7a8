"""Former name of `moon_model.collection_contract`, kept for one release; change your imports to the new name."""

from moon_model.collection_contract import NothingServedError, ServedModel, WrongEncoderError

__all__ = ["NothingServedError", "ServedModel", "WrongEncoderError"]
