"""The servers under measurement, each a small program.

A server prints its port as the first line of its standard output and runs until SIGTERM. None of
them pings its clients or writes an access log, and all listen on 127.0.0.1 only.
"""
