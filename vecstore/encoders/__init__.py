"""Texts and images to sets of vectors, with models that run on this machine.

Each class here has `encode_documents`, which gives `Tokens` to be upserted into a multivector
field, and `encode_queries`, which gives one array for each query. Needs the extra
vecstore[encoders]; models are loaded by their own libraries, which may fetch them.
"""

from vecstore.encoders.late import LateInteraction
from vecstore.encoders.pages import Pages
from vecstore.encoders.states import TokenStates

__all__ = ["LateInteraction", "Pages", "TokenStates"]
