"""From an experiment to objects: steps, plan, and the build of one object.

kinds     kinds of objects, with the inputs and the builder of each
roles     roles of inputs
steps     steps and graphs
graph     experiment -> steps
bases     `continue_from: latest` -> digests
plan      steps and store -> reuse or run, with the reason
context   an experiment resolved once for a run, with its graph, plan and store
build     build request -> object in the store
naming    names of inputs in error messages
"""
