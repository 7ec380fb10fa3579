"""Items by their text: pretrained encoders, and the recommender that reads titles with one."""

from fedjax_rec.text.pretrained import Pretrained, pretrained
from fedjax_rec.text.safetensors import read_safetensors
from fedjax_rec.text.tower import text_tower
from fedjax_rec.text.wordpiece import tokens_of

__all__ = ["Pretrained", "pretrained", "read_safetensors", "text_tower", "tokens_of"]
