// Collects a VCPU's plain writes to chosen ports and addresses between two looks of JavaScript, so that they cost it
// one wake-up a batch. What instructions mean is JavaScript's to know: it teaches those that store to memory, one by
// one.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <mutex>
#include <vector>

#include "../abi/nvmm.h"

namespace nvmm {

class Coalescer {
 public:
  struct Range {
    uint64_t first, last;
  };
  struct Write {
    uint64_t address, value;
    uint32_t size, isMemory;
  };
  // An instruction that does nothing but store `size` bytes, and is this one wherever the processor gives these bytes
  // and the attributes of CS and EFER are these. Registers are indices of the comm page's.
  struct Store {
    int32_t size;
    int32_t source;  // offset of the value in the registers; -1: it is the immediate
    int32_t immediate[2];
    // The sum of these is the address, as far as it is the same in physical memory. -1: none.
    int32_t base, index, scale, segment, displacement;
    int32_t is64;  // 64-bit code: else RIP has 32 bits
    int32_t codeAttrib, efer;
    int32_t length;
    uint8_t bytes[16];
  };
  static constexpr size_t kStores = 64;

  Coalescer(std::vector<Range> ports, std::vector<Range> memory, size_t capacity)
      : ports_(std::move(ports)), memory_(std::move(memory)), capacity_(capacity) {}

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

  // Takes the place of what was taught as that number.
  void teach(size_t number, const Store& store);

 private:
  bool portWrite(const abi::nvmm_comm_page_v2& comm, const abi::nvmm_x86_exit& exit, Write* write,
                 uint64_t* nextRip) const;
  bool memoryWrite(const abi::nvmm_comm_page_v2& comm, const abi::nvmm_x86_exit& exit, Write* write,
                   uint64_t* nextRip) const;

  const std::vector<Range> ports_, memory_;
  const size_t capacity_;
  std::mutex lock_;  // of the rest
  std::vector<Write> writes_;
  std::array<Store, kStores> stores_ = {};  // length 0: none
};

}  // namespace nvmm
