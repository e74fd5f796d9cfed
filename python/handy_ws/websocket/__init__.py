"""The WebSocket side: the upgrade, the message handler, and the words of the core in Python."""
