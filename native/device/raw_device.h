// The system calls of Device and all others that a test may make on the node, in their raw form: for the runner of the
// golden scenarios and for `selftest`, never for the library.
#pragma once

#include <memory>

#include "device.h"

namespace nvmm {

class RawDevice : public Device {
 public:
  using Device::open;

  // `flags` are NetBSD's (abi.json, netbsd_flags), unchecked: O_CLOEXEC may be missing. `minor` other than 0 opens
  // another node of the driver.
  virtual int openRaw(const char* path, int flags, uint32_t minor, int* fd) = 0;
  virtual int dup(int fd, int* duplicate) = 0;
  // The full 64 bits of the request reach the driver.
  virtual int ioctlRaw(int fd, uint64_t request, void* argument) = 0;
  // prot and flags are NetBSD's.
  virtual int mmapRaw(int fd, uint64_t offset, size_t length, int prot, int flags, void** address) = 0;
  virtual int read(int fd, void* buffer, size_t size, int64_t* result) = 0;
  virtual int write(int fd, const void* buffer, size_t size, int64_t* result) = 0;
  virtual int fstat(int fd) = 0;
  virtual int poll(int fd, int64_t* events) = 0;
  virtual int lseek(int fd, int64_t* position) = 0;
  virtual int fcntl(int fd, int command, int64_t argument, int64_t* result) = 0;
  // On a comm page, whose maximum protection is the one that it was mapped with. prot is NetBSD's.
  virtual int mprotect(void* /*address*/, size_t /*length*/, int /*prot*/) { return netbsd::kNOSYS; }

  // fork(2), as far as the device can see it: the same device in a child process, which has the descriptors of this
  // one. Null where that cannot be had. The memory is not copied.
  virtual std::shared_ptr<RawDevice> fork() { return nullptr; }
  // Ends such a child process: closes what it has open.
  virtual void exit() {}
  // Of the process that the calls are made in.
  virtual int32_t pid() const = 0;
};

}  // namespace nvmm
