// What MockDevice::counters() adds up.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <set>

#include "../cpu/cpu.h"
#include "../mock_device.h"

namespace nvmm::mock {

// Written by the thread that runs the VCPU, read by any.
struct VcpuCounters {
  std::array<std::atomic<uint64_t>, 16> exits = {};
  std::atomic<uint64_t> instructions{0};
  const cpu::UnknownOpcodes* unknownOpcodes = nullptr;  // the processor's own

  void countExit(uint64_t reason);
};

class Statistics {
 public:
  // Of every request but the runs that succeed: those are the sum of the exits, and must not share a counter.
  void countRequest(unsigned number) { requests_[number].fetch_add(1, std::memory_order_relaxed); }

  void add(const VcpuCounters& vcpu);
  void remove(const VcpuCounters& vcpu);  // what it has counted stays

  void clear();  // while no VCPU is there

  Counters total() const;

 private:
  std::array<std::atomic<uint64_t>, 21> requests_ = {};
  mutable std::mutex mutex_;
  std::set<const VcpuCounters*> live_;
  Counters removed_ = {};
};

}  // namespace nvmm::mock
