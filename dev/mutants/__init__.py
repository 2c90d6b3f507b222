"""Planted bugs: small edits of the product that its falsifiers must catch (`make mutants`)."""
