// What a fuzzer hands to a target, taken apart from the front. Where it is used up, everything is 0.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace nvmm::fuzz {

class Input {
 public:
  Input(const uint8_t* data, size_t size) : data_(data), size_(size) {}

  bool empty() const { return size_ == 0; }

  // At most `size` bytes; returns how many.
  size_t take(void* to, size_t size) {
    size = std::min(size, size_);
    if (size == 0) return 0;
    std::memcpy(to, data_, size);
    data_ += size;
    size_ -= size;
    return size;
  }
  template <typename T>
  T take() {
    T value{};
    take(&value, sizeof value);
    return value;
  }
  // Of one byte: `limit` is at most 256.
  unsigned below(unsigned limit) { return take<uint8_t>() % limit; }
  bool flag() { return take<uint8_t>() & 1; }

 private:
  const uint8_t* data_;
  size_t size_;
};

}  // namespace nvmm::fuzz

// What libFuzzer and replay.cc call.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
