"""Measuring rankers on preference data that they were not trained on."""
