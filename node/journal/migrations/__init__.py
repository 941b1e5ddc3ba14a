"""The journal's schema history, run by ``node.journal.database.upgrade`` when a journal is opened for writing."""
