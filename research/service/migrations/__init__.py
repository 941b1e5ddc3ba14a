"""The service's schema history, run by ``research.service.jobs.prepare``."""
