#define INTERFACE "stack.h"
#define KERNEL "stack_kernel.h"
#include "avx512.inc"
