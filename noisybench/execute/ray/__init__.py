"""Runs as tasks of a Ray cluster. Nothing here is imported unless that was asked for; ``ray`` itself where it is used.

On the machine of the command: ``executor`` (the cluster), ``dispatch`` (what is submitted, and what became of it),
``flight`` (one run), ``lending`` (one whose node does not see the store). On the nodes: ``task`` and ``line``.
Between them: ``mailbox`` (an actor), ``goods`` (data, files and plug-ins) and ``packing`` (a run's files).
"""
