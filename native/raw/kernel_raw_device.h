// The real device with every system call in its raw form.
#pragma once

#include "../device/kernel_device.h"
#include "../device/raw_device.h"

namespace nvmm {

class KernelRawDevice final : public RawDevice {
 public:
  KernelRawDevice() { installKickHandler(); }

  int open(const char* path, Access access, int* fd) override { return device_.open(path, access, fd); }
  int close(int fd) override { return device_.close(fd); }
  int ioctl(int fd, uint32_t request, void* argument) override { return device_.ioctl(fd, request, argument); }
  int mapComm(int fd, uint64_t offset, void** page) override { return device_.mapComm(fd, offset, page); }
  void kick(pthread_t thread) override { device_.kick(thread); }

  // Another minor is a node of our own making, for which the system wants root.
  int openRaw(const char* path, int flags, uint32_t minor, int* fd) override;
  int dup(int fd, int* duplicate) override;
  int ioctlRaw(int fd, uint64_t request, void* argument) override;
  int mmapRaw(int fd, uint64_t offset, size_t length, int prot, int flags, void** address) override;
  int read(int fd, void* buffer, size_t size, int64_t* result) override;
  int write(int fd, const void* buffer, size_t size, int64_t* result) override;
  int fstat(int fd) override;
  int poll(int fd, int64_t* events) override;
  int lseek(int fd, int64_t* position) override;
  int fcntl(int fd, int command, int64_t argument, int64_t* result) override;
  int mprotect(void* address, size_t length, int prot) override;
  int32_t pid() const override;

 private:
  KernelDevice device_;
};

}  // namespace nvmm
