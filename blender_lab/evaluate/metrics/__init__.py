"""Metrics that compare an answer with a reference: ROUGE, BLEU, chrF, BERTScore, BARTScore, BLEURT.

Importing this package loads none of their libraries.
"""
