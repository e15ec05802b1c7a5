"""What travels through a call: prompts, answers, outcomes, rankings, results."""
