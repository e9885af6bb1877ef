"""The decision: each candidate's evidence, constraints, objective, and the winner or the tie."""
