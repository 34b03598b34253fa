#include "kernel_raw_device.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#if __has_include(<sys/sysmacros.h>)
#include <sys/sysmacros.h>  // makedev, which is in sys/types.h on BSD
#endif

#include <cerrno>
#include <string>

namespace nvmm {

// The two flags of a scenario's open besides the access mode, which has the same numbers everywhere.
constexpr int kNetbsdNonblock = 0x4;
constexpr int kNetbsdCloexec = 0x400000;

template <typename Result>
static int answer(Result value, Result* result) {
  *result = value;
  return value == -1 ? netbsdErrno(errno) : netbsd::kOK;
}

static int answer(int value) { return answer(value, &value); }

static int hostOpenFlags(int flags) {
  return (flags & ~(kNetbsdNonblock | kNetbsdCloexec)) | (flags & kNetbsdNonblock ? O_NONBLOCK : 0) |
         (flags & kNetbsdCloexec ? O_CLOEXEC : 0);
}

int KernelRawDevice::openRaw(const char* path, int flags, uint32_t minor, int* fd) {
  if (minor == 0) return answer(::open(path, hostOpenFlags(flags)), fd);
  struct stat node;
  if (::stat(path, &node) != 0) return netbsdErrno(errno);
  const std::string other = std::string(path) + "-minor-" + std::to_string(minor) + "-" + std::to_string(::getpid());
  if (::mknod(other.c_str(), node.st_mode, makedev(major(node.st_rdev), minor)) != 0) return netbsdErrno(errno);
  const int error = answer(::open(other.c_str(), hostOpenFlags(flags)), fd);
  ::unlink(other.c_str());
  return error;
}

int KernelRawDevice::dup(int fd, int* duplicate) { return answer(::dup(fd), duplicate); }

int KernelRawDevice::ioctlRaw(int fd, uint64_t request, void* argument) {
  return answer(::ioctl(fd, static_cast<unsigned long>(request), argument));
}

int KernelRawDevice::mmapRaw(int fd, uint64_t offset, size_t length, int prot, int flags, void** address) {
  *address = ::mmap(nullptr, length, prot, flags, fd, static_cast<off_t>(offset));
  return *address == MAP_FAILED ? netbsdErrno(errno) : netbsd::kOK;
}

int KernelRawDevice::read(int fd, void* buffer, size_t size, int64_t* result) {
  return answer(static_cast<int64_t>(::read(fd, buffer, size)), result);
}

int KernelRawDevice::write(int fd, const void* buffer, size_t size, int64_t* result) {
  return answer(static_cast<int64_t>(::write(fd, buffer, size)), result);
}

int KernelRawDevice::fstat(int fd) {
  struct stat status;
  return answer(::fstat(fd, &status));
}

int KernelRawDevice::poll(int fd, int64_t* events) {
  struct pollfd item = {fd, POLLIN | POLLOUT, 0};
  return answer(static_cast<int64_t>(::poll(&item, 1, 0)), events);
}

int KernelRawDevice::lseek(int fd, int64_t* position) {
  return answer(static_cast<int64_t>(::lseek(fd, 0, SEEK_CUR)), position);
}

int KernelRawDevice::fcntl(int fd, int command, int64_t argument, int64_t* result) {
  return answer(static_cast<int64_t>(::fcntl(fd, command, static_cast<int>(argument))), result);
}

int32_t KernelRawDevice::pid() const { return static_cast<int32_t>(::getpid()); }

int KernelRawDevice::mprotect(void* address, size_t length, int prot) {
  return answer(::mprotect(address, length, prot));
}

}  // namespace nvmm
