"""Text, read by pretrained encoders and language models, and the recommenders that read it so."""

from fedjax_rec.text.bpe import byte_pair_tokens
from fedjax_rec.text.gguf import read_gguf
from fedjax_rec.text.language_models import LanguageModel, language_model
from fedjax_rec.text.pretrained import Pretrained, pretrained
from fedjax_rec.text.ranker import llm_ranker
from fedjax_rec.text.safetensors import read_safetensors
from fedjax_rec.text.tower import text_tower
from fedjax_rec.text.wordpiece import tokens_of

__all__ = [
    "LanguageModel",
    "Pretrained",
    "byte_pair_tokens",
    "language_model",
    "llm_ranker",
    "pretrained",
    "read_gguf",
    "read_safetensors",
    "text_tower",
    "tokens_of",
]
