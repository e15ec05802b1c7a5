"""MixInstruct by its hub name, from a server on loopback that speaks the hub's protocol."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

pytest.importorskip("huggingface_hub")
pytest.importorskip("scipy")

COMMIT = "0123456789abcdef0123456789abcdef01234567"
MODELS = [f"model-{number}" for number in range(12)]  # the released files carry 12 candidates


def released_line(number, compared):
    """A line in the shape of the released files: scores of nine metrics, verdicts as JSON in a string."""
    scores = ("logprobs", "rouge1", "rouge2", "rougeL", "rougeLsum", "bleu", "bertscore", "bleurt", "bartscore")
    candidates = [
        {
            "decoding_method": "top_p_sampling",
            "model": model,
            "text": f"answer {place} to {number}",
            "scores": {name: float(place + number % 2) for name in scores},
        }
        for place, model in enumerate(MODELS)
    ]
    verdicts = {
        f"{first},{second}": "A is better" if i > j else "B is better"
        for i, first in enumerate(MODELS)
        for j, second in enumerate(MODELS)
        if i != j
    }
    return {
        "id": f"unified_chip2/{number}",
        "instruction": "",
        "input": f"question {number}",
        "output": "the reference",
        "candidates": candidates,
        "cmp_results": json.dumps(verdicts) if compared else "null",
    }


FILES = {
    "README.md": b"# MixInstruct",
    "test_data_prepared.jsonl": "\n".join(json.dumps(released_line(n, n != 3)) for n in range(4)).encode(),
    "val_data_prepared.jsonl": json.dumps(released_line(9, False)).encode(),
}


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as listing a data set and fetching a file of it takes."""

    def log_message(self, *arguments):
        pass

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):
        path = self.path.partition("?")[0]
        name = "llm-blender/mix-instruct"
        data, etag = None, None
        if path in (f"/api/datasets/{name}/tree/main", f"/api/datasets/{name}/tree/{COMMIT}"):
            data = json.dumps(
                [{"type": "file", "path": file, "size": len(content), "oid": COMMIT} for file, content in FILES.items()]
            ).encode()
        elif path in (f"/api/datasets/{name}", f"/api/datasets/{name}/revision/main"):
            data = json.dumps({"id": name, "sha": COMMIT, "siblings": [{"rfilename": file} for file in FILES]}).encode()
        elif path.startswith(f"/datasets/{name}/resolve/"):
            data = FILES.get(path.rsplit("/", 1)[1])
            etag = hashlib.sha1(data or b"").hexdigest()
        self.send_response(404 if data is None else 200)
        data = data or b"{}"
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Repo-Commit", COMMIT)
        if etag is not None:
            self.send_header("ETag", f'"{etag}"')
        self.end_headers()
        if body:
            self.wfile.write(data)


@pytest.fixture(scope="module")
def hub():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def eval_blend(hub, home, *arguments):
    # the hub's address is read when its client is imported, so in a process of its own
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"HF_ENDPOINT": hub, "HF_HOME": str(home), "NO_PROXY": "127.0.0.1", "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-m", "blender_core.cli", "eval", "blend", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_mix_instruct_by_name(hub, tmp_path):
    done = eval_blend(hub, tmp_path, "llm-blender/mix-instruct", "--ranker", "longest", "--ranker", "random", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["prompts"], len(report["members"])) == (4, 12)
    columns = {row["name"]: row["columns"] for row in report["rows"]}
    # three prompts were compared, and model-11 wins every comparison
    assert (columns["model-11"]["gpt_rank"]["mean"], columns["model-11"]["gpt_rank"]["count"]) == (1.0, 3)
    assert (columns["model-0"]["gpt_rank"]["mean"], columns["model-0"]["bertscore"]["count"]) == (12.0, 4)


def test_another_split_and_a_name_that_is_not_there(hub, tmp_path):
    done = eval_blend(hub, tmp_path, "llm-blender/mix-instruct", "--split", "train", "--ranker", "longest")
    assert done.returncode == 2
    assert "no JSON lines for the split 'train'" in " ".join(done.stderr.split())
    done = eval_blend(hub, tmp_path, "llm-blender/mixed", "--ranker", "longest")
    assert done.returncode != 0
    assert "llm-blender/mixed cannot be had" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
