"""Private interfaces of dependencies, one module for each, with the versions that they were tested with.

Outside its range a module gives the stock behaviour of the dependency: slower, never wrong. Other rooms import the
modules and not this face, which would import every dependency.
"""
