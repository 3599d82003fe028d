"""Rules that find the option a response answers with; the strongest evidence first.

An option is given as its letter. Where a response names a letter or a text that no option has, that
is given as it is: it is what MathVista's extractor writes, and the official comparison then takes
the nearest option.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from vlmbench.metrics.final_answer.letters import leading
from vlmbench.metrics.mathvista.notation import choice_keys, plain
from vlmbench.metrics.mathvista.number_rules import concludes
from vlmbench.metrics.mathvista.options import is_denied, mentioned, named, value
from vlmbench.metrics.mathvista.problem import Problem
from vlmbench.metrics.mathvista.program import printed
from vlmbench.metrics.mathvista.quantities import quantities, subject
from vlmbench.metrics.mathvista.reading import REFUSAL, Reading
from vlmbench.metrics.mathvista.statements import affirms, best_overlap

_ANSWER_IS = re.compile(
    r"\b(?:answer|option|choice|conclusion)(?: letter| choice| option)?"
    r"(?: (?:to|for|of|here|in) [^.:\n]{1,80}?)?"
    r"(?: (?:is|are|would be|should be|will be|must be)\b|:|[ \n]?->| ?[→⇒=])"
    r"(?: therefore| thus| that|:)*"
    r"|\banswer\n"
    r"|答案(?:应该|应)?(?:是|为|选)?:?|对应选项(?:是|为)?"
    r"|(?:故|应|因此|所以|正确)选(?:择|项)?(?:是|为)?:?|选:",
    re.IGNORECASE,
)
_MAX_ANSWERS = 50
_MAX_TAIL = 300
_SUPPOSES = re.compile(r"\W*(?:if|otherwise|whether)\b", re.IGNORECASE)
_LEADING_LETTER = re.compile(
    r"[\s\"'\[<{.:,-]*(?:(?:the )?(?:correct )?(?:option|choice|answer|letter)s? ?(?:is )?:? ?)?(?:"
    r"\( ?(?P<round>[A-Za-z]) ?\)"
    r"|(?P<capital>[A-Z])(?=\s*(?:[).:,;\]}\"'<>]|\Z|\n| \(| -|是|。))"
    r"|(?P<reasoned>[A-Z])(?= (?:because|since|as|with|and)\b)"
    r"|(?P<worded>[B-Z])(?= )"
    r"|(?P<small>[a-z])(?=\s*(?:[):\]]|\.?\Z)))"
)
_OPENING_LETTER = re.compile(
    r"\W*([A-Z])\W*?"
    r"(?:\n|,? (?:because|since)\b| is the (?:right |correct )?(?:answer|option|choice)\b)"
)
_ONLY_LETTER = re.compile(r"[\s\"'(\[]*(?:option |choice )?([A-Za-z])[\s\"'.)\]:,]*", re.IGNORECASE)
_LETTER_AND_TEXT = re.compile(
    r"(?:option |choice )?(?:[(\[]?([A-Za-z])[)\].:,-]+ *|([B-Z]) +)(\S.*)", re.IGNORECASE
)
_FINAL_LETTER = re.compile(
    r"(?:\A|\n|\b(?:is|are|be)\b:? ?|是|为)[\"'(\[]?([A-Z])[\"')\]]?[.。]?\s*\Z"
)
_LONE_LETTER = re.compile(r"(?<![\w'-])(?:A(?! [a-z])(?![\w'-])|[B-HJ-Z](?![\w'-]))")
_NAMED_LETTER = re.compile(r"\(([A-Z])\)|\b(?:option|choice) ([A-Z])\b", re.IGNORECASE)
_MAX_PHRASE = 100
_UNKNOWABLE = re.compile(
    r"(?<!\bI )\b(?:cannot|(?:im|not )possible to|unable to)\b|无法", re.IGNORECASE
)


def whole_response(reading: Reading) -> str | None:
    """Nothing but an option: "B", "(b) 140°", "140 degrees", "B. Yes"."""
    text, problem = reading.text, reading.problem
    letter = _ONLY_LETTER.fullmatch(text)
    if letter:
        return letter[1].upper()
    both = _LETTER_AND_TEXT.match(text.split("\n")[0])
    if both and named(both[3], problem):
        return (both[1] or both[2]).upper()
    return None if "\n" in text else named(text, problem)


def program_output(reading: Reading) -> str | None:
    r"""What the response prints, where it is a program: "x = 3\nprint(x * 2)"."""
    output = plain(printed(reading.said) or "").strip()
    return (
        _leading_letter(output, reading.problem) or named(output, reading.problem) or output or None
    )


def opening(reading: Reading) -> str | None:
    r"""An option alone in the first line, or a letter with its reason: "B\nAs A is only 5, ..."."""
    letter = _OPENING_LETTER.match(reading.text)
    if letter and letter[1] in reading.problem.letters:
        return letter[1]
    first, _, rest = reading.text.partition("\n")
    return named(first, reading.problem) if rest else None


def boxed_letter(reading: Reading) -> str | None:
    r"""The letter in the last box: "\boxed{\text{(B)}}", "<answer>B</answer>"."""
    return _leading_letter(reading.boxed, reading.problem)


def answer_letter(reading: Reading) -> str | None:
    """The letter after the last "answer is", "answer:" or "option": "The answer is (B) 5 cm."."""
    for answer in _answers(reading):
        letter = _leading_letter(answer, reading.problem)
        if letter:
            return letter
    return None


def final_letter(reading: Reading) -> str | None:
    """A letter that ends the response, alone on its line or after "is": "So the angle is C."."""
    letter = _FINAL_LETTER.search(reading.text[-_MAX_PHRASE:])
    return letter[1] if letter and letter[1] in reading.problem.letters else None


def leading_letter(reading: Reading) -> str | None:
    """A letter before its reason, where options are not gone through: "C. A is too small."."""
    problem = reading.problem
    return leading(reading.said, dict(zip(problem.letters, problem.choices, strict=True)))


def boxed_choice(reading: Reading) -> str | None:
    r"""The text of an option in the last box: "\boxed{\frac{3}{2}}"."""
    return named(reading.boxed, reading.problem)


def answer_choice(reading: Reading) -> str | None:
    """The only option whose text follows "answer is": "The answer is that it will decrease."."""
    for answer in _answers(reading):
        letter = named(answer, reading.problem) or _only(mentioned(answer, reading.problem))
        if letter:
            return letter
    return None


def only_letter(reading: Reading) -> str | None:
    """The only letter that is named at all: "Option B shows this."."""
    letter = _only(_named_letters(reading))
    return letter if letter and letter in reading.problem.letters else None


def yes_or_no(reading: Reading) -> str | None:
    """The first word, where the options are yes and no: "Yes, the bar is longer."."""
    word = re.match(r"\W*(yes|no)\b", reading.text, re.IGNORECASE)
    return named(word[1], reading.problem) if word and _is_yes_no(reading.problem) else None


def refusal(reading: Reading) -> str | None:
    """The model does not know: "Without the picture it is not possible to answer.".

    The value is the phrase that MathVista's extractor mostly writes for such words; it decides
    which option the official comparison takes for the nearest one. Where not knowing is itself an
    option, nothing is refused.
    """
    if not reading.refuses(last=2) or any(map(REFUSAL.search, reading.problem.choices)):
        return None
    if len(reading.sentences) == 1 and len(reading.text) <= _MAX_PHRASE:
        return reading.text
    if "N/A" in reading.text or not _UNKNOWABLE.search(reading.text):
        return "N/A"
    return "Cannot be determined"


def paraphrase(reading: Reading) -> str | None:
    """A statement that answers a yes/no question: "Cyan has the lowest value."."""
    if not _is_yes_no(reading.problem):
        return None
    answer = affirms(reading.sentences, plain(reading.problem.question))
    return None if answer is None else named("yes" if answer else "no", reading.problem)


def concluded_number(reading: Reading) -> str | None:
    """The number of the conclusion, where all options are numbers: "So AB is 12 cm."."""
    problem = reading.problem
    values = [value(plain(choice)) for choice in problem.choices]
    if None in values or _named_letters(reading):
        return None
    said = [sentence for sentence in reading.sentences[-3:] if quantities(sentence)]
    said = [sentence for sentence in said if concludes(sentence)] or said[-1:]
    number = subject(said[-1], problem.question) if said else None
    return number and (named(number, problem) or number)


def mentioned_choice(reading: Reading) -> str | None:
    """The only option in the last sentence, in the first one or in all of the response."""
    for part in (*reading.sentences[-1:], *reading.sentences[:1], reading.text):
        letter = _only(mentioned(part, reading.problem))
        if letter:
            return letter
    return None


def choice_words(reading: Reading) -> str | None:
    """The option whose own words are in the last sentence, or else in an earlier one.

    "The lion population would decrease." says "It would also decrease.".
    """
    texts = [plain(choice) for choice in reading.problem.choices]
    for sentence in reading.sentences[-1:] + reading.sentences:
        index = best_overlap(sentence, texts)
        if index is not None:
            return reading.problem.letters[index]
    return None


def last_mention(reading: Reading) -> str | None:
    """The last letter that is named, else the last option whose text is."""
    found = _named_letters(reading) or mentioned(reading.text, reading.problem)
    return found[-1] if found else None


def answer_phrase(reading: Reading) -> str | None:
    """What follows "answer is" or is boxed, though no option is called so: "The answer is 7."."""
    phrases = (answer.strip(" .:") for answer in _answers(reading))
    phrase = next((phrase for phrase in phrases if 0 < len(phrase) <= _MAX_PHRASE), "")
    return phrase or reading.boxed or None


def lone_letter(reading: Reading) -> str | None:
    """The only capital of an option in a short response: "I would go with B."."""
    if len(reading.text) > _MAX_PHRASE:
        return None
    found = _LONE_LETTER.findall(reading.text)
    return _only([letter for letter in found if letter in reading.problem.letters])


def short_response(reading: Reading) -> str | None:
    """All of a short response: "Sea urchin"."""
    return reading.text if 0 < len(reading.text) <= _MAX_PHRASE else None


RULES = (
    whole_response,
    program_output,
    opening,
    boxed_letter,
    answer_letter,
    final_letter,
    leading_letter,
    boxed_choice,
    answer_choice,
    only_letter,
    yes_or_no,
    refusal,
    paraphrase,
    concluded_number,
    mentioned_choice,
    choice_words,
    last_mention,
    answer_phrase,
    lone_letter,
    short_response,
)


def _answers(reading: Reading) -> Iterator[str]:
    """What follows each "answer is", the last one first; not after "If ..., the answer is"."""
    text = reading.text
    for cue in reversed(list(_ANSWER_IS.finditer(text))[-_MAX_ANSWERS:]):
        begin = max(text.rfind("\n", 0, cue.start()), text.rfind(". ", 0, cue.start())) + 1
        if not _SUPPOSES.match(text, begin, cue.start()):
            line = text[cue.end() : cue.end() + _MAX_TAIL].lstrip().split("\n")[0]
            is_letter = _LEADING_LETTER.match(line)
            yield line if is_letter else re.split(r"(?<=[^\d][.。])(?:\s|\Z)", line)[0]


def _leading_letter(text: str, problem: Problem) -> str | None:
    match = _LEADING_LETTER.match(text)
    if not match:
        return None
    letter = next(filter(None, match.groups()))
    # "(x)" or "the answer is X units" names an option only if there is one of that letter.
    is_sure = match["worded"] is None and not (match["round"] or "").islower()
    return letter.upper() if is_sure or letter.upper() in problem.letters else None


def _named_letters(reading: Reading) -> list[str]:
    said = " ".join(part for part in reading.sentences if not _SUPPOSES.match(part))
    found = [match for match in _NAMED_LETTER.finditer(said) if not is_denied(match)]
    return [(match[1] or match[2]).upper() for match in found]


def _only(letters: list[str]) -> str | None:
    return letters[0] if len(set(letters)) == 1 else None


def _is_yes_no(problem: Problem) -> bool:
    return set(choice_keys(problem.choices)) == {"yes", "no"}
