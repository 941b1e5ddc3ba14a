"""The auditor, who compares venue, node and journal and trusts none of them; and the dead man's switch."""
