"""Encoders: from a text to a unit vector whose cosine says how alike two texts are."""

from databourse.encoders.encoder import Encoder
from databourse.encoders.registry import ENCODER_NAMES, check_encoder, load_encoder

__all__ = ["ENCODER_NAMES", "Encoder", "check_encoder", "load_encoder"]
