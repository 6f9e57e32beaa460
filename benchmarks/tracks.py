"""How well people and vehicles are found one by one and followed, on rendered drives of seeds never trained on.

    python -m benchmarks.tracks [--engine road] [--drives 4] [--seconds 30]

Prints PQ, HOTA, IDF1 and id switches a minute of each group, as `edge evaluate --instances` gives them. `--confidence`
and `--steady` as there. Training took seeds 1000 to 1400.
"""

from __future__ import annotations

import argparse
import sys

import cv2

from edge.evaluate.drives import Drive
from edge.evaluate.figures import report_of
from edge.evaluate.object_figures import objects_text
from edge.evaluate.run import EvaluationConfig, table_of
from edge.evaluate.schedule import evaluate_drives, one_by_one

FIRST_SEED = 9001


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="road")
    parser.add_argument("--precision")
    parser.add_argument("--drives", type=int, default=4)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--rate", type=int, default=15, help="frames a second")
    parser.add_argument("--size", default="1280x720")
    parser.add_argument("--confidence", action="store_true")
    parser.add_argument("--steady", action="store_true")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    outputs = ("instances", *(name for name in ("confidence", "steady") if getattr(options, name)))
    config = EvaluationConfig(options.engine, options.precision, outputs=outputs)
    scene = f"frames={options.seconds * options.rate}&size={options.size}&fps={options.rate}"
    drives = [
        Drive(f"seed {seed}", f"scene:street?seed={seed}&{scene}")
        for seed in range(FIRST_SEED, FIRST_SEED + options.drives)
    ]
    results = evaluate_drives(drives, one_by_one(config))
    if failed := [result.error for result in results if result.error]:
        sys.exit("\n".join(failed))
    report = report_of(results, table_of(config))
    print(f"{report['engine']} ({report['precision']}), {len(drives)} drives of {options.seconds} s, {scene}")
    print("\n\n".join(objects_text(report)))


if __name__ == "__main__":
    main()
