"""Renders faces and presentation attacks: the demonstration's feed, and what training adds."""
