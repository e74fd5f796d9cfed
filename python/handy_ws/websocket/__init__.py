"""The WebSocket side: the upgrade, the message handler, and what the core says in Python's words."""
