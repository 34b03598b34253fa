#include "plan.h"

#include <algorithm>

namespace nvmm::mock {

void Plan::add(unsigned operation, uint64_t nth, const Fault& fault) {
  std::lock_guard<std::mutex> guard(mutex_);
  entries_.push_back({operation, nth, fault});
  changed();
}

void Plan::clear() {
  std::lock_guard<std::mutex> guard(mutex_);
  entries_.clear();
  changed();
}

// Of several that are due at once the one that was ordered last counts.
std::optional<Fault> Plan::count(unsigned operation) {
  std::lock_guard<std::mutex> guard(mutex_);
  std::optional<Fault> due;
  for (Entry& entry : entries_) {
    if (entry.operation == operation && --entry.left == 0) due = entry.fault;
  }
  entries_.erase(std::remove_if(entries_.begin(), entries_.end(), [](const Entry& entry) { return entry.left == 0; }),
                 entries_.end());
  changed();
  return due;
}

void Plan::changed() {
  uint32_t waiting = 0;
  for (const Entry& entry : entries_) waiting |= 1u << entry.operation;
  waiting_.store(waiting, std::memory_order_relaxed);
}

}  // namespace nvmm::mock
