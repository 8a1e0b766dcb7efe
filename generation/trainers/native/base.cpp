#define INTERFACE "native.h"
#define KERNEL "kernel.h"
#include "base.inc"
