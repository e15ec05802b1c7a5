"""The laboratory: train rankers and fusers, evaluate blends, gather one's own data."""
