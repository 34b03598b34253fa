// copyin(9) and copyout(9): copies from and to addresses that a caller claims to own. False stands for EFAULT.
#pragma once

#include <cstddef>

namespace nvmm::mock {

// At most a page. Slow (a few system calls): for arguments that are not known to be good.
bool copyIn(void* to, const void* address, size_t size);
bool copyOut(const void* from, void* address, size_t size);

}  // namespace nvmm::mock
