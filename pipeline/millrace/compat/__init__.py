"""Private interfaces of dependencies and workarounds of their faults, with the versions that they were tested with.

Outside the range of a private interface its module gives the stock behaviour: slower, never wrong. Other rooms import
the modules and not this face, which would import every dependency.
"""
