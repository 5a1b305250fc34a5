"""Addresses, files, compression, standard input and the checksum of source bytes."""
