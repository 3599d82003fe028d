"""How MathVista answers are found in responses: each rule, in the forms that models write."""

from __future__ import annotations

import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlmbench.metrics.mathvista import Problem, extract, verdict
from vlmbench.metrics.mathvista.program import printed
from vlmbench.schema import PROFILES


def choice(*choices: str, question: str = "") -> Problem:
    return Problem(
        question_type="multi_choice",
        answer_type="text",
        answer=choices[0],
        choices=choices,
        question=question,
    )


def free(answer_type: str, question: str = "", precision: float | None = None) -> Problem:
    return Problem(
        question_type="free_form",
        answer_type=answer_type,
        answer="5",
        question=question,
        precision=precision,
    )


ANGLE = choice("135°", "140°", "145°", "150°")
ROOTS = choice("6", "6 \\sqrt { 2 }", "6 \\sqrt { 3 }")
SHORT_ROOTS = choice("2", "\\sqrt { 3 }", "4")
FRACTION = choice("\\frac{3}{5}", "\\frac{4}{5}")
ANIMAL = choice("cat", "elephant", "dog", "bird")
EFFECT = choice("Nothing would happen.", "It would also decrease.", "It would increase.")
YEAR = choice("2007", "2008", "2009")
YES_NO = choice("Yes", "No", question="Are there more red cars than blue buses?")
INTEGER = free("integer")
FLOAT = free("float", precision=2.0)
LIST = free("list")


@pytest.mark.parametrize(
    ("response", "letter"),
    [
        *((form, "whole response") for form in ("B", "b", "B.", "(B)", "(b)", "[B]", "**B**")),
        *(
            (form, "whole response")
            for form in ("Option B", "B: 140°", "B 140°", "(B) 140 degrees")
        ),
        *((form, "whole response") for form in ("140", "140 degrees", "$140^\\circ$", r"\text{B}")),
        ("B\n\nThe other angles are 135° and 145°.", "opening"),
        ("(B)\n\nReason: (A) is too small and (C) too large.", "opening"),
        ("B because 135° is too small.", "opening"),
        ("B is the answer, as 135° is too small.", "opening"),
        ("140°\nThe options 135° and 145° are wrong.", "opening"),
        (r"So $x = \boxed{B}$.", "boxed letter"),
        (r"\boxed{\text{(B)}}", "boxed letter"),
        (r"The final answer is $\boxed{\textbf{(B) } 140^{\circ}}$.", "boxed letter"),
        ("It is wide.\n<answer>\nB\n</answer>", "boxed letter"),
        (r"So the angle is $\boxed{140^\circ}$.", "boxed choice"),
        ("The answer is (B) 140°.", "answer letter"),
        ("The answer is B", "answer letter"),
        ("Answer: B", "answer letter"),
        ("Answer -> B", "answer letter"),
        ("Answer: B<end_of_utterance>", "answer letter"),
        ("The answer is b.", "answer letter"),
        ("**Answer:** (b)", "answer letter"),
        ("**Final Answer:**\n\nB", "answer letter"),
        ("### Answer\nB. 140°", "answer letter"),
        ("The correct option is B because the lines are parallel.", "answer letter"),
        ("Not (A). The answer to this question is therefore:\n(B)", "answer letter"),
        ("The answer is (A). No: the answer is (B).", "answer letter"),
        ("If x is 5, the answer is (A).\nx is 10. So it is 140°.", "concluded number"),
        ("Choose the best option\n(A) 135°\n(B) 140°\nAnswer: (B)", "answer letter"),
        ("答案是B", "answer letter"),
        ("所以∠A=140°。故选B。", "answer letter"),
        ("The two angles add up to 180°, and 180° - 40° = 140°.\n\nB", "final letter"),
        ("Therefore, the measure of the angle is B.", "final letter"),
        ("Option B shows this angle.", "only letter"),
        ("(A) is incorrect, and (C) is also wrong, hence (B).", "only letter"),
        ("The answer is 140", "answer choice"),
        ("Thus the two angles add up to 140 degrees.", "concluded number"),
        ("I would go with B.", "lone letter"),
    ],
)
def test_an_option_is_found_in_any_common_form(response: str, letter: str) -> None:
    found = extract(response, ANGLE)
    assert (found.value, found.how) == ("B", letter)


@pytest.mark.parametrize(
    ("response", "problem", "value", "how"),
    [
        ("140°", ANGLE, "140°", "exact choice"),
        ("The answer is 7", ANGLE, "7", "concluded number"),
        ("(E) none of these", ANGLE, "E", "last mention"),
        ("The answer is $6\\sqrt{3}$.", ROOTS, "C", "answer choice"),
        ("Hence z = 6*√3", ROOTS, "C", "mentioned choice"),
        ("The length of CD is √{3}.", SHORT_ROOTS, "B", "mentioned choice"),
        ("Given that A = 135°, B is equal to 140°.", ANGLE, "B", "concluded number"),
        (r"\boxed{\dfrac{4}{5}}", FRACTION, "B", "boxed choice"),
        ("sin B = 4/5", FRACTION, "B", "mentioned choice"),
        ("A dog", ANIMAL, "C", "mentioned choice"),
        ("The answer is a dog", ANIMAL, "C", "answer choice"),
        ("It is a dog, not an elephant.", ANIMAL, "C", "mentioned choice"),
        ("This is an ELEPHANT. It stands near a tree.", ANIMAL, "B", "mentioned choice"),
        ("dogs, cats and other pets", ANIMAL, "dogs, cats and other pets", "short response"),
        ("If grass dies out, the population would decrease too.", EFFECT, "B", "choice words"),
        ("It was in 2008.", YEAR, "B", "concluded number"),
        ("The answer is none of them.", ANIMAL, "none of them", "answer phrase"),
        ("Yes, there are.", YES_NO, "A", "yes or no"),
        ("no", YES_NO, "B", "whole response"),
        ("There are more red cars than blue buses.", YES_NO, "A", "paraphrase"),
        ("There are not more red cars than blue buses.", YES_NO, "B", "paraphrase"),
        ("There are fewer red cars than blue buses.", YES_NO, "B", "paraphrase"),
        ("There are more blue buses than red cars.", YES_NO, "B", "paraphrase"),
        ("It depends on whether there are red cars or blue buses.", YES_NO, None, "short response"),
        ("I cannot see the picture, sorry.", YES_NO, "I cannot see the picture, sorry.", "refusal"),
        ("No data is given. It is impossible to say.", ANIMAL, "Cannot be determined", "refusal"),
        ("I do not have enough information.\nPlease tell me more.", ANIMAL, "N/A", "refusal"),
        ("x = [1, 2]\nprint('cat' if sum(x) > 3 else 'dog')", ANIMAL, "C", "program output"),
    ],
)
def test_options_by_their_text(
    response: str, problem: Problem, value: str | None, how: str
) -> None:
    found = extract(response, problem)
    assert (found.value, found.how) == (response if value is None else value, how)


@pytest.mark.parametrize(
    ("response", "problem", "value"),
    [
        ("5", INTEGER, "5"),
        ("1_000", INTEGER, "1000"),
        ("14\n\nThere are 20 objects, and 6 are removed.", INTEGER, "14"),
        ("14 cm\nThat is 20 cm without 6.", INTEGER, "14"),
        ("Since the first is x = 60, the other equals 14.", INTEGER, "14"),
        ("The answer is 5 years.", INTEGER, "5"),
        ("The answer is: **5**", INTEGER, "5"),
        ("Final answer: 42 miles", INTEGER, "42"),
        ("#### 42", INTEGER, "42"),
        ("答案是5", INTEGER, "5"),
        (r"$x = \boxed{5\text{ cm}}$", INTEGER, "5"),
        ("<think>It may be 3. Or 4.</think>It is 5.", INTEGER, "5"),
        ("5cm", INTEGER, "5"),
        ("It costs $1,234.", INTEGER, "1234"),
        ("That is 14%.", INTEGER, "14"),
        ("It falls to -3 degrees.", INTEGER, "-3"),
        ("It is \N{MINUS SIGN}3.", INTEGER, "-3"),
        ("It is negative 3.", INTEGER, "-3"),
        ("At x = 2 the value of y is 7.", INTEGER, "7"),
        ("The gap is 12 - 7 = 5 years.", INTEGER, "5"),
        ("First count 3. Then add 2. Therefore, the total is 5. Ask me more!", INTEGER, "5"),
        ("There are **5** bars.\n\n* In 2004: **1.2**\n* In 2005: **1.4**", INTEGER, "5"),
        ("There are twelve apples.", INTEGER, "12"),
        ("There are no bars of that kind.", INTEGER, "0"),
        ("The ratio is 2:3.", INTEGER, "2:3"),
        ("The answer is 3.\n\nQuestion: What is next?\nThe answer is 4.", INTEGER, "3"),
        ("I cannot tell how old these two people are.", INTEGER, "N/A"),
        ("There is nothing to say.", INTEGER, None),
        ("def twice(x):\n    return 2 * x\nprint(twice(4))", INTEGER, "8"),
        ("The answer is one half, 1/2.", FLOAT, "0.5"),
        (r"So $p = \frac{1}{4}$.", FLOAT, "0.25"),
        (r"It is $1.5 \times 10^{-3}$ m.", FLOAT, "1.5e-3"),
        ("It is 2.5E+3 J.", FLOAT, "2.5E+3"),
        ("about .5", FLOAT, ".5"),
        ("1e-3", FLOAT, "0.001"),
        ("[1,2]", LIST, "[1, 2]"),
        (r"\boxed{[ -1, 2.5 ]}", LIST, "[-1, 2.5]"),
        ("The code is 0, 2, 0, and 7.", LIST, "[0, 2, 0, 7]"),
        ("It was between 2007 and 2008.", LIST, "[2007, 2008]"),
        ("2007-2008", LIST, "[2007, 2008]"),
    ],
)
def test_numbers_and_lists(response: str, problem: Problem, value: str | None) -> None:
    assert extract(response, problem).value == value


@pytest.mark.parametrize(
    ("question", "response", "value"),
    [
        (
            "The twig is about (_) inches long.",
            "It lies at 0. The twig is about 3 inches long.",
            "3",
        ),
        ("How many bars are below 40?", "There are two bars below 40.", "2"),
        ("Which year has most?", "The year 1982 has most, 931 in all.", "1982"),
        ("In how many years is it above 0.5%?", "It is above 0.5% in 3 years.", "3"),
    ],
)
def test_the_question_says_which_number_is_meant(question: str, response: str, value: str) -> None:
    assert extract(response, free("integer", question)).value == value


@pytest.mark.parametrize(
    ("response", "value"),
    [
        (r"\boxed{12{,}500}", "12500"),
        (r"\boxed{12\,500}", "12500"),
        ("The sum is $1{,}250{,}000$.", "1250000"),
        ("12 500", "12500"),
        ("The total is 12 500 people.", "12500"),
        ("1.2 million", "1200000"),
        (r"\boxed{\sqrt{16}}", "4"),
        (r"\boxed{\sqrt[3]{8}}", "2"),
        ("No bar exceeds 9.\n\nTherefore, the number of bars higher than 9 is:\n\n0", "0"),
        ("Only one is below 8.\n\n**Final value:** 12", "12"),
        ("We cannot determine the exact years.\n\nFinal value: 0", "0"),
        ("So the answer is 9. Hmm.\n</think>\n\nThere are 7 of them.", "7"),
        ("\u6240\u4ee5\u4e00\u5171\u67097\u4e2a\u3002", "7"),
        ("\u9762\u79ef\u662f12\u5e73\u65b9\u5398\u7c73\u3002", "12"),
        ("\u5408\u8a08\u306f7\u500b\u3067\u3059\u3002", "7"),
        ("\u5360\u6bd4\u4e3a35%\u3002", "35"),
    ],
)
def test_a_number_is_read_as_it_is_meant(response: str, value: str) -> None:
    assert extract(response, INTEGER).value == value


@pytest.mark.parametrize(
    ("response", "value"),
    [
        (r"\boxed{1\frac{1}{2}}", 1.5),
        (r"The answer is $2\frac{1}{4}$.", 2.25),
        (r"\boxed{\frac12}", 0.5),
        ("1\u00bd", 1.5),
        ("2,5", 2.5),
        ("\u957f\u5ea6\u7ea6\u4e3a2.5\u5398\u7c73\u3002", 2.5),
    ],
)
def test_fractions_and_a_decimal_comma_are_numbers(response: str, value: float) -> None:
    found = extract(response, FLOAT).value
    assert found is not None and float(found) == value


def test_a_scale_that_the_question_names_is_its_unit() -> None:
    question = "How many million people live there?"
    assert extract("1.2 million", free("float", question, 1.0)).value == "1.2"


@pytest.mark.parametrize(
    "response",
    [
        "C. A (135) and B (140) are too small.",
        "(C) 145 degrees, since (A) 135 degrees is the other one.",
        "(C). Option (A) is not in the picture.",
        "**C** - option A is not in the picture.",
        "The answer is (A)? No, wait.\n</think>\n\nC",
    ],
)
def test_a_leading_letter_is_the_answer_whatever_its_reason_names(response: str) -> None:
    assert extract(response, ANGLE).value == "C"


@pytest.mark.parametrize(
    ("program", "output"),
    [
        ("print(1 + 2)", "3"),
        ("import math\nprint(math.sqrt(2))", "1.4142135623730951"),
        ("from math import pi as p\nprint(round(p, 2))", "3.14"),
        ("a, b = 1, 2\na += b\nprint(f'The sum is {a:.1f}')", "The sum is 3.0"),
        ("d = {'x': 3, 'y': 4}\nprint(max(d, key=d.get))", "y"),
        ("n = 0\nfor i in range(5):\n    if i % 2: continue\n    n += i\nprint(n)", "6"),
        ("n = 9\nwhile n > 5:\n    n -= 1\n    if n == 6: break\nprint(n)", "6"),
        ("def f(x, y=2):\n    return x ** y\nprint([f(x) for x in (1, 3)], sep='')", "[1, 9]"),
        ("words = 'a b a'.split()\nprint(words.count('a'), end='!')", "2!"),
        ("print('first')\nprint('last')", "last"),
        ("```python\nprint(5)\n```", "5"),
        ("x = 3", None),
        ("print(y)", None),
        ("print(", None),
        ("import os\nprint(os.getcwd())", None),
        ("print(open('/etc/passwd').read())", None),
        ("print(__import__('os'))", None),
        ("print((1).__class__)", None),
        ("print('x'.__class__.__mro__)", None),
        ("print('{0.__class__}'.format(1))", None),
        ("print('%1000000000d' % 1)", None),
        ("print(f'{1:1000000000d}')", None),
        ("print(9 ** 9 ** 9)", None),
        ("print(round(7, -10 ** 9))", None),
        ("print('x' * 10 ** 9)", None),
        ("x = [0]\nwhile True: x.extend(x)\nprint(1)", None),
        ("x = []\nx.append(x)\nprint(x)", None),
        ("while True: print(1)", None),
        ("print(sum(range(10 ** 12)))", None),
        ("def f(x): return f(x)\nprint(f(1))", None),
        ("print(" + "(" * 500 + "1" + ")" * 500 + ")", None),
        ("print(" + "-" * 5000 + "1)", None),
        (r"print('\d')", None),
        ("print(1if 1else 2)", None),
        ("print(0xfor 1)", None),
        ("print(1.or 2)", None),
        ("import math\nmath['pi'] = 3\nprint(math.pi)", None),
        ("print(sorted(set(['b', 'a', 'b'])), len(set([1, 1])))", "['a', 'b'] 1"),
        ("print(list(set(['cat', 'dog']))[0])", None),
        ("print(set(['cat', 'dog']))", None),
        ("print([set(['cat', 'dog'])])", None),
        ("print(f\"{set(['cat', 'dog'])}\")", None),
        ("for x in set(['cat', 'dog']): print(x)", None),
        ("a, b = set(['cat', 'dog'])\nprint(a)", None),
        ("print(' '.join(set(['cat', 'dog'])))", None),
        ("print(max(set(['cat', 'dog']), key=len))", None),
        ("import math\nprint(min(set([math.nan, 1])))", None),
        ("x = []\nx.extend(set(['cat', 'dog']))\nprint(x)", None),
        ("def f(): return 1\nprint([f])", None),
        ("print({'a': [len]})", None),
        ("print('cat dog'.split()[0] is 'cat')", None),
        ("print(None is None)", "True"),
    ],
)
def test_programs_are_read_and_never_run(program: str, output: str | None) -> None:
    assert printed(program) == output


GROWING = "".join(f"l{n}=[l{n - 1}]\n" if n else "l0=[]\n" for n in range(9))
GROWTH = ", ".join(f"l{n}.extend([l{n - 1}]*9)" for n in range(8, 0, -1))
OTHER = GROWING.replace("l", "m") + f"x = [{GROWTH.replace('l', 'm')}]\n"


@pytest.mark.parametrize(
    "program",
    [
        f"{GROWING}print(l8, {GROWTH})",
        f"{GROWING}print([l8, {GROWTH}])",
        f"{GROWING}x = l8 + [{GROWTH}]\nprint(x)",
        f"{GROWING}{OTHER}print(l8 == [{GROWTH}, m8])",
        f"{GROWING}{OTHER}print(l8 == m8, {GROWTH})",
        f"{GROWING}d = {{'a': l8, 'b': [{GROWTH}]}}\nprint(d)",
        f"{GROWING}print(f'{{l8}}{{[{GROWTH}]}}{{l8}}')",
        f"{GROWING}print(l8.count([{GROWTH}]))",
        f"{GROWING}print(str(l8), [{GROWTH}], str(l8))",
        "x = [0] * 900\nn = 0\nfor a in x:\n    for b in x: n += len(x)\nprint(n)",
        "x = 'a' * 990\nwhile x: y = x.replace('a', 'b')\nprint(y)",
    ],
)
def test_what_grows_behind_an_argument_is_refused_at_once(program: str) -> None:
    tracemalloc.start()
    started = time.process_time()
    try:
        assert printed(program) is None
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()
    assert time.process_time() - started < 2  # 0.1 s; not bounded, seconds to years


texts = st.text(max_size=80) | st.lists(
    st.sampled_from(
        [
            *("The answer is ", "B", "(b)", "\\boxed{", "}", "$", "**", "\\frac{1}{", "[1, 2", "]"),
            *("5", "-", ".", ",", "e9", "1/0", "three ", " of ", "\n", "Question:", "<think>"),
            *(
                "Yes",
                "not ",
                "if ",
                "print(",
                "x = 1\n",
                ")",
                "=",
                "\N{LATIN CAPITAL LETTER I WITH DOT ABOVE}",
            ),
        ]
    ),
    max_size=20,
).map("".join)


@given(texts)
def test_no_response_raises(response: str) -> None:
    for problem in (ANGLE, YES_NO, EFFECT, INTEGER, FLOAT, LIST, free("integer", "(_) of 1")):
        for profile in PROFILES:
            assert 0 <= verdict(response, problem, profile).value <= 1


@given(texts)
def test_white_space_around_a_response_changes_no_answer(response: str) -> None:
    for problem in (ANGLE, INTEGER, LIST):
        bare, padded = extract(response, problem), extract(f"\n {response} \n", problem)
        if bare.how not in ("exact choice", "exact number"):
            assert padded.value == bare.value


@pytest.mark.parametrize(
    "unit",
    [
        *("a", " ", "\n", "{", "(", "$", "1", ".", "=", "\\", "-1", "1,", "1/", "**1", "\\boxed{"),
        *(
            "\\frac{",
            "\\sqrt{",
            "\\left",
            "<think>",
            "Answer: ",
            "\nQuestion",
            "\n \n",
            "not ",
            "if ",
        ),
        *(
            "Yes. ",
            "So 1. ",
            "2 to ",
            " = 1 at x",
            "140° ",
            "(A) ",
            "cannot ",
            "\ufdfa",
            "print(1)\n",
        ),
    ],
)
def test_long_responses_take_no_long_time(unit: str) -> None:
    response = (unit * 100_000)[:100_000]
    started = time.process_time()
    for problem in (ANGLE, INTEGER):
        verdict(response, problem)
    assert time.process_time() - started < 2  # for two; a quadratic rule takes minutes
