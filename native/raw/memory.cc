#include "memory.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "../device/kernel_device.h"

namespace nvmm {

// Both ends do not block: a pipe can be emptied after a copy that failed half-way.
class Pipe {
 public:
  Pipe() {
    if (::pipe(ends_) != 0) return;
    for (const int end : ends_) {
      ::fcntl(end, F_SETFL, O_NONBLOCK);
      ::fcntl(end, F_SETFD, FD_CLOEXEC);
    }
  }
  ~Pipe() {
    for (const int end : ends_) {
      if (end != -1) ::close(end);
    }
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;

  int copy(const char* from, char* to, size_t size) {
    while (size > 0) {
      // Neither side crosses a page, so that each system call copies all or nothing, and a pipe always takes that much.
      const size_t chunk = std::min({size, toPageEnd(from), toPageEnd(to)});
      if (::write(ends_[1], from, chunk) != static_cast<ssize_t>(chunk) ||
          ::read(ends_[0], to, chunk) != static_cast<ssize_t>(chunk)) {
        const int error = netbsdErrno(errno);
        drain();
        return error;
      }
      from += chunk;
      to += chunk;
      size -= chunk;
    }
    return netbsd::kOK;
  }

 private:
  static constexpr size_t kChunk = 4096;

  static size_t toPageEnd(const char* address) { return kChunk - reinterpret_cast<uintptr_t>(address) % kChunk; }

  void drain() {
    char rest[kChunk];
    while (::read(ends_[0], rest, sizeof(rest)) > 0) {
    }
  }

  int ends_[2] = {-1, -1};
};

static Pipe& threadPipe() {
  static thread_local Pipe pipe;
  return pipe;
}

int load(uint64_t address, void* to, size_t size) {
  return threadPipe().copy(reinterpret_cast<const char*>(address), static_cast<char*>(to), size);
}

int store(uint64_t address, const void* from, size_t size) {
  return threadPipe().copy(static_cast<const char*>(from), reinterpret_cast<char*>(address), size);
}

}  // namespace nvmm
