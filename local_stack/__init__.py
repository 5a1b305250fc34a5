"""The real services of Millrace on one machine, from Python wheels and Maven artifacts alone."""
