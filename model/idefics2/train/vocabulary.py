"""A tokenizer for models trained from random weights: known words, and bytes for all else.

Texts in pictures have no known words, so that a model learns to read letters, while questions and
frequent answers are short.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

SPECIAL = (
    "<unk>",
    "<s>",
    "</s>",
    "<fake_token_around_image>",
    "<image>",
    "<end_of_utterance>",
)
"""Special tokens; an id is the index here."""

WORDS = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


def count_words(texts: Iterable[str]) -> Counter[str]:
    """Occurrences of each word in the texts: GPT-2's words, with the space before them.

    Only words of two letters or more, since every byte is an entry anyway.
    """
    counts = Counter(word for text in texts for word, _ in WORDS.pre_tokenize_str(text))
    return Counter({word: n for word, n in counts.items() if re.search("[A-Za-z]{2}", word)})


def build_tokenizer(known: Iterable[str]) -> Any:
    """A `tokenizers.Tokenizer` with these words whole, as `count_words` gives them.

    Every text can be encoded.
    """
    entries = (*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet()), *sorted(known))
    vocabulary = {entry: index for index, entry in enumerate(entries)}
    # Without merges a word is spelled, unless it is an entry itself
    tokenizer = Tokenizer(models.BPE(vocabulary, [], ignore_merges=True))
    # transformers 5 puts a space behind a picture, earlier releases did not: both come to the same
    tokenizer.normalizer = normalizers.Replace(Regex(r"\A "), "")
    tokenizer.pre_tokenizer = WORDS
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in SPECIAL])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", SPECIAL.index("<s>"))]
    )
    return tokenizer
