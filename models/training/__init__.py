"""Training and judging the open lesion network: synthetic lesions, the loop, evaluation on real cases."""
