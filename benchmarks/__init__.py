"""Programs that measure; each is run as `python -m benchmarks.NAME` and explained by `--help`.

What they have in common:

* A server under measurement is a process of its own, pinned to one core; the client, which is the
  program that you start, is pinned to another.
* CPU time of the server's whole process, user and system, is what is compared: on a machine that
  does other things too, it holds where a rate or a latency does not.
* What is compared is measured in turn, again and again, and the median counts. Nothing is compared
  with figures of another run.
* The client is written with plain sockets. It sends frames that were made beforehand and looks at
  the headers of what comes back, so that it does the same work whatever the server does.
"""
