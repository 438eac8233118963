"""The four stages: which steps an experiment has, what each needs, whether it must run, and how it is built.

graph       experiment -> steps and their inputs
planning    steps + store -> reuse or run, and why
building    one step -> one object in the store
child       the same in a process of its own, for everything that computes with torch
ingest, pretrain, embed, tag    what the steps of each stage do
"""
