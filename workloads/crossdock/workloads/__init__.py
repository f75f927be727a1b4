"""Methods of machine learning as Ray workloads.

Each method is a package of its own: a plain Python API in scikit-learn's conventions, which needs
no Ray, and a command that runs it over a cluster with the common `runner`.
"""
