#include "statistics.h"

#include "../../abi/nvmm.h"

namespace nvmm::mock {

namespace {

// The place of an exit reason in Counters::exits.
unsigned indexOf(uint64_t reason) {
  switch (reason) {
    case abi::NVMM_VCPU_EXIT_NONE: return 0;
    case abi::NVMM_VCPU_EXIT_STOPPED: return 1;
    case abi::NVMM_VCPU_EXIT_INVALID: return 2;
    case abi::NVMM_VCPU_EXIT_MEMORY: return 3;
    case abi::NVMM_VCPU_EXIT_IO: return 4;
    default:
      if (reason - abi::NVMM_VCPU_EXIT_SHUTDOWN < 5) return 5 + static_cast<unsigned>(reason & 7);
      if (reason - abi::NVMM_VCPU_EXIT_RDMSR < 5) return 10 + static_cast<unsigned>(reason & 7);
      return 15;  // none of the kernel's, but a test's
  }
}

void accumulate(Counters& sum, const VcpuCounters& vcpu) {
  for (size_t i = 0; i < vcpu.exits.size(); i++) sum.exits[i] += vcpu.exits[i].load(std::memory_order_relaxed);
  sum.instructions += vcpu.instructions.load(std::memory_order_relaxed);
  if (!vcpu.unknownOpcodes) return;
  for (size_t i = 0; i < sum.unknownOpcodes.size(); i++)
    sum.unknownOpcodes[i] += (*vcpu.unknownOpcodes)[i].load(std::memory_order_relaxed);
}

}  // namespace

void VcpuCounters::countExit(uint64_t reason) {
  auto& counter = exits[indexOf(reason)];
  counter.store(counter.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);  // one writer
}

void Statistics::add(const VcpuCounters& vcpu) {
  std::lock_guard<std::mutex> guard(mutex_);
  live_.insert(&vcpu);
}

void Statistics::remove(const VcpuCounters& vcpu) {
  std::lock_guard<std::mutex> guard(mutex_);
  live_.erase(&vcpu);
  accumulate(removed_, vcpu);
}

void Statistics::clear() {
  std::lock_guard<std::mutex> guard(mutex_);
  removed_ = {};
  for (auto& count : requests_) count.store(0, std::memory_order_relaxed);
}

Counters Statistics::total() const {
  std::lock_guard<std::mutex> guard(mutex_);
  Counters sum = removed_;
  for (const VcpuCounters* vcpu : live_) accumulate(sum, *vcpu);
  for (size_t i = 0; i < requests_.size(); i++) sum.ioctls[i] = requests_[i].load(std::memory_order_relaxed);
  for (const uint64_t exits : sum.exits) sum.ioctls[abi::NVMM_IOC_VCPU_RUN & 0xff] += exits;
  return sum;
}

}  // namespace nvmm::mock
