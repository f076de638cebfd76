"""From tokens to one vector."""
