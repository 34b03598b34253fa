// A device that passes everything on to another one: the base of those that change one thing about it. `Base` is
// RawDevice or a class derived from it.
#pragma once

#include <memory>
#include <utility>

#include "raw_device.h"

namespace nvmm {

template <class Base>
class ForwardingDevice : public Base {
 public:
  explicit ForwardingDevice(std::shared_ptr<Base> device) : device_(std::move(device)) {}

  int open(const char* path, Access access, int* fd) override { return device_->open(path, access, fd); }
  int close(int fd) override { return device_->close(fd); }
  int ioctl(int fd, uint32_t request, void* argument) override { return device_->ioctl(fd, request, argument); }
  int mapComm(int fd, uint64_t offset, void** page) override { return device_->mapComm(fd, offset, page); }
  void kick(pthread_t thread) override { device_->kick(thread); }

  int openRaw(const char* path, int flags, uint32_t minor, int* fd) override {
    return device_->openRaw(path, flags, minor, fd);
  }
  int dup(int fd, int* duplicate) override { return device_->dup(fd, duplicate); }
  int ioctlRaw(int fd, uint64_t request, void* argument) override { return device_->ioctlRaw(fd, request, argument); }
  int mmapRaw(int fd, uint64_t offset, size_t length, int prot, int flags, void** address) override {
    return device_->mmapRaw(fd, offset, length, prot, flags, address);
  }
  int read(int fd, void* buffer, size_t size, int64_t* result) override {
    return device_->read(fd, buffer, size, result);
  }
  int write(int fd, const void* buffer, size_t size, int64_t* result) override {
    return device_->write(fd, buffer, size, result);
  }
  int fstat(int fd) override { return device_->fstat(fd); }
  int poll(int fd, int64_t* events) override { return device_->poll(fd, events); }
  int lseek(int fd, int64_t* position) override { return device_->lseek(fd, position); }
  int fcntl(int fd, int command, int64_t argument, int64_t* result) override {
    return device_->fcntl(fd, command, argument, result);
  }
  int mprotect(void* address, size_t length, int prot) override { return device_->mprotect(address, length, prot); }
  std::shared_ptr<RawDevice> fork() override { return device_->fork(); }
  void exit() override { device_->exit(); }
  int32_t pid() const override { return device_->pid(); }

 protected:
  const std::shared_ptr<Base> device_;
};

}  // namespace nvmm
