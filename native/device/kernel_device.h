// The real device: plain system calls, the same on every POSIX system that has a /dev/nvmm to open.
#pragma once

#include "device.h"

namespace nvmm {

class KernelDevice final : public Device {
 public:
  int open(const char* path, Access access, int* fd) override;
  int close(int fd) override;
  int ioctl(int fd, uint32_t request, void* argument) override;
  int mapComm(int fd, uint64_t offset, void** page) override;
  void kick(pthread_t thread) override;
};

// Gives the kick signal a handler, without which the system would discard it before it interrupts anything. To be
// called once before the first kick; harmless when repeated.
void installKickHandler();

// The signal that kicks: threads that run VCPUs keep it unblocked.
extern const int kKickSignal;

// The NetBSD number of the host's errno `error`; EIO for one that NetBSD lacks.
int netbsdErrno(int error);

}  // namespace nvmm
