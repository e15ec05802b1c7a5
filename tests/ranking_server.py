"""A server on loopback that ranks in every dialect: an answer scores the number of its letters."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class RankingServer:
    """Serves every path; `script` holds what comes first: a status, with headers and body, or a body with status 200.

    `requests` holds path, headers and body of each request, `most_at_once` how many were in work together.
    """

    def __init__(self, *script, hang=False):
        self.requests = []
        self.most_at_once = 0
        self.at_work = 0
        self.script = list(script)
        self.lock = threading.Lock()
        self.closed = threading.Event()
        self.hang = hang
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self.server.daemon_threads, self.server.block_on_close = True, False
        self.server.ranking = self
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_port}"

    @property
    def bodies(self):
        return [body for _, _, body in self.requests]

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.closed.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def scores(texts):
    return [float(len(text)) for text in texts]


def reply(path, body):
    """Answer as the servers do: the best first if the answer has indices."""
    kind = path.partition("?")[0].split("/")[-1]
    if kind in ("classify", "pooling"):
        [score] = scores([body["messages"][-1]["content"]])
        item = {"probs": [score], "num_classes": 1, "label": "LABEL_0"} if kind == "classify" else {"data": [score]}
        return {"object": "list", "data": [{"index": 0, **item}], "usage": {"prompt_tokens": 9}}
    if kind == "predict":
        return [[{"score": score, "label": "LABEL_0"}] for score in scores(text for _, text in body["inputs"])]
    if kind == "score":
        return {"data": [{"index": n, "score": score} for n, score in enumerate(scores(body["text_2"]))]}
    tei = "texts" in body
    label = "score" if tei else "relevance_score"
    ranked = enumerate(scores(body["texts" if tei else "documents"]))
    results = [{"index": n, label: score} for n, score in sorted(ranked, key=lambda pair: -pair[1])]
    return results if tei else {"id": "1", "results": results, "meta": {}}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        ranking = self.server.ranking
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with ranking.lock:
            ranking.requests.append((self.path, dict(self.headers), body))
            ranking.at_work += 1
            ranking.most_at_once = max(ranking.most_at_once, ranking.at_work)
            step = ranking.script.pop(0) if ranking.script else reply(self.path, body)
        if ranking.hang:
            ranking.closed.wait()
        status, headers, answer = step if isinstance(step, tuple) else (200, {}, step)
        data = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
        with ranking.lock:
            ranking.at_work -= 1
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments):
        pass


def save_rank_gguf(file):
    """Write a tiny random BERT with a reranker's head for llama.cpp."""
    import gguf
    import numpy as np

    width, inner, context, rng = 32, 64, 128, np.random.default_rng(0)
    control = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    words = [f"\u2581{word}" for word in ("capital", "of", "france", "?", "paris", "rome", "is", "a", "city", "berlin")]
    writer = gguf.GGUFWriter(str(file), "bert")
    writer.add_context_length(context)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(2)
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.RANK)
    writer.add_tokenizer_model("bert")
    writer.add_token_list([*control, *words])
    writer.add_token_types([gguf.TokenType.CONTROL] * len(control) + [gguf.TokenType.NORMAL] * len(words))
    writer.add_token_type_count(2)
    for place, name in enumerate(("pad", "unk", "bos", "sep", "mask")):
        getattr(writer, f"add_{name}_token_id")(place)
    writer.add_eos_token_id(control.index("[SEP]"))
    writer.add_add_sep_token(True)
    norms = ("token_embd_norm", "blk.0.attn_output_norm", "blk.0.layer_output_norm")
    for name in norms:
        writer.add_tensor(f"{name}.weight", np.ones(width, np.float32))
    square = {f"blk.0.{name}": (width, width) for name in ("attn_q", "attn_k", "attn_v", "attn_output")}
    layers = {
        **square,
        "blk.0.ffn_up": (inner, width),
        "blk.0.ffn_down": (width, inner),
        "cls": (width, width),
        "cls.output": (1, width),
    }
    embeddings = {"token_embd": (len(control) + len(words), width), "position_embd": (context, width)}
    for name, shape in {**layers, **embeddings, "token_types": (2, width)}.items():
        writer.add_tensor(f"{name}.weight", rng.normal(0.0, 0.3, shape).astype(np.float32))
    for name, size in {**{name: shape[0] for name, shape in layers.items()}, **dict.fromkeys(norms, width)}.items():
        writer.add_tensor(f"{name}.bias", np.zeros(size, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
