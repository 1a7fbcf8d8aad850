"""Makes docs/gallery.md from the results of benchmarks/molecules.py.

python benchmarks/gallery.py [benchmarks/molecules.jsonl] [docs/gallery.md]

The last line of each molecule counts. Nothing is computed here.
"""

import json
import sys
from pathlib import Path
from typing import Any

import molecules

NAMES = {
    "val": "capped valine",
    "ser": "capped serine",
    "phe": "capped phenylalanine",
    "trp": "capped tryptophan",
    "pro": "capped proline",
    "his": "capped histidine, protonated",
    "o_cresol": "o-cresol",
    "aspirin": "aspirin",
    "ibuprofen": "ibuprofen, (S)",
    "glucose": "β-D-glucopyranose",
    "crown": "12-crown-4",
    "cyclohexane": "cyclohexane",
}

HEAD = """# Gallery: molecules by one command

Each molecule was trained with a preset and nothing else, from energies alone, by `python benchmarks/molecules.py`. The
command line does the same. 200 000 samples give the effective sample size (ESS). The check for lost basins is an
independent simulation of 32 ladders of 20 ps. The last column compares the populations of all torsions' states with
parallel tempering that never saw the generator (Hotelling's T², p below 0.01 would be a disagreement). Times are those
of one thread of a busy machine. This page is made by `benchmarks/gallery.py`; what failed is in the table, too.

| molecule | `boltzflow train …` | atoms | energies | minutes | ESS (clipped) | k̂ | weights | lost basins | p |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
"""


def command(name: str, preset: str) -> str:
    """The command that trains a molecule."""
    source = dict(molecules.SOURCES.get(name, {"source": name}))
    words = []
    for option, value in source.items():
        values = value if isinstance(value, list) else [value]
        texts = [one.name if isinstance(one, Path) else str(one) for one in values]
        flag = [] if option == "source" else ["--" + option.replace("_", "-")]
        words += [" ".join([*flag, f"'{text}'" if option == "smiles" else text]) for text in texts]
    return " ".join([*words, *([] if preset == "standard" else ["--preset", preset])])


def word(sentence: str) -> str:
    return sentence.partition(":")[0]


def row(found: dict[str, Any]) -> str:
    cells = [
        NAMES.get(found["molecule"], found["molecule"]),
        f"`{command(found['molecule'], found['preset'])}`",
        found["atoms"],
        f"{found['energy_evaluations']:.2g}",
        f"{found['training_seconds'] / 60:.0f}",
        f"{found['ess']:.1%} ({found['ess_clipped']:.1%})",
        f"{found['pareto_k']:.2f}",
        word(found["verdict"]),
        word(found["lost_basins"]),
        f"{found['p']:.2g}",
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


def populations(found: dict[str, Any]) -> str:
    """The states of a molecule's torsions beside those of the reference; states below 0.1 % in both are left out."""
    lines = [
        f"## {NAMES.get(found['molecule'], found['molecule'])}",
        "",
        "| state | generator | parallel tempering |",
        "| --- | --- | --- |",
    ]
    for name, (value, error, _) in found["rotamers"].items():
        other, other_error, _ = found["reference"][name]
        if max(value, other) > 1e-3:
            lines.append(f"| {name} | {value:.4f} ± {error:.4f} | {other:.3f} ± {other_error:.3f} |")
    return "\n".join(lines)


def main() -> None:
    source, out = [*sys.argv[1:], *("benchmarks/molecules.jsonl", "docs/gallery.md")[len(sys.argv) - 1 :]]
    results = {}
    for line in Path(source).read_text(encoding="utf-8").splitlines():
        found = json.loads(line)
        results[found["molecule"], found["preset"]] = found
    page = HEAD + "\n".join(map(row, results.values())) + "\n\n" + "\n\n".join(map(populations, results.values()))
    Path(out).write_text(page + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
