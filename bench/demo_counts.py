"""Count the training text of the demo model, by id and by word: the files that `pydisp fairness` takes the demo's frequencies from.

    python bench/demo_counts.py --peps PEPS.txt.gz        # the text that pydisp/demo/train.py was given

Refuses a text that is not the one of `training.json`.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from pydisp.demo.train import read  # noqa: E402
from pydisp.fairness.counts import DEMO_FILES, Counts  # noqa: E402
from pydisp.loading import DEMO_FOLDER, load_tokenizer  # noqa: E402
from pydisp.pythondoc import documents  # noqa: E402
from pydisp.text import Text  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peps", required=True)
    peps = read(parser.parse_args().peps)
    modules = [d.text for d in documents("docstrings", "train")]
    trained = json.loads((DEMO_FOLDER / "training.json").read_text())["sha256"]
    for name, text in {"peps": peps, "docstrings train": "\n\n".join(modules)}.items():
        if hashlib.sha256(text.encode()).hexdigest() != trained[name]:
            sys.exit(f"the text '{name}' is not the one that the demo model was trained on; use the Python and the file of training.json.")
    text = Text("training text of the demo model", (peps, *modules))
    for unit, file in DEMO_FILES.items():
        counts = Counts.of_text(text, unit, load_tokenizer("demo"))
        counts.write(DEMO_FOLDER / file)
        print(f"{file}: {len(counts.by_type)} types, {sum(counts.by_type.values())} occurrences")


if __name__ == "__main__":
    main()
