// Linked in front of and behind a kernel: the ends of its thread-local segment, which nobody may write to.
#include "runtime.h"

static thread_local char guard[emulation::GUARD] __attribute__((used));
