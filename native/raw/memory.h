// Host memory by its address, as the system sees it: an address that no load or store may touch gives EFAULT instead of
// ending the process. A pipe does the copying, because the kernel checks what a system call reads and writes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nvmm {

// Both return 0 or a NetBSD errno; after EFAULT the pages before the bad one have been copied. For any thread.
int load(uint64_t address, void* to, size_t size);
int store(uint64_t address, const void* from, size_t size);

}  // namespace nvmm
