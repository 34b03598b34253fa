// Kicks: what a signal to a thread does to the run that it is in.
#pragma once

#include <pthread.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>

namespace nvmm::mock {

// One counter for all threads of the same hash: no registration, and runs only read. A kick that hits another thread
// too is one more EXIT_NONE there, which may come at any time.
class Kicks {
 public:
  using Counter = std::atomic<uint32_t>;

  void kick(pthread_t thread) { of(thread).fetch_add(1, std::memory_order_relaxed); }
  const Counter& ofCaller() { return of(pthread_self()); }

 private:
  Counter& of(pthread_t thread) {
    static_assert(sizeof thread <= sizeof(uint64_t));
    uint64_t bits = 0;
    std::memcpy(&bits, &thread, sizeof thread);
    return counters_[bits * 0x9e3779b97f4a7c15 >> 55];
  }

  std::array<Counter, 512> counters_ = {};
};

}  // namespace nvmm::mock
