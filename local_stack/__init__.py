"""The real services of Millrace on one machine. They come only from Python wheels and Maven artifacts."""
