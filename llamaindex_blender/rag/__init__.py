"""Parts of retrieval for LlamaIndex: embeddings that run on this machine, see ``local_embedding``."""
