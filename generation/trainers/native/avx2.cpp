#define INTERFACE "native.h"
#define KERNEL "kernel.h"
#include "avx2.inc"
