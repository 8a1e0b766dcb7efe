"""The benchmark: training and evaluating encoders and controls, result files, the leaderboard and its figures.

May import: the rest of `rnn_zoos.baselines`.

    presets.py         how long and with which sizes encoders are trained
    runner.py          one encoder and seed, or one control -> one result file
    measurements.py    what is measured of a trained encoder
    loss_details.py    emulation losses by run and by position in the sequence
    schedule.py        many results in parallel
    result_format.py   which content a result file must have
    result_files.py    result files: paths, reading, grouping, scores
    comparable.py      which stored results new results can be compared with
    comparison.py      losses with intervals, paired differences, where a new encoder stands
    leaderboard.py     the tables of results; tables.py: columns and cells;
                       trajectory_table.py: the table of trajectory tasks
    overview.py        one table of many folders of results
    figures/           the figures of results
    studies.py         searches and ablations; study_list.py, which there are
    encoder_speed.py   the time of a training update with every encoder
"""
