"""Whether a trained model may decide: the evidence, the conditions, the signed verdict."""
