// What the addon needs of the operating system: the system calls on /dev/nvmm. KernelDevice makes them; MockDevice
// carries the whole driver out in software. Nothing above this interface knows which one it talks to.
#pragma once

#include <pthread.h>

#include <cstddef>
#include <cstdint>

#include "../abi/netbsd_errno.h"

namespace nvmm {

enum class Access {
  Owner,  // O_RDONLY: a private owner, that sees only the machines created through this descriptor
  Root,   // O_WRONLY: the root owner, that sees every machine of the system
};

// All methods may be called from any thread. Each returns 0 or a NetBSD errno (netbsd::Errno).
class Device {
 public:
  virtual ~Device() = default;

  // Opens the node with close-on-exec, which the driver insists on; *fd is only for this object's other methods.
  virtual int open(const char* path, Access access, int* fd) = 0;

  // May wait for running VCPUs of any machine of the system because the last close takes every
  // machine's lock; machines of this owner are destroyed.
  virtual int close(int fd) = 0;

  // `request` is one of abi::NVMM_IOC_*, `argument` its struct. What is read and written, what waits for what:
  // nvmm(4) and docs/mock.md.
  virtual int ioctl(int fd, uint32_t request, void* argument) = 0;

  // Maps the comm page at `offset` (abi::commOffset), 4096 bytes, shared, readable and writable. The page is the
  // caller's, to be released with munmap(2).
  virtual int mapComm(int fd, uint64_t offset, void** page) = 0;

  // Makes a NVMM_IOC_VCPU_RUN that `thread` is in return soon with reason NONE, as a signal to it does. One that the
  // thread only enters later is not affected: callers repeat the kick until they see the run return.
  virtual void kick(pthread_t thread) = 0;
};

}  // namespace nvmm
