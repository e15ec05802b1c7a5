"""What the table of differences says of the old package is what the old package was seen to do."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TABLE = (ROOT / "docs" / "llm_blender_differences.md").read_text()
ROWS = {
    cells[0]: cells[1]
    for line in TABLE.splitlines()
    if line.startswith("| ") and (cells := [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])[0] != "What"
}
DIFFERENCES = json.loads((ROOT / "tests" / "goldens" / "differences.json").read_text())
SEEN = DIFFERENCES["seen"]
# in other goldens, or on a version on which the old package does not import
ELSEWHERE = {
    "Normalisation of `½`, `…`, no-break space on transformers 5",
    "`compare`, mode `[A,B]+[B,A]`",
}


def test_every_row_was_run():
    assert set(ROWS) == set(SEEN) | ELSEWHERE
    assert "not run" not in TABLE
    assert DIFFERENCES["versions"]["llm-blender"] == "0.0.2"


@pytest.mark.parametrize("row", [row for row in ROWS if row not in ELSEWHERE])
def test_errors_are_those_that_were_raised(row):
    on_transformers_5 = {"`sep_token_id` of PairRM-hf": {"AttributeError"}}
    claimed = set(re.findall(r"\w+Error", ROWS[row])) - on_transformers_5.get(row, set())
    raised = set(re.findall(r"\b(\w+Error)\b", json.dumps(SEEN[row])))
    # without its base model the old package cannot load at all
    assert raised - {"HFValidationError"} == claimed


def test_what_was_seen_without_an_error():
    room = SEEN["Room for a candidate"]
    assert room["beside a long prompt"][0] < room["alone"][0]
    control = SEEN["`[CLS]`, `[PAD]`, `[MASK]` in a text"]
    assert all(control[text] != control[""] for text in ("[CLS]", "[PAD]", "[MASK]"))
    separator = SEEN["`[SEP]` in a text"]
    assert separator["[SEP]"] == separator["space"]
    mode = SEEN["Unknown `mode` of `compare`"]
    assert mode["unknown"] == mode["both orders"]
    reference = SEEN["`rank_with_ref(mode=…)` of the old README"]
    assert reference["mode=shortest"] == reference["longest"] != reference["shortest"]
    copies = SEEN["Copies of a candidate"]
    assert (copies["forwards"], copies["scores"][0]) == (6, copies["scores"][2])
    assert SEEN["Bubble permutation"] == {"draws for two inputs": 1, "seeds set": 0}
    assert SEEN["Unknown options of `loadranker`"] == 2
    assert SEEN["Unknown or missing tensors"]["pytorch_model.bin"] == "loads"
    assert all(SEEN["Progress bars, prints, root logger"].values())
    long = SEEN["Long input of the fuser"]
    assert not long["instruction at the end"]
    assert not long["candidate 0"]
    assert SEEN["Candidates given to `fuse`"]["caller's list changed"]
    assert all(plain < hostile for plain, hostile in SEEN["`</s>`, `<extra_id_0>` in the fuser's input"].values())
    assert SEEN["Fuser that writes nothing"] == ["", ""]
    assert SEEN["vLLM models in `n_generate`"] == [["Hi 0", "Hi 1"]]
    assert SEEN["`load_in_8bit`, `load_in_4bit` of the fuser"] == {"passed on": [], "dtype": "torch.float32"}
