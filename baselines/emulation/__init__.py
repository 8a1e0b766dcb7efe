"""Emulation: training an encoder without labels, by an LSTM that imitates each network given its embedding.

    data            a zoo as tensors: weights, behaviour, labels
    embedding       embeddings of the rows of a zoo
    emulator        the LSTM that imitates networks
    losses          total variation and KL divergence; evaluation on a split
    optimisation    one update of the parameters
    settings        the settings of a training
    training        the training loop
    references      encoders that read labels in place of weights
    checkpoint      the file that a training continues from
    saved_encoder   the file of a trained encoder
    zoo_embeddings  the file of the embeddings of a zoo by a saved encoder
    invariance      how much a symmetry of the weights changes an embedding

May import: `rnn_zoos.baselines.encoders`, `rnn_zoos.loaders`.
"""
