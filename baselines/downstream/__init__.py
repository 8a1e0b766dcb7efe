"""Downstream tasks: labels predicted from embeddings, their measures, and the controls an encoder is compared with.

May import: `rnn_zoos.baselines.encoders`, `rnn_zoos.baselines.emulation`.

    targets.py       which labels are predicted; a new target is an entry of its family
    measures.py      how well they are predicted; a new measure is an entry of `MEASURES`
    intervals.py     bootstrap intervals over tasks and seeds
    protocols.py     which rows predictors are trained and tested on
    predictors.py    fitting and scoring; a new predictor is an entry of `PREDICTORS`
    mlp.py           the MLP among the predictors, which stops early by its loss on other tasks
    controls.py      features to compare embeddings with; a new control is an entry of `CONTROLS`
    retrieval.py     whether the nearest embedding is of a network of the same task
    trajectory_tasks.py      what snapshots tell about their runs; a new task is an entry of `TRAJECTORY_TASKS`
    trajectories.py          fitting and scoring of these tasks
    trajectory_retrieval.py  whether the nearest early embedding is of the same run
    clones.py        accuracy of emulators on the tasks of the networks
    end_to_end.py    encoders trained on the labels
"""
