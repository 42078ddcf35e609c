"""How a recipe becomes a snapshot: checked, chained, and made in machines."""
