"""Publishing a finished zoo: parquet files, the dataset card, the upload to the Hugging Face Hub.

May import: `rnn_zoos.format`, `rnn_zoos.loaders`.
"""
