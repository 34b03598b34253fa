#include "coalescer.h"

#include <algorithm>
#include <cstring>

namespace nvmm {

using namespace abi;

namespace {

bool contains(const std::vector<Coalescer::Range>& ranges, uint64_t first, uint64_t last) {
  return std::any_of(ranges.begin(), ranges.end(),
                     [&](const auto& range) { return first >= range.first && last <= range.last; });
}

bool isAt(const Coalescer::Store& store, const nvmm_comm_page_v2& comm, const nvmm_x86_exit& exit) {
  const auto& mem = exit.u.mem;
  return store.length != 0 && mem.inst_len >= store.length &&
         std::memcmp(mem.inst_bytes, store.bytes, static_cast<size_t>(store.length)) == 0 &&
         comm.state.segs[NVMM_X64_SEG_CS].attrib == store.codeAttrib &&
         static_cast<int32_t>(comm.state.msrs[NVMM_X64_MSR_EFER]) == store.efer;
}

// Where in its page the store begins.
uint64_t pageOffset(const Coalescer::Store& store, const nvmm_x64_state& state) {
  uint64_t address = static_cast<uint64_t>(store.displacement);
  if (store.base >= 0) address += state.gprs[store.base];
  if (store.index >= 0) address += state.gprs[store.index] << store.scale;
  if (store.segment >= 0) address += state.segs[store.segment].base;
  return address % kPageSize;
}

}  // namespace

bool Coalescer::portWrite(const nvmm_comm_page_v2& comm, const nvmm_x86_exit& exit, Write* write,
                          uint64_t* nextRip) const {
  const auto& io = exit.u.io;
  if (io.in || io.str || !contains(ports_, io.port, io.port)) return false;
  const uint32_t mask = io.operand_size == 4 ? ~0u : (1u << 8 * io.operand_size) - 1;
  *write = {io.port, static_cast<uint32_t>(comm.state.gprs[NVMM_X64_GPR_RAX]) & mask, io.operand_size, false};
  *nextRip = io.npc;
  return true;
}

bool Coalescer::memoryWrite(const nvmm_comm_page_v2& comm, const nvmm_x86_exit& exit, Write* write,
                            uint64_t* nextRip) const {
  constexpr int32_t kWrite = 2;  // PROT_WRITE
  const auto& mem = exit.u.mem;
  if (mem.prot != kWrite || !contains(memory_, mem.gpa, mem.gpa)) return false;
  const auto store =
      std::find_if(stores_.begin(), stores_.end(), [&](const Store& each) { return isAt(each, comm, exit); });
  if (store == stores_.end()) return false;
  // One that crosses pages may exit for the second; and what exits may be a page table, and not the store itself.
  const auto size = static_cast<size_t>(store->size);
  const uint64_t offset = pageOffset(*store, comm.state);
  if (offset != mem.gpa % kPageSize || offset + size > kPageSize) return false;
  if (!contains(memory_, mem.gpa, mem.gpa + size - 1)) return false;

  const void* source = store->immediate;
  if (store->source >= 0) source = reinterpret_cast<const uint8_t*>(comm.state.gprs) + store->source;
  *write = {mem.gpa, 0, static_cast<uint32_t>(size), true};
  std::memcpy(&write->value, source, size);
  *nextRip = comm.state.gprs[NVMM_X64_GPR_RIP] + static_cast<uint64_t>(store->length);
  if (!store->is64) *nextRip = static_cast<uint32_t>(*nextRip);
  return true;
}

Coalescer::Taken Coalescer::put(nvmm_comm_page_v2& comm, const nvmm_x86_exit& exit, bool* first) {
  constexpr uint64_t kTrap = 1 << 8, kResume = 1 << 16;  // RFLAGS
  // What needs more than a new RIP to be completed is left to the library: rare enough.
  const auto& state = exit.exitstate;
  if (state.rflags & (kTrap | kResume) || state.bits & (kIntrIntShadow | kIntrEvtPending)) return Taken::No;

  std::lock_guard<std::mutex> guard(lock_);
  Write write;
  uint64_t nextRip;
  const bool collected = exit.reason == NVMM_VCPU_EXIT_IO
                             ? portWrite(comm, exit, &write, &nextRip)
                             : exit.reason == NVMM_VCPU_EXIT_MEMORY && memoryWrite(comm, exit, &write, &nextRip);
  if (!collected) return Taken::No;
  comm.state.gprs[NVMM_X64_GPR_RIP] = nextRip;
  comm.state_commit |= NVMM_X64_STATE_GPRS;
  *first = writes_.empty();
  writes_.push_back(write);
  return writes_.size() < capacity_ ? Taken::Yes : Taken::Full;
}

size_t Coalescer::take(Write* into) {
  std::lock_guard<std::mutex> guard(lock_);
  const size_t count = writes_.size();
  std::copy(writes_.begin(), writes_.end(), into);
  writes_.clear();
  return count;
}

void Coalescer::teach(size_t number, const Store& store) {
  std::lock_guard<std::mutex> guard(lock_);
  stores_[number % kStores] = store;
}

}  // namespace nvmm
