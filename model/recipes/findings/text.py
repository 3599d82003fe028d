"""The words and tables of `findings.md`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .analysis import Compared, Laboratory, arm_stability, chance, finished
from .arms import RATES, REFERENCE, SWEEP, Training
from .comparisons import FINDINGS, Comparison, Finding, Shown, rate_arm
from .effects import Effect

INTRODUCTION = """# The paper's six findings, measured in miniature

Made by `scripts/findings report` from `arms/`; nothing here is written by hand. Size: {size}.
{arms} arms, {trainings} trainings. Every score is of {questions} questions about {pictures}
pictures of the test part, by which nothing was chosen. Effects are in points, paired by question
and by seed; their 95 % intervals are clustered two ways, by picture and by seed (t with
Satterthwaite's degrees of freedom). The paper's effects are on its own benchmarks: signs can be
compared, sizes cannot.
"""

READINGS = """*Equal samples*: both arms saw the same pictures and questions in the same order.
*Equal FLOPs*: the dearer arm was trained again with as many training FLOPs as the other, on the
first of the same samples; empty where both cost about the same (the last table has what each
costs). Both read the test part once, at the end. The interval of one seed is that of the questions
alone, and resolves nothing.
"""

SWEPT: tuple[Training, ...] = ("lora", "full")


def report(
    laboratory: Laboratory,
    found: Mapping[int, Sequence[Compared]],
    drawn: Mapping[int, str],
    size: str,
) -> str:
    """The whole file; `drawn` has the figures' names by finding, 0 being that of costs."""
    items = laboratory.questions["test"]
    parts = [
        INTRODUCTION.format(
            size=size,
            arms=len(finished(laboratory)),
            trainings=len(laboratory.results),
            questions=len(items),
            pictures=len({item.picture for item in items}),
        ),
        _chance(laboratory),
        "## The table of six\n",
        _effects([(f.number, found[f.number][:2]) for f in FINDINGS if found[f.number]]),
        READINGS,
    ]
    parts += [
        _finding(laboratory, finding, found[finding.number], drawn)
        for finding in FINDINGS
        if found[finding.number]
    ]
    parts += ["## Accuracy and costs of all arms\n"]
    if 0 in drawn:
        parts.append(f"![Accuracy against costs]({drawn[0]})\n")
    parts.append(_arms(laboratory))
    return "\n".join(parts)


def _chance(laboratory: Laboratory) -> str:
    lines = ["Scores without a look at the right picture, and of the reference arm:\n"]
    rows = []
    for group in ("all", "reading", "others"):
        levels = chance(laboratory, group)
        if laboratory.seeds(REFERENCE):
            levels[REFERENCE] = laboratory.mean(Shown(REFERENCE), group)
        rows.append([group, *(f"{level:.1f}" for level in levels.values())])
    header = ["questions", *levels]
    return "\n".join([*lines, _table(header, rows)])


def _effects(rows: Sequence[tuple[int, Sequence[Compared]]]) -> str:
    header = ["", "effect", "equal samples", "equal FLOPs", "paper", "seeds", "verdict"]
    lines = [
        [
            str(number),
            one.comparison.text,
            _effect(one.equal_samples),
            _effect(one.equal_flops),
            _papers(one.comparison),
            str(one.equal_samples.num_seeds),
            one.verdict or "-",
        ]
        for number, compared in rows
        for one in compared
    ]
    return _table(header, lines)


def _finding(
    laboratory: Laboratory,
    finding: Finding,
    compared: Sequence[Compared],
    drawn: Mapping[int, str],
) -> str:
    parts = [f"## {finding.number}. {finding.claim}\n"]
    if finding.number in drawn:
        parts.append(f"![Effects of finding {finding.number}]({drawn[finding.number]})\n")
    parts += [_effects([(finding.number, compared)]), _sentences(compared)]
    if finding.number == 3:
        parts.append(_rates(laboratory))
    return "\n".join(parts)


def _sentences(compared: Sequence[Compared]) -> str:
    """What was seen, verdict by verdict."""
    by_verdict: dict[str, list[str]] = {}
    for one in compared:
        by_verdict.setdefault(one.verdict or "no sign in the paper", []).append(
            f"{one.comparison.text} ({one.equal_samples.value:+.1f})"
        )
    sentences = [f"{name.capitalize()}: {'; '.join(all_)}." for name, all_ in by_verdict.items()]
    return " ".join(sentences) + "\n"


def _rates(laboratory: Laboratory) -> str:
    """Scores and divergence by learning rate."""
    rows = []
    for training in SWEPT:
        names = [rate_arm(training, rate) for rate in SWEEP]
        found = [laboratory.of(name) for name in names]
        diverged = [sum(arm_stability(one).is_diverged for one in results) for results in found]
        cells = list(zip(names, found, diverged, strict=True))
        rows += [
            [
                f"{training}, validation",
                *(f"{laboratory.validated(name):.1f}" if seen else "" for name, seen, _ in cells),
            ],
            [
                f"{training}, test",
                *(
                    f"{laboratory.mean(Shown(name), 'all'):.1f}" if seen else ""
                    for name, seen, _ in cells
                ),
            ],
            [
                f"{training}, diverged",
                *(f"{count} of {len(seen)}" if seen else "" for _, seen, count in cells),
            ],
        ]
    chosen = ", ".join(f"{training} {RATES[training]:g}" for training in SWEPT)
    note = (
        "By the learning rate of backbones or adapters. Only the validation part may choose one; "
        f"other findings use {chosen}.\n"
    )
    return "\n".join([note, _table(["", *(f"{rate:g}" for rate in SWEEP)], rows)])


def _arms(laboratory: Laboratory) -> str:
    header = [
        "arm", "seeds", "all", "reading", "others", "trained parameters", "visual tokens",
        "pictures", "training TFLOP", "answer MFLOP", "spikes", "diverged",
    ]  # fmt: skip
    rows = []
    for name in finished(laboratory):
        results = laboratory.of(name)
        for how in ("whole", "split"):
            if how not in results[0].test:
                continue
            shown, costs = Shown(name, how), results[0].costs
            steady = [arm_stability(result) for result in results]
            groups = [
                f"{laboratory.mean(shown, group):.1f}" for group in ("all", "reading", "others")
            ]
            rows.append(
                [
                    name if how == "whole" else f"{name}, asked split",
                    str(len(results)),
                    *groups,
                    f"{costs['trained_parameters']:,.0f}",
                    f"{costs.get(f'{how}_visual_tokens', 0):.0f}",
                    f"{results[0].samples:,}",
                    f"{results[0].training_flops / 1e12:.2f}",
                    f"{costs.get(f'{how}_answer_flops', 0) / 1e6:.0f}",
                    str(sum(one.num_spikes for one in steady)),
                    str(sum(one.is_diverged for one in steady)),
                ]
            )
    return _table(header, rows)


def _effect(found: Effect | None) -> str:
    return "" if found is None else f"{found.value:+.1f} [{found.low:+.1f}, {found.high:+.1f}]"


def _papers(comparison: Comparison) -> str:
    if comparison.papers is not None:
        return f"{comparison.papers:+.1f} ({comparison.source})"
    return f"{ {1: 'above 0', -1: 'below 0', 0: 'none'}[comparison.sign] } ({comparison.source})"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
