"""The decision: each candidate's evidence, what the rules make of it, the winner or the tie."""
