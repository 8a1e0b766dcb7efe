#define INTERFACE "native.h"
#define KERNEL "kernel.h"
#include "avx512.inc"
