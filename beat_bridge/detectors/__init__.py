"""One file per question asked of an inventory; pure functions from inventory to findings."""
