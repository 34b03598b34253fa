#include "guest_memory.h"

#include <mutex>
#include <shared_mutex>

#include "../../abi/nvmm.h"

namespace nvmm::mock {

using cpu::kReadable;
using cpu::kWritable;

// Takes [begin, end) out of the map and returns it. What sticks out on either side stays.
GuestMemory::Regions GuestMemory::cut(uint64_t begin, uint64_t end) {
  const auto splitAt = [&](uint64_t address) {
    auto next = regions_.upper_bound(address);
    if (next == regions_.begin()) return;
    const auto region = std::prev(next);
    if (region->first == address || region->second.end <= address) return;
    Region tail = region->second;
    tail.offset += address - region->first;
    region->second.end = address;
    regions_.emplace_hint(next, address, std::move(tail));
  };
  splitAt(begin);
  splitAt(end);
  Regions removed;
  for (auto region = regions_.lower_bound(begin); region != regions_.end() && region->first < end;)
    removed.insert(regions_.extract(region++));
  return removed;
}

GuestMemory::Regions GuestMemory::map(uint64_t gpa, uint64_t size, std::shared_ptr<HostObject> object, uint64_t offset,
                                      uint8_t prot) {
  std::lock_guard<RwLock> guard(lock_);
  Regions removed = cut(gpa, gpa + size);
  regions_[gpa] = {gpa + size, std::move(object), offset, prot};
  return removed;
}

GuestMemory::Regions GuestMemory::unmap(uint64_t gpa, uint64_t size) {
  std::lock_guard<RwLock> guard(lock_);
  return cut(gpa, gpa + size);
}

GuestMemory::Regions::const_iterator GuestMemory::find(uint64_t gpa) const {
  auto next = regions_.upper_bound(gpa);
  if (next == regions_.begin()) return regions_.end();
  const auto region = std::prev(next);
  return gpa < region->second.end ? region : regions_.end();
}

cpu::HostPage GuestMemory::page(uint64_t gpa) {
  std::shared_lock<RwLock> guard(lock_);
  const auto found = find(gpa);
  if (found == regions_.end()) return {nullptr, 0};
  const Region& region = found->second;
  const uint64_t offset = region.offset + (gpa - found->first) / abi::kPageSize * abi::kPageSize;
  if (offset >= region.object->size()) return {nullptr, 0};
  uint8_t prot = region.prot;
  // SVM's nested tables are page tables, where a present page can be read. VMX's can express what is executable only,
  // and refuse what is writable only.
  if (vendor_ == cpu::Vendor::Amd && prot != 0) prot |= kReadable;
  if ((prot & (kReadable | kWritable)) == kWritable) prot = 0;
  return {region.object->base() + offset, prot};
}

bool GuestMemory::misconfigured(uint64_t gpa) const {
  std::shared_lock<RwLock> guard(lock_);
  const auto found = find(gpa);
  return found != regions_.end() && (found->second.prot & (kReadable | kWritable)) == kWritable;
}

}  // namespace nvmm::mock
