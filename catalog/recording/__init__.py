"""What a live recorder heard: segments it is appended to, the tape they become, and what is made of a tape."""
