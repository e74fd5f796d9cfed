"""What the programs share: frames, a raw client, server processes, payloads and reports."""
