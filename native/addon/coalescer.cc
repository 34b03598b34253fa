#include "coalescer.h"

#include <algorithm>

namespace nvmm {

using namespace abi;

Coalescer::Taken Coalescer::put(nvmm_comm_page_v2& comm, const nvmm_x86_exit& exit, bool* first) {
  constexpr uint64_t kTrap = 1 << 8, kResume = 1 << 16;  // RFLAGS
  const auto& io = exit.u.io;
  if (exit.reason != NVMM_VCPU_EXIT_IO || io.in || io.str) return Taken::No;
  const bool chosen = std::any_of(ports_.begin(), ports_.end(),
                                  [&](const Range& range) { return io.port >= range.first && io.port <= range.last; });
  // What needs more than a new RIP to be completed is left to the library: rare enough.
  const auto& state = exit.exitstate;
  if (!chosen || state.rflags & (kTrap | kResume) || state.bits & (kIntrIntShadow | kIntrEvtPending)) return Taken::No;

  const uint32_t mask = io.operand_size == 4 ? ~0u : (1u << 8 * io.operand_size) - 1;
  const auto value = static_cast<uint32_t>(comm.state.gprs[NVMM_X64_GPR_RAX]) & mask;
  comm.state.gprs[NVMM_X64_GPR_RIP] = io.npc;
  comm.state_commit |= NVMM_X64_STATE_GPRS;

  std::lock_guard<std::mutex> guard(lock_);
  *first = writes_.empty();
  writes_.push_back({io.port, io.operand_size, value, 0});
  return writes_.size() < capacity_ ? Taken::Yes : Taken::Full;
}

size_t Coalescer::take(Write* into) {
  std::lock_guard<std::mutex> guard(lock_);
  const size_t count = writes_.size();
  std::copy(writes_.begin(), writes_.end(), into);
  writes_.clear();
  return count;
}

}  // namespace nvmm
