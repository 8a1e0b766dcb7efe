// The cells of recurrent networks, and the order of their gates.
#pragma once

enum Cell { LSTM, GRU, RNN };
constexpr int MAX_LAYERS = 16;

// Bindings refuse more, so that no position overflows: columns of all gates fit into an int, whole buffers into a long.
constexpr int MAX_SIZE = 1 << 24;      // inputs, hidden units, outputs
constexpr long MAX_ROWS = (1L << 31) - 1;  // (steps + 1) * batch

// Throw std::bad_alloc. Defined in `binding.h`: kernels cannot include its header.
[[noreturn]] void out_of_memory(long floats);

// Gates of PyTorch's weights.
inline int num_gates(Cell cell) { return cell == LSTM ? 4 : cell == GRU ? 3 : 1; }

// Blocks of columns that the gates are computed in: lstm i f g o; rnn h; gru r z n m. The candidate of a GRU has two
// blocks, n from the inputs and m from the state, because r multiplies m alone: inputs do not reach m, and the state
// does not reach n.
inline int num_blocks(Cell cell) { return cell == RNN ? 1 : 4; }

enum Source { INPUTS, STATE };

// The block of PyTorch's gate. The third gate of a GRU is block n for the inputs, block m for the state.
inline int block_of(Cell cell, int gate, Source source) {
    return cell == GRU && gate == 2 && source == STATE ? 3 : gate;
}
