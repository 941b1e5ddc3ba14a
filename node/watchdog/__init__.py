"""The watchdog: a process of its own, with its own key, that watches the node from outside and can do without it."""
