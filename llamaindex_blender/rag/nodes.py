"""LlamaIndex nodes on one side, the engine's sources on the other. Nodes are copied, never changed."""

from __future__ import annotations

from llama_index.core.schema import NodeWithScore, TextNode

from blender_core.rag import LinkedSource, Source

__all__ = ["BLEND_KEY", "linked_node", "to_source"]

BLEND_KEY = "blend"
"""Where a copy's metadata says what the blend knows of a node. LLMs and embedding models are not shown it."""


def to_source(found: NodeWithScore) -> Source:
    """Read a retrieved node for the engine.

    Args:
        found: The node, and the retriever's score.

    Returns:
        The source.

    Examples:
        >>> to_source(NodeWithScore(node=TextNode(text="The port is 8080.", id_="manual"), score=0.5))
        Source(text='The port is 8080.', id='manual', metadata={}, score=0.5)
    """
    metadata = {key: value for key, value in found.node.metadata.items() if key != BLEND_KEY}
    return Source(found.node.get_content(), id=found.node.node_id, metadata=metadata, score=found.score, native=found)


def linked_node(linked: LinkedSource) -> NodeWithScore:
    """A source of a result as a node.

    Args:
        linked: The source, and who used it.

    Returns:
        A copy with the id of the retrieved node. ``metadata["blend"]`` has its number in citations, and the names of
        the engines that used and that cited it, best first. A source of another framework becomes a new node.
    """
    source = linked.source
    if isinstance(source.native, NodeWithScore):
        node = source.native.node
    else:
        node = TextNode(text=source.text, metadata=dict(source.metadata), **({"id_": source.id} if source.id else {}))
    known = {"number": linked.number, "used_by": list(linked.used_by), "cited_by": list(linked.cited_by)}
    copied = node.model_copy(
        update={
            "metadata": {**node.metadata, BLEND_KEY: known},
            "excluded_llm_metadata_keys": [*node.excluded_llm_metadata_keys, BLEND_KEY],
            "excluded_embed_metadata_keys": [*node.excluded_embed_metadata_keys, BLEND_KEY],
        }
    )
    return NodeWithScore(node=copied, score=source.score)
