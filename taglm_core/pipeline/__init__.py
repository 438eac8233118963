"""From an experiment to objects: what is needed, what is there already, and how one object is made.

kinds     what each kind of object is made from, and by which builder
steps     steps and graphs
graph     experiment -> steps
bases     `continue_from: latest` -> digests
plan      steps + store -> reuse or run, and why
context   an experiment resolved once for a run: its graph, plan and store
build     one request -> one object in the store
"""
