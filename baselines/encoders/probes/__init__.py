"""Encoders that run the networks on sequences and read their answers.

    probing         learned questions, the same for all networks or interactive; the core that reads is in stepwise.py
    probegen        questions from a shared linear generator
    fixed_probes    questions that are random, or from the training data
    rotation_bank   digits at many angles
    self_rollout    strings that networks write themselves, in strings.py
    queries         forms of questions and answers

May import: the interface and layers of `rnn_zoos.baselines.encoders`, `rnn_zoos` (networks, families).
"""
