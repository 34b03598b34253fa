// Collects a VCPU's plain writes to chosen ports between two looks of JavaScript, so that they cost it one wake-up a
// batch.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <vector>

#include "../abi/nvmm.h"

namespace nvmm {

class Coalescer {
 public:
  struct Range {
    uint32_t first, last;
  };
  struct Write {
    uint32_t port, size, value, reserved;
  };

  Coalescer(std::vector<Range> ports, size_t capacity) : ports_(std::move(ports)), capacity_(capacity) {}

  enum class Taken {
    No,    // the exit is somebody else's
    Yes,   // and it is the first of a batch, if `first` says so
    Full,  // and no more can be taken before take() has been called
  };
  // Carries the instruction of an exit out, if that is a write to be collected.
  Taken put(abi::nvmm_comm_page_v2& comm, const abi::nvmm_x86_exit& exit, bool* first);

  // Moves what was collected to `into`, which has room for `capacity` writes; how many.
  size_t take(Write* into);
  size_t capacity() const { return capacity_; }

 private:
  const std::vector<Range> ports_;
  const size_t capacity_;
  std::mutex lock_;
  std::vector<Write> writes_;
};

}  // namespace nvmm
