"""Downstream tasks: labels predicted from embeddings, their measures, and the controls an encoder is compared with.

May import: `rnn_zoos.baselines.encoders`, `rnn_zoos.baselines.emulation`.

    targets.py       which labels are predicted, and the measures; a new target is an entry of `TARGETS`
    protocols.py     which rows predictors are trained and tested on
    predictors.py    fitting and scoring; a new predictor is an entry of `PREDICTORS`
    controls.py      features to compare embeddings with; a new control is an entry of `CONTROLS`
    clones.py        accuracy of emulators on the tasks of the networks
    end_to_end.py    encoders trained on the labels
"""
