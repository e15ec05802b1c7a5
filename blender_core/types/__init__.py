"""Define the data of a call: prompts, answers, outcomes, rankings, results."""
