#include "copy.h"

#include <unistd.h>

namespace nvmm::mock {

namespace {

// The system itself tests an address when it copies through a pipe, on every system the same way: write(2) reads from
// it, read(2) writes to it, and a bad one is an error instead of a signal.
class Pipe {
 public:
  Pipe() : open_(::pipe(ends_) == 0) {}
  ~Pipe() {
    if (!open_) return;
    ::close(ends_[0]);
    ::close(ends_[1]);
  }

  bool pass(const void* from, void* to, size_t size) const {
    const auto count = static_cast<ssize_t>(size);
    return open_ && ::write(ends_[1], from, size) == count && ::read(ends_[0], to, size) == count;
  }

 private:
  int ends_[2];
  bool open_;
};

}  // namespace

bool copyIn(void* to, const void* address, size_t size) { return size == 0 || Pipe().pass(address, to, size); }

bool copyOut(const void* from, void* address, size_t size) { return size == 0 || Pipe().pass(from, address, size); }

}  // namespace nvmm::mock
