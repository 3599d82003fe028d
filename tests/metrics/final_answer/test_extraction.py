"""What is taken for the final answer of a response, in the spellings that models have."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlmbench.metrics.final_answer import extract
from vlmbench.schema import FINAL_ANSWERS

OPTIONS = {"A": "a clay jug", "B": "a tin kettle", "C": "a glass vase", "D": "a wooden bowl"}


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("<think>a</think>B", "B"),
        ("<THINK>a</THINK>\nB", "B"),
        ("<thinking>a</thinking>B", "B"),
        ('<think type="x">a</think>B', "B"),
        ("<think>a<think>b</think>c</think>B", "B"),
        ("<think>a<think>b</think>B", "B"),
        ("a</think>B", "B"),
        ("a</think>b</think>B", "B"),
        ("<think>a", ""),
        ("x <think> y", "x <think> y"),
        ("B\n<think>let me", "B"),
        ("<think>I should use <answer> tags</think><answer>B</answer>", "B"),
        ("<think>x <answer>B</answer>", "B"),
        ("<think>x<answer>B</answer></think>", "B"),
        ("<answer>B", "B"),
        ("B</answer>", "B"),
        ("<answer>A</answer> wait <answer>B</answer>", "B"),
        ("<answer></answer>B", "<answer></answer>B"),
        ("<final_answer>B</final_answer>", "B"),
        ("<FINAL ANSWER>B</FINAL ANSWER>", "B"),
        ("<|begin_of_box|>B<|end_of_box|>", "B"),
        ("text <|begin_of_box|>B<|end_of_box|> more", "B"),
        ("<think>t</think>The answer is <|begin_of_box|>B<|end_of_box|>.", "B"),
        (
            "<|channel|>analysis<|message|>hmm A<|end|><|start|>assistant"
            "<|channel|>final<|message|>B<|return|>",
            "B",
        ),
        ("analysisThe picture.assistantfinalB", "B"),
        ("<|channel|>analysis<|message|>hmm A", ""),
        ("<|channel>thought\nhm A<channel|>B", "B"),
        ("[THINK]a[/THINK]B", "B"),
        ("\u25c1think\u25b7a\u25c1/think\u25b7B", "B"),
        ("<|begin_of_thought|>a<|end_of_thought|><|begin_of_solution|>B<|end_of_solution|>", "B"),
        ("<seed:think>a</seed:think>B", "B"),
        ("<unused94>thought\na<unused95>B", "B"),
        ("<|START_THINKING|>a<|END_THINKING|><|START_RESPONSE|>B<|END_RESPONSE|>", "B"),
        ("&lt;think&gt;a&lt;/think&gt;B", "B"),
        ("\uff1cthink\uff1ea\uff1c/think\uff1eB", "B"),
        ("B<|im_end|>\n<|im_start|>user\nfoo", "B"),
        ("<|im_start|>assistant\nB<|im_end|>", "B"),
        ("<s> B </s>", "B"),
        ("B<\uff5cend\u2581of\u2581sentence\uff5c>", "B"),
        ("<0x0A>B", "B"),
        ("<reasoning>a</reasoning>\n\nB", "B"),
        ("<analysis>a</analysis>B", "B"),
        ("\n\n B \n", "B"),
        ("x < 5 and y > 3", "x < 5 and y > 3"),
        ("<p>B</p>", "<p>B</p>"),
        ("<CONCLUSION>B</CONCLUSION>", "B"),
        ("<SUMMARY>s</SUMMARY><CAPTION>c</CAPTION><REASONING>r", ""),
        ("<think></think>\n\nB", "B"),
        ("<think>\n\n</think>\n\nB", "B"),
        ("</think>B", "B"),
        ("B</think>", "B"),
        ("<think>a</think><think>b</think>B", "B"),
        ("<think>a</think>X<think>b</think>B", "B"),
        ("<conclusion> B", "B"),
        ("<thought>a</thought>B", "B"),
        ("Sure! <think>a</think> B", "B"),
        ("<|assistant|>\nB", "B"),
        ("Here is my thought process:\nfoo\nHere is my response:\nB", "B"),
        ("<think>a</thinking>B", "B"),
        ("<think>a<\\think>B", "B"),
        ('<answer type="final"> B </answer>', "B"),
        ("<Answer>B</Answer>", "B"),
        ("<answer>\nB\n</answer>\n<|im_end|>", "B"),
        ("<think>a</think>", ""),
        ("<image>B", "B"),
        ("<think>a</think>B<think>check", "B"),
        ("a <b>bold</b>", "a <b>bold</b>"),
    ],
)
def test_tags_take_thought_wrapping_and_special_tokens_away(response: str, answer: str) -> None:
    assert extract(response, "tags").text == answer
    if answer:
        assert extract(response, "full").text  # what tags find is never lost


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("\\boxed{B}", "B"),
        ("$\\boxed{\\text{B}}$", "B"),
        ("\\boxed{\\textbf{(B) a tin kettle}}", "B"),
        ("\\\\boxed{B}", "B"),
        ("\x08oxed{B}", "B"),
        ("\\boxed{\\boxed{B}}", "B"),
        ("\\fbox{B}", "B"),
        ("\\boxed{B", "\\boxed{B"),
        ("Final answer: B", "B"),
        ("**Final Answer**: B", "B"),
        ("**Final Answer:** **B**", "B"),
        ("Final Answer\n\nB", "B"),
        ("### Final Answer\n**B**", "B"),
        ("The final answer is: $\\boxed{B}$. I hope it is correct.", "B"),
        ("The answer is (B).", "B"),
        ("The correct option is B.", "B"),
        ("answer: b", "B"),
        ("Answer - B", "B"),
        ("ANSWER: B", "B"),
        ("Ans: B", "B"),
        ("So, B is the correct answer.", "B"),
        ("Option B is correct.", "B"),
        ("(B) is right because", "B"),
        ("I would choose B.", "B"),
        ("I don't choose A. I choose B.", "B"),
        ("The answer is not A. The answer is B", "B"),
        ("The answer is either A or B", "The answer is either A or B"),
        ("\u7b54\u6848\uff1aB", "B"),
        ("\u7b54\u6848\u662fB\u9009\u9879", "B"),
        ("\u6b63\u786e\u7b54\u6848\u662f\uff1aB", "B"),
        ("\u6545\u9009B", "B"),
        ("\u56e0\u6b64\uff0c\u9009B\u3002", "B"),
        ("\u5e94\u9009\uff08B\uff09", "B"),
        ("\u9078B", "B"),
        ("\u6211\u9009B", "B"),
        ("\u7b54\u3048\uff1aB", "B"),
        ("\u7b54\u3048\u306fB\u3067\u3059\u3002", "B"),
        ("\u6b63\u89e3\u306fB\u3067\u3059", "B"),
        ("\uc815\ub2f5\uc740 B\uc785\ub2c8\ub2e4.", "B"),
        ("\uc815\ub2f5: B", "B"),
        ("\u9009\u9879B\u6b63\u786e", "B"),
        ("B\u9009\u9879", "B"),
        ("\uff22\uff0e", "B"),
        ("\uff08\uff22\uff09", "B"),
        ("\u3010B\u3011", "B"),
        ("B\u3001a tin kettle", "B"),
        ("\u300cB\u300d", "B"),
        ('{"answer":"B"}', "B"),
        ("{'answer': 'B'}", "B"),
        ('```json\n{"answer":"B"}\n```', "B"),
        ('Here:\n```json\n{"reason":"x","answer":"B"}\n```', "B"),
        ('{"reasoning":"A is..","final_answer":"B"}', "B"),
        ('{"result":{"answer":"B"}}', "B"),
        ('{"answer":["B"]}', "B"),
        ('{"choice":"B"}', "B"),
        ('{"Answer":"B. a tin kettle"}', "B"),
        ('{"answer":"B"', "B"),
        ('{"explanation":"It has a spout","option":"B"}', "B"),
        ("a tin kettle", "B"),
        ("A tin kettle.", "B"),
        ("**a tin kettle**", "B"),
        ("B. a tin kettle", "B"),
        ("(b) a tin kettle", "B"),
        ("b) a tin kettle", "B"),
        ("B) a tin kettle", "B"),
        ("B - a tin kettle", "B"),
        ("B\na tin kettle", "B"),
        ("B, since", "B"),
        ("B because it has", "B"),
        ("A man is near", "A man is near"),
        ("A and B", "A and B"),
        ("A, B", "A, B"),
        ("I think so", "I think so"),
        ("A. jug\nB. kettle\nC. vase\n\nAnswer: C", "C"),
        ("`B`", "B"),
        ('"B"', "B"),
        ("'B'", "B"),
        ("*B*", "B"),
        ("__B__", "B"),
        ("$B$", "B"),
        ("\\(B\\)", "B"),
        ("<b>B</b>", "B"),
        ("B<|im_end|>", "B"),
        ("The answer is **B**.", "B"),
        ("**Answer: B**", "B"),
        ("**B. a tin kettle**", "B"),
        ("> B", "B"),
        ("Answer is B", "B"),
        ("The best answer is B) a tin kettle", "B"),
        ("My answer: B", "B"),
        ("the correct answer would be option B", "B"),
        ("La respuesta es B", "B"),
        ("R\xe9ponse : B", "B"),
        ("Antwort: B", "B"),
        ("\u041e\u0442\u0432\u0435\u0442: B", "B"),
        ("Let me think. Option A has no spout. Option C is glass.\n\nB", "B"),
        ("E", "E"),
        ("", ""),
        ("The answer is C. Note that A is a distractor", "C"),
        ("It is B.", "It is B."),
        ("Answer: B or C", "Answer: B or C"),
        ("<answer>The answer is B</answer>", "B"),
        ("Thus, the answer is:\n\n**B**", "B"),
        ("Final answer: (B) a tin kettle.", "B"),
        ("The answer is a", "A"),
        ("The answer is a tin kettle", "B"),
        ("So the correct choice is $\\text{B}$.", "B"),
    ],
)
def test_full_reads_an_options_letter_and_leaves_what_names_none(
    response: str, answer: str
) -> None:
    assert extract(response, "full", OPTIONS).text == answer


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("The answer is March 4, 1971.", "March 4, 1971"),
        ("**Northwind**", "Northwind"),
        ("Answer: Northwind", "Northwind"),
        ('{"answer": "Northwind"}', "Northwind"),
        ('{"brand": "Northwind"}', "Northwind"),
        ("\\boxed{Northwind}", "Northwind"),
        ("The final answer is 5 p.m.", "5 p.m."),
        ("The answer is Mr. Smith.", "Mr. Smith"),
        ("The answer is U.S.A.", "U.S.A."),
        ("The answer is $1,250.00.", "$1,250.00"),
        ("Final answer: 1,250.00", "1,250.00"),
        ("\u6700\u7ec8\u7b54\u6848\uff1a\uff17", "\uff17"),
        ("The answer to the question is Northwind.", "Northwind"),
        ('Answer: "Northwind"', "Northwind"),
        ("### Answer\n\nNorthwind", "Northwind"),
        ("The answer is: **Northwind**.", "Northwind"),
        ("Therefore, the answer is Northwind. It is on the lid.", "Northwind"),
        ("\\boxed{\\text{Northwind Co.}}", "Northwind Co."),
        ('{"answer": 7}', "7"),
        ('{"answer": 7.50}', "7.50"),
        ('{"answer": true}', "True"),
        ('{"answer": [2007, 2008]}', "[2007, 2008]"),
        ('{"answer": null}', '{"answer": null}'),
        ("12 %", "12 %"),
        ('"quoted" and "again"', '"quoted" and "again"'),
        ("$5 and $6", "$5 and $6"),
        ("yes", "yes"),
        ("Answer:", "Answer:"),
        ("What is the answer?", "What is the answer?"),
        ("the answer is blowing in the wind", "blowing in the wind"),
        ("**a** and **b**", "**a** and **b**"),
        ("#### 42", "42"),
        ("Final value: 12", "12"),
        ("\u7b54\u6848\u662f7\u3002", "7"),
        ("\u7b54\u3048\u306f7\u3067\u3059\u3002", "7"),
        ("```\n7\n```", "7"),
        ("<answer>Final answer: 7</answer>", "7"),
        ("The answer is 3.5 cm.", "3.5 cm"),
        ("The answer is 12.", "12"),
        ("Answer: 10.\nExplanation: x", "10"),
        ("The answer is 'Northwind'.", "Northwind"),
        ("Answer: St. Paul", "St. Paul"),
        ("Answer: No. 5", "No. 5"),
        ("**Answer**: Northwind", "Northwind"),
        ("*Answer:* Northwind", "Northwind"),
        ("Answer = 5", "5"),
        ("> Northwind", "Northwind"),
        ("Final answer:\n- Northwind", "Northwind"),
    ],
)
def test_full_reads_what_an_open_response_states(response: str, answer: str) -> None:
    assert extract(response, "full").text == answer


def test_a_letter_that_contradicts_its_text_is_not_chosen_for_the_model() -> None:
    assert extract("C. a tin kettle", "full", OPTIONS).text == "C. a tin kettle"
    assert extract("A. Smith", "full", {"A": "B. Jones", "B": "A. Smith"}).text == "B"


def test_a_prompt_that_is_echoed_after_the_answer_is_not_read() -> None:
    response = "Answer: (B)\n\nQuestion: Which one is next?\nChoices:\n(A) x\n(C) y\nAnswer: (C)"
    assert extract(response, "full", OPTIONS).text == "B"


def test_marks_are_named() -> None:
    found = extract("<think>a</think><answer>\\boxed{B}</answer><|im_end|>", "full", OPTIONS)
    assert found.how == ("thought", "answer tag", "box", "letter")
    assert extract("B.", "full", OPTIONS).is_marked is False
    assert extract("B", "full", OPTIONS).how == ()


@pytest.mark.parametrize("way", FINAL_ANSWERS)
def test_a_plain_answer_stays(way: str) -> None:
    for answer in ("Northwind", "March 4, 1971", "12 %", "$5 and $6", "x < 5", "a [sic] b", "yes."):
        assert extract(answer, way).text == answer  # type: ignore[arg-type]


pieces = st.lists(
    st.sampled_from(
        [
            *("<think>", "</think>", "<answer>", "</answer>", "<|im_end|>", "<|channel|>final"),
            *("<|message|>", "\\boxed{", "}", "{", '{"answer": ', '"', "'", "**", "`", "```", "$"),
            *("Final answer: ", "The answer is ", "B", "(b)", "A and B", "\n", " ", "\\text{"),
            *(
                "\u7b54\u6848",
                "\u9009",
                "\uff22",
                "&lt;think&gt;",
                "[THINK]",
                "\x08oxed{",
                "\ud800",
            ),
        ]
    ),
    max_size=20,
).map("".join)


@given(st.text(max_size=80) | pieces)
def test_no_response_raises_and_nothing_is_found_in_nothing(response: str) -> None:
    for way in FINAL_ANSWERS:
        for options in ({}, OPTIONS):
            found = extract(response, way, options)
            assert found.text in OPTIONS or len(found.text) <= len(response) + 2


@given(pieces)
def test_outer_blanks_change_nothing(response: str) -> None:
    for way in ("tags", "full"):
        assert extract(f"\n {response} \n", way).text == extract(response, way).text


@pytest.mark.parametrize(
    "unit",
    [
        *("a", " ", "\n", "<", "<think>", "</think>", "<think></think>", "<answer>", "</answer>"),
        *("{", '{"a":', "[", "**", "`", "\\boxed{", "}", "Answer: ", "answer is ", "the "),
        *("final answer ", "(A) ", "A. ", "choose ", "<|im_end|>", "<|", "\\text{", "```", "#"),
        *('{"answer": "', "\u7b54\u6848", "\u9009", ". A", "Mr. ", "A and ", "right ", "best "),
        "<|channel|>final<|message|>",
    ],
)
def test_the_time_of_long_responses_is_linear(unit: str) -> None:
    def seconds(length: int) -> float:
        response = (unit * length)[:length]
        started = time.process_time()
        for way in ("tags", "full"):
            extract(response, way)
            extract(response, way, OPTIONS)
        return time.process_time() - started

    short = min(seconds(8_000) for _ in range(2))
    long = min(seconds(64_000) for _ in range(2))
    assert long < 30 * short + 0.1  # 64 times if it were quadratic
