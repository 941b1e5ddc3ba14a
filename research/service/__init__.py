"""
Backtests as a service: jobs over HTTP, kept in the journal database, run by worker processes.

``python -m research.service`` listens and keeps its workers alive. A job belongs to one worker for the length of a
lease that the worker renews; when it stops doing so (killed, hung, machine gone) the job is queued again. Each taking
has a number, and only the newest may store a result: no job ends twice.
"""
