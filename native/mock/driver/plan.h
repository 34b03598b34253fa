// The faults that a test has ordered, and when they are due. Where none is, a request asks with one load.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

#include "../mock_device.h"

namespace nvmm::mock {

class Plan {
 public:
  // `operation`: the number of a request, or kOpen or kMmap.
  void add(unsigned operation, uint64_t nth, const Fault& fault);
  void clear();

  // Counts one operation: the fault that it is to meet, if any.
  std::optional<Fault> take(unsigned operation) {
    if (!(waiting_.load(std::memory_order_relaxed) & 1u << operation)) return std::nullopt;
    return count(operation);
  }

  // The errno that it is to fail with: for operations that know no other fault.
  int error(unsigned operation) {
    const auto fault = take(operation);
    return fault ? fault->error : netbsd::kOK;
  }

 private:
  struct Entry {
    unsigned operation;
    uint64_t left;  // operations until it is due
    Fault fault;
  };

  std::optional<Fault> count(unsigned operation);
  void changed();

  std::atomic<uint32_t> waiting_{0};  // a bit for each operation that entries_ names
  std::mutex mutex_;
  std::vector<Entry> entries_;
};

}  // namespace nvmm::mock
