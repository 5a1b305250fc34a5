"""Private interfaces of dependencies and workarounds for their faults, with the versions that they were tested with.

Outside its range a private interface is not used. The module then uses public interfaces, which are slower and give the
same results. Other rooms import the modules directly, because this face would import every dependency.
"""
