"""ANLS: average normalised Levenshtein similarity, DocVQA's metric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from rapidfuzz.distance import Levenshtein

from vlmbench.schema import Profile, Verdict

THRESHOLD = 0.5
"""A similarity below this scores 0; exactly this stays, though it is 0 in the paper."""


MAX_LENGTH = 50_000
"""Characters of the shorter text: time grows with the square, 0.1 s here. A full page has 5,000."""


def docvqa(response: str, answers: Sequence[str], profile: Profile = "official") -> Verdict:
    """Score a DocVQA answer: its ANLS to the nearest of `answers`.

    - official: `anls` of the response as it is.
    - strict: as official, but outer and repeated white space of either string does not count in its
      length (it would dilute the errors), and a blank response is unparsed and wrong, even where a
      gold answer is empty.
    - lmms: as official, on the response without outer white space.
    - vlmevalkit: as official. (Its revision 0a04a1d divides by the collapsed lengths instead.)

    Raises:
        ValueError: `answers` is empty.

    Source: the evaluation script of the RRC server; lmms-eval 0.7.3, api/metrics.py and
    api/task.py; VLMEvalKit e8e78f0, vqa_eval.py.
    """
    if not answers:
        raise ValueError("answers is empty: a DocVQA response cannot be scored without one")
    match profile:
        case "official" | "vlmevalkit":
            pass
        case "strict":
            response, answers = _collapsed(response), [_collapsed(answer) for answer in answers]
            if not response:
                return Verdict(value=0.0, parsed=None, how="empty")
        case "lmms":
            response = response.strip()
        case _:
            assert_never(profile)
    parsed = _collapsed(response).lower()
    return Verdict(value=anls(response, answers), parsed=parsed, how="edit distance")


def anls(prediction: str, references: Sequence[str]) -> float:
    """Similarity to the nearest reference in [0, 1], where less than 0.5 counts as 0.

    Similarity is 1 - edit distance / length. Letter case does not count; punctuation does. For the
    distance, outer white space is stripped and inner runs are one space, but the length is that of
    the longer string as it came, in upper case. Two empty strings are alike.

    Raises:
        ValueError: `references` is empty, or one is as long as a book, and the prediction too.

    Source: Biten et al., 2019 (arXiv:1905.13648); the RRC server's script.
    """
    if not references:
        raise ValueError("references is empty: there is nothing to compare the prediction with")
    similarity = max(_similarity(prediction, reference) for reference in references)
    return similarity if similarity >= THRESHOLD else 0.0


def _similarity(prediction: str, reference: str) -> float:
    left, right = _collapsed(prediction).lower(), _collapsed(reference).lower()
    length = max(len(prediction.upper()), len(reference.upper()))
    if 2 * abs(len(left) - len(right)) > length:
        return 0.0  # the distance is at least that difference, so it is below the threshold
    if min(len(left), len(right)) > MAX_LENGTH:
        raise ValueError(f"two texts of more than {MAX_LENGTH:,} characters are not compared")
    return 1 - Levenshtein.distance(left, right) / length if length else 1.0


def _collapsed(text: str) -> str:
    return " ".join(text.split())
