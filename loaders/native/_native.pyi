from rnn_zoos.format.files import Array

def copy_rows(
    addresses: Array,
    source_strides: Array,
    numbers: Array,
    rows: Array,
    sizes: Array,
    block: Array,
    starts: Array,
    strides: Array,
) -> None: ...
