"""The examination before real money: what was found, what to do about it, and the stamp that lets the node start."""
