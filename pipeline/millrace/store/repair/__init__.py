"""Missing and damaged replicas: found, recorded and written again."""
